//! A transfer in the hands of its operator: held and let go, changed while it runs, tried again, settled by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use model::agent_api::{AgentError, ErrorCode, Outcome, Reply, Request, TransferAction};
use serde_json::{Value, json};

use crate::agent::{Script, TestAgent, hello};
use crate::harness::{Panel, Response, until};
use crate::transfers::{Two, actions, all_well, at, hanging_at, id_of, mover, two, until_state};

async fn post(panel: &Panel, id: &str, what: &str) -> Response {
    panel.post(&format!("{}/{what}", at(id)), &json!({})).await
}

async fn patch(panel: &Panel, id: &str, body: &Value) -> Response {
    panel.send("PATCH", &at(id), &[], &body.to_string()).await
}

async fn until_step(agent: &TestAgent, step: &str) {
    agent.until_asked(|asked| matches!(asked, Request::Transfer { key, .. } if key.step == step).then_some(())).await;
}

fn precopies(agent: &TestAgent) -> Vec<(u64, Option<u64>)> {
    let limits = |asked: Request| match asked {
        Request::Transfer { action: TransferAction::Precopy { max_freeze_ms, bandwidth_limit, .. }, .. } => {
            Some((max_freeze_ms, bandwidth_limit))
        }
        _ => None,
    };
    agent.asked().into_iter().filter_map(limits).collect()
}

/// Answers well, and not at all to `step` while `hangs`.
fn hanging_while(step: &'static str, hangs: &Arc<AtomicBool>) -> Script {
    let hangs = hangs.clone();
    mover(move |asked| (asked == step && hangs.load(Ordering::SeqCst)).then_some(None))
}

#[tokio::test]
async fn a_pause_holds_a_copy_survives_the_panel_and_is_built_on() {
    let two = two(hanging_at("precopy"), all_well()).await;
    let id = id_of(&two.start().await.accepted());
    until_step(&two.source, "precopy").await;
    post(&two.panel, &id, "resume").await.error(409, "transfer_not_paused");
    let answer = post(&two.panel, &id, "pause").await.accepted();
    assert_eq!(answer["pause_requested"], true);
    let held = until_state(&two.panel, &id, "paused").await;
    assert_eq!((&held["paused"]["step"], &held["stage"]), (&json!("precopy"), &json!("copying_while_running")));
    until_step(&two.source, "pause_precopy").await;
    assert_eq!(post(&two.panel, &id, "pause").await.accepted()["state"], "paused", "again is the same");
    two.start().await.error(409, "server_locked");

    let (source, target, server) = (two.source.node, two.target.node, two.server);
    let panel = Panel::start_in(two.panel.stop().await).await;
    let source = TestAgent::back(panel.address, source, &hello(None), all_well()).await;
    let target = TestAgent::back(panel.address, target, &hello(None), all_well()).await;
    // The copy is put to rest once more: whoever is asked may have forgotten.
    until_step(&source, "pause_precopy").await;
    let again = panel.get(&at(&id)).await.ok();
    assert_eq!((&again["state"], &again["paused"]), (&json!("paused"), &held["paused"]), "since when does not change");
    patch(&panel, &id, &json!({"bandwidth_limit": 5000, "max_freeze_s": 9})).await.ok();
    assert_eq!(panel.get(&format!("/api/v1/admin/servers/{server}")).await.ok()["transfer_state"], "paused");

    assert_eq!(post(&panel, &id, "resume").await.accepted()["pause_requested"], false);
    let end = until_state(&panel, &id, "completed").await;
    assert_eq!((&end["paused"], &end["options"]["bandwidth_limit"]), (&Value::Null, &json!(5000)));
    assert_eq!(precopies(&source), [(9000, Some(5000))], "what was changed meanwhile counts");
    let asked = actions(&source);
    assert_eq!(asked[..3], ["pause_precopy", "precopy.direct.try#2", "precopy#2"], "the way is looked for again");
    assert!(!actions(&target).contains(&"prepare_target".to_owned()), "what was made ready is kept");
    post(&panel, &id, "pause").await.error(409, "transfer_finished");
    post(&panel, &id, "resume").await.error(409, "transfer_finished");
}

#[tokio::test]
async fn a_pause_during_a_preparation_holds_behind_it_and_a_cancel_ends_it() {
    let hangs = Arc::new(AtomicBool::new(true));
    let two = two(all_well(), hanging_while("prepare_target", &hangs)).await;
    let id = id_of(&two.start().await.accepted());
    until_step(&two.target, "prepare_target").await;
    let answer = post(&two.panel, &id, "pause").await.accepted();
    assert_eq!((&answer["state"], &answer["paused"]), (&json!("running"), &Value::Null), "it does not hold yet");
    hangs.store(false, Ordering::SeqCst);
    let node = two.target.node;
    two.target.cut().await;
    let target = TestAgent::back(two.panel.address, node, &hello(None), all_well()).await;
    let held = until_state(&two.panel, &id, "paused").await;
    assert_eq!(held["paused"]["step"], "precopy");
    assert!(!actions(&two.source).contains(&"pause_precopy".to_owned()), "nothing was under way");
    post(&two.panel, &id, "cancel").await.accepted();
    let end = until_state(&two.panel, &id, "rolled_back").await;
    assert_eq!((&end["failure"]["code"], &end["paused"]), (&json!("cancelled"), &Value::Null));
    until_step(&target, "undo_prepare_target").await;
    assert!(!actions(&two.source).contains(&"stop_source".to_owned()));
}

