//! What a person does with `kubectl` is noticed, stands until the server is raised again, and is never fought in silence.

use jiff::SignedDuration;
use model::{Clock, SystemClock};

use super::names::GAME;
use super::*;

impl Stage {
    async fn claim_in_use(&self) -> String {
        self.objects.claim(self.server()).await.unwrap().unwrap().name_any()
    }

    /// Deleted, still there, and nobody but us holds it: the cluster itself would have let go.
    async fn is_held(&self, claim: &str) {
        let claims = self.api::<PersistentVolumeClaim>();
        until("the cluster's letting go", || async {
            let claim = api::get(&claims, claim).await.unwrap().expect("the claim is there");
            claim.metadata.deletion_timestamp.is_some() && claim.finalizers() == [names::FILES]
        })
        .await;
    }

    async fn attention(&self) -> Vec<String> {
        self.known().await.map(|known| known.attention).unwrap_or_default()
    }

    async fn is_told(&self, words: &str) {
        let mut last = Vec::new();
        let deadline = tokio::time::Instant::now() + WITHIN;
        while !last.iter().any(|sentence: &String| sentence.contains(words)) {
            assert!(tokio::time::Instant::now() < deadline, "nobody says `{words}`: {last:?}");
            last = self.attention().await;
        }
    }
}

#[tokio::test]
#[ignore = "needs clusters: make test-kubernetes"]
async fn kubernetes_objects_that_a_hand_scaled_or_changed_are_noticed_and_set_back() {
    let stage = Stage::new().await;
    stage.raise(None).await.unwrap();
    assert_eq!(stage.attention().await, Vec::<String>::new());
    stage.kubectl(&["scale", "deployment", "game", "--replicas=0"]);
    stage.is_told("was scaled by hand to 0").await;
    assert!(stage.known().await.unwrap().asleep);
    stage.raise(None).await.unwrap();
    assert_eq!(stage.attention().await, Vec::<String>::new(), "raised again, it is ours again");

    stage.kubectl(&["set", "image", "deployment/game", "game=badger.local/other:1"]);
    stage.is_told("spec.template.spec.containers[game].image").await;
    stage.raise(None).await.unwrap();
    let image = stage.pod().await.spec.unwrap().containers[1].image.clone();
    assert_eq!(image, Some(stage.spec.image.clone()));

    stage.kubectl(&["delete", "service", "game"]);
    stage.is_told("Service `game` was deleted by hand").await;
    stage.kubectl(&["delete", "deployment", "game"]);
    stage.is_told("Deployment was deleted by hand").await;
    stage.raise(None).await.unwrap();
    assert_eq!(stage.attention().await, Vec::<String>::new());
    stage.leave_nothing().await;
}

#[tokio::test]
#[ignore = "needs clusters: make test-kubernetes"]
async fn kubernetes_objects_whose_volume_a_hand_deletes_are_not_started_on_it() {
    let stage = Stage::new().await;
    stage.raise(None).await.unwrap();
    let claim = stage.claim_in_use().await;
    stage.kubectl(&["delete", "pvc", &claim, "--wait=false"]);
    stage.is_told("is being deleted, not by us").await;
    let error = stage.raise(None).await.unwrap_err();
    assert!(error.message.contains("move the server away"), "{error}");
    // The cluster's own protection ends with the last pod that has it.
    stage.kubectl(&["scale", "deployment", "game", "--replicas=0"]);
    let pods = stage.api::<Pod>();
    until("the pod's end", || async { api::list(&pods, "").await.unwrap().is_empty() }).await;
    stage.is_held(&claim).await;
    stage.leave_nothing().await;
}

#[tokio::test]
#[ignore = "needs clusters: make test-kubernetes"]
async fn kubernetes_objects_whose_namespace_a_hand_deletes_keep_their_volume() {
    let stage = Stage::new().await;
    stage.raise(None).await.unwrap();
    let claim = stage.claim_in_use().await;
    let space = stage.objects.space(stage.server());
    stage.kubectl(&["delete", "namespace", &space, "--wait=false"]);
    let deployments = stage.api::<Deployment>();
    until("its Deployment's end", || async { api::get(&deployments, GAME).await.unwrap().is_none() }).await;
    stage.is_told("Its files are held back").await;
    stage.is_held(&claim).await;
    stage.leave_nothing().await;
}

#[tokio::test]
#[ignore = "needs clusters: make test-kubernetes"]
async fn kubernetes_objects_that_are_retained_outlive_a_hand_that_deletes_them() {
    let (stage, transfer) = (Stage::new().await, TransferId::new());
    stage.raise(None).await.unwrap();
    let claim = stage.claim_in_use().await;
    stage.kubectl(&["delete", "pvc", &claim, "--wait=false"]);
    let tomorrow = SystemClock.now().checked_add(SignedDuration::from_hours(24)).unwrap();
    stage.objects.retain(stage.server(), transfer, tomorrow, 4711).await.unwrap();
    stage.is_held(&claim).await;
    assert_eq!(stage.objects.retained(stage.server(), transfer).await.unwrap(), Some(4711));
    stage.objects.free(transfer).await.unwrap();
    assert_eq!(stage.audit().await, Vec::<String>::new());
}

#[tokio::test]
#[ignore = "needs clusters: make test-kubernetes"]
async fn kubernetes_objects_never_have_two_pods_when_a_hand_deletes_one() {
    let stage = Stage::new().await;
    stage.raise(None).await.unwrap();
    let first = stage.pod().await;
    // Held for a while by a finalizer, as a game that saves would hold it.
    let hold = serde_json::json!({"metadata": {"finalizers": ["badgerpanel.io/test"]}});
    api::merge(&stage.api::<Pod>(), &first.name_any(), &hold).await.unwrap();
    stage.kubectl(&["delete", "pod", &first.name_any(), "--wait=false"]);
    stage.is_told("is being ended, by hand").await;
    let pods = stage.api::<Pod>();
    until("a second pod", || async { api::list(&pods, &names::pods_of(stage.server())).await.unwrap().len() == 2 })
        .await;
    let second = stage.pod().await;
    until("its being held back", || async {
        let pod = api::get(&pods, &second.name_any()).await.unwrap().unwrap();
        let conditions = pod.status.and_then(|status| status.conditions).unwrap_or_default();
        conditions.iter().any(|c| c.message.as_deref().is_some_and(|said| said.contains("anti-affinity")))
    })
    .await;
    let free = serde_json::json!({"metadata": {"finalizers": []}});
    api::merge(&pods, &first.name_any(), &free).await.unwrap();
    stage.raise(None).await.unwrap();
    assert_eq!(stage.pod().await.uid(), second.uid());
    stage.leave_nothing().await;
}
