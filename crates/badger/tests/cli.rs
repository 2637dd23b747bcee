//! The command-line client as a shell sees it: help, exit codes, JSON on both outputs, and what it asks of a panel.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

fn badger(args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_badger"));
    for name in ["BADGER_URL", "BADGER_API_KEY", "BADGER_API_KEY_FILE", "RUST_LOG"] {
        command.env_remove(name);
    }
    command.args(args).envs(env.iter().copied()).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A panel that answers each request by its method and path, and remembers what it was asked.
struct Panel {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Panel {
    fn new(answer: impl Fn(&str, &str) -> (u16, Value) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let remember = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Some((stream, request)) = read(stream.unwrap()) else { continue };
                let (head, body) = request.split_once("\r\n\r\n").unwrap();
                let line: Vec<&str> = head.lines().next().unwrap().split(' ').collect();
                let path = line[1].strip_prefix("/api/v1").unwrap();
                remember.lock().unwrap().push(format!("{} {path} {body}", line[0]).trim_end().to_owned());
                let (status, body) = answer(line[0], path.split('?').next().unwrap());
                reply(stream, status, &body.to_string());
            }
        });
        Self { url, asked }
    }

    fn run(&self, args: &[&str]) -> Output {
        badger(args, &[("BADGER_URL", &self.url), ("BADGER_API_KEY", "bp_test")])
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn read(mut stream: TcpStream) -> Option<(TcpStream, String)> {
    let mut request = Vec::new();
    let mut bytes = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return Some((stream, text));
            }
        }
        match stream.read(&mut bytes).unwrap() {
            0 => return None,
            count => request.extend_from_slice(&bytes[..count]),
        }
    }
}

fn reply(mut stream: TcpStream, status: u16, body: &str) {
    let head = format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Type: application/json\r\n");
    write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
}

fn data(value: Value) -> (u16, Value) {
    let mut answer = json!({"success": true});
    answer["data"] = value;
    (200, answer)
}

/// Two nodes, two servers of one name and one of another.
fn house(method: &str, path: &str) -> (u16, Value) {
    match (method, path) {
        (_, "/admin/nodes") => data(json!([{"id": "n1", "name": "alpha"}, {"id": "n2", "name": "beta"}])),
        (_, "/admin/clusters") => data(json!([])),
        (_, "/admin/servers") => data(json!([
            {"id": "s1", "name": "twin", "status": "running"}, {"id": "s2", "name": "twin", "status": "offline"},
            {"id": "s3", "name": "single"}, {"id": "s4", "name": "other"},
        ])),
        ("POST", "/admin/evacuations") => (202, json!({"success": true, "data": evacuation("running", None)})),
        (_, "/admin/evacuations/e1") => data(evacuation("completed_with_failures", Some("2026-01-01T00:00:00Z"))),
        (_, path) => {
            let error = json!({"code": "not_found", "message": format!("There is no {path}."), "details": {}});
            (404, json!({"success": false, "error": error}))
        }
    }
}

fn evacuation(state: &str, finished_at: Option<&str>) -> Value {
    let item = |position: u64, name: &str, state: &str, failure: Value| json!({"id": name, "position": position, "name": name, "state": state, "failure": failure});
    let full = json!({"code": "insufficient_resources", "message": "It is full."});
    json!({
        "id": "e1", "state": state, "finished_at": finished_at,
        "counts": {"total": 2, "completed": 1, "failed": 1},
        "items": [item(1, "single", "completed", Value::Null), item(2, "other", "failed", full)],
    })
}

#[test]
fn help_tells_the_exit_codes_and_every_noun_has_its_own() {
    let help = badger(&["--help"], &[]);
    assert_eq!(help.status.code(), Some(0));
    for words in ["Exit codes:", "  5    of several servers", "BADGER_API_KEY_FILE", "badger node evacuate alpha"] {
        assert!(text(&help.stdout).contains(words), "{words}");
    }
    for noun in [
        "node",
        "cluster",
        "server",
        "transfer",
        "evacuate",
        "egg",
        "flag",
        "key",
        "user",
        "role",
        "subuser",
        "announcement",
        "allocation",
    ] {
        let help = badger(&[noun, "--help"], &[]);
        assert_eq!(help.status.code(), Some(0), "{noun}");
        assert!(text(&help.stdout).contains("Usage: badger"), "{noun}");
    }
    for verb in [
        ["evacuate", "start"],
        ["server", "transfer"],
        ["server", "console"],
        ["node", "evacuate"],
        ["role", "create"],
        ["subuser", "add"],
        ["announcement", "create"],
    ] {
        let help = badger(&[verb[0], verb[1], "--help"], &[]);
        assert!(text(&help.stdout).contains("Example"), "{verb:?} has no example");
    }
}

