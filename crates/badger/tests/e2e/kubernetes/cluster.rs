//! One cluster: its orchestrator comes and goes as an administrator would do it, and its objects are counted.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::kubectl::{Kubectl, given};
use crate::harness::api::Api;
use crate::harness::eventually;

/// Where the orchestrator lives.
pub(super) const SYSTEM: &str = "badger-system";
/// What selects its pod.
const ORCHESTRATOR: &str = "app.kubernetes.io/name=badgerpanel-orchestrator";
/// Everything that a server may have, in namespaces of its own and beside them.
const KINDS: &str = "namespaces,deployments.apps,replicasets.apps,pods,services,persistentvolumeclaims,secrets,\
                     configmaps,persistentvolumes";
/// Until an orchestrator is there, or what was removed is gone.
const PATIENCE: Duration = Duration::from_mins(2);

/// How the orchestrator is installed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Installer {
    /// The panel's one-line command.
    Kubectl,
    /// The panel's command for the chart.
    Helm,
}

/// One cluster of the fleet.
#[derive(Debug)]
pub(super) struct Cluster {
    /// `a` or `b`.
    pub(super) name: &'static str,
    /// Its id in the panel.
    pub(super) id: String,
    /// Its administrator.
    pub(super) kubectl: Kubectl,
}

impl Cluster {
    /// Makes it in the panel and installs its orchestrator with the command that the panel shows.
    pub(super) fn join(api: &Api, name: &'static str, how: Installer) -> Self {
        let kubectl = Kubectl::of(name);
        let mut cluster = Self { name, id: String::new(), kubectl };
        cluster.leave();
        cluster.forget_all();
        let made = api.post("/admin/clusters", &json!({"name": format!("cluster-{name}")})).expect(201);
        made["id"].as_str().unwrap().clone_into(&mut cluster.id);
        let command = match how {
            Installer::Kubectl => &made["enrolment"]["command"],
            Installer::Helm => &made["enrolment"]["helm_command"],
        };
        cluster.kubectl.shell(command.as_str().unwrap());
        cluster.wait_online(api);
        cluster
    }

    /// Waits until the panel says that its orchestrator is there.
    pub(super) fn wait_online(&self, api: &Api) {
        eventually(&format!("cluster {} is online", self.name), PATIENCE, || {
            (api.get(&format!("/admin/clusters/{}", self.id)).expect(200)["online"] == true).then_some(())
        });
    }

    /// Takes the orchestrator away, and its identity, so that the next test's is another.
    pub(super) fn leave(&self) {
        self.delete(&["deployment,secret", "--all", "--namespace", SYSTEM]);
    }

    /// Takes away what is left of a server. Finalizers are ours; without an orchestrator nobody would lift them.
    pub(super) fn forget(&self, server: &str) {
        let namespace = format!("bp-{server}");
        self.delete(&["namespace", &namespace, "--wait=false"]);
        let held = |object: &&Value| matches!(object["kind"].as_str(), Some("ConfigMap" | "PersistentVolumeClaim"));
        for object in self.objects(server).iter().filter(held) {
            let (kind, name) = (object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap());
            let lift = r#"{"metadata": {"finalizers": null}}"#;
            // It may have gone meanwhile.
            self.kubectl.run(&["patch", kind, name, "--namespace", &namespace, "--type=merge", "-p", lift]);
        }
        // Its ports at once; the rest goes while the next test begins, whose server is another.
        self.delete(&["services", "--all", "--namespace", &namespace]);
        self.delete(&["namespace", &namespace, "--wait=false"]);
    }

    /// What a run left that was killed.
    fn forget_all(&self) {
        for namespace in self.kubectl.list(&["namespaces", "--selector", "badgerpanel.io/server"]) {
            // Others have servers beside ours, in namespaces of another prefix.
            if let Some(server) = namespace["metadata"]["name"].as_str().unwrap().strip_prefix("bp-") {
                self.forget(server);
            }
        }
    }

