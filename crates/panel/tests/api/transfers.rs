//! Transfers through the API: the call of the product's page, every refusal, cancels, events, and a panel that restarts.

use std::sync::Arc;

use model::agent_api::{AgentError, ErrorCode, Outcome, Reply, Request, TransferAction};
use model::{CopyReceipt, FreezePrediction, ServerObservation, ServerStatus};
use serde_json::{Value, json};

use crate::agent::{Script, TestAgent, done, hello};
use crate::harness::{Panel, Response, until};

/// What an agent answers that does everything well.
pub(crate) fn well(action: &TransferAction) -> Reply {
    let receipt = || CopyReceipt {
        root_source: "aa".to_owned(),
        root_target: "aa".to_owned(),
        files: 1,
        bytes_total: 10,
        ..CopyReceipt::default()
    };
    match action {
        TransferAction::Measure => {
            Reply::Measured { bytes: 10, files: 1, running: true, answers_tcp: false, fingerprint: "00".repeat(32) }
        }
        TransferAction::PrepareTarget { .. } => Reply::TargetReady {
            address: Some("127.0.0.1:1".to_owned()),
            fingerprint: "00".repeat(32),
            owner: None,
            player_address: None,
            holds_players: false,
        },
        TransferAction::TryDoor { .. } => Reply::Reached { rtt_us: 100, bandwidth: 1 << 30 },
        TransferAction::Precopy { .. } => Reply::Precopied { prediction: FreezePrediction::default() },
        TransferAction::StopSource { .. } => Reply::Stopped { was_running: true, ago_ms: 5 },
        TransferAction::FinalCopy { .. } => Reply::Copied { receipt: receipt() },
        TransferAction::StartTarget { .. } => Reply::Started { ago_ms: Some(2) },
        TransferAction::CheckHealth { .. } => Reply::Healthy { boot_ms: 7 },
        TransferAction::Audit { .. } => Reply::Audited { root: "aa".to_owned() },
        TransferAction::RetainSource { .. } => Reply::Retained { bytes: 10 },
        _ => Reply::Done,
    }
}

/// Answers well, except to the steps that `odd` has an answer for.
pub(crate) fn mover(odd: impl Fn(&str) -> Option<Option<Outcome>> + Send + Sync + 'static) -> Script {
    Arc::new(move |request| match request {
        Request::Transfer { key, action, .. } => odd(&key.step).unwrap_or_else(|| Some(Outcome::Ok(well(action)))),
        _ => done(),
    })
}

pub(crate) fn all_well() -> Script {
    mover(|_| None)
}

/// Never answers to `step`.
pub(crate) fn hanging_at(step: &'static str) -> Script {
    mover(move |asked| (asked == step).then_some(None))
}

pub(crate) struct Two {
    pub(crate) panel: Panel,
    pub(crate) source: TestAgent,
    pub(crate) target: TestAgent,
    pub(crate) server: String,
}

/// A panel, two nodes and a server that runs on the first.
pub(crate) async fn two(source_script: Script, target_script: Script) -> Two {
    let panel = Panel::start().await;
    let (from, source) = panel.node("source", "25565").await;
    let (to, target) = panel.node("target", "25560-25566").await;
    let server = panel.server(&from).await;
    source.saw(ServerObservation {
        server_id: server.parse().unwrap(),
        status: ServerStatus::Running,
        epoch: model::Epoch(1),
        fenced: false,
        since: model::Timestamp::UNIX_EPOCH,
        exit_code: None,
        attention: Vec::new(),
    });
    panel.until_status(&server, "running").await;
    drop((source, target));
    let source = TestAgent::back(panel.address, from.parse().unwrap(), &hello(None), source_script).await;
    let target = TestAgent::back(panel.address, to.parse().unwrap(), &hello(None), target_script).await;
    Two { panel, source, target, server }
}

impl Two {
    pub(crate) fn path(&self) -> String {
        format!("/api/v1/admin/servers/{}/transfer", self.server)
    }

    pub(crate) async fn start(&self) -> Response {
        self.panel.post(&self.path(), &json!({"target_node_id": self.target.node})).await
    }

    pub(crate) async fn start_with(&self, body: &Value) -> Response {
        self.panel.post(&self.path(), body).await
    }
}

pub(crate) fn at(transfer: &str) -> String {
    format!("/api/v1/admin/transfers/{transfer}")
}

pub(crate) async fn until_state(panel: &Panel, transfer: &str, state: &str) -> Value {
    until(async || {
        let seen = panel.get(&at(transfer)).await.ok();
        (seen["state"] == state).then_some(seen)
    })
    .await
}

