//! Against a real cluster. Each test has servers of its own and leaves none of their objects; an audit by label counts.
//!
//! `BADGER_TEST_KUBE_A`: an administrator's kubeconfig. `BADGER_TEST_BADGER_IMAGE`, `BADGER_TEST_LEDGER_IMAGE`: images that
//! the node has. `BADGER_TEST_KUBECTL`: the hand that changes things.

#![allow(clippy::unwrap_used)]

mod hands;
mod refused;
mod removed;
mod retained;
mod served;

use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, PersistentVolumeClaim, Pod, Secret, Service};
use kube::ResourceExt;
use kube::api::Api;
use model::agent_api::AgentError;
use model::{Allocation, AllocationId, Epoch, Limits, NodeId, ServerId, ServerSpec, TransferId};
use tokio::sync::watch;

use super::*;
use crate::permit::testing::Signer;

pub(super) const WITHIN: Duration = Duration::from_secs(90);

/// Ports of these tests' servers; tests run beside each other in one process.
static NEXT_PORT: AtomicU16 = AtomicU16::new(31500);

pub(super) struct Stage {
    pub(super) objects: Objects,
    pub(super) spec: ServerSpec,
}

fn env(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run make test-kubernetes"))
}

pub(super) fn ledger_image() -> String {
    env("BADGER_TEST_LEDGER_IMAGE")
}

impl Stage {
    pub(super) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(super) async fn with(change: impl FnOnce(&mut ObjectsConfig)) -> Self {
        let mut config = make::tests::config();
        let welcomed = Welcomed { agent_id: NodeId::new(), permit_key: Signer::new().public() };
        config.welcome = watch::channel(Some(welcomed)).1;
        config.image = env("BADGER_TEST_BADGER_IMAGE");
        // Orchestrators of other tests may be in the same cluster and tidy up what is named like theirs.
        config.namespace_prefix = "bpc-".to_owned();
        // Nobody listens there: a mover whose orchestrator is away runs and waits.
        config.hub_address = "127.0.0.1:9".to_owned();
        config.patience = Patience { raise: WITHIN, doubt: Duration::from_secs(4), gone: WITHIN, install: WITHIN };
        change(&mut config);
        let kubeconfig = PathBuf::from(env("BADGER_TEST_KUBE_A"));
        let objects = Objects::open(Some(&kubeconfig), config).await.unwrap();
        Self { objects, spec: spec() }
    }

    pub(super) fn server(&self) -> ServerId {
        self.spec.id
    }

    pub(super) async fn raise(&self, transfer: Option<TransferId>) -> Result<(), AgentError> {
        self.objects.raise(&self.asked(transfer)).await
    }

    pub(super) fn asked(&self, transfer: Option<TransferId>) -> Raise<'_> {
        Raise { spec: &self.spec, epoch: Epoch(3), transfer, bytes: 1 << 20, mover_only: false, token: "bearer" }
    }

    pub(super) fn api<K: api::Thing + Resource<Scope = NamespaceResourceScope>>(&self) -> Api<K> {
        self.objects.inside(self.server())
    }

    pub(super) async fn pod(&self) -> Pod {
        let pods = api::list(&self.api::<Pod>(), &names::pods_of(self.server())).await.unwrap();
        pods.into_iter().find(cause::alive).expect("a pod of the server")
    }

    pub(super) async fn known(&self) -> Option<KnownServer> {
        self.objects.list().await.unwrap().into_iter().find(|known| known.server == self.server())
    }

    /// Everything in the cluster that carries the server's label, `Kind name`.
    pub(super) async fn audit(&self) -> Vec<String> {
        let client = &self.objects.client;
        let selector = names::of_server(self.server());
        let mut left = Vec::new();
        left.extend(seen::<Namespace>(client, &selector).await);
        left.extend(seen::<Deployment>(client, &selector).await);
        left.extend(seen::<ReplicaSet>(client, &selector).await);
        left.extend(seen::<Pod>(client, &selector).await);
        left.extend(seen::<Service>(client, &selector).await);
        left.extend(seen::<Secret>(client, &selector).await);
        left.extend(seen::<ConfigMap>(client, &selector).await);
        left.extend(seen::<PersistentVolumeClaim>(client, &selector).await);
        left
    }

    pub(super) async fn leave_nothing(&self) {
        self.objects.remove(self.server()).await.unwrap();
        assert_eq!(self.audit().await, Vec::<String>::new());
    }

    /// A person with the command line that people use.
    pub(super) fn kubectl(&self, words: &[&str]) {
        let done = Command::new(env("BADGER_TEST_KUBECTL"))
            .args(["--kubeconfig", &env("BADGER_TEST_KUBE_A"), "--namespace", &self.objects.space(self.server())])
            .args(words)
            .output()
            .unwrap();
        assert!(done.status.success(), "kubectl {words:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

async fn seen<K: api::Thing>(client: &Client, selector: &str) -> Vec<String> {
    let all = api::list(&Api::<K>::all(client.clone()), selector).await.unwrap();
    all.iter().map(|object| format!("{} {}", K::kind(&()), object.name_any())).collect()
}

pub(super) fn spec() -> ServerSpec {
    let mut spec = crate::server::testing::spec();
    spec.image = ledger_image();
    spec.limits = Limits { memory_mb: 64, disk_mb: 64, cpu_percent: 10 };
    spec.stop_patience_s = 1;
    let port = NEXT_PORT.fetch_add(1, Ordering::SeqCst);
    spec.allocations = vec![Allocation { id: AllocationId::new(), ip_address: String::new(), port }];
    spec
}

/// A test that failed does not take the room that the others need.
impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let space = self.objects.space(self.server());
            let kubeconfig = env("BADGER_TEST_KUBE_A");
            let patch = r#"{"metadata": {"finalizers": null}}"#;
            let free = format!("get pvc -n {space} -o name | xargs -r $0 patch -n {space} --type=merge -p '{patch}'");
            let line = format!("$0 delete namespace {space} --ignore-not-found --wait=false; $0 {free}");
            let kubectl = env("BADGER_TEST_KUBECTL");
            let done = Command::new("sh").args(["-c", &line, &kubectl]).env("KUBECONFIG", &kubeconfig).output();
            eprintln!("tidied {space}: {done:?}");
        }
    }
}

/// Waits for `what`, which must come to be.
pub(super) async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = tokio::time::Instant::now() + WITHIN;
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "{what} did not come to be");
        tokio::time::sleep(api::LOOK).await;
    }
}
