//! A ground on a real cluster: a pod under the restricted profile whose game container runs the launcher of our image.
//!
//! The mover of that pod is the test itself: it runs on the machine that is the cluster's node, so it sees the volume and
//! the directory with the launcher's socket. Everything lies in one namespace, which goes at the end.

use std::io::Write;
use std::os::unix::fs::{chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use model::{Epoch, NodeId, ServerId};
use serde_json::{Value, json};

use super::*;
use crate::permit::testing::Signer;
use crate::server::ownership::Ownership;
use crate::server::{OWNERSHIP, PERMIT};

const USER: Owner = Owner { uid: 1000, gid: 1000 };
const UP_WITHIN: Duration = Duration::from_mins(2);

fn wanted(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} must be set: make test-kubernetes does"))
}

/// The pod, as long as the test needs it.
struct ClustersPod {
    namespace: String,
}

impl ClustersPod {
    fn apply(server: ServerId, cluster: NodeId, permit_key: &str) -> Self {
        let pod = Self { namespace: format!("contract-{server}") };
        let manifest = manifest(
            &pod.namespace,
            server,
            &[
                ("BADGER_SERVER_ID", server.to_string()),
                ("BADGER_AGENT_ID", cluster.to_string()),
                ("BADGER_PERMIT_KEY", permit_key.to_owned()),
            ],
        );
        kubectl(&["apply", "-f", "-"], Some(&manifest));
        pod
    }

    fn ask(&self, what: &str, path: &str) -> String {
        kubectl(&["-n", &self.namespace, "get", what, "-o", &format!("jsonpath={{{path}}}")], None)
    }

    async fn running(&self) {
        let until = tokio::time::Instant::now() + UP_WITHIN;
        while self.ask("pod/game", ".status.phase") != "Running" {
            let seen = || self.ask("pod/game", ".status");
            assert!(tokio::time::Instant::now() < until, "the pod does not run: {}", seen());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    fn volume(&self) -> PathBuf {
        let (name, namespace) = (self.ask("pvc/data", ".spec.volumeName"), &self.namespace);
        node().join("volumes").join(format!("{name}_{namespace}_data"))
    }

    fn run(&self) -> PathBuf {
        let uid = self.ask("pod/game", ".metadata.uid");
        node().join("kubelet/pods").join(uid).join("volumes/kubernetes.io~empty-dir/run")
    }
}

impl Drop for ClustersPod {
    fn drop(&mut self) {
        kubectl(&["delete", "namespace", &self.namespace, "--wait", "--timeout=120s"], None);
    }
}

fn node() -> PathBuf {
    PathBuf::from(wanted("BADGER_TEST_KUBE_STATE")).join("a")
}

fn kubectl(words: &[&str], input: Option<&Value>) -> String {
    let mut command = Command::new(wanted("BADGER_TEST_KUBECTL"));
    command.arg("--kubeconfig").arg(wanted("BADGER_TEST_KUBE_A")).args(words);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let text = input.map(ToString::to_string).unwrap_or_default();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "kubectl {words:?}: {}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

fn manifest(namespace: &str, server: ServerId, variables: &[(&str, String)]) -> Value {
    let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    let objects = [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}}),
        json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data", "namespace": namespace},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "64Mi"}}},
        }),
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "game", "namespace": namespace},
            "spec": pod(server, variables),
        }),
    ];
    json!({"apiVersion": "v1", "kind": "List", "items": objects})
}

fn pod(server: ServerId, variables: &[(&str, String)]) -> Value {
    let security = json!({
        "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
    });
    let mount = |name: &str, path: &str| json!({"name": name, "mountPath": path});
    let part = |of: String, path: &str| json!({"name": "data", "mountPath": path, "subPath": of});
    let variables: Vec<Value> = variables.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    json!({
        "automountServiceAccountToken": false,
        "securityContext": {
            "runAsNonRoot": true, "runAsUser": USER.uid, "runAsGroup": USER.gid, "fsGroup": USER.gid,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "initContainers": [{
            "name": "install-launcher", "image": wanted("BADGER_TEST_BADGER_IMAGE"), "imagePullPolicy": "IfNotPresent",
            "args": ["install-launcher", "--into", "/pod/bin", "--volume", "/volume", "--server", server.to_string()],
            "securityContext": security, "volumeMounts": [mount("bin", "/pod/bin"), mount("data", "/volume")],
        }],
        "containers": [{
            "name": "game", "image": wanted("BADGER_TEST_LEDGER_IMAGE"), "imagePullPolicy": "IfNotPresent",
            "command": ["/badger/bin/badger", "launcher"], "env": variables, "securityContext": security,
            "volumeMounts": [
                mount("bin", "/badger/bin"), mount("run", "/badger/run"), mount("tmp", "/tmp"),
                part(format!("servers/{server}"), "/badger/place"),
                part(format!("servers/{server}/data"), "/home/container"),
            ],
        }],
        "volumes": [
            {"name": "bin", "emptyDir": {}}, {"name": "run", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}},
            {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
        ],
    })
}

/// What a mover writes when it admits a permit, as the user that it would be.
fn record(place: &Place, panel: &Signer, cluster: NodeId) {
    let write = |name: &str, written: std::io::Result<()>| {
        written.unwrap();
        chown(place.beside(name), Some(USER.uid), Some(USER.gid)).unwrap();
    };
    write(OWNERSHIP, disk::write_json(&place.beside(OWNERSHIP), &Ownership::new(Epoch(1))));
    write(PERMIT, disk::write_json(&place.beside(PERMIT), &panel.permit(place.server, 1, cluster)));
}

/// A socket's path must be shorter than what a kubelet makes of a pod's directories.
fn shortened(dir: &Path, run: &Path) -> PathBuf {
    let short = dir.join("run");
    symlink(run, &short).unwrap();
    short.join("launcher.sock")
}

async fn ground() -> Ground {
    let unplayed = Ground::new(processes(), processes(), "none");
    let (panel, cluster) = (Signer::new(), NodeId::new());
    let pod = ClustersPod::apply(unplayed.spec.id, cluster, &panel.public());
    pod.running().await;
    let place = Layout::new(pod.volume()).place(unplayed.spec.id);
    record(&place, &panel, cluster);
    let socket = shortened(unplayed.dir.path(), &pod.run());
    let connect = || Arc::new(Pod::connect(socket.clone(), USER));
    Ground { runtime: connect(), anew: connect(), place, stage: Some(Arc::new(pod)), ..unplayed }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs clusters: make test-kubernetes"]
async fn kubernetes_pods_keep_the_contract() {
    on(ground().await, keeps_the_contract).await;
}
