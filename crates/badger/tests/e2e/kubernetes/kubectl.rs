//! `kubectl`: a client that nobody here wrote looks at the result.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The value of a variable that the test's script sets.
pub(super) fn given(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("scripts/test-kubernetes.sh sets {name}"))
}

/// `kubectl` as the administrator of one cluster.
#[derive(Clone, Debug)]
pub(super) struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
}

impl Kubectl {
    /// For cluster `a` or `b`.
    pub(super) fn of(cluster: &str) -> Self {
        let kubeconfig = given(&format!("BADGER_TEST_KUBE_{}", cluster.to_uppercase()));
        Self { program: given("BADGER_TEST_KUBECTL").into(), kubeconfig: kubeconfig.into() }
    }

    /// What came of it, failed or not.
    pub(super) fn run(&self, args: &[&str]) -> Output {
        self.feed(args, "")
    }

    /// The same with something on standard input.
    pub(super) fn feed(&self, args: &[&str], input: &str) -> Output {
        let mut child = Command::new(&self.program)
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Who wants no input may have ended before it was written.
        drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
        child.wait_with_output().unwrap()
    }

    /// The output of a call that must succeed.
    pub(super) fn ok(&self, args: &[&str]) -> String {
        self.fed(args, "")
    }

    /// The same with something on standard input.
    pub(super) fn fed(&self, args: &[&str], input: &str) -> String {
        let output = self.feed(args, input);
        assert!(output.status.success(), "kubectl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Objects.
    pub(super) fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[args, &["-o", "json"]].concat())).unwrap()
    }

    /// A list of objects; empty where there are none.
    pub(super) fn list(&self, args: &[&str]) -> Vec<Value> {
        self.json(&[&["get"], args].concat())["items"].as_array().cloned().unwrap_or_default()
    }

    /// Runs a line as a person would who has `kubectl` and `helm` and is in the directory of the charts.
    pub(super) fn shell(&self, line: &str) -> String {
        let helm = PathBuf::from(given("BADGER_TEST_HELM"));
        let tools = [&self.program, &helm].map(|tool| tool.parent().unwrap().to_owned());
        let path = std::env::join_paths(tools.into_iter().chain(std::env::split_paths(&given("PATH")))).unwrap();
        let output = Command::new("sh")
            .args(["-c", line])
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/helm"))
            .env("PATH", path)
            .env("KUBECONFIG", &self.kubeconfig)
            .output()
            .unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}