#[tokio::test]
async fn while_players_wait_and_behind_it_a_pause_is_refused_with_the_reason() {
    for (step, source, target, code) in [
        ("final_copy", hanging_at("final_copy"), all_well(), "transfer_frozen"),
        ("audit", hanging_at("audit"), all_well(), "transfer_past_pivot"),
    ] {
        let two = two(source, target).await;
        let id = id_of(&two.start().await.accepted());
        until_step(&two.source, step).await;
        post(&two.panel, &id, "pause").await.error(409, code);
        assert_eq!(two.panel.get(&at(&id)).await.ok()["pause_requested"], false);
    }
}

#[tokio::test]
async fn limits_change_while_a_copy_runs_until_it_is_too_late_for_them() {
    let two = two(hanging_at("precopy"), all_well()).await;
    let id = id_of(&two.start().await.accepted());
    until_step(&two.source, "precopy").await;
    patch(&two.panel, &id, &json!({"bandwidth_limit": 1, "max_freeze_s": 0}))
        .await
        .invalid(&["bandwidth_limit", "max_freeze_s"]);
    patch(&two.panel, &id, &json!({"mode": "cold"})).await.error(400, "validation_error");
    let changed = patch(&two.panel, &id, &json!({"bandwidth_limit": 4096, "max_freeze_s": 7})).await.ok();
    assert_eq!(
        (&changed["options"]["bandwidth_limit"], &changed["options"]["max_freeze_s"]),
        (&json!(4096), &json!(7))
    );
    let adjusted = |asked: &Request| match asked {
        Request::AdjustCopy { bandwidth_limit, max_freeze_ms, .. } => Some((*bandwidth_limit, *max_freeze_ms)),
        _ => None,
    };
    assert_eq!(two.source.until_asked(adjusted).await, (Some(4096), 7000));
    patch(&two.panel, &id, &json!({"bandwidth_limit": null})).await.ok();
    until(async || two.source.asked().iter().filter_map(adjusted).any(|it| it == (None, 7000)).then_some(())).await;

    // The source comes back: the command that is asked again says what counts now.
    let node = two.source.node;
    two.source.cut().await;
    let source = TestAgent::back(two.panel.address, node, &hello(None), hanging_at("final_copy")).await;
    until_step(&source, "final_copy").await;
    assert_eq!(precopies(&source), [(7000, None)]);
    patch(&two.panel, &id, &json!({"max_freeze_s": 8})).await.error(409, "transfer_too_late");
    patch(&two.panel, &id, &json!({"not_before": "2050-01-01T00:00:00Z"})).await.error(409, "transfer_too_late");
    patch(&two.panel, &id, &json!({"bandwidth_limit": 8192})).await.ok();
    source.until_asked(adjusted).await;
    post(&two.panel, &id, "cancel").await.accepted();
    until_state(&two.panel, &id, "rolled_back").await;
    patch(&two.panel, &id, &json!({"bandwidth_limit": 8192})).await.error(409, "transfer_too_late");
}

#[tokio::test]
async fn nothing_is_stopped_before_it_may_be_and_what_was_copied_before_is_copied_once_more() {
    let two = two(all_well(), all_well()).await;
    let path = format!("/api/v1/admin/servers/{}/transfer", two.server);
    let body = json!({"target_node_id": two.target.node, "not_before": "2050-01-01T00:00:00Z"});
    let id = id_of(&two.panel.post(&path, &body).await.accepted());
    until_step(&two.source, "await_window.rest").await;
    assert_eq!(precopies(&two.source), [(u64::MAX, None)], "nothing is promised about a freeze that is not yet");
    assert!(!actions(&two.source).contains(&"stop_source".to_owned()));
    post(&two.panel, &id, "pause").await.accepted();
    let held = until_state(&two.panel, &id, "paused").await;
    assert_eq!(held["paused"]["step"], "await_window");
    post(&two.panel, &id, "resume").await.accepted();
    patch(&two.panel, &id, &json!({"not_before": null})).await.ok();
    until_state(&two.panel, &id, "completed").await;
    assert_eq!(precopies(&two.source), [(u64::MAX, None), (5000, None)]);
}

