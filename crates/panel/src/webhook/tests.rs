//! When something is tried again, with a time that the test moves. Sending itself is tested through the API.
#![allow(clippy::unwrap_used)]

use model::WebhookId;
use serde_json::json;

use super::*;
use crate::db::Paging;
use crate::db::outbox::DeliveryState;
use crate::testing::Bench;

const SECOND_MS: i64 = 1000;

/// A webhook that leads to a port at which nobody listens.
async fn nowhere(bench: &Bench, events: &[&str]) -> WebhookId {
    let id = WebhookId::new();
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", socket.local_addr().unwrap());
    let seal = |purpose: String, text: &str| bench.app.access.secrets.seal(&purpose, text).unwrap();
    let webhook = Webhook {
        id,
        name: "w".to_owned(),
        url: seal(send::url_purpose(id), &url),
        url_shown: url.clone(),
        secret: seal(send::secret_purpose(id), "s"),
        events: events.iter().map(|&event| event.to_owned()).collect(),
        enabled: true,
        failing_since: None,
        disabled_reason: None,
        created_at: bench.app.now(),
    };
    webhooks::webhook_insert(&mut bench.app.db.acquire().await.unwrap(), &webhook).await.unwrap();
    id
}

async fn deliveries(bench: &Bench, id: WebhookId) -> Vec<Delivery> {
    let mut conn = bench.app.db.acquire().await.unwrap();
    let page = outbox::deliveries_page(&mut conn, id, Paging { page: 1, per_page: 100 }).await.unwrap();
    page.items.into_iter().rev().collect()
}

#[tokio::test]
async fn what_is_rolled_back_is_not_told() {
    let bench = Bench::at("2026-01-01T00:00:00Z").await;
    let id = nowhere(&bench, &["server.*"]).await;
    let now = bench.app.now();
    {
        let mut tx = bench.app.db.begin().await.unwrap();
        outbox::tell(&mut tx, now, "server.created", &json!({})).await.unwrap();
    }
    assert!(deliveries(&bench, id).await.is_empty());
    let mut tx = bench.app.db.begin().await.unwrap();
    outbox::tell(&mut tx, now, "server.created", &json!({"server": {"name": "s"}})).await.unwrap();
    outbox::tell(&mut tx, now, "node.online", &json!({})).await.unwrap();
    tx.commit().await.unwrap();
    let told = deliveries(&bench, id).await;
    assert_eq!(told.len(), 1, "it does not want to know about nodes");
    let body: serde_json::Value = serde_json::from_str(&told[0].body).unwrap();
    assert_eq!(body["id"], json!(told[0].id));
    assert_eq!((&body["event"], &body["data"]["server"]["name"]), (&json!("server.created"), &json!("s")));
}

#[tokio::test]
async fn what_does_not_get_through_is_tried_again_in_order_and_given_up_after_a_day() {
    let mut bench = Bench::at("2026-01-01T00:00:00Z").await;
    bench.app.outbound = OutboundConfig { private: true, link_local: false };
    let id = nowhere(&bench, &["*"]).await;
    let mut tx = bench.app.db.begin().await.unwrap();
    for event in ["server.created", "server.installed"] {
        outbox::tell(&mut tx, bench.app.now(), event, &json!({})).await.unwrap();
    }
    tx.commit().await.unwrap();
    let mut attempts = Vec::new();
    for _ in 0..4 {
        send_due(&bench.app, id).await.unwrap();
        send_due(&bench.app, id).await.unwrap();
        let all = deliveries(&bench, id).await;
        attempts.push((all[0].attempts, all[0].next_attempt_at.duration_since(bench.app.now()).as_secs()));
        assert_eq!(all[1].attempts, 0, "it waits behind the first");
        bench.clock.advance_ms(attempts.last().unwrap().1 * SECOND_MS);
    }
    assert_eq!(attempts, [(1, 5), (2, 10), (3, 20), (4, 40)]);
    assert_eq!(deliveries(&bench, id).await[0].error.as_deref(), Some("it cannot be reached: connection refused"));
    // A day later everything is given up, and the webhook with it.
    bench.clock.advance_ms(24 * 3600 * SECOND_MS);
    send_due(&bench.app, id).await.unwrap();
    let webhook = webhooks::webhook_get(&mut bench.app.db.acquire().await.unwrap(), id).await.unwrap();
    assert!(!webhook.enabled && webhook.disabled_reason.is_some());
    assert!(deliveries(&bench, id).await.iter().all(|delivery| delivery.state == DeliveryState::Failed));
}

#[tokio::test]
async fn an_address_that_is_not_allowed_is_not_connected_to() {
    let bench = Bench::at("2026-01-01T00:00:00Z").await;
    let id = nowhere(&bench, &["*"]).await;
    let mut tx = bench.app.db.begin().await.unwrap();
    outbox::tell(&mut tx, bench.app.now(), "server.created", &json!({})).await.unwrap();
    tx.commit().await.unwrap();
    send_due(&bench.app, id).await.unwrap();
    let error = deliveries(&bench, id).await[0].error.clone().unwrap();
    assert!(error.contains("private address"), "{error}");
}

#[test]
fn pauses_grow_to_half_an_hour() {
    let at = |second| Timestamp::from_second(second).unwrap();
    let pause = |before| next_attempt(at(0), before, at(0)).unwrap().as_second();
    assert_eq!([0, 1, 2, 8, 9, 40, 70].map(pause), [5, 10, 20, 1280, 1800, 1800, 1800]);
    assert_eq!(next_attempt(at(0), 9, at(86_000)), None);
}
