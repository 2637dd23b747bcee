//! Agents that are killed and come back in the middle of a transfer.

use model::agent_api::OrphanKind;
use model::{Clock, Timestamp};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn recorded_answers_survive_the_agent() {
    let mut stage = Stage::running().await;
    let measured = stage.at_source("prepare_target", TransferAction::Measure).await.unwrap();
    stage.at_source("stop_source", stop()).await.unwrap();
    stage.source.restart().await;
    assert_eq!(stage.at_source("prepare_target", TransferAction::Measure).await.unwrap(), measured);
    let stopped = stage.at_source("stop_source", stop()).await.unwrap();
    assert!(matches!(stopped, Reply::Stopped { was_running: true, .. }));
    stage.at_source("undo_stop_source", stage.resume(EPOCH)).await.unwrap();
    stage.source.until(stage.spec.id, ServerStatus::Running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_agents_die_after_the_copy_and_it_still_starts() {
    let mut stage = Stage::running().await;
    let root = stage.frozen_and_copied().await;
    stage.source.restart().await;
    stage.target.restart().await;
    stage.at_target("start_target", stage.start_target()).await.unwrap();
    stage.at_target("check_health", health()).await.unwrap();
    let audited = stage.at_source("audit", TransferAction::Audit { owner: None }).await.unwrap();
    assert_eq!(audited, Reply::Audited { root });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_was_half_done_is_finished() {
    let mut stage = Stage::running().await;
    stage.frozen_and_copied().await;
    // As if it had been killed between the rename and the records that make it a server.
    stage.target.node.around.shutdown.cancel();
    let staging = stage.target.path(&format!("staging/{}/tree", stage.transfer));
    fs::remove_dir(stage.target_data()).unwrap();
    fs::rename(staging, stage.target_data()).unwrap();
    let record = stage.target.path(&format!("transfers/{}.json", stage.transfer));
    let mut text: serde_json::Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
    text["target"]["phase"] = "starting".into();
    fs::write(&record, text.to_string()).unwrap();
    stage.target.restart().await;
    stage.at_target("start_target", stage.start_target()).await.unwrap();
    stage.at_target("check_health", health()).await.unwrap();
    assert!(stage.target.names("staging").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_reaches_a_target_that_was_away() {
    let mut stage = Stage::running().await;
    stage.frozen_and_copied().await;
    stage.at_target("start_target", stage.start_target()).await.unwrap();
    stage.target.restart().await;
    stage.target.until(stage.spec.id, ServerStatus::Running).await;
    stage.at_target("undo_start_target", TransferAction::AbortTarget).await.unwrap();
    assert!(stage.target.is_clean());
    stage.target.restart().await;
    assert!(stage.target.node.server(stage.spec.id).is_err());
    assert_eq!(code(stage.at_target("start_target#2", stage.start_target()).await), ErrorCode::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_transfer_owns_is_removed_at_the_start() {
    let mut stage = Stage::offline().await;
    stage.prepare().await.unwrap();
    let stray = TransferId::new().to_string();
    let lost = ServerId::new().to_string();
    fs::create_dir_all(stage.target.path("staging").join(&stray).join("tree")).unwrap();
    fs::create_dir_all(stage.target.path("servers").join(&lost).join("data")).unwrap();
    let precious = stage.target.path("servers").join(ServerId::new().to_string());
    fs::create_dir_all(precious.join("data")).unwrap();
    fs::write(precious.join("data/world"), "x").unwrap();
    let strange = stage.target.path("staging").join("not of ours");
    fs::create_dir_all(&strange).unwrap();
    let unpromised = stage.target.path("retained").join(TransferId::new().to_string());
    fs::create_dir_all(&unpromised).unwrap();
    stage.target.restart().await;
    assert!(strange.exists() && unpromised.exists(), "what might be somebody's stays");
    let node = stage.target.node.clone();
    let Reply::Orphans { orphans, held, .. } = node.transfers.orphans(&node, false).await else { panic!("it lists") };
    let mut shown: Vec<_> = orphans.iter().map(|orphan| (orphan.kind, orphan.can_clean)).collect();
    shown.sort_unstable();
    let kinds = [(OrphanKind::Staging, false), (OrphanKind::Place, false), (OrphanKind::Retained, true)];
    assert_eq!((shown.as_slice(), held), (kinds.as_slice(), vec![stage.transfer]));
    let id = |kind| orphans.iter().find(|orphan| orphan.kind == kind).unwrap().id.clone();
    let refused = node.transfers.remove_orphan(&node, &id(OrphanKind::Place)).await;
    assert_eq!(refused.unwrap_err().code, ErrorCode::Conflict);
    node.transfers.remove_orphan(&node, &id(OrphanKind::Retained)).await.unwrap();
    let again = node.transfers.remove_orphan(&node, &id(OrphanKind::Retained)).await;
    assert_eq!(again.unwrap_err().code, ErrorCode::NotFound);
    assert!(!unpromised.exists());
    fs::remove_dir(&strange).unwrap();
    assert_eq!(stage.target.names("staging"), [stage.transfer.to_string()], "the one that is owned stays");
    assert!(!stage.target.path("servers").join(&lost).exists());
    assert!(precious.join("data/world").exists(), "files are a person's to remove");
    assert!(stage.target_data().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retained_copy_goes_when_its_time_is_over() {
    let mut stage = Stage::offline().await;
    stage.frozen_and_copied_offline().await;
    let later = Timestamp::from_millisecond(SystemClock.now().as_millisecond() + 500).unwrap();
    stage.at_source("release_source", TransferAction::RetainSource { expires_at: later }).await.unwrap();
    let copy = stage.source.path(&format!("retained/{}", stage.transfer));
    assert!(copy.join("data/game.sh").exists());
    stage.source.restart().await;
    let again = stage.at_source("release_source", TransferAction::RetainSource { expires_at: later }).await;
    assert!(again.is_ok(), "recorded");
    let gone = async {
        while copy.exists() {
            stage.source.restart().await; // The first look of the reaper is at the start.
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
}
