//! Several servers at once: the plan, two at a time and never more, past failures, through restarts, paused and called off.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use model::agent_api::{AgentError, ErrorCode, Outcome, Reply, Request, TransferAction};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::agent::{Script, TestAgent, done, hello};
use crate::harness::{Panel, until, within};
use crate::transfers::well;

const EVACUATIONS: &str = "/api/v1/admin/evacuations";

/// What the agents of a scene do, and what they have seen.
#[derive(Default)]
struct Behaviour {
    /// Servers of which the target cannot take any.
    full_for: Mutex<BTreeSet<String>>,
    /// Steps that are never answered.
    hangs_at: Mutex<BTreeSet<String>>,
    on_their_way: AtomicUsize,
    most: AtomicUsize,
}

impl Behaviour {
    fn script(self: &Arc<Self>) -> Script {
        let it = Arc::clone(self);
        Arc::new(move |request| match request {
            Request::Transfer { key, server_id, action } => it.step(&key.step, &server_id.to_string(), action),
            Request::MeasureServer { .. } => Some(Outcome::Ok(well(&TransferAction::Measure))),
            Request::CheckTarget { .. } => Some(Outcome::Ok(Reply::Checked { checks: Vec::new() })),
            _ => done(),
        })
    }

    fn step(&self, step: &str, server: &str, action: &TransferAction) -> Option<Outcome> {
        if self.hangs_at.lock().unwrap().contains(step) {
            return None;
        }
        match action {
            TransferAction::PrepareTarget { .. } => {
                if self.full_for.lock().unwrap().contains(server) {
                    return Some(Outcome::Err(AgentError::new(ErrorCode::NoSpace, "the disk is full")));
                }
                let now = self.on_their_way.fetch_add(1, Ordering::SeqCst) + 1;
                self.most.fetch_max(now, Ordering::SeqCst);
            }
            TransferAction::RetainSource { .. } => {
                self.on_their_way.fetch_sub(1, Ordering::SeqCst);
            }
            _ => {}
        }
        Some(Outcome::Ok(well(action)))
    }
}

struct Scene {
    panel: Panel,
    from: String,
    to: String,
    servers: Vec<String>,
    behaviour: Arc<Behaviour>,
    agents: Vec<TestAgent>,
}

impl Scene {
    /// Two nodes, and so many servers on the first.
    async fn new(count: usize) -> Self {
        let panel = Panel::start().await;
        let (from, first) = panel.node("from", "25500-25520").await;
        let (to, second) = panel.node("to", "25500-25520").await;
        let egg = panel.egg().await;
        let mut servers = Vec::new();
        for n in 0..count {
            let body = json!({
                "name": format!("server-{n}"), "egg_id": egg, "node_id": from, "memory_limit": 512, "disk_limit": 100,
                "cpu_limit": 10, "environment": {"TOKEN": "t"},
            });
            let server = panel.post("/api/v1/admin/servers", &body).await.created();
            servers.push(server["id"].as_str().unwrap().to_owned());
        }
        for server in &servers {
            panel.until_status(server, "offline").await;
        }
        drop((first, second));
        let behaviour = Arc::new(Behaviour::default());
        let mut scene = Self { panel, from, to, servers, behaviour, agents: Vec::new() };
        scene.connect().await;
        scene
    }

    async fn connect(&mut self) {
        self.agents.clear();
        for node in [&self.from, &self.to] {
            let node = node.parse().unwrap();
            let agent = TestAgent::back(self.panel.address, node, &hello(None), self.behaviour.script()).await;
            self.agents.push(agent);
        }
    }

    async fn start(&self, more: &Value) -> Value {
        let mut body = json!({"node_id": self.from, "target_node_id": self.to});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.panel.post(EVACUATIONS, &body).await.accepted()
    }

    async fn show(&self, evacuation: &Value) -> Value {
        self.panel.get(&format!("{EVACUATIONS}/{}", evacuation["id"].as_str().unwrap())).await.ok()
    }

    async fn post(&self, evacuation: &Value, verb: &str) -> crate::harness::Response {
        self.post_with(evacuation, verb, &json!({})).await
    }

    async fn post_with(&self, evacuation: &Value, verb: &str, body: &Value) -> crate::harness::Response {
        let path = format!("{EVACUATIONS}/{}/{verb}", evacuation["id"].as_str().unwrap());
        self.panel.post(&path, body).await
    }

