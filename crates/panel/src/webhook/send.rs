//! One attempt: a signed POST that follows nobody and waits for a bounded time.
//!
//! ```text
//! X-Webhook-Id: <delivery id>            the same at each attempt
//! X-Webhook-Event: server.created
//! X-Webhook-Timestamp: <unix seconds>    of this attempt
//! X-Webhook-Signature: sha256=<hex of HMAC-SHA256(secret, timestamp + "." + body)>
//! ```

use std::io;
use std::time::Duration;

use data_encoding::HEXLOWER;
use ring::hmac;
use ureq::unversioned::transport::DefaultConnector;

use super::guard::Guard;
use crate::app::App;
use crate::db::outbox::Delivery;
use crate::db::webhooks::Webhook;

/// For everything: to look the name up, connect, send, and hear the status.
const PATIENCE: Duration = Duration::from_secs(15);
/// Bytes of an answer's head. Its body is not read.
const LARGEST_HEAD: usize = 16 << 10;

/// What came of an attempt.
pub(super) enum Outcome {
    /// It answered with this 2xx.
    Through(u16),
    /// It did not.
    Not {
        /// What it answered, if anything.
        status: Option<u16>,
        /// Why, for people; never with the URL.
        error: String,
    },
}

/// What an attempt sends.
struct Letter {
    url: String,
    headers: [(&'static str, String); 4],
    body: String,
}

pub(super) async fn send(app: &App, webhook: &Webhook, delivery: &Delivery) -> Outcome {
    let letter = match letter(app, webhook, delivery) {
        Ok(letter) => letter,
        Err(error) => return Outcome::Not { status: None, error },
    };
    let guard = Guard::new(app.outbound);
    let posted = tokio::task::spawn_blocking(move || post(guard, &letter)).await;
    posted.unwrap_or_else(|_| Outcome::Not { status: None, error: "the attempt was cut".to_owned() })
}

fn letter(app: &App, webhook: &Webhook, delivery: &Delivery) -> Result<Letter, String> {
    let open = |purpose: String, sealed| app.access.secrets.open(&purpose, sealed).map_err(|error| error.to_string());
    let url = open(url_purpose(webhook.id), &webhook.url)?;
    let secret = open(secret_purpose(webhook.id), &webhook.secret)?;
    let timestamp = app.now().as_second().to_string();
    let signature = sign(&secret, &timestamp, &delivery.body);
    let headers = [
        ("X-Webhook-Id", delivery.id.to_string()),
        ("X-Webhook-Event", delivery.event.clone()),
        ("X-Webhook-Timestamp", timestamp),
        ("X-Webhook-Signature", signature),
    ];
    Ok(Letter { url, headers, body: delivery.body.clone() })
}

/// For what the secret of a webhook is sealed.
pub(crate) fn secret_purpose(id: model::WebhookId) -> String {
    format!("webhook/{id}")
}

/// For what the URL of a webhook is sealed.
pub(crate) fn url_purpose(id: model::WebhookId) -> String {
    format!("webhook-url/{id}")
}

fn sign(secret: &str, timestamp: &str, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, format!("{timestamp}.{body}").as_bytes());
    format!("sha256={}", HEXLOWER.encode(tag.as_ref()))
}

fn post(guard: Guard, letter: &Letter) -> Outcome {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(PATIENCE))
        .max_redirects(0)
        .max_response_header_size(LARGEST_HEAD)
        .http_status_as_error(false)
        .proxy(None)
        .user_agent(concat!("BadgerPanel/", env!("CARGO_PKG_VERSION")))
        .build();
    let agent = ureq::Agent::with_parts(config, DefaultConnector::default(), guard);
    let mut request = agent.post(&letter.url).header("Content-Type", "application/json");
    for (name, value) in &letter.headers {
        request = request.header(*name, value);
    }
    match request.send(letter.body.as_bytes()) {
        Ok(answer) if answer.status().is_success() => Outcome::Through(answer.status().as_u16()),
        Ok(answer) => {
            let status = answer.status().as_u16();
            let error = match status {
                300..400 => format!("it answered {status}, and redirects are not followed"),
                status => format!("it answered {status}"),
            };
            Outcome::Not { status: Some(status), error }
        }
        Err(error) => Outcome::Not { status: None, error: why(&error) },
    }
}

/// In our words: those of the client may have the URL in them.
fn why(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(_) => format!("it did not answer within {} s", PATIENCE.as_secs()),
        ureq::Error::HostNotFound => "its name leads to no address".to_owned(),
        ureq::Error::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => error.to_string(),
        ureq::Error::Io(error) => format!("it cannot be reached: {}", error.kind()),
        ureq::Error::ConnectionFailed => "it cannot be reached".to_owned(),
        ureq::Error::Rustls(error) => format!("its certificate or TLS is not right: {error}"),
        ureq::Error::LargeResponseHeader(..) => "its answer has too large a head".to_owned(),
        ureq::Error::BadUri(_) => "its URL cannot be used".to_owned(),
        _ => "it does not speak HTTP".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_user_guides_example() {
        // printf '%s' '1700000000.{"event":"webhook.test"}' | openssl dgst -sha256 -hmac whsec_example
        let signature = sign("whsec_example", "1700000000", r#"{"event":"webhook.test"}"#);
        assert_eq!(signature, "sha256=15c002997b7d86f5c02335d5c0c1119cfc4d96509219876866d4cb697cbf225c");
    }
}