pub(crate) fn id_of(answer: &Value) -> String {
    answer["id"].as_str().unwrap().to_owned()
}

pub(crate) fn actions(agent: &TestAgent) -> Vec<String> {
    let step = |request: Request| match request {
        Request::Transfer { key, .. } => Some(key.step),
        _ => None,
    };
    agent.asked().into_iter().filter_map(step).collect()
}

#[tokio::test]
async fn the_call_of_the_products_page_moves_a_server() {
    let two = two(all_well(), all_well()).await;
    let free = two.panel.get(&format!("/api/v1/admin/allocations?filter[node_id]={}", two.target.node)).await;
    let allocation = free.body()["data"][2].clone();
    let body = format!(r#"{{"target_node_id": "{}", "allocation_id": {}}}"#, two.target.node, allocation["id"]);
    // As `curl -d` sends it.
    let headers = [("Content-Type", "application/x-www-form-urlencoded")];
    let answer = two.panel.send("POST", &two.path(), &headers, &body).await;
    let id = id_of(&answer.accepted());
    assert_eq!(answer.headers["location"], at(&id));

    let end = until_state(&two.panel, &id, "completed").await;
    assert_eq!(end["source"]["allocation"], json!({"ip_address": "127.0.0.1", "port": 25565}));
    assert_eq!(end["target"]["allocation"]["port"], allocation["port"]);
    assert_eq!(end["roots"], json!({"source": "aa", "target": "aa"}));
    assert_eq!((&end["boot_ms"], &end["failure"], &end["retained_bytes"]), (&json!(7), &Value::Null, &json!(10)));
    assert!(end["freeze_ms"].is_u64() && end["finished_at"].is_string() && end["retained_until"].is_string());
    let stages: Vec<_> = end["stages"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
    let expected = "preparing copying_while_running stopping compressing transferring extracting starting cleanup";
    assert_eq!(stages.join(" "), expected);
    assert_eq!(two.panel.get(&two.path()).await.ok(), end);

    let server = two.panel.get(&format!("/api/v1/admin/servers/{}", two.server)).await.ok();
    assert_eq!(
        (&server["epoch"], &server["locked"], &server["transfer_state"]),
        (&json!(2), &json!(false), &Value::Null)
    );
    assert_eq!(server["node_id"], json!(two.target.node));
    assert_eq!(server["allocation"]["id"], allocation["id"]);
    assert_eq!(actions(&two.target), ["prepare_target", "start_target", "check_health"]);

    let retained = format!("{}/retained", at(&id));
    two.panel.delete(&retained).await.no_content();
    two.panel.delete(&retained).await.no_content();
    assert_eq!(actions(&two.source).iter().filter(|step| *step == "free_retained").count(), 1);
    assert_eq!(two.panel.get(&at(&id)).await.ok()["retained_bytes"], 0);
}

#[tokio::test]
async fn without_an_allocation_the_same_port_is_taken_if_it_is_free() {
    let two = two(all_well(), all_well()).await;
    assert_eq!(two.start().await.accepted()["target"]["allocation"]["port"], 25565);
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_told_by_field() {
    let two = two(all_well(), all_well()).await;
    let target = two.target.node;
    let with = async |field: &str, value: Value| {
        let mut body = json!({"target_node_id": target});
        body[field] = value;
        two.start_with(&body).await
    };
    two.start_with(&json!({})).await.invalid(&["target_node_id"]);
    with("target_node_id", json!("x")).await.invalid(&["target_node_id"]);
    with("allocation_id", json!(5)).await.invalid(&["allocation_id"]);
    with("mode", json!("warm")).await.invalid(&["mode"]);
    with("verify", json!("fast")).await.invalid(&["verify"]);
    with("start_after", json!("maybe")).await.invalid(&["start_after"]);
    with("max_freeze_s", json!(0)).await.invalid(&["max_freeze_s"]);
    with("bandwidth_limit", json!(10)).await.invalid(&["bandwidth_limit"]);
    with("retain_source_for_s", json!(u64::MAX)).await.invalid(&["retain_source_for_s"]);
    with("target_cluster_id", json!(target)).await.invalid(&["target_cluster_id"]);
    two.panel.send("POST", &two.path(), &[], "{").await.invalid(&["body"]);
    assert_eq!(two.panel.get("/api/v1/admin/transfers").await.body()["meta"]["total"], 0);
}

#[tokio::test]
async fn every_refusal_has_its_documented_answer() {
    let two = two(all_well(), all_well()).await;
    let (panel, nobody) = (&two.panel, model::NodeId::new());
    let unknown = format!("/api/v1/admin/servers/{nobody}/transfer");
    panel.post(&unknown, &json!({"target_node_id": two.target.node})).await.error(404, "not_found");
    panel.get(&unknown).await.error(404, "not_found");
    panel.get(&two.path()).await.error(404, "not_found");
    two.start_with(&json!({"target_node_id": nobody})).await.error(404, "not_found");
    two.start_with(&json!({"target_node_id": two.source.node})).await.error(422, "same_target");

    let server = panel.get(&format!("/api/v1/admin/servers/{}", two.server)).await.ok();
    let with = |allocation: &Value| json!({"target_node_id": two.target.node, "allocation_id": allocation});
    two.start_with(&with(&server["allocation"]["id"])).await.error(422, "allocation_foreign");
    two.start_with(&with(&json!(nobody))).await.error(422, "allocation_foreign");
    let neighbour = panel.server(&two.target.node.to_string()).await;
    let neighbour = panel.get(&format!("/api/v1/admin/servers/{neighbour}")).await.ok();
    two.start_with(&with(&neighbour["allocation"]["id"])).await.error(409, "allocation_taken");

    let flag = "/api/v1/admin/feature-flags/server_transfers";
    panel.send("PATCH", flag, &[], r#"{"enabled": false}"#).await.ok();
    two.start().await.error(403, "feature_disabled");
    panel.send("PATCH", flag, &[], r#"{"enabled": true}"#).await.ok();

    let small = json!({"name": "small", "memory_mb": 100, "disk_mb": 0, "cpu_percent": 0});
    let small = panel.post("/api/v1/admin/nodes", &small).await.created();
    let refused = two.start_with(&json!({"target_node_id": small["id"]})).await;
    let details = refused.error(422, "insufficient_resources");
    assert!(refused.body()["error"]["message"].as_str().unwrap().starts_with("Insufficient Resources"));
    assert_eq!(details["memory_mb"], json!({"needed": 512, "available": 100}));
    assert_eq!(details["allocations"], json!({"needed": 1, "available": 0}));

    let (target, path) = (two.target.node.to_string(), two.path());
    two.target.cut().await;
    two.panel.until_node(&target, "offline").await;
    two.panel.post(&path, &json!({"target_node_id": target})).await.error(503, "agent_offline");
    assert_eq!(two.panel.get("/api/v1/admin/transfers").await.body()["meta"]["total"], 0);
    let server = two.panel.get(&format!("/api/v1/admin/servers/{}", two.server)).await.ok();
    assert_eq!(server["locked"], false);
}

#[tokio::test]
async fn of_two_starts_at_once_one_wins() {
    let two = two(hanging_at("precopy"), all_well()).await;
    let (one, other) = tokio::join!(two.start(), two.start());
    let (won, lost) = if one.status == 202 { (one, other) } else { (other, one) };
    won.accepted();
    lost.error(409, "server_locked");
    assert!(lost.body()["error"]["message"].as_str().unwrap().starts_with("Server Is Currently Locked"));
    let page = two.panel.get("/api/v1/admin/transfers?filter[state]=running").await;
    assert!(page.body()["meta"]["total"].as_u64().unwrap() <= 1);
    assert_eq!(two.panel.get("/api/v1/admin/transfers").await.body()["meta"]["total"], 1);
}

#[tokio::test]
async fn a_cancel_takes_everything_back() {
    let two = two(hanging_at("precopy"), all_well()).await;
    let id = id_of(&two.start().await.accepted());
    two.source
        .until_asked(|asked| matches!(asked, Request::Transfer { key, .. } if key.step == "precopy").then_some(()))
        .await;
    let cancel = format!("{}/cancel", at(&id));
    let answer = two.panel.post(&cancel, &json!({})).await.accepted();
    assert_eq!((&answer["cancel_requested"], &answer["id"]), (&json!(true), &json!(id)));
    let end = until_state(&two.panel, &id, "rolled_back").await;
    assert_eq!((&end["failure"]["code"], &end["failure"]["step"]), (&json!("cancelled"), &json!("precopy")));
    let asked = ["prepare_target", "prepare_target.direct.try", "precopy", "undo_precopy"];
    assert_eq!(actions(&two.source), asked, "it was never stopped");
    assert_eq!(actions(&two.target), ["prepare_target", "undo_prepare_target"]);
    two.panel.post(&cancel, &json!({})).await.error(409, "transfer_finished");
    two.panel.delete(&format!("{}/retained", at(&id))).await.error(409, "nothing_retained");
    let server = two.panel.get(&format!("/api/v1/admin/servers/{}", two.server)).await.ok();
    assert_eq!((&server["locked"], &server["epoch"]), (&json!(false), &json!(1)));
    let free = two.panel.get(&format!("/api/v1/admin/allocations?filter[node_id]={}", two.target.node)).await.body();
    assert!(free["data"].as_array().unwrap().iter().all(|address| address["server_id"].is_null()));
    two.start().await.accepted();
}

#[tokio::test]
async fn a_full_disk_is_named_and_the_source_never_stops() {
    let full = || Some(Outcome::Err(AgentError::new(ErrorCode::NoSpace, "the disk does not suffice")));
    let two = two(all_well(), mover(move |step| (step == "prepare_target").then(full))).await;
    let id = id_of(&two.start().await.accepted());
    let end = until_state(&two.panel, &id, "rolled_back").await;
    assert_eq!(end["failure"]["code"], "insufficient_disk");
    assert!(end["failure"]["message"].as_str().unwrap().contains("node target"));
    assert!(!actions(&two.source).contains(&"stop_source".to_owned()));
    assert_eq!(end["freeze_ms"], Value::Null);
}

#[tokio::test]
async fn events_tell_the_whole_story_and_go_on_where_a_client_left() {
    let two = two(all_well(), all_well()).await;
    let id = id_of(&two.start().await.accepted());
    let events = format!("{}/events", at(&id));
    // The stream ends by itself behind the last event.
    let story = two.panel.get(&events).await;
    assert_eq!((story.status, story.headers["content-type"].as_str()), (200, "text/event-stream"));
    for expected in ["event: stage", "Copying while running", "event: log", "event: end", "\"state\":\"completed\""] {
        assert!(story.text.contains(expected), "{expected} in {}", story.text);
    }
    let last: u64 =
        story.text.lines().filter_map(|line| line.strip_prefix("id: ")).next_back().unwrap().parse().unwrap();
    let rest = two.panel.send("GET", &events, &[("Last-Event-ID", &(last - 1).to_string())], "").await;
    assert!(rest.text.contains("event: end") && !rest.text.contains("event: stage"), "{}", rest.text);
    assert_eq!(two.panel.send("GET", &events, &[("Last-Event-ID", &last.to_string())], "").await.status, 204);
    two.panel.send("GET", &events, &[("Last-Event-ID", "x")], "").await.invalid(&["Last-Event-ID"]);
    two.panel.get(&format!("{}/events", at(&model::TransferId::new().to_string()))).await.error(404, "not_found");
}

#[tokio::test]
async fn a_panel_that_restarts_goes_on_by_itself() {
    let two = two(hanging_at("final_copy"), all_well()).await;
    let id = id_of(&two.start().await.accepted());
    let asked =
        |asked: &Request| matches!(asked, Request::Transfer { key, .. } if key.step == "final_copy").then_some(());
    two.source.until_asked(asked).await;
    let (source, target) = (two.source.node, two.target.node);
    let panel = Panel::start_in(two.panel.stop().await).await;
    assert_eq!(panel.get(&at(&id)).await.ok()["state"], "running");
    let source = TestAgent::back(panel.address, source, &hello(None), all_well()).await;
    let _target = TestAgent::back(panel.address, target, &hello(None), all_well()).await;
    until_state(&panel, &id, "completed").await;
    assert_eq!(
        actions(&source),
        ["final_copy", "fence_source", "audit", "release_source"],
        "what was done is not repeated"
    );
}

#[tokio::test]
async fn lists_are_filtered_and_sorted() {
    let two = two(all_well(), all_well()).await;
    let id = id_of(&two.start().await.accepted());
    until_state(&two.panel, &id, "completed").await;
    let count = async |query: &str| {
        let page = two.panel.get(&format!("/api/v1/admin/transfers?{query}")).await;
        page.body()["meta"]["total"].as_u64().unwrap()
    };
    assert_eq!(count(&format!("filter[server_id]={}", two.server)).await, 1);
    assert_eq!(count(&format!("filter[node_id]={}&filter[state]=completed", two.source.node)).await, 1);
    assert_eq!(count(&format!("filter[node_id]={}", model::NodeId::new())).await, 0);
    assert_eq!(count("sort=-finished_at&filter[state]=stuck").await, 0);
    let wrong = async |query: &str| two.panel.get(&format!("/api/v1/admin/transfers?{query}")).await;
    wrong("filter[state]=odd").await.invalid(&["filter[state]"]);
    wrong("filter[colour]=red").await.invalid(&["filter[colour]"]);
    wrong("sort=colour").await.invalid(&["sort"]);
    two.panel.get(&at("x")).await.invalid(&["id"]);
    two.panel.get(&at(&model::TransferId::new().to_string())).await.error(404, "not_found");
}
