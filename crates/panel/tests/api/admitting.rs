//! When players are let in on a target, and until when a transfer can be called off.

use std::sync::Arc;

use model::agent_api::{AgentError, ErrorCode, Outcome, Reply, Request, TransferAction};
use serde_json::json;

use crate::agent::{Script, TestAgent, done};
use crate::transfers::{Two, actions, all_well, at, id_of, mover, two, until_state, well};

/// A target that holds players, as a cluster does; it answers as `odd` says to the steps that that has an answer for.
fn holding(odd: impl Fn(&str) -> Option<Option<Outcome>> + Send + Sync + 'static) -> Script {
    Arc::new(move |request| match request {
        Request::Transfer { key, action, .. } => odd(&key.step).unwrap_or_else(|| Some(Outcome::Ok(held(action)))),
        _ => done(),
    })
}

fn held(action: &TransferAction) -> Reply {
    match well(action) {
        Reply::TargetReady { address, fingerprint, owner, player_address, holds_players: _ } => {
            Reply::TargetReady { address, fingerprint, owner, player_address, holds_players: true }
        }
        other => other,
    }
}

/// The agent hears of `step` and says nothing.
fn silent_at(step: &'static str) -> impl Fn(&str) -> Option<Option<Outcome>> {
    move |asked| (asked == step).then_some(None)
}

async fn until_at(agent: &TestAgent, step: &str) {
    agent.until_asked(|asked| matches!(asked, Request::Transfer { key, .. } if key.step == step).then_some(())).await;
}

async fn cancel(two: &Two, id: &str) -> crate::harness::Response {
    two.panel.post(&format!("{}/cancel", at(id)), &json!({})).await
}

#[tokio::test]
async fn players_are_let_in_past_the_pivot_where_the_target_holds_them() {
    let two = two(all_well(), holding(|_| None)).await;
    let id = id_of(&two.start().await.accepted());
    until_state(&two.panel, &id, "completed").await;
    let asked = ["prepare_target", "start_target", "check_health", "admit_players"];
    assert_eq!(actions(&two.target), asked);
}

#[tokio::test]
async fn a_node_is_not_asked_to_let_players_in() {
    let two = two(all_well(), all_well()).await;
    let id = id_of(&two.start().await.accepted());
    until_state(&two.panel, &id, "completed").await;
    assert_eq!(actions(&two.target), ["prepare_target", "start_target", "check_health"]);
}

#[tokio::test]
async fn letting_players_in_is_tried_until_it_is_done() {
    let busy = || Some(Outcome::Err(AgentError::new(ErrorCode::Unreachable, "the API server is away")));
    let two = two(all_well(), holding(move |step| (step == "admit_players").then(busy))).await;
    let id = id_of(&two.start().await.accepted());
    let end = until_state(&two.panel, &id, "completed").await;
    let asked = actions(&two.target);
    assert!(asked.contains(&"admit_players".to_owned()) && asked.contains(&"admit_players#2".to_owned()), "{asked:?}");
    assert_eq!(end["failure"], json!(null));
}

#[tokio::test]
async fn where_players_are_held_a_cancel_is_honoured_up_to_the_pivot() {
    for step in ["start_target", "check_health"] {
        let two = two(all_well(), holding(silent_at(step))).await;
        let id = id_of(&two.start().await.accepted());
        until_at(&two.target, step).await;
        let answer = cancel(&two, &id).await.accepted();
        assert_eq!(answer["cancel_requested"], true);
        let end = until_state(&two.panel, &id, "rolled_back").await;
        assert_eq!((&end["failure"]["code"], &end["failure"]["step"]), (&json!("cancelled"), &json!(step)));
        let asked = actions(&two.target);
        assert!(asked.contains(&"undo_start_target".to_owned()), "{asked:?}");
        assert!(!asked.contains(&"admit_players".to_owned()), "{asked:?}");
        assert!(actions(&two.source).contains(&"undo_stop_source".to_owned()));
    }
}

#[tokio::test]
async fn where_players_may_be_on_the_target_a_cancel_is_refused_from_its_start_on() {
    for step in ["start_target", "check_health"] {
        let two = two(all_well(), mover(silent_at(step))).await;
        let id = id_of(&two.start().await.accepted());
        until_at(&two.target, step).await;
        cancel(&two, &id).await.error(409, "transfer_past_pivot");
        let seen = two.panel.get(&at(&id)).await.ok();
        assert_eq!((&seen["state"], &seen["cancel_requested"]), (&json!("running"), &json!(false)));
    }
}

#[tokio::test]
async fn past_the_pivot_a_cancel_is_refused_wherever_the_target_is() {
    let two = two(all_well(), holding(silent_at("admit_players"))).await;
    let id = id_of(&two.start().await.accepted());
    until_at(&two.target, "admit_players").await;
    cancel(&two, &id).await.error(409, "transfer_past_pivot");
}
