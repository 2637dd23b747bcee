//! Which way a copy takes, as agents are asked for it and as users are shown it.

use model::agent_api::{AgentError, ErrorCode, Outcome, Owner, Reply, Request, Route, TransferAction};
use serde_json::json;

use crate::agent::{Script, TestAgent};
use crate::transfers::{Two, actions, all_well, at, id_of, mover, two, until_state, well};

/// Says no in a way that time does not help.
#[allow(clippy::unnecessary_wraps, reason = "one of the answers of a script, of which one is no answer")]
fn no() -> Option<Outcome> {
    Some(Outcome::Err(AgentError::new(ErrorCode::Conflict, "a firewall is in the way")))
}

/// A source that cannot deliver direct. What it answers when it is asked to be dialled, and to the rest.
pub(crate) fn shut_in(
    address: Option<&'static str>,
    odd: impl Fn(&str) -> Option<Option<Outcome>> + Send + Sync + 'static,
) -> Script {
    mover(move |step| match step {
        "prepare_target.direct.try" => Some(no()),
        "prepare_target.reverse" => {
            Some(Some(Outcome::Ok(Reply::Listening { address: address.map(ToOwned::to_owned) })))
        }
        other => odd(other),
    })
}

fn actions_of(agent: &TestAgent) -> Vec<TransferAction> {
    let action = |request: Request| match request {
        Request::Transfer { action, .. } => Some(action),
        _ => None,
    };
    agent.asked().into_iter().filter_map(action).collect()
}

/// The route that the target was told to dial.
pub(crate) fn dialled(two: &Two) -> Option<Route> {
    actions_of(&two.target).into_iter().find_map(|action| match action {
        TransferAction::DialSource { route } => Some(route),
        _ => None,
    })
}

#[tokio::test]
async fn the_direct_way_is_tried_before_anything_is_stopped_and_shown_with_its_figures() {
    let two = two(all_well(), all_well()).await;
    let id = id_of(&two.start().await.accepted());
    let end = until_state(&two.panel, &id, "completed").await;
    assert_eq!(end["path"]["kind"], "direct");
    assert_eq!((&end["path"]["rtt_us"], &end["path"]["bandwidth"]), (&json!(100), &json!(1 << 30)));
    assert_eq!(end["path"]["tried"], json!([]));
    assert_eq!(actions(&two.source)[..3], ["prepare_target", "prepare_target.direct.try", "precopy"]);
}

#[tokio::test]
async fn a_target_that_cannot_be_reached_dials_the_source_with_what_the_source_expects() {
    let two = two(shut_in(Some("10.1.1.1:8443"), |_| None), all_well()).await;
    let id = id_of(&two.start().await.accepted());
    let end = until_state(&two.panel, &id, "completed").await;
    assert_eq!(end["path"]["kind"], "reverse");
    assert_eq!(end["path"]["tried"][0]["kind"], "direct");
    assert!(end["path"]["tried"][0]["reason"].as_str().unwrap().contains("a firewall"), "{end}");
    let Some(Route::Reverse { address, rendezvous }) = dialled(&two) else { panic!("{:?}", dialled(&two)) };
    assert_eq!((address.as_str(), rendezvous.len()), ("10.1.1.1:8443", 64));
    let asked = actions_of(&two.source);
    assert!(asked.contains(&TransferAction::ExpectTarget { rendezvous: rendezvous.clone() }));
    let delivered = asked.iter().find_map(|action| match action {
        TransferAction::Precopy { door, .. } => Some(door.route.clone()),
        _ => None,
    });
    assert_eq!(delivered, Some(Route::Reverse { address, rendezvous }));
}

#[tokio::test]
async fn where_there_is_no_way_the_server_runs_on_and_all_three_reasons_are_told() {
    let source = shut_in(None, |step| (step == "prepare_target.relay.try").then(no));
    let two = two(source, all_well()).await;
    let id = id_of(&two.start().await.accepted());
    let end = until_state(&two.panel, &id, "rolled_back").await;
    assert_eq!(end["failure"]["code"], "agents_unreachable");
    let message = end["failure"]["message"].as_str().unwrap();
    for part in ["direct: node source: a firewall", "reverse: the source cannot be dialled", "relay: node source"] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!((&end["path"]["kind"], end["path"]["tried"].as_array().unwrap().len()), (&json!(null), 3));
    assert!(!actions(&two.source).iter().any(|step| step.starts_with("stop")), "{:?}", actions(&two.source));
    assert_eq!(actions(&two.source).last().unwrap(), "undo_prepare_target", "the source is told that it is over");
}

#[tokio::test]
async fn a_copy_that_breaks_on_its_way_goes_on_on_the_next() {
    let broken = || Some(Outcome::Err(AgentError::new(ErrorCode::Unreachable, "the cable was pulled")));
    let source = mover(move |step| match step {
        "final_copy" => Some(broken()),
        "final_copy.reverse#2" => {
            Some(Some(Outcome::Ok(Reply::Listening { address: Some("10.1.1.1:8443".to_owned()) })))
        }
        _ => None,
    });
    let two = two(source, all_well()).await;
    let id = id_of(&two.start().await.accepted());
    let end = until_state(&two.panel, &id, "completed").await;
    assert_eq!((&end["path"]["kind"], &end["path"]["tried"][0]["kind"]), (&json!("reverse"), &json!("direct")));
    assert!(end["path"]["tried"][0]["reason"].as_str().unwrap().contains("the cable was pulled"), "{end}");
    assert!(matches!(dialled(&two), Some(Route::Reverse { .. })));
    assert_eq!(two.panel.get(&at(&id)).await.ok()["path"], end["path"]);
}

#[tokio::test]
async fn between_nodes_files_keep_their_owners_and_what_the_agents_say_is_the_door() {
    let target: Script = std::sync::Arc::new(|request| match request {
        Request::Transfer { action: TransferAction::PrepareTarget { source_fingerprint, .. }, .. } => {
            assert_eq!(*source_fingerprint, "00".repeat(32), "as the source has measured, not as its node enrolled");
            Some(Outcome::Ok(Reply::TargetReady {
                address: Some("10.2.2.2:1".to_owned()),
                fingerprint: "77".repeat(32),
                owner: Some(Owner { uid: 1000, gid: 1000 }),
                player_address: Some("192.0.2.9:25565".to_owned()),
                holds_players: false,
            }))
        }
        Request::Transfer { action, .. } => Some(Outcome::Ok(well(action))),
        _ => crate::agent::done(),
    });
    let two = two(all_well(), target).await;
    let id = id_of(&two.start().await.accepted());
    let end = until_state(&two.panel, &id, "completed").await;
    assert_eq!(end["target"]["allocation"]["ip_address"], "192.0.2.9", "{end}");
    for action in actions_of(&two.source) {
        match action {
            TransferAction::Precopy { door, .. } | TransferAction::FinalCopy { door, .. } => {
                assert_eq!((door.fingerprint, door.owner), ("77".repeat(32), None));
                assert_eq!(door.route, Route::Direct { address: "10.2.2.2:1".to_owned() });
            }
            TransferAction::Audit { owner } => assert_eq!(owner, None),
            _ => {}
        }
    }
}
