//! A node is emptied for real: two servers at a time and never more, the panel killed in the middle, and one that cannot
//! go stays where it is and is in the report. Started and followed by the command line, as an administrator would.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::api::Api;
use crate::harness::node::free_ports;
use crate::harness::process::BADGER;
use crate::harness::{House, Setup, eventually};

/// Slow enough that a copy lasts seconds, so that the kill comes in the middle.
const BANDWIDTH: &str = "1M";
const PATIENCE: Duration = Duration::from_mins(5);

#[test]
fn a_node_is_emptied_two_at_a_time_through_a_kill_of_the_panel_and_past_one_that_cannot_go() {
    let mut house = House::build(Setup { world: "2M", ..Setup::default() });
    let (from, to) = (house.nodes[0].id.clone(), house.nodes[1].id.clone());
    let ports = free_ports::<12>().map(|port| port.to_string());
    for (node, ports) in [(&from, &ports[..6]), (&to, &ports[6..])] {
        let body = json!({"node_id": node, "ip_address": "127.0.0.1", "ports": ports});
        house.api.post("/admin/allocations", &body).expect(201);
    }
    let egg = house.server()["egg_id"].clone();
    let make = |name: &str, node: &str, memory: u64| create(&house.api, &egg, name, node, memory);
    let mut servers: Vec<String> = (0..4).map(|n| make(&format!("small-{n}"), &from, 256)).collect();
    servers.push(house.server.clone());
    let big = make("too-big", &from, 2400);
    make("occupant", &to, 2000);
    for server in &servers {
        house.api.post(&format!("/servers/{server}/power"), &json!({"signal": "start"})).expect(202);
    }
    for server in &servers {
        until_status(&house.api, server, "running");
    }

    let watched = Watch::begin(&house.api);
    let command = evacuate(&house);
    let id = eventually("the evacuation is there", PATIENCE, || {
        let all = house.api.try_get("/admin/evacuations").ok()?.expect(200);
        Some(all[0]["id"].as_str()?.to_owned())
    });
    let at = format!("/admin/evacuations/{id}");
    eventually("one has moved and others are on their way", PATIENCE, || {
        let seen = house.api.get(&at).expect(200);
        assert!(seen["finished_at"].is_null(), "it is over before the kill: {seen}");
        let counts = &seen["counts"];
        (counts["completed"].as_u64() >= Some(1) && counts["running"].as_u64() >= Some(1)).then_some(())
    });
    house.kill_panel();
    house.start_panel();

    let output = command.wait_with_output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(5), "one was not moved: {report}");
    assert_eq!(report["state"], "completed_with_failures", "{report}");
    assert_eq!((&report["counts"]["completed"], &report["counts"]["failed"]), (&json!(5), &json!(1)), "{report}");
    let most = watched.end();
    assert_eq!(most, 2, "two at a time, and never more");
    let items = report["items"].as_array().unwrap();
    assert_eq!(items[0]["server_id"], json!(big), "what nobody plays on goes first");
    assert_eq!(items[0]["failure"]["code"], "insufficient_resources");
    for server in &servers {
        let seen = house.api.get(&format!("/admin/servers/{server}")).expect(200);
        assert_eq!((&seen["node_id"], &seen["locked"]), (&json!(to), &json!(false)), "{seen}");
        until_status(&house.api, server, "running");
    }
    let stays = house.api.get(&format!("/admin/servers/{big}")).expect(200);
    assert_eq!((&stays["node_id"], &stays["locked"]), (&json!(from), &json!(false)), "{stays}");
    let all = house.api.get("/admin/transfers").expect(200);
    assert_eq!(all.as_array().unwrap().len(), 5, "nobody is moved twice: {all}");
    assert!(all.as_array().unwrap().iter().all(|transfer| transfer["state"] == "completed"), "{all}");
    assert_eq!(house.api.get(&format!("/admin/nodes/{from}")).expect(200)["status"], "maintenance");
}

fn evacuate(house: &House) -> std::process::Child {
    Command::new(BADGER)
        .args(["node", "evacuate", "node-0", "--to", "node-1", "--bandwidth", BANDWIDTH, "--wait", "--json"])
        .env("BADGER_URL", &house.api.url)
        .env("BADGER_API_KEY", &house.api.key)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn create(api: &Api, egg: &Value, name: &str, node: &str, memory: u64) -> String {
    let body = json!({
        "name": name, "egg_id": egg, "node_id": node, "memory_limit": memory, "disk_limit": 1024, "cpu_limit": 50,
        "environment": {},
    });
    let id = api.post("/admin/servers", &body).expect(201)["id"].as_str().unwrap().to_owned();
    until_status(api, &id, "offline");
    id
}

fn until_status(api: &Api, server: &str, status: &str) {
    eventually(&format!("{server} is {status}"), Duration::from_mins(2), || {
        let seen = api.get(&format!("/admin/servers/{server}")).expect(200);
        (seen["status"] == status).then_some(())
    });
}

/// Counts the transfers that are on their way, again and again.
struct Watch {
    over: Arc<AtomicBool>,
    most: Arc<AtomicUsize>,
    thread: thread::JoinHandle<()>,
}

impl Watch {
    fn begin(api: &Api) -> Self {
        let (api, over, most) = (api.clone(), Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (is_over, seen) = (Arc::clone(&over), Arc::clone(&most));
        let thread = thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                // The panel may be down.
                let Ok(answer) = api.try_get("/admin/transfers?per_page=100") else { continue };
                let all = answer.expect(200);
                let on_their_way = all.as_array().unwrap().iter().filter(|transfer| transfer["finished_at"].is_null());
                seen.fetch_max(on_their_way.count(), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(50));
            }
        });
        Self { over, most, thread }
    }

    /// How many there were at once at most.
    fn end(self) -> usize {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        self.most.load(Ordering::Relaxed)
    }
}