#[test]
fn a_wrong_command_line_is_2_and_what_fails_is_1_with_the_reason_on_standard_error() {
    assert_eq!(badger(&["evacuate", "start", "--to", "b"], &[]).status.code(), Some(2));
    assert_eq!(badger(&["nonsense"], &[]).status.code(), Some(2));
    let keyless = badger(&["node", "list"], &[]);
    assert_eq!((keyless.status.code(), text(&keyless.stdout)), (Some(1), ""));
    assert!(text(&keyless.stderr).starts_with("error: no API key: set BADGER_API_KEY"), "{}", text(&keyless.stderr));
}

#[test]
fn with_json_errors_are_json_too() {
    let panel = Panel::new(house);
    let refused = panel.run(&["transfer", "show", "t1", "--json"]);
    assert_eq!((refused.status.code(), text(&refused.stdout)), (Some(1), ""));
    let error: Value = serde_json::from_slice(&refused.stderr).unwrap();
    assert_eq!((&error["success"], &error["error"]["status"]), (&json!(false), &json!(404)));
    assert_eq!(error["error"]["code"], "not_found");
    let missing = panel.run(&["server", "show", "nobody", "--json"]);
    let error: Value = serde_json::from_slice(&missing.stderr).unwrap();
    assert_eq!(error["error"]["code"], "client_error");
    assert!(error["error"]["message"].as_str().unwrap().contains("there is no server named `nobody`"));
}

#[test]
fn a_name_that_several_have_is_refused_with_the_candidates() {
    let output = Panel::new(house).run(&["server", "show", "twin"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("s1  running") && said.contains("s2  offline"), "{said}");
}

#[test]
fn several_servers_are_one_evacuation_and_the_exit_code_says_that_some_stayed() {
    let panel = Panel::new(house);
    let output = panel.run(&["server", "transfer", "single", "other", "--to", "beta", "--at-once", "3", "--wait"]);
    assert_eq!(output.status.code(), Some(5), "{}", text(&output.stderr));
    let asked = panel.asked();
    let started = asked.iter().find(|asked| asked.starts_with("POST")).unwrap();
    let body: Value = serde_json::from_str(started.strip_prefix("POST /admin/evacuations ").unwrap()).unwrap();
    assert_eq!(body, json!({"target_node_id": "n2", "server_ids": ["s3", "s4"], "concurrency": 3}));
    let shown = text(&output.stdout);
    assert!(shown.contains("It is full. [insufficient_resources]"), "{shown}");
    assert!(shown.trim_end().ends_with("1 of 2 servers moved, 1 failed"), "{shown}");
    let json = panel.run(&["evacuate", "watch", "e1", "--json"]);
    let document: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(document["state"], "completed_with_failures");
}

#[test]
fn a_node_is_emptied_by_its_name_with_the_options_of_a_transfer() {
    let panel = Panel::new(house);
    let output = panel.run(&["node", "evacuate", "alpha", "--to-node", "beta", "--mode", "cold", "--no-cordon"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let asked = panel.asked();
    let body: Value =
        serde_json::from_str(asked.last().unwrap().strip_prefix("POST /admin/evacuations ").unwrap()).unwrap();
    let expected = json!({"target_node_id": "n2", "node_id": "n1", "cordon": false, "options": {"mode": "cold"}});
    assert_eq!(body, expected);
    assert!(text(&output.stdout).contains("`badger evacuate watch e1` follows it"));
}

#[test]
fn completion_is_printed_for_each_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let output = badger(&["completion", shell], &[]);
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output.stdout).contains("evacuate"), "{shell}");
    }
}
