//! What a person does with `kubectl` is noticed, stands until the server is raised again, and is never fought in silence.

use super::*;

impl Stage {
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
    let claim = stage.objects.claim(stage.server()).await.unwrap().unwrap().name_any();
    stage.kubectl(&["delete", "pvc", &claim, "--wait=false"]);
    stage.is_told("is being deleted, not by us").await;
    let error = stage.raise(None).await.unwrap_err();
    assert!(error.message.contains("move the server away"), "{error}");
    stage.leave_nothing().await;
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
