//! Webhooks and notifications, with a receiver that really listens.

use std::sync::{Arc, Mutex};

use model::{ServerObservation, ServerStatus};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::harness::{Panel, until};

const WEBHOOKS: &str = "/api/v1/admin/webhooks";

/// What was received: head and body.
type Received = Arc<Mutex<Vec<(String, String)>>>;

/// A receiver that answers with the statuses of a list, then with 204 for ever.
async fn receiver(statuses: &[u16]) -> (String, Received) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook?token=hidden", listener.local_addr().unwrap());
    let received = Received::default();
    let (all, mut statuses) = (Arc::clone(&received), Vec::from(statuses).into_iter());
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut text = Vec::new();
            let (head, body) = loop {
                let mut piece = [0; 4096];
                let read = socket.read(&mut piece).await.unwrap();
                text.extend_from_slice(&piece[..read]);
                let so_far = String::from_utf8(text.clone()).unwrap();
                let Some((head, body)) = so_far.split_once("\r\n\r\n") else { continue };
                let length =
                    head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
                if body.len() >= length.unwrap_or(0_usize) {
                    break (head.to_owned(), body.to_owned());
                }
            };
            all.lock().unwrap().push((head, body));
            let status = statuses.next().unwrap_or(204);
            let answer = format!(
                "HTTP/1.1 {status} X\r\nLocation: /elsewhere\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (url, received)
}

fn header<'a>(head: &'a str, name: &str) -> &'a str {
    let line = head.lines().find(|line| line.to_lowercase().starts_with(&format!("{name}: ")));
    line.unwrap_or_else(|| panic!("no {name}: {head}")).split_once(": ").unwrap().1
}

async fn webhook(panel: &Panel, url: &str, events: &[&str]) -> (String, String) {
    let made = panel.post(WEBHOOKS, &json!({"name": "w", "url": url, "events": events})).await.created();
    (format!("{WEBHOOKS}/{}", made["id"].as_str().unwrap()), made["secret"].as_str().unwrap().to_owned())
}

async fn first_delivery(panel: &Panel, path: &str, state: &str) -> Value {
    until(async || {
        let all = panel.get(&format!("{path}/deliveries")).await.ok();
        let first = all.as_array().unwrap().last().cloned()?;
        (first["state"] == state).then_some(first)
    })
    .await
}

#[tokio::test]
async fn what_happens_is_told_with_a_signature_that_the_receiver_can_verify() {
    let panel = Panel::start().await;
    let (url, received) = receiver(&[]).await;
    let (path, secret) = webhook(&panel, &url, &["user.*"]).await;
    let shown = panel.get(&path).await;
    assert!(!shown.text.contains("hidden") && !shown.text.contains(&secret), "{shown:?}");
    assert!(shown.ok()["url"].as_str().unwrap().ends_with("/…"));
    panel.user("kim", None).await;
    let delivery = first_delivery(&panel, &path, "delivered").await;
    assert_eq!((&delivery["response_status"], &delivery["attempts"]), (&json!(204), &json!(1)));
    let (head, body) = received.lock().unwrap()[0].clone();
    assert!(head.starts_with("POST /hook?token=hidden HTTP/1.1"), "{head}");
    assert_eq!(body, delivery["body"].as_str().unwrap());
    assert_eq!(header(&head, "x-webhook-id"), delivery["id"].as_str().unwrap());
    assert_eq!(header(&head, "x-webhook-event"), "user.created");
    let signed = format!("{}.{body}", header(&head, "x-webhook-timestamp"));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    let signature = header(&head, "x-webhook-signature").strip_prefix("sha256=").unwrap();
    let signature = data_encoding::HEXLOWER.decode(signature.as_bytes()).unwrap();
    ring::hmac::verify(&key, signed.as_bytes(), &signature).unwrap();
    let told: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(told["data"]["user"]["username"], "kim");
}

#[tokio::test]
async fn what_is_refused_is_told_again_with_the_same_id_and_redirects_are_not_followed() {
    let panel = Panel::start().await;
    let (url, received) = receiver(&[302]).await;
    let (path, _) = webhook(&panel, &url, &["webhook.test"]).await;
    let told = panel.post(&format!("{path}/test"), &json!({})).await.accepted();
    let waiting = until(async || {
        let all = panel.get(&format!("{path}/deliveries")).await.ok();
        (all[0]["attempts"] == 1).then(|| all[0].clone())
    })
    .await;
    assert_eq!((&waiting["state"], &waiting["response_status"]), (&json!("pending"), &json!(302)));
    assert!(waiting["error"].as_str().unwrap().contains("redirects are not followed"));
    let again = format!("{path}/deliveries/{}/redeliver", told["id"].as_str().unwrap());
    panel.post(&again, &json!({})).await.error(409, "delivery_pending");
    // After five seconds, as it says.
    first_delivery(&panel, &path, "delivered").await;
    panel.post(&again, &json!({})).await.accepted();
    until(async || (received.lock().unwrap().len() == 3).then_some(())).await;
    let all = received.lock().unwrap().clone();
    assert!(
        all.iter()
            .all(|(head, body)| header(head, "x-webhook-id") == told["id"].as_str().unwrap() && *body == all[0].1)
    );
    let failing = panel.get(&path).await.ok();
    assert_eq!(failing["failing_since"], json!(null));
}

