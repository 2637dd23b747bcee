//! The same steps with containers (`make test-docker`). Both agents share one engine: the hardest case for names and
//! labels.

use model::Timestamp;

use super::*;
use crate::runtime::contract::engine;

async fn stage() -> Stage {
    let (socket, image) = engine();
    let stage = Stage::with(RuntimeConfig::Docker { socket, user: "1000:1000".to_owned() }, &image).await;
    for file in ["game.sh", "region.bin", "empty", "empty/dir"] {
        std::os::unix::fs::chown(stage.source_data().join(file), Some(1000), Some(1000)).unwrap();
    }
    stage
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Docker engine: make test-docker"]
async fn a_server_in_a_container_moves_while_it_runs() {
    let stage = stage().await;
    stage.start().await;
    let root = stage.frozen_and_copied().await;
    stage.at_target("start_target", stage.start_target()).await.unwrap();
    stage.at_target("check_health", health()).await.unwrap();
    assert_eq!(stage.at_source("audit", TransferAction::Audit { owner: None }).await.unwrap(), Reply::Audited { root });
    let retain = TransferAction::RetainSource { expires_at: Timestamp::MAX };
    stage.at_source("release_source", retain).await.unwrap();
    assert!(stage.source.is_clean());
    assert!(stage.source.node.around.runtime.list().await.unwrap().is_empty());
    assert_eq!(stage.target.status(stage.spec.id), ServerStatus::Running, "only the source's container went");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Docker engine: make test-docker"]
async fn an_abort_leaves_no_container() {
    let mut stage = stage().await;
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
}