    fn delete(&self, what: &[&str]) {
        let output = self.kubectl.run(&[&["delete"], what, &["--ignore-not-found", "--timeout=120s"]].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        // Called while a test fails, too: that must not hide why.
        assert!(output.status.success() || std::thread::panicking(), "{what:?}: {said}");
    }

    /// What a server's only volume in this cluster has of its files, on the machine.
    pub(super) fn server_data(&self, server: &str) -> PathBuf {
        let namespace = format!("bp-{server}");
        let claims = self.kubectl.list(&["pvc", "--namespace", &namespace, "--selector", "!badgerpanel.io/retained"]);
        let (claim, volume) = (&claims[0]["metadata"]["name"], &claims[0]["spec"]["volumeName"]);
        let folder = format!("{}_{namespace}_{}", volume.as_str().unwrap(), claim.as_str().unwrap());
        let volumes = PathBuf::from(given("BADGER_TEST_KUBE_STATE")).join(self.name).join("volumes");
        volumes.join(folder).join("servers").join(server).join("data")
    }

    /// Every object of a server: its namespace, all in it, its volumes.
    pub(super) fn objects(&self, server: &str) -> Vec<Value> {
        let (namespace, all) = (format!("bp-{server}"), self.kubectl.list(&[KINDS, "--all-namespaces"]));
        all.into_iter().filter(|object| is_of(object, &namespace)).collect()
    }

    /// The kinds of all objects of servers, each once for each object, sorted.
    pub(super) fn kinds(&self, server: &str) -> Vec<String> {
        let mut kinds: Vec<String> =
            self.objects(server).iter().map(|it| it["kind"].as_str().unwrap().to_owned()).collect();
        kinds.sort();
        kinds
    }

    /// Waits until there is nothing of a server (I9). The provisioner takes its time to remove a volume.
    pub(super) fn wait_empty(&self, server: &str) {
        let mut left = Vec::new();
        let empty = crate::harness::within(PATIENCE, || {
            left = self.objects(server);
            left.is_empty().then_some(())
        });
        let names = |all: &[Value]| {
            all.iter().map(|it| format!("{} {}", it["kind"], it["metadata"]["name"])).collect::<Vec<_>>()
        };
        assert!(empty.is_some(), "left on cluster {}: {:?}", self.name, names(&left));
    }

    /// The only pod of the server that is there.
    pub(super) fn pod(&self, server: &str) -> Value {
        let pods = self.kubectl.list(&["pods", "--namespace", &format!("bp-{server}")]);
        assert_eq!(pods.len(), 1, "{pods:?}");
        pods[0].clone()
    }

    /// Changes lines of the orchestrator's configuration and restarts it, as an administrator would.
    pub(super) fn configure(&self, api: &Api, changes: &[(&str, &str)]) {
        let config = self.kubectl.json(&["get", "configmap", "badger-orchestrator", "--namespace", SYSTEM]);
        let mut text = config["data"]["config.yml"].as_str().unwrap().to_owned();
        for (from, to) in changes {
            assert!(text.contains(from), "{from}: {text}");
            text = text.replace(from, to);
        }
        let patch = json!({"data": {"config.yml": text}}).to_string();
        let of_it = ["configmap", "badger-orchestrator", "--namespace", SYSTEM];
        self.kubectl.ok(&[&["patch", "--type=merge", "-p", &patch], &of_it[..]].concat());
        self.restart_orchestrator(api);
    }

    /// Restarts the orchestrator as an administrator would, and waits until the new one is who answers the panel. While
    /// the old one ends it may hold the link still, with what it was told at its start.
    pub(super) fn restart_orchestrator(&self, api: &Api) {
        let of_it = ["deployment/badger-orchestrator", "--namespace", SYSTEM];
        self.kubectl.ok(&[&["rollout", "restart"], &of_it[..]].concat());
        self.kubectl.ok(&[&["rollout", "status", "--timeout=120s"], &of_it[..]].concat());
        let pod = eventually("only the new orchestrator is left", PATIENCE, || {
            let pods = self.kubectl.list(&["pods", "--namespace", SYSTEM, "--selector", ORCHESTRATOR]);
            (pods.len() == 1).then(|| pods[0]["metadata"]["name"].as_str().unwrap().to_owned())
        });
        eventually("the new orchestrator is linked", PATIENCE, || {
            self.kubectl.ok(&["logs", &pod, "--namespace", SYSTEM]).contains("linked").then_some(())
        });
        self.wait_online(api);
    }

    /// Deletes the orchestrator's pod without grace; the Deployment makes another.
    pub(super) fn kill_orchestrator(&self) {
        self.kubectl.ok(&[
            "delete",
            "pod",
            "--namespace",
            SYSTEM,
            "--selector",
            ORCHESTRATOR,
            "--grace-period=0",
            "--force",
            "--wait=true",
        ]);
    }

    /// The process `badger ROLE` in a pod of this cluster that was told `word`, as soon as there is one. Asks nobody: a pod
    /// may be about to go.
    pub(super) fn process(&self, role: &str, word: &str) -> u32 {
        let what = format!("a {role} in cluster {}", self.name);
        eventually(&what, PATIENCE, || process_in_pod(self.name, role, word))
    }

    /// `kill -9` of the orchestrator. Its pod goes too: the cluster would wait longer before each restart in it.
    pub(super) fn crash_orchestrator(&self) {
        kill(self.process("orchestrator", "KUBERNETES_SERVICE_HOST"));
        self.kill_orchestrator();
    }

    /// `kill -9` of the process `badger ROLE` in the pod of a server.
    pub(super) fn kill_in_pod(&self, server: &str, role: &str) {
        kill(self.process(role, server));
    }

    /// Asks the pod of a server to go, as a drain of its node does.
    pub(super) fn evict(&self, server: &str) {
        let namespace = format!("bp-{server}");
        self.process("mover", server);
        let pods = self.kubectl.list(&["pods", "--namespace", &namespace]);
        let name = pods[0]["metadata"]["name"].as_str().unwrap();
        let eviction = json!({
            "apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": namespace},
        });
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/eviction");
        self.kubectl.fed(&["create", "--raw", &path, "-f", "-"], &eviction.to_string());
    }