    async fn until_state(&self, evacuation: &Value, state: &str) -> Value {
        until(async || Some(self.show(evacuation).await).filter(|seen| seen["state"] == state)).await
    }

    async fn until_count(&self, evacuation: &Value, state: &str, count: u64) -> Value {
        until(async || Some(self.show(evacuation).await).filter(|seen| seen["counts"][state] == count)).await
    }

    fn full_for(&self, server: usize, full: bool) {
        let mut all = self.behaviour.full_for.lock().unwrap();
        if full {
            all.insert(self.servers[server].clone());
        } else {
            all.clear();
        }
    }

    fn hang_at(&self, step: Option<&str>) {
        *self.behaviour.hangs_at.lock().unwrap() = step.map(str::to_owned).into_iter().collect();
    }

    async fn place_of(&self, server: usize) -> Value {
        self.panel.get(&format!("/api/v1/admin/servers/{}", self.servers[server])).await.ok()["node_id"].clone()
    }
}

#[tokio::test]
async fn all_of_a_node_go_two_at_a_time_past_a_failure_and_the_report_says_so() {
    let scene = Scene::new(6).await;
    scene.full_for(3, true);
    let started = scene.start(&json!({})).await;
    assert_eq!((&started["node_id"], &started["concurrency"]), (&json!(scene.from), &json!(2)));
    assert_eq!(scene.panel.get(&format!("/api/v1/admin/nodes/{}", scene.from)).await.ok()["status"], "maintenance");
    let report = scene.until_state(&started, "completed_with_failures").await;
    assert_eq!((&report["counts"]["completed"], &report["counts"]["failed"]), (&json!(5), &json!(1)));
    assert!(report["finished_at"].is_string());
    assert_eq!(scene.behaviour.most.load(Ordering::SeqCst), 2, "two at a time, and never more");
    for (n, item) in report["items"].as_array().unwrap().iter().enumerate() {
        assert_eq!(item["position"], n as u64 + 1);
        assert!(item["transfer_id"].is_string() && item["finished_at"].is_string(), "{item}");
        let failed = item["server_id"] == json!(scene.servers[3]);
        assert_eq!(item["state"], if failed { "failed" } else { "completed" }, "{item}");
        assert_eq!(item["failure"]["message"].is_string(), failed, "{item}");
    }
    assert_eq!((scene.place_of(0).await, scene.place_of(3).await), (json!(scene.to), json!(scene.from)));

    scene.full_for(3, false);
    let again = scene.post(&started, "retry").await.ok();
    assert_eq!((&again["state"], &again["counts"]["failed"]), (&json!("running"), &json!(0)));
    scene.until_state(&started, "completed").await;
    assert_eq!(scene.place_of(3).await, json!(scene.to));
    scene.post(&started, "retry").await.error(409, "nothing_to_retry");
    scene.post(&started, "cancel").await.error(409, "evacuation_finished");
    scene.post(&started, "pause").await.error(409, "evacuation_finished");
    let listed = scene.panel.get(&format!("{EVACUATIONS}?filter[state]=completed")).await.ok();
    assert_eq!((&listed[0]["id"], &listed[0]["items"]), (&started["id"], &Value::Null));
    let audit = scene.panel.get("/api/v1/admin/audit?filter[action]=evacuation").await.ok();
    let actions: Vec<_> = audit.as_array().unwrap().iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["evacuation.end", "evacuation.retry", "evacuation.end", "evacuation.start"]);
}