#[tokio::test]
async fn what_was_rolled_back_is_tried_again_with_the_same_request_and_both_know_of_each_other() {
    let full = || Some(Outcome::Err(AgentError::new(ErrorCode::NoSpace, "the disk does not suffice")));
    let two = two(all_well(), mover(move |step| (step == "prepare_target").then(full))).await;
    let path = format!("/api/v1/admin/servers/{}/transfer", two.server);
    let body = json!({"target_node_id": two.target.node, "bandwidth_limit": 123_456});
    let id = id_of(&two.panel.post(&path, &body).await.accepted());
    let first = until_state(&two.panel, &id, "rolled_back").await;
    let node = two.target.node;
    two.target.cut().await;
    two.panel.until_node(&node.to_string(), "offline").await;
    post(&two.panel, &id, "retry").await.error(503, "agent_offline");
    let _target = TestAgent::back(two.panel.address, node, &hello(None), all_well()).await;

    let headers = [("Idempotency-Key", "again")];
    let retry = async || two.panel.send("POST", &format!("{}/retry", at(&id)), &headers, "{}").await.accepted();
    let second = retry().await;
    assert_eq!(second["id"], retry().await["id"], "the same key gives the same answer");
    assert_eq!((&second["retry_of"], &second["options"]["bandwidth_limit"]), (&json!(id), &json!(123_456)));
    assert_eq!(second["target"], first["target"], "the address is free again");
    until_state(&two.panel, &id_of(&second), "completed").await;
    assert_eq!(two.panel.get(&at(&id)).await.ok()["retried_by"], second["id"]);
    post(&two.panel, &id_of(&second), "retry").await.error(409, "transfer_completed");
    post(&two.panel, &id, "retry").await.error(422, "same_target");
}

/// A transfer whose audit finds something else for as long as the flag is set.
async fn stuck() -> (Two, String, Arc<AtomicBool>) {
    let differs = Arc::new(AtomicBool::new(true));
    let changed = differs.clone();
    let audited = move |step: &str| {
        let other = Outcome::Ok(Reply::Audited { root: "bb".to_owned() });
        (step.starts_with("audit") && changed.load(Ordering::SeqCst)).then_some(Some(other))
    };
    let two = two(mover(audited), all_well()).await;
    let id = id_of(&two.start().await.accepted());
    let seen = until_state(&two.panel, &id, "stuck").await;
    assert_eq!(seen["failure"]["code"], "audit_differs");
    (two, id, differs)
}

async fn is_released(two: &Two, id: &str) {
    let end = until_state(&two.panel, id, "completed").await;
    assert_eq!((&end["failure"], end["retained_bytes"].as_u64()), (&Value::Null, Some(10)));
    let server = two.panel.get(&format!("/api/v1/admin/servers/{}", two.server)).await.ok();
    assert_eq!((&server["locked"], &server["transfer_state"]), (&json!(false), &Value::Null));
    let free = two.panel.get(&format!("/api/v1/admin/allocations?filter[node_id]={}", two.source.node)).await.body();
    assert!(free["data"].as_array().unwrap().iter().all(|address| address["server_id"].is_null()));
}

#[tokio::test]
async fn what_is_stuck_goes_on_where_it_stood() {
    let (two, id, differs) = stuck().await;
    post(&two.panel, &id, "pause").await.error(409, "transfer_finished");
    post(&two.panel, &id, "cancel").await.error(409, "transfer_past_pivot");
    post(&two.panel, &id, "retry").await.accepted();
    until_step(&two.source, "audit#2").await;
    until_state(&two.panel, &id, "stuck").await;
    differs.store(false, Ordering::SeqCst);
    assert_eq!(post(&two.panel, &id, "retry").await.accepted()["id"], json!(id));
    is_released(&two, &id).await;
    assert_eq!(actions(&two.source).iter().filter(|step| step.starts_with("audit")).count(), 3);
}

#[tokio::test]
async fn an_audit_that_differs_can_be_accepted_by_a_person() {
    let (two, id, _differs) = stuck().await;
    let resolve = format!("{}/resolve", at(&id));
    two.panel.post(&resolve, &json!({"note": "x".repeat(2001)})).await.invalid(&["note"]);
    two.panel.post(&resolve, &json!({"note": "only a log differs"})).await.accepted();
    is_released(&two, &id).await;
    two.panel.post(&resolve, &json!({})).await.error(409, "transfer_not_stuck");
    let log = two.panel.get("/api/v1/admin/audit?filter[action]=transfer.resolve").await.body();
    assert_eq!(log["data"][0]["details"]["note"], "only a log differs");
}

#[tokio::test]
async fn whoever_may_not_move_servers_operates_no_transfer() {
    let two = two(hanging_at("precopy"), all_well()).await;
    let id = id_of(&two.start().await.accepted());
    until_step(&two.source, "precopy").await;
    let key = two.panel.post("/api/v1/admin/api-keys", &json!({"name": "k", "scopes": ["admin.servers.list"]})).await;
    let key = key.created()["key"].as_str().unwrap().to_owned();
    for what in ["pause", "resume", "retry", "resolve"] {
        let path = format!("{}/{what}", at(&id));
        two.panel.send_as(&key, "POST", &path, &[], "{}").await.error(403, "forbidden");
        let missing = format!("{}/{what}", at(&model::TransferId::new().to_string()));
        two.panel.post(&missing, &json!({})).await.error(404, "not_found");
    }
    two.panel.send_as(&key, "PATCH", &at(&id), &[], "{}").await.error(403, "forbidden");
    assert_eq!(patch(&two.panel, &id, &json!({})).await.ok()["state"], "running", "nothing changed is no mistake");
}