    /// `kill -9` of a component of the cluster, or its start.
    pub(super) fn component(&self, verb: &str, component: &str) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/kube-component.sh");
        let output = Command::new(script).args([self.name, verb, component]).output().unwrap();
        assert!(output.status.success(), "{verb} {component}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// What a person would look at after a failure.
    pub(super) fn print_state(&self, server: &str) {
        let show = |args: &[&str]| {
            let output = self.kubectl.run(args);
            eprintln!("──── cluster {}: kubectl {}", self.name, args.join(" "));
            eprintln!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        };
        show(&["get", "pods,services,persistentvolumeclaims", "--all-namespaces", "-o", "wide"]);
        show(&["logs", "deployment/badger-orchestrator", "--namespace", SYSTEM, "--tail=60"]);
        let namespace = format!("bp-{server}");
        show(&["get", "events", "--namespace", &namespace, "--sort-by=.lastTimestamp"]);
        for container in ["mover", "game"] {
            show(&["logs", "deployment/game", "--namespace", &namespace, "--container", container, "--tail=60"]);
        }
    }
}

fn kill(pid: u32) {
    let killed = Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap();
    assert!(killed.success(), "kill -KILL {pid}");
}

/// The process `badger ROLE` in the control groups of a cluster's pods, with `word` in its environment.
fn process_in_pod(cluster: &str, role: &str, word: &str) -> Option<u32> {
    let pids = std::fs::read_dir("/proc").unwrap().filter_map(|it| it.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let read = |pid: u32, what: &str| std::fs::read_to_string(format!("/proc/{pid}/{what}")).unwrap_or_default();
    let group = format!("-{cluster}/kubepods");
    let is_it = |pid: &u32| {
        let arguments = read(*pid, "cmdline");
        let mut words = arguments.split('\0');
        let is_ours = words.next().is_some_and(|word| word.ends_with("badger")) && words.next() == Some(role);
        is_ours && read(*pid, "cgroup").contains(&group) && read(*pid, "environ").contains(word)
    };
    pids.into_iter().find(is_it)
}

fn is_of(object: &Value, namespace: &str) -> bool {
    let is = |path: &str, text: &str| object.pointer(path).and_then(Value::as_str) == Some(text);
    match object["kind"].as_str().unwrap() {
        "Namespace" => is("/metadata/name", namespace),
        "PersistentVolume" => is("/spec/claimRef/namespace", namespace),
        // The cluster puts it into every namespace.
        "ConfigMap" if is("/metadata/name", "kube-root-ca.crt") => false,
        _ => is("/metadata/namespace", namespace),
    }
}

/// Where pods and this machine meet: the panel and the daemons listen there.
pub(super) fn host_ip() -> String {
    given("BADGER_TEST_KUBE_HOST")
}