#[tokio::test]
async fn a_webhook_is_changed_tested_and_removed_and_a_new_secret_replaces_the_old() {
    let panel = Panel::start().await;
    let (path, secret) = webhook(&panel, "https://kim:word@example.com/a/token", &["*"]).await;
    let change = json!({"events": ["server.transfer.*"], "enabled": false, "name": "x"});
    let changed = panel.patch(&path, &change).await.ok();
    assert_eq!((&changed["events"], &changed["enabled"]), (&json!(["server.transfer.*"]), &json!(false)));
    assert_eq!(changed["url"], "https://example.com/…");
    let rotated = panel.post(&format!("{path}/rotate-secret"), &json!({})).await.ok();
    assert_ne!(rotated["secret"], json!(secret));
    panel.post(WEBHOOKS, &json!({"name": "", "url": "ftp://x", "events": ["no.such"]})).await.invalid(&[
        "events[0]",
        "name",
        "url",
    ]);
    panel.post(WEBHOOKS, &json!({"name": "n", "url": "http://x", "events": []})).await.invalid(&["events"]);
    let audit = panel.get("/api/v1/admin/audit?filter[action]=webhook").await;
    assert!(!audit.text.contains("word") && !audit.text.contains("whsec_"), "{audit:?}");
    panel.delete(&path).await.no_content();
    panel.get(&path).await.error(404, "not_found");
    let (_, token) = panel.user("kim", None).await;
    panel.send_as(&token, "GET", WEBHOOKS, &[], "").await.error(403, "forbidden");
}

#[tokio::test]
async fn a_crash_is_told_once_and_a_node_that_comes_too() {
    let panel = Panel::start().await;
    let (url, received) = receiver(&[]).await;
    let (_, _) = webhook(&panel, &url, &["server.crashed", "node.online", "server.created", "server.installed"]).await;
    let (node, agent) = panel.node("n", "25565").await;
    let server = panel.server(&node).await;
    let seen = ServerObservation {
        server_id: server.parse().unwrap(),
        status: ServerStatus::Crashed,
        epoch: model::Epoch::FIRST,
        fenced: false,
        since: model::Timestamp::UNIX_EPOCH,
        exit_code: Some(137),
        attention: Vec::new(),
    };
    agent.saw(seen.clone());
    agent.saw(seen);
    panel.until_status(&server, "crashed").await;
    let events = until(async || {
        let all = received.lock().unwrap();
        let mut events: Vec<_> = all.iter().map(|(head, _)| header(head, "x-webhook-event").to_owned()).collect();
        events.sort();
        (events.len() >= 4).then_some(events)
    })
    .await;
    assert_eq!(events, ["node.online", "server.crashed", "server.created", "server.installed"]);
    let all = received.lock().unwrap();
    let crash = all.iter().find(|(head, _)| header(head, "x-webhook-event") == "server.crashed").unwrap();
    assert_eq!(serde_json::from_str::<Value>(&crash.1).unwrap()["data"]["exit_code"], 137);
}

#[tokio::test]
async fn an_owner_is_told_in_the_panel_that_a_schedule_failed_and_may_be_spared_it() {
    let panel = Panel::start().await;
    let (node, agent) = panel.node("n", "25565").await;
    let server = panel.server(&node).await;
    let (kim, token) = panel.user("kim", None).await;
    let (_, other) = panel.user("ann", None).await;
    panel.patch(&format!("/api/v1/admin/servers/{server}"), &json!({"owner_id": kim})).await.ok();
    let schedule = json!({"name": "Save", "cron": "0 4 * * *", "tasks": [{"action": "command", "command": "save"}]});
    let made = panel.post(&format!("/api/v1/servers/{server}/schedules"), &schedule).await.created();
    let run = format!("/api/v1/servers/{server}/schedules/{}/run", made["id"].as_str().unwrap());
    agent.cut().await;
    panel.until_node(&node, "offline").await;
    panel.post(&run, &json!({})).await.accepted();
    let notifications = "/api/v1/notifications";
    let list = async |token: &str| panel.send_as(token, "GET", notifications, &[], "").await.body();
    let told = until(async || {
        let told = list(&token).await;
        (told["meta"]["unread"] == 1).then_some(told)
    })
    .await;
    let first = &told["data"][0];
    assert_eq!((&first["kind"], &first["server_id"]), (&json!("schedule_failed"), &json!(server)));
    let sentence = first["message"].as_str().unwrap();
    assert!(sentence.starts_with("The schedule Save of your server survival failed. Task 1: "), "{sentence}");
    assert_eq!(list(&other).await["meta"]["unread"], 0);

    let read = format!("{notifications}/{}/read", first["id"].as_str().unwrap());
    panel.send_as(&other, "POST", &read, &[], "").await.error(404, "not_found");
    panel.send_as(&token, "POST", &read, &[], "").await.no_content();
    assert_eq!(list(&token).await["meta"]["unread"], 0);
    let unread = panel.send_as(&token, "GET", &format!("{notifications}?filter[unread]=true"), &[], "").await.ok();
    assert_eq!(unread, json!([]));
    panel.send_as(&token, "POST", &format!("{notifications}/read-all"), &[], "").await.no_content();
    let muted = json!({"muted": ["schedule_failed"]}).to_string();
    panel.send_as(&token, "PUT", &format!("{notifications}/preferences"), &[], &muted).await.ok();
    panel.post(&run, &json!({})).await.accepted();
    let runs = run.trim_end_matches("/run").to_owned() + "/runs";
    until(async || {
        let runs = panel.get(&runs).await.ok();
        let runs = runs.as_array().unwrap();
        (runs.len() == 2 && runs.iter().all(|run| run["state"] == "failed")).then_some(())
    })
    .await;
    assert_eq!(list(&token).await["data"].as_array().unwrap().len(), 1, "no second one");
    panel.get(notifications).await.ok();
    panel.send("PUT", &format!("{notifications}/preferences"), &[], &muted).await.error(409, "no_user");
}
