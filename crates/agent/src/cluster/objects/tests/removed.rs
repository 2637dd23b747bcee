//! Nothing is left of what was given up, wherever it was given up (invariant I9), and nothing goes that was adopted.

use model::agent_api::ErrorCode;
use tokio::time::timeout;

use super::*;

/// From before the first object to after the pod was scheduled.
const CUTS_MS: [u64; 9] = [1, 10, 25, 50, 90, 150, 300, 700, 1500];

#[tokio::test]
#[ignore = "needs clusters: make test-kubernetes"]
async fn kubernetes_objects_that_were_dropped_halfway_leave_nothing() {
    let mut found = Vec::new();
    for cut in CUTS_MS {
        let (stage, transfer) = (Stage::new().await, TransferId::new());
        let dropped = timeout(Duration::from_millis(cut), stage.raise(Some(transfer))).await.is_err();
        assert!(dropped, "the cut after {cut} ms did not fire");
        found.push(stage.audit().await.len());
        stage.objects.remove_target(stage.server(), transfer).await.unwrap();
        assert_eq!(stage.audit().await, Vec::<String>::new(), "after a cut at {cut} ms");
    }
    assert!(
        found.contains(&0) && found.iter().any(|&count| count >= 5),
        "cuts before and after the objects: {found:?}"
    );
}

#[tokio::test]
#[ignore = "needs clusters: make test-kubernetes"]
async fn kubernetes_objects_that_were_dropped_halfway_are_raised_by_a_repeat() {
    let (stage, transfer) = (Stage::new().await, TransferId::new());
    for cut in CUTS_MS {
        let dropped = timeout(Duration::from_millis(cut), stage.raise(Some(transfer))).await.is_err();
        assert!(dropped || cut > 700, "the cut after {cut} ms did not fire");
    }
    stage.raise(Some(transfer)).await.unwrap();
    assert_eq!(stage.known().await.unwrap().transfer, Some(transfer));
    stage.leave_nothing().await;
}

#[tokio::test]
#[ignore = "needs clusters: make test-kubernetes"]
async fn kubernetes_objects_that_were_adopted_are_no_transfers_any_more() {
    let (stage, transfer) = (Stage::new().await, TransferId::new());
    stage.raise(Some(transfer)).await.unwrap();
    let pod = stage.pod().await.uid();
    let other = stage.raise(Some(TransferId::new())).await.unwrap_err();
    assert_eq!(other.code, ErrorCode::Conflict, "{other}");
    let stranger = stage.objects.adopt(stage.server(), TransferId::new(), Epoch(9)).await.unwrap_err();
    assert_eq!(stranger.code, ErrorCode::Conflict, "{stranger}");

    stage.objects.expose_data(stage.server(), transfer).await.unwrap();
    stage.objects.adopt(stage.server(), transfer, Epoch(5)).await.unwrap();
    stage.objects.adopt(stage.server(), transfer, Epoch(5)).await.unwrap();
    let known = stage.known().await.unwrap();
    assert_eq!((known.epoch, known.transfer), (Epoch(5), None));
    stage.objects.remove_target(stage.server(), transfer).await.unwrap();
    assert_eq!(stage.pod().await.uid(), pod, "the pod that players are on");
    let left = stage.audit().await;
    assert!(!left.iter().any(|object| object.contains(&transfer.to_string())), "temporary things are gone: {left:?}");
    stage.leave_nothing().await;
}

#[tokio::test]
#[ignore = "needs clusters: make test-kubernetes"]
async fn kubernetes_objects_that_are_not_there_are_removed_already() {
    let stage = Stage::new().await;
    let (server, transfer) = (stage.server(), TransferId::new());
    stage.objects.remove(server).await.unwrap();
    stage.objects.remove_target(server, transfer).await.unwrap();
    stage.objects.rest(server).await.unwrap();
    stage.objects.conceal_data(server, transfer).await.unwrap();
    stage.objects.free(transfer).await.unwrap();
    assert_eq!(stage.objects.set_epoch(server, Epoch(1)).await.unwrap_err().code, ErrorCode::NotFound);
    assert!(stage.objects.recall(server).await.unwrap().is_none());
}
