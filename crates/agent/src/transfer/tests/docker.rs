//! The same steps with containers, where `BADGER_TEST_DOCKER` and `BADGER_TEST_IMAGE` name an engine and an image on it.
//! Both agents share the engine: the hardest case for names and labels.

use model::Timestamp;

use super::*;

async fn stage() -> Option<Stage> {
    let (Ok(socket), Ok(image)) = (std::env::var("BADGER_TEST_DOCKER"), std::env::var("BADGER_TEST_IMAGE")) else {
        return None;
    };
    let stage = Stage::with(RuntimeConfig::Docker { socket, user: "1000:1000".to_owned() }, &image).await;
    for file in ["game.sh", "region.bin", "empty", "empty/dir"] {
        std::os::unix::fs::chown(stage.source_data().join(file), Some(1000), Some(1000)).unwrap();
    }
    Some(stage)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_in_a_container_moves_while_it_runs() {
    let Some(stage) = stage().await else { return };
    stage.start().await;
    let root = stage.frozen_and_copied().await;
    stage.at_target("start_target", stage.start_target()).await.unwrap();
    stage.at_target("check_health", health()).await.unwrap();
    assert_eq!(stage.at_source("audit", TransferAction::Audit).await.unwrap(), Reply::Audited { root });
    let retain = TransferAction::RetainSource { expires_at: Timestamp::MAX };
    stage.at_source("release_source", retain).await.unwrap();
    assert!(stage.source.is_clean());
    assert!(stage.source.node.around.runtime.list().await.unwrap().is_empty());
    assert_eq!(stage.target.status(stage.spec.id), ServerStatus::Running, "only the source's container went");
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_leaves_no_container() {
    let Some(mut stage) = stage().await else { return };
    stage.start().await;
    stage.frozen_and_copied().await;
    stage.at_target("start_target", stage.start_target()).await.unwrap();
    stage.target.restart().await;
    stage.target.until(stage.spec.id, ServerStatus::Running).await;
    stage.at_target("undo_start_target", TransferAction::AbortTarget).await.unwrap();
    assert!(stage.target.is_clean());
    assert!(stage.target.node.around.runtime.list().await.unwrap().is_empty());
    let permit = stage.permit(&stage.source, EPOCH + 2);
    stage.at_source("undo_fence_source", TransferAction::UnfenceSource { permit }).await.unwrap();
    stage.at_source("undo_stop_source", stage.resume(EPOCH + 2)).await.unwrap();
    stage.source.until(stage.spec.id, ServerStatus::Running).await;
    stage.end().await;
}
