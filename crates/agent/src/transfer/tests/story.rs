//! A migration that goes well, and one that is taken back at each of its points.

use model::{CopyReceipt, Timestamp};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_moves_with_everything_it_has() {
    let stage = Stage::running().await;
    let id = stage.spec.id;
    let Reply::Measured { bytes, files, running, answers_tcp, .. } =
        stage.at_source("prepare_target", TransferAction::Measure).await.unwrap()
    else {
        panic!("not measured");
    };
    assert!(bytes > 3 << 20 && files >= 6 && running && !answers_tcp);
    assert!(matches!(stage.prepare().await, Ok(Reply::TargetReady { .. })));
    let Reply::Precopied { prediction } = stage.at_source("precopy", stage.precopy(None)).await.unwrap() else {
        panic!("no prediction");
    };
    assert!(prediction.rounds >= 2 && prediction.bytes_live > 0);
    assert_eq!(stage.source.status(id), ServerStatus::Running, "it was copied while it ran");

    let stopped = stage.at_source("stop_source", stop()).await.unwrap();
    assert!(matches!(stopped, Reply::Stopped { was_running: true, .. }));
    let Reply::Copied { receipt } = stage.at_source("final_copy", stage.final_copy()).await.unwrap() else {
        panic!("no receipt");
    };
    check_receipt(&receipt);
    assert_eq!(receipt.root_source, root_of(&stage.source_data()));
    stage.at_source("fence_source", TransferAction::FenceSource).await.unwrap();
    let log = fs::read(stage.source_data().join("world/log.txt")).unwrap();

    let started = stage.at_target("start_target", stage.start_target()).await.unwrap();
    assert!(matches!(started, Reply::Started { ago_ms: Some(_) }));
    assert!(matches!(stage.at_target("check_health", health()).await, Ok(Reply::Healthy { .. })));
    assert!(fs::read(stage.target_data().join("world/log.txt")).unwrap().starts_with(&log));
    assert!(stage.target.names("staging").is_empty());

    let audited = stage.at_source("audit", TransferAction::Audit { owner: None }).await.unwrap();
    assert_eq!(audited, Reply::Audited { root: receipt.root_source });
    let expires_at = Timestamp::MAX;
    let retained = stage.at_source("release_source", TransferAction::RetainSource { expires_at }).await.unwrap();
    assert!(matches!(retained, Reply::Retained { bytes } if bytes > 3 << 20));
    assert!(stage.source.is_clean());
    let copy = format!("retained/{}", stage.transfer);
    assert!(stage.source.path(&copy).join("data/game.sh").exists());
    stage.at_source("free_retained", TransferAction::FreeRetained).await.unwrap();
    assert!(!stage.source.path(&copy).exists());
}

