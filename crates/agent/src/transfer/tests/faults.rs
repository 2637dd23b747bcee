//! What may go wrong while both agents live.

use std::net::TcpListener;

use model::{Allocation, AllocationId, Timestamp};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_too_small_is_refused_before_the_first_byte() {
    let stage = Stage::offline().await;
    let refused = stage.at_target("prepare_target", stage.prepare_for(u64::MAX / 2)).await;
    assert_eq!(code(refused), ErrorCode::NoSpace);
    assert!(stage.target.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_a_stranger_holds_is_found_while_the_game_runs() {
    let mut stage = Stage::offline().await;
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = stranger.local_addr().unwrap().port();
    stage.spec.allocations = vec![Allocation { id: AllocationId::new(), ip_address: "127.0.0.1".to_owned(), port }];
    assert_eq!(code(stage.prepare().await), ErrorCode::PortTaken);
    assert!(stage.target.is_clean());
    drop(stranger);
    stage.at_target("prepare_target#2", stage.prepare_for(1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_there_already_is_not_touched() {
    let stage = Stage::running().await;
    let onto_itself = stage.at_source("prepare_target", stage.prepare_for(1)).await;
    assert_eq!(code(onto_itself), ErrorCode::Conflict);
    stage.at_source("undo_prepare_target", TransferAction::AbortTarget).await.unwrap();
    assert_eq!(stage.source.status(stage.spec.id), ServerStatus::Running);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_cuts_a_copy_short() {
    let stage = Stage::running().await;
    stage.prepare().await.unwrap();
    let slow = stage.source.node.obey(stage.request("precopy", stage.precopy(Some(64 << 10))));
    let mut news = stage.source.node.around.news.subscribe();
    let copying = async { while !matches!(news.recv().await, Ok(model::agent_api::Notice::CopyProgress { .. })) {} };
    tokio::time::timeout(PATIENCE, copying).await.unwrap();
    stage.at_source("undo_precopy", TransferAction::EndCopy).await.unwrap();
    assert!(matches!(slow.await, Outcome::Err(AgentError { code: ErrorCode::Cancelled, .. })));
    stage.at_target("undo_prepare_target", TransferAction::AbortTarget).await.unwrap();
    assert!(stage.target.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_goes_away_is_unreachable_and_can_come_back() {
    let mut stage = Stage::running().await;
    stage.prepare().await.unwrap();
    stage.at_source("precopy", stage.precopy(None)).await.unwrap();
    stage.at_source("stop_source", stop()).await.unwrap();
    let old = stage.final_copy();
    stage.target.restart().await;
    assert_eq!(code(stage.at_source("final_copy", old).await), ErrorCode::Unreachable);
    stage.at_source("final_copy#2", stage.final_copy()).await.unwrap();
    stage.at_source("fence_source", TransferAction::FenceSource).await.unwrap();
    stage.at_target("start_target", stage.start_target()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_starts_that_was_not_delivered() {
    let stage = Stage::running().await;
    assert_eq!(code(stage.at_target("start_target", stage.start_target()).await), ErrorCode::Conflict);
    stage.prepare().await.unwrap();
    stage.at_source("precopy", stage.precopy(None)).await.unwrap();
    let forged = Signer::new().permit(stage.spec.id, EPOCH + 1, stage.target.id);
    let forged = TransferAction::StartTarget { permit: forged, start: true };
    assert_eq!(code(stage.at_target("start_target#2", forged).await), ErrorCode::BadPermit);
    let newer = TransferAction::StartTarget { permit: stage.permit(&stage.target, EPOCH + 2), start: true };
    assert_eq!(code(stage.at_target("start_target#3", newer).await), ErrorCode::StaleEpoch);
    assert!(!stage.target_data().join("game.sh").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_server_that_was_not_stopped_is_refused() {
    let stage = Stage::running().await;
    stage.prepare().await.unwrap();
    assert_eq!(code(stage.at_source("final_copy", stage.final_copy()).await), ErrorCode::Conflict);
    assert_eq!(code(stage.at_source("fence_source", TransferAction::FenceSource).await), ErrorCode::LeaseLost);
    assert_eq!(code(stage.at_source("audit", TransferAction::Audit { owner: None }).await), ErrorCode::Conflict);
    let retain = TransferAction::RetainSource { expires_at: Timestamp::MAX };
    assert_eq!(code(stage.at_source("release_source", retain).await), ErrorCode::Conflict);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_runs_out_during_the_last_copy_ends_it() {
    let stage = Stage::running().await;
    stage.prepare().await.unwrap();
    stage.at_source("stop_source", TransferAction::StopSource { lease_ms: 300 }).await.unwrap();
    // Slow enough that the panel, which asks nothing more, is silent for longer.
    let slow = TransferAction::FinalCopy { door: stage.door(), bandwidth_limit: Some(64 << 10) };
    assert_eq!(code(stage.at_source("final_copy", slow).await), ErrorCode::LeaseLost);
    stage.source.until(stage.spec.id, ServerStatus::Running).await;
    assert_eq!(code(stage.at_source("fence_source", TransferAction::FenceSource).await), ErrorCode::LeaseLost);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_game_that_does_not_come_up_is_unhealthy_with_its_last_words() {
    let stage = Stage::running().await;
    fs::write(stage.source_data().join("game.sh"), "echo no license found; exit 9").unwrap();
    stage.frozen_and_copied().await;
    stage.at_target("start_target", stage.start_target()).await.unwrap();
    let error = stage.at_target("check_health", health()).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Unhealthy);
    assert!(error.message.contains("no license found"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_answered_before_must_answer_again() {
    let mut stage = Stage::offline().await;
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let ip_address = free.ip().to_string();
    stage.spec.allocations = vec![Allocation { id: AllocationId::new(), ip_address, port: free.port() }];
    stage.frozen_and_copied_offline().await;
    stage.at_target("start_target", stage.start_target()).await.unwrap();
    let probe = |timeout_ms| TransferAction::CheckHealth { tcp_probe: true, min_uptime_ms: 0, timeout_ms };
    assert_eq!(code(stage.at_target("check_health", probe(300)).await), ErrorCode::Unhealthy);
    let _game = TcpListener::bind(free).unwrap();
    stage.at_target("check_health#2", probe(20_000)).await.unwrap();
}
