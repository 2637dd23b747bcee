//! A volume whose server has moved is kept until its time is up, and not a second less.

use jiff::{SignedDuration, Timestamp};
use model::{Clock, SystemClock};

use super::*;

fn later(hours: i64) -> Timestamp {
    SystemClock.now().checked_add(SignedDuration::from_hours(hours)).unwrap()
}

async fn retained(stage: &Stage, expires_at: Timestamp) -> TransferId {
    let transfer = TransferId::new();
    stage.raise(None).await.unwrap();
    assert_eq!(stage.objects.retained(stage.server(), transfer).await.unwrap(), None);
    stage.objects.retain(stage.server(), transfer, expires_at, 4711).await.unwrap();
    transfer
}

#[tokio::test]
#[ignore = "needs clusters: make test-kubernetes"]
async fn kubernetes_objects_that_are_retained_are_a_volume_and_nothing_else() {
    let stage = Stage::new().await;
    let transfer = retained(&stage, later(1)).await;
    stage.objects.retain(stage.server(), transfer, later(1), 4711).await.unwrap();
    assert_eq!(stage.objects.retained(stage.server(), transfer).await.unwrap(), Some(4711));
    let left = stage.audit().await;
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(left[0].starts_with("Namespace") && left[1].starts_with("PersistentVolumeClaim"), "{left:?}");
    assert_eq!(stage.known().await, None, "it is not a server of this cluster any more");

    stage.objects.remove(stage.server()).await.unwrap();
    stage.objects.remove_target(stage.server(), transfer).await.unwrap();
    stage.objects.reap(later(0)).await.unwrap();
    assert_eq!(stage.audit().await.len(), 2, "whoever removes the server, the volume stays until it expires");
    stage.objects.free(transfer).await.unwrap();
    stage.objects.free(transfer).await.unwrap();
    assert_eq!(stage.audit().await, Vec::<String>::new());
}

#[tokio::test]
#[ignore = "needs clusters: make test-kubernetes"]
async fn kubernetes_objects_that_expired_are_reaped() {
    let stage = Stage::new().await;
    retained(&stage, later(0)).await;
    stage.objects.reap(later(0)).await.unwrap();
    // Another test that reaps may have begun with this volume: then it is that one which waits for the namespace's end.
    until("nothing is left", || async { stage.audit().await.is_empty() }).await;
}

#[tokio::test]
#[ignore = "needs clusters: make test-kubernetes"]
async fn kubernetes_objects_come_back_while_their_old_volume_is_kept() {
    let stage = Stage::new().await;
    let left = retained(&stage, later(1)).await;
    let back = TransferId::new();
    stage.raise(Some(back)).await.unwrap();
    let claims = api::list(&stage.api::<PersistentVolumeClaim>(), "").await.unwrap();
    assert_eq!(claims.len(), 2, "a new volume beside the old one");
    stage.objects.remove_target(stage.server(), back).await.unwrap();
    let kept = api::list(&stage.api::<PersistentVolumeClaim>(), "").await.unwrap();
    assert_eq!(kept.len(), 1, "giving up the way back keeps what was kept");
    assert_eq!(kept[0].labels()[names::RETAINED], left.to_string());
    stage.objects.free(left).await.unwrap();
    assert_eq!(stage.audit().await, Vec::<String>::new());
}
