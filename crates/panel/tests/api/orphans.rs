//! What nobody owns on a node: shown as its agent says, removed where that may be, and what is held for nothing is let go.

use std::sync::{Arc, Mutex};

use model::agent_api::{AgentError, ErrorCode, Orphan, OrphanKind, Outcome, Reply, Request};
use model::{Timestamp, TransferId};
use serde_json::json;

use crate::agent::{Script, TestAgent, done, hello};
use crate::harness::Panel;
use crate::transfers::{all_well, at, id_of, mover, two, until_state};

fn orphan(id: &str, can_clean: bool) -> Orphan {
    Orphan {
        id: id.to_owned(),
        kind: OrphanKind::Place,
        path: format!("/srv/{id}"),
        bytes: Some(7),
        since: Some(Timestamp::UNIX_EPOCH),
        why: "there are files here and no server".to_owned(),
        can_clean,
    }
}

/// An agent with two orphans, of which it gives one away.
fn keeper(held: Vec<TransferId>) -> (Script, Arc<Mutex<Vec<bool>>>) {
    let looks = Arc::new(Mutex::new(Vec::new()));
    let seen = looks.clone();
    let script: Script = Arc::new(move |request| match request {
        Request::ListOrphans { look } => {
            seen.lock().unwrap().push(*look);
            let orphans = vec![orphan("place.a", false), orphan("retained.b", true)];
            Some(Outcome::Ok(Reply::Orphans { looked_at: Timestamp::UNIX_EPOCH, orphans, held: held.clone() }))
        }
        Request::RemoveOrphan { orphan_id } => Some(match orphan_id.as_str() {
            "retained.b" => Outcome::Ok(Reply::Done),
            "place.a" => Outcome::Err(AgentError::new(ErrorCode::Conflict, "/srv/place.a may be somebody's")),
            _ => Outcome::Err(AgentError::new(ErrorCode::NotFound, "nothing of this id is left")),
        }),
        _ => done(),
    });
    (script, looks)
}

#[tokio::test]
async fn what_nobody_owns_is_shown_and_removed_where_that_may_be() {
    let panel = Panel::start().await;
    let (node, agent) = panel.node("n", "25565").await;
    let path = format!("/api/v1/admin/nodes/{node}/orphans");
    let id = agent.node;
    agent.cut().await;
    panel.until_node(&node, "offline").await;
    panel.get(&path).await.error(503, "agent_offline");
    let (script, looks) = keeper(vec![]);
    let _agent = TestAgent::back(panel.address, id, &hello(None), script).await;

    let page = panel.get(&format!("{path}?per_page=1&page=2")).await.body();
    assert_eq!((&page["meta"]["total"], page["data"].as_array().unwrap().len()), (&json!(2), 1));
    let seen = &page["data"][0];
    assert_eq!((&seen["id"], &seen["kind"], &seen["can_clean"]), (&json!("retained.b"), &json!("place"), &json!(true)));
    assert_eq!(panel.post(&format!("{path}/scan"), &json!({})).await.body()["meta"]["total"], 2);
    assert_eq!(*looks.lock().unwrap(), [false, true]);

    panel.delete(&format!("{path}/retained.b")).await.no_content();
    panel.delete(&format!("{path}/place.a")).await.error(409, "orphan_not_ours");
    panel.delete(&format!("{path}/place.zzz")).await.error(404, "not_found");
    let nobody = format!("/api/v1/admin/nodes/{}/orphans", model::NodeId::new());
    panel.get(&nobody).await.error(404, "not_found");
    panel.post(&format!("{nobody}/scan"), &json!({})).await.error(404, "not_found");
    let log = panel.get("/api/v1/admin/audit?filter[action]=node.remove_orphan").await.body();
    assert_eq!(log["data"][0]["details"]["orphan_id"], "retained.b");
    let key = panel.post("/api/v1/admin/api-keys", &json!({"name": "k", "scopes": ["admin.nodes.list"]})).await;
    let key = key.created()["key"].as_str().unwrap().to_owned();
    panel.send_as(&key, "GET", &path, &[], "").await.ok();
    panel.send_as(&key, "DELETE", &format!("{path}/retained.b"), &[], "").await.error(403, "forbidden");
    panel.send_as(&key, "POST", &format!("{path}/scan"), &[], "{}").await.error(403, "forbidden");
}

#[tokio::test]
async fn a_target_that_missed_the_end_of_a_transfer_is_told_again() {
    let full = || Some(Outcome::Err(AgentError::new(ErrorCode::NoSpace, "the disk does not suffice")));
    let two = two(all_well(), mover(move |step| (step == "prepare_target").then(full))).await;
    let id = id_of(&two.start().await.accepted());
    until_state(&two.panel, &id, "rolled_back").await;
    let node = two.target.node;
    two.target.cut().await;
    let (script, _looks) = keeper(vec![id.parse().unwrap(), TransferId::new()]);
    let target = TestAgent::back(two.panel.address, node, &hello(None), script).await;
    two.panel.post(&format!("/api/v1/admin/nodes/{node}/orphans/scan"), &json!({})).await;
    target
        .until_asked(|asked| {
            matches!(asked, Request::Transfer { key, .. } if key.step == "undo_prepare_target").then_some(())
        })
        .await;
    assert_eq!(two.panel.get(&at(&id)).await.ok()["state"], "rolled_back");
}