#[tokio::test]
async fn a_plan_counts_what_earlier_ones_take_and_starts_nothing() {
    let scene = Scene::new(3).await;
    let small = json!({"name": "small", "memory_mb": 1200, "disk_mb": 0, "cpu_percent": 0});
    let small = scene.panel.post("/api/v1/admin/nodes", &small).await.created()["id"].clone();
    let ports = json!({"node_id": small, "ip_address": "127.0.0.2", "ports": ["25500-25501"]});
    scene.panel.post("/api/v1/admin/allocations", &ports).await.created();
    let ask = json!({"server_ids": scene.servers, "target_node_id": small, "dry_run": true});
    let plan = scene.panel.post(EVACUATIONS, &ask).await.ok();
    let checks = |n: usize| {
        let checks = plan["servers"][n]["checks"].as_array().unwrap();
        checks.iter().map(|check| check["code"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    // Its agent has never been there: nothing of it would be admitted now, and so nothing is taken.
    assert_eq!((checks(0), plan["movable"].clone()), (vec!["agent_offline".to_owned()], json!(0)));

    let body = json!({"node_id": scene.from, "target_node_id": scene.to, "dry_run": true});
    let plan = scene.panel.post(EVACUATIONS, &body).await.ok();
    assert_eq!((&plan["ok"], &plan["movable"], &plan["concurrency"]), (&json!(true), &json!(3), &json!(2)));
    let target = &plan["targets"][0];
    assert_eq!(target["memory_mb"], json!({"total": 4096, "free": 4096, "needed": 1536, "left": 2560}));
    assert_eq!(target["allocations"], json!({"total": 21, "free": 21, "needed": 3, "left": 18}));
    assert_eq!((&plan["bytes"], &plan["servers"][0]["position"]), (&json!(30), &json!(1)));
    assert_eq!(scene.panel.get(EVACUATIONS).await.body()["meta"]["total"], 0);
    assert_eq!(scene.panel.get("/api/v1/admin/transfers").await.body()["meta"]["total"], 0);
    let node = scene.panel.get(&format!("/api/v1/admin/nodes/{}", scene.from)).await.ok();
    assert_eq!(node["cordoned"], false, "a plan cordons nothing");
}

#[tokio::test]
async fn what_does_not_fit_beside_the_others_is_planned_as_refused() {
    let scene = Scene::new(3).await;
    let tight = json!({"name": "tight", "memory_mb": 1100, "disk_mb": 0, "cpu_percent": 0});
    let tight = scene.panel.post("/api/v1/admin/nodes", &tight).await.created();
    let id = tight["id"].as_str().unwrap();
    let ports = json!({"node_id": id, "ip_address": "127.0.0.2", "ports": ["25500-25509"]});
    scene.panel.post("/api/v1/admin/allocations", &ports).await.created();
    let token = tight["enrolment"]["token"].as_str().unwrap();
    drop(TestAgent::enrol(scene.panel.address, token).await);
    let script = scene.behaviour.script();
    let _agent = TestAgent::back(scene.panel.address, id.parse().unwrap(), &hello(None), script).await;
    let ask = json!({"node_id": scene.from, "target_node_id": id, "dry_run": true});
    let plan = scene.panel.post(EVACUATIONS, &ask).await.ok();
    let oks: Vec<_> = plan["servers"].as_array().unwrap().iter().map(|server| server["ok"].clone()).collect();
    assert_eq!(oks, [json!(true), json!(true), json!(false)]);
    assert_eq!(plan["servers"][2]["checks"][0]["code"], "insufficient_resources");
    assert_eq!(plan["targets"][0]["memory_mb"], json!({"total": 1100, "free": 1100, "needed": 1024, "left": 76}));
}

#[tokio::test]
async fn a_pause_lets_the_running_go_on_and_a_cancel_lets_nobody_start() {
    let scene = Scene::new(3).await;
    scene.hang_at(Some("precopy"));
    let started = scene.start(&json!({"concurrency": 1, "cordon": false})).await;
    scene.until_count(&started, "running", 1).await;
    let paused = scene.post(&started, "pause").await.ok();
    assert_eq!((&paused["state"], &paused["counts"]["waiting"]), (&json!("paused"), &json!(2)));
    scene.post(&started, "pause").await.ok();
    assert_eq!(scene.post(&started, "resume").await.ok()["state"], "running");
    let cancelled = scene.post(&started, "cancel").await.accepted();
    assert_eq!((&cancelled["state"], &cancelled["counts"]["cancelled"]), (&json!("cancelling"), &json!(2)));
    assert_eq!(cancelled["counts"]["running"], 1, "who is on the way finishes unless somebody says otherwise");
    scene.post(&started, "resume").await.error(409, "evacuation_cancelling");
    scene.post_with(&started, "cancel", &json!({"running": "cancel"})).await.accepted();
    let end = scene.until_state(&started, "cancelled").await;
    assert_eq!((&end["counts"]["failed"], &end["counts"]["cancelled"]), (&json!(1), &json!(2)));
    let failed = end["items"].as_array().unwrap().iter().find(|item| item["state"] == "failed").unwrap();
    assert_eq!(failed["failure"]["code"], "cancelled");
    assert_eq!(scene.panel.get(&format!("/api/v1/admin/nodes/{}", scene.from)).await.ok()["cordoned"], false);
    for server in 0..3 {
        assert_eq!(scene.place_of(server).await, json!(scene.from));
    }
}

#[tokio::test]
async fn a_panel_that_is_started_again_goes_on_and_moves_nobody_twice() {
    let scene = Scene::new(4).await;
    scene.hang_at(Some("precopy"));
    let started = scene.start(&json!({})).await;
    scene.until_count(&started, "running", 2).await;
    scene.hang_at(None);
    let Scene { panel, from, to, servers, behaviour, agents } = scene;
    let panel = Panel::start_in(panel.stop().await).await;
    let mut scene = Scene { panel, from, to, servers, behaviour, agents };
    scene.connect().await;
    let end = scene.until_state(&started, "completed").await;
    assert_eq!(end["counts"]["completed"], 4);
    let all = scene.panel.get("/api/v1/admin/transfers").await.ok();
    let moved: BTreeSet<_> = all.as_array().unwrap().iter().map(|it| it["server_id"].to_string()).collect();
    assert_eq!((all.as_array().unwrap().len(), moved.len()), (4, 4), "one transfer for each");
}

#[tokio::test]
async fn who_is_in_other_hands_waits_and_others_go_first() {
    let scene = Scene::new(2).await;
    let db = scene.panel.db().await;
    let locked = scene.servers[0].parse().unwrap();
    panel::db::servers::server_lock(&mut db.acquire().await.unwrap(), locked, "backup:1").await.unwrap();
    let started = scene.start(&json!({"concurrency": 1})).await;
    let seen = scene.until_count(&started, "completed", 1).await;
    let waiting = seen["items"].as_array().unwrap().iter().find(|item| item["state"] != "completed").unwrap();
    assert_eq!((&waiting["server_id"], &waiting["state"]), (&json!(scene.servers[0]), &json!("waiting")));
    assert_eq!(waiting["failure"]["code"], "server_locked");
    assert_eq!(waiting["transfer_id"], Value::Null);
    panel::db::servers::server_unlock(&mut db.acquire().await.unwrap(), locked, "backup:1").await.unwrap();
    let end = scene.until_state(&started, "completed").await;
    assert!(end["items"].as_array().unwrap().iter().all(|item| item["failure"].is_null()));
}

#[tokio::test]
async fn who_was_moved_or_removed_meanwhile_is_skipped() {
    let scene = Scene::new(3).await;
    scene.hang_at(Some("precopy"));
    let started = scene.start(&json!({"concurrency": 1})).await;
    let begun = async || Some(scene.show(&started).await).filter(|seen| seen["items"][0]["transfer_id"].is_string());
    let seen = until(begun).await;
    let last = seen["items"][2]["server_id"].as_str().unwrap();
    scene.panel.delete(&format!("/api/v1/admin/servers/{last}")).await.no_content();
    let busy = seen["items"][0]["transfer_id"].as_str().unwrap();
    scene.hang_at(None);
    scene.panel.post(&format!("/api/v1/admin/transfers/{busy}/cancel"), &json!({})).await.accepted();
    let end = scene.until_state(&started, "completed_with_failures").await;
    let states: Vec<_> = end["items"].as_array().unwrap().iter().map(|item| item["state"].clone()).collect();
    assert_eq!(states, [json!("failed"), json!("completed"), json!("skipped")]);
    assert_eq!(end["items"][2]["failure"]["code"], "not_found");
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_told() {
    let scene = Scene::new(1).await;
    let ask = async |body: Value| scene.panel.post(EVACUATIONS, &body).await;
    let (from, to, nobody) = (&scene.from, &scene.to, model::NodeId::new().to_string());
    ask(json!({})).await.invalid(&["server_ids"]);
    ask(json!({"node_id": from})).await.invalid(&["target_node_id"]);
    ask(json!({"node_id": from, "server_ids": scene.servers, "target_node_id": to})).await.invalid(&["server_ids"]);
    ask(json!({"server_ids": [], "target_node_id": to})).await.invalid(&["server_ids"]);
    let twice = json!([scene.servers[0], scene.servers[0]]);
    ask(json!({"server_ids": twice, "target_node_id": to})).await.invalid(&["server_ids"]);
    ask(json!({"node_id": from, "target_node_id": to, "concurrency": 0})).await.invalid(&["concurrency"]);
    let options = json!({"target_node_id": to});
    ask(json!({"node_id": from, "target_node_id": to, "options": options})).await.invalid(&["options"]);
    let options = json!({"max_freeze_s": 0});
    ask(json!({"node_id": from, "target_node_id": to, "options": options})).await.invalid(&["max_freeze_s"]);
    ask(json!({"server_ids": scene.servers, "target_node_id": to, "cordon": true})).await.invalid(&["cordon"]);
    ask(json!({"node_id": nobody, "target_node_id": to})).await.error(404, "not_found");
    ask(json!({"node_id": from, "target_node_id": nobody})).await.error(404, "not_found");
    ask(json!({"server_ids": [nobody], "target_node_id": to})).await.error(404, "not_found");
    ask(json!({"node_id": from, "target_node_id": from})).await.error(422, "same_target");
    ask(json!({"node_id": to, "target_node_id": from})).await.error(422, "nothing_to_move");
    scene.panel.get(&format!("{EVACUATIONS}/{nobody}")).await.error(404, "not_found");
    let flag = "/api/v1/admin/feature-flags/server_transfers";
    scene.panel.send("PATCH", flag, &[], r#"{"enabled": false}"#).await.ok();
    ask(json!({"node_id": from, "target_node_id": to})).await.error(403, "feature_disabled");
    let key = json!({"name": "mover", "scopes": ["admin.servers.transfer"]});
    let key = scene.panel.post("/api/v1/admin/api-keys", &key).await.created();
    let body = json!({"node_id": from, "target_node_id": to}).to_string();
    let answer = scene.panel.send_as(key["key"].as_str().unwrap(), "POST", EVACUATIONS, &[], &body).await;
    answer.error(403, "forbidden");
}

#[tokio::test]
async fn a_cordoned_node_is_no_candidate_for_anything_new() {
    let scene = Scene::new(1).await;
    let (panel, to) = (&scene.panel, &scene.to);
    let cordoned = panel.post(&format!("/api/v1/admin/nodes/{to}/cordon"), &json!({})).await.ok();
    assert_eq!((&cordoned["status"], &cordoned["cordoned"]), (&json!("maintenance"), &json!(true)));
    panel.post(&format!("/api/v1/admin/nodes/{to}/cordon"), &json!({})).await.ok();
    let transfer = format!("/api/v1/admin/servers/{}/transfer", scene.servers[0]);
    panel.post(&transfer, &json!({"target_node_id": to})).await.error(409, "target_cordoned");
    let found = panel.post(&format!("{transfer}/preflight"), &json!({})).await.ok();
    assert_eq!((&found[0]["ok"], &found[0]["checks"][0]["code"]), (&json!(false), &json!("target_cordoned")));
    let evacuate = json!({"node_id": scene.from, "target_node_id": to});
    panel.post(EVACUATIONS, &evacuate).await.error(409, "target_cordoned");
    let open = panel.post(&format!("/api/v1/admin/nodes/{to}/uncordon"), &json!({})).await.ok();
    assert_eq!(open["status"], "online");
    panel.post(&transfer, &json!({"target_node_id": to})).await.accepted();
    panel.post(&format!("/api/v1/admin/clusters/{to}/cordon"), &json!({})).await.error(404, "not_found");
    let audit = panel.get("/api/v1/admin/audit?filter[action]=node.cordon").await.body();
    assert_eq!(audit["meta"]["total"], 1, "again is the same");
}

#[tokio::test]
async fn a_capacity_tells_what_servers_need_and_what_the_machine_measures() {
    let scene = Scene::new(2).await;
    let mut told = hello(None);
    told.resources = model::Resources { memory_total_mb: 9000, disk_free_bytes: 77, ..model::Resources::default() };
    let script = scene.behaviour.script();
    let _agent = TestAgent::back(scene.panel.address, scene.from.parse().unwrap(), &told, script).await;
    let capacity = scene.panel.get(&format!("/api/v1/admin/nodes/{}/capacity", scene.from)).await.ok();
    let needed = json!({"memory_mb": 1024, "disk_mb": 200, "cpu_percent": 20, "allocations": 2});
    assert_eq!((&capacity["needed"], &capacity["servers"], &capacity["coming"]), (&needed, &json!(2), &json!(0)));
    assert_eq!(capacity["allocations"], json!({"total": 21, "allocated": 2, "free": 19}));
    assert_eq!(capacity["cpu_millicores"], json!({"total": 4000, "allocated": 200, "free": 3800}));
    assert_eq!(capacity["measured"]["memory_total_mb"], 9000);
    assert_eq!(capacity["measured"]["disk_free_bytes"], 77);
}

#[tokio::test]
async fn the_stream_of_everything_has_transfers_and_evacuations_and_goes_on_where_it_was() {
    let scene = Scene::new(1).await;
    let mut stream = Sse::open(&scene.panel, &[]).await;
    let started = scene.start(&json!({})).await;
    scene.until_state(&started, "completed").await;
    let text = stream.until("event: end").await;
    assert!(text.contains("event: stage") && text.contains("event: evacuation"), "{text}");
    stream.until("event: evacuation").await;
    let first = text.split("\nid: ").nth(1).or(text.split("id: ").nth(1)).unwrap();
    let id = first.split('\n').next().unwrap();
    let mut again = Sse::open(&scene.panel, &[("Last-Event-ID", id)]).await;
    let replayed = again.until("event: end").await;
    assert!(replayed.contains("\"seq\":1") && replayed.contains(&scene.servers[0]), "{replayed}");
    let bad = scene.panel.send("GET", "/api/v1/admin/events", &[("Last-Event-ID", "x")], "").await;
    bad.invalid(&["Last-Event-ID"]);
}

#[tokio::test]
async fn numbers_are_there_for_who_may_read_them() {
    let scene = Scene::new(2).await;
    let started = scene.start(&json!({})).await;
    scene.until_state(&started, "completed").await;
    let page = scene.panel.get("/metrics").await;
    assert_eq!(page.status, 200);
    for line in [
        "badger_servers{status=\"offline\"} 2",
        "badger_nodes{kind=\"node\",online=\"true\"} 2",
        "badger_transfers{state=\"completed\"} 2",
        "badger_evacuations{state=\"completed\"} 1",
        "badger_transfer_freeze_seconds_count 2",
        "badger_transfer_freeze_seconds_bucket{le=\"+Inf\"} 2",
    ] {
        assert!(page.text.contains(line), "{line} is not in\n{}", page.text);
    }
    let key = json!({"name": "other", "scopes": ["admin.servers.*"]});
    let key = scene.panel.post("/api/v1/admin/api-keys", &key).await.created();
    let refused = scene.panel.send_as(key["key"].as_str().unwrap(), "GET", "/metrics", &[], "").await;
    refused.error(403, "forbidden");
    crate::harness::http(scene.panel.address, "GET", "/metrics", &[], b"").await.error(401, "unauthorized");
}

/// An event stream without an end.
struct Sse {
    socket: TcpStream,
    text: String,
}

impl Sse {
    async fn open(panel: &Panel, headers: &[(&str, &str)]) -> Self {
        let mut socket = TcpStream::connect(panel.address).await.unwrap();
        let mut head = "GET /api/v1/admin/events HTTP/1.1\r\nHost: panel\r\n".to_owned();
        let authorization = format!("Bearer {}", panel.key);
        for (name, value) in [("Authorization", authorization.as_str())].iter().chain(headers) {
            head.extend([name, ": ", value, "\r\n"]);
        }
        socket.write_all((head + "\r\n").as_bytes()).await.unwrap();
        let mut stream = Self { socket, text: String::new() };
        stream.until("\r\n\r\n").await;
        stream
    }

    /// Everything up to and with `end`.
    async fn until(&mut self, end: &str) -> String {
        within(async {
            loop {
                if let Some(at) = self.text.find(end) {
                    let rest = self.text.split_off(at + end.len());
                    return std::mem::replace(&mut self.text, rest);
                }
                let mut bytes = [0; 4096];
                let count = self.socket.read(&mut bytes).await.unwrap();
                assert!(count > 0, "it ended: {}", self.text);
                self.text += std::str::from_utf8(&bytes[..count]).unwrap();
            }
        })
        .await
    }
}
