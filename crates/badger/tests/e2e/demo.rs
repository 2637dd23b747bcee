//! `badger demo`, as a script would use it.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::process::BADGER;
use crate::harness::{eventually, within};

#[test]
fn the_demo_migrates_and_its_receipt_proves_it() {
    let output = Command::new(BADGER).args(["demo", "--json", "--size", "8M"]).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert_setup(&lines[0]);
    assert_receipt(&lines[1]);
    assert_gone(&lines[0]);
}

fn assert_setup(up: &Value) {
    assert!(up["url"].as_str().unwrap().starts_with("http://127.0.0.1:"), "{up}");
    assert!(up["api_key"].as_str().unwrap().starts_with("bp_"), "{up}");
    assert!(up["server_id"].is_string() && up["panel_pid"].is_u64() && up["game_address"].is_string(), "{up}");
    let nodes = up["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 2, "{up}");
    for node in nodes {
        assert!(node["node_id"].is_string() && node["data_dir"].is_string() && node["pid"].is_u64(), "{up}");
        assert!(!node["allocation_ids"].as_array().unwrap().is_empty(), "{up}");
    }
}

fn assert_receipt(receipt: &Value) {
    let text = receipt.to_string();
    assert!(receipt["freeze_ms"].as_u64().is_some_and(|ms| ms > 0), "{text}");
    let root = |side: &str| receipt["roots"][side].as_str().unwrap_or_else(|| panic!("{text}")).to_owned();
    assert_eq!(root("source"), root("target"));
    assert_eq!(root("source").len(), 64);
}

/// Its processes and its directories go with it.
fn assert_gone(up: &Value) {
    let pids = up["nodes"].as_array().unwrap().iter().map(|node| &node["pid"]).chain([&up["panel_pid"]]);
    for pid in pids {
        let proc = format!("/proc/{pid}");
        eventually("the demo's processes are gone", Duration::from_secs(10), || {
            (!std::path::Path::new(&proc).exists()).then_some(())
        });
    }
    for node in up["nodes"].as_array().unwrap() {
        assert!(!std::path::Path::new(node["data_dir"].as_str().unwrap()).exists(), "the demo leaves its files: {up}");
    }
}

#[test]
fn a_demo_that_is_kept_stays_until_it_is_asked_to_end() {
    let mut demo = Command::new(BADGER)
        .args(["demo", "--json", "--size", "4M", "--keep", "--no-migrate"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap());
    let mut first = String::new();
    lines.read_line(&mut first).unwrap();
    let up: Value = serde_json::from_str(&first).unwrap();
    assert_setup(&up);
    let api = crate::harness::api::Api::new(up["url"].as_str().unwrap(), up["api_key"].as_str().unwrap());
    let server = api.get(&format!("/admin/servers/{}", up["server_id"].as_str().unwrap())).expect(200);
    assert_eq!(server["status"], "running", "{server}");
    kill_process(Pid::from_child(&demo), Signal::TERM).unwrap();
    let ended = within(Duration::from_secs(30), || demo.try_wait().unwrap());
    let Some(status) = ended else {
        drop(demo.kill());
        panic!("the demo does not end after SIGTERM");
    };
    assert!(status.success(), "{status}");
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "", "nothing was migrated");
    assert_gone(&up);
}
