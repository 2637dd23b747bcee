//! Dependencies between the crates point one way.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Who may know whom. A crate that is not in the list has no place yet: give it one.
const ALLOWED: [(&str, &[&str]); 7] = [
    ("model", &[]),
    ("saga", &[]),
    ("transfer", &[]),
    ("agent", &["model", "transfer"]),
    ("panel", &["model", "saga"]),
    ("badger", &["model", "transfer", "agent", "panel"]),
    ("sim", &["model", "saga", "transfer", "agent", "panel"]),
];

fn edges() -> BTreeMap<String, BTreeSet<String>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let args = ["metadata", "--no-deps", "--offline", "--format-version", "1"];
    let output = Command::new(cargo).args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let name = |package: &serde_json::Value| package["name"].as_str().unwrap().to_owned();
    let ours: BTreeSet<String> = packages.iter().map(name).collect();
    let known = |package: &serde_json::Value| {
        let dependencies = package["dependencies"].as_array().unwrap().iter().map(name);
        dependencies.filter(|dependency| ours.contains(dependency)).collect()
    };
    packages.iter().map(|package| (name(package), known(package))).collect()
}

#[test]
fn dependencies_point_one_way() {
    let allowed: BTreeMap<_, _> = ALLOWED.into_iter().collect();
    for (package, known) in edges() {
        let allowed = allowed.get(package.as_str()).unwrap_or_else(|| panic!("{package} has no place in the list"));
        for other in known {
            assert!(allowed.contains(&other.as_str()), "{package} must not depend on {other}");
        }
    }
}

#[test]
fn panel_and_agent_meet_in_the_model_only() {
    let edges = edges();
    assert!(!edges["panel"].contains("agent") && !edges["agent"].contains("panel"));
    assert!(edges.iter().all(|(_, known)| !known.contains("sim")), "nothing depends on sim");
}