fn check_receipt(receipt: &CopyReceipt) {
    assert_eq!(receipt.root_source, receipt.root_target);
    assert!(receipt.bytes_live >= 3 << 20, "{receipt:?}");
    assert!(receipt.bytes_frozen < 1 << 20, "{receipt:?}");
    assert!(receipt.rounds >= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_offline_moves_cold_and_stays_offline() {
    let stage = Stage::offline().await;
    stage.prepare().await.unwrap();
    let stopped = stage.at_source("stop_source", stop()).await.unwrap();
    assert!(matches!(stopped, Reply::Stopped { was_running: false, .. }));
    stage.at_source("final_copy", stage.final_copy()).await.unwrap();
    stage.at_source("fence_source", TransferAction::FenceSource).await.unwrap();
    let before = root_of(&stage.source_data());
    let permit = stage.permit(&stage.target, EPOCH + 1);
    let started = stage.at_target("start_target", TransferAction::StartTarget { permit, start: false }).await.unwrap();
    assert_eq!(started, Reply::Started { ago_ms: None });
    assert_eq!(root_of(&stage.target_data()), before);
    let seen = stage.target.node.server(stage.spec.id).unwrap().observation();
    assert_eq!((seen.status, seen.epoch, seen.fenced), (ServerStatus::Offline, Epoch(EPOCH + 1), false));
}

/// How far it came before it was taken back.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
enum Point {
    Prepared,
    Precopied,
    Stopped,
    Copied,
    Fenced,
    Started,
}

async fn advance(stage: &Stage, to: Point) {
    stage.prepare().await.unwrap();
    if to >= Point::Precopied {
        stage.at_source("precopy", stage.precopy(None)).await.unwrap();
    }
    if to >= Point::Stopped {
        stage.at_source("stop_source", stop()).await.unwrap();
    }
    if to >= Point::Copied {
        stage.at_source("final_copy", stage.final_copy()).await.unwrap();
    }
    if to >= Point::Fenced {
        stage.at_source("fence_source", TransferAction::FenceSource).await.unwrap();
    }
    if to >= Point::Started {
        stage.at_target("start_target", stage.start_target()).await.unwrap();
    }
}

/// The undos as the saga runs them: also for steps that never ran.
async fn take_back(stage: &Stage) {
    let epoch = EPOCH + 2;
    stage.at_target("undo_start_target", TransferAction::AbortTarget).await.unwrap();
    let permit = stage.permit(&stage.source, epoch);
    stage.at_source("undo_fence_source", TransferAction::UnfenceSource { permit }).await.unwrap();
    stage.at_source("undo_final_copy", TransferAction::EndCopy).await.unwrap();
    stage.at_source("undo_stop_source", stage.resume(epoch)).await.unwrap();
    stage.at_source("undo_precopy", TransferAction::EndCopy).await.unwrap();
    stage.at_target("undo_prepare_target", TransferAction::AbortTarget).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn from_every_point_there_is_a_way_back_that_leaves_nothing() {
    for point in [Point::Prepared, Point::Precopied, Point::Stopped, Point::Copied, Point::Fenced, Point::Started] {
        let stage = Stage::running().await;
        advance(&stage, point).await;
        take_back(&stage).await;
        let id = stage.spec.id;
        assert!(stage.target.is_clean(), "{point:?}");
        stage.source.until(id, ServerStatus::Running).await;
        let seen = stage.source.node.server(id).unwrap().observation();
        assert_eq!((seen.epoch, seen.fenced), (Epoch(EPOCH + 2), false), "{point:?}");
        assert_eq!(code(stage.prepare_again().await), ErrorCode::Cancelled, "{point:?}: it comes too late");
    }
}

impl Stage {
    async fn prepare_again(&self) -> Result<Reply, AgentError> {
        self.at_target("prepare_target#2", self.prepare_for(1)).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_gets_the_recorded_answer() {
    let stage = Stage::running().await;
    let measured = stage.at_source("prepare_target", TransferAction::Measure).await.unwrap();
    fs::write(stage.source_data().join("more.bin"), vec![1; 1 << 20]).unwrap();
    assert_eq!(stage.at_source("prepare_target", TransferAction::Measure).await.unwrap(), measured);
    assert_ne!(stage.at_source("prepare_target#2", TransferAction::Measure).await.unwrap(), measured);

    stage.at_source("stop_source", stop()).await.unwrap();
    let Reply::Stopped { ago_ms: first, .. } = stage.at_source("stop_source", stop()).await.unwrap() else {
        panic!("not stopped");
    };
    let again = stage.at_source("stop_source", stop()).await.unwrap();
    assert!(matches!(again, Reply::Stopped { was_running: true, ago_ms } if ago_ms >= first));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_ask_for_the_same_step_get_one_copy() {
    let stage = Stage::running().await;
    stage.prepare().await.unwrap();
    let (one, two) =
        tokio::join!(stage.at_source("precopy", stage.precopy(None)), stage.at_source("precopy", stage.precopy(None)));
    assert_eq!(one.unwrap(), two.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_told_while_it_is_made() {
    let stage = Stage::running().await;
    let mut news = stage.source.node.around.news.subscribe();
    stage.prepare().await.unwrap();
    stage.at_source("precopy", stage.precopy(Some(4 << 20))).await.unwrap();
    let mut told = 0;
    while let Ok(notice) = news.try_recv() {
        if let model::agent_api::Notice::CopyProgress { transfer_id, progress } = notice {
            assert_eq!(transfer_id, stage.transfer);
            told = told.max(progress.bytes_read);
        }
    }
    assert!(told > 0);
}
