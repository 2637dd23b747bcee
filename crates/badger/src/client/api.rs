//! Calls of the panel's API over HTTP, one thread, one answer.

use std::fmt;
use std::io::BufReader;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use ureq::http::Response;
use ureq::{Agent, Body};

const CONNECT: Duration = Duration::from_secs(10);
/// The panel answers most calls at once, but a stop of a server takes as long as the game.
const ANSWER: Duration = Duration::from_mins(2);
/// The panel sends a comment more often than this while there is no news.
const SILENCE: Duration = Duration::from_secs(45);
const LARGEST_ANSWER_BYTES: u64 = 64 << 20;

/// A panel, and the right to call it.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    agent: Agent,
    url: String,
    key: String,
}

/// An answer of the panel that is not a success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// HTTP status.
    pub(crate) status: u16,
    /// Stable word.
    pub(crate) code: String,
    /// What happened and what to do.
    pub(crate) message: String,
    /// Which fields, for `validation_error`.
    pub(crate) details: Value,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{} {}]", self.message, self.status, self.code)?;
        for (field, problems) in self.details.as_object().into_iter().flatten() {
            match problems {
                Value::Array(list) => {
                    for problem in list {
                        write!(
                            f,
                            "\n  {field}: {}",
                            problem.as_str().map_or_else(|| problem.to_string(), str::to_owned)
                        )?;
                    }
                }
                Value::String(text) => write!(f, "\n  {field}: {text}")?,
                Value::Object(facts) => {
                    let facts: Vec<_> = facts.iter().map(|(name, fact)| format!("{fact} {name}")).collect();
                    write!(f, "\n  {field}: {}", facts.join(", "))?;
                }
                other => write!(f, "\n  {field}: {other}")?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for Refusal {}

impl Api {
    /// The panel at `url`.
    pub(crate) fn new(url: &str, key: &str) -> Result<Self> {
        ensure!(
            url.starts_with("http://") || url.starts_with("https://"),
            "`{url}` is no address of a panel: write it like http://panel.example:8080"
        );
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(ANSWER))
            .timeout_per_read(Some(ANSWER))
            .user_agent(concat!("badger/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        Ok(Self { agent, url: url.trim_end_matches('/').to_owned(), key: key.to_owned() })
    }

    /// Where the panel is.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Where a WebSocket of the panel is, and what to show there.
    pub(crate) fn socket(&self, path: &str) -> (String, String) {
        // http becomes ws, https wss.
        (self.address(path).replacen("http", "ws", 1), self.authorization())
    }

    /// `GET path`: the `data` of the answer.
    pub(crate) fn get(&self, path: &str) -> Result<Value> {
        Ok(self.get_whole(path)?["data"].take())
    }

    /// `GET path` of a document that comes without the envelope: its bytes as they are.
    pub(crate) fn get_text(&self, path: &str) -> Result<String> {
        let sent = self.agent.get(self.address(path)).header("Authorization", self.authorization()).call();
        let mut response = sent.with_context(|| self.unreachable())?;
        if !response.status().is_success() {
            return Err(refusal(path, response).into());
        }
        let body = response.body_mut().with_config().limit(LARGEST_ANSWER_BYTES);
        body.read_to_string().with_context(|| format!("the answer of {} broke off", self.url))
    }

    /// `GET path` for every page: all the items.
    pub(crate) fn list(&self, path: &str) -> Result<Vec<Value>> {
        let joint = if path.contains('?') { '&' } else { '?' };
        let mut items = Vec::new();
        for page in 1u64.. {
            let mut body = self.get_whole(&format!("{path}{joint}page={page}&per_page=100"))?;
            if let Value::Array(more) = body["data"].take() {
                items.extend(more);
            }
            if page >= body["meta"]["total_pages"].as_u64().unwrap_or(1) {
                break;
            }
        }
        Ok(items)
    }

    /// `GET path` for as many pages as it takes: the first `count` items.
    pub(crate) fn first(&self, path: &str, count: usize) -> Result<Vec<Value>> {
        let mut items = Vec::new();
        for page in 1u64.. {
            let mut body = self.get_whole(&format!("{path}&page={page}&per_page=100"))?;
            if let Value::Array(more) = body["data"].take() {
                items.extend(more);
            }
            if items.len() >= count || page >= body["meta"]["total_pages"].as_u64().unwrap_or(1) {
                break;
            }
        }
        items.truncate(count);
        Ok(items)
    }

    /// `POST path`: the `data` of the answer.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let sent = self.agent.post(self.address(path)).header("Authorization", self.authorization()).send_json(body);
        Ok(self.answer(path, sent)?["data"].take())
    }

    /// `POST path` of a document as it is: where the order of its fields has a meaning, it must not be read and written.
    pub(crate) fn post_text(&self, path: &str, body: &str) -> Result<Value> {
        let post = self.agent.post(self.address(path)).header("Authorization", self.authorization());
        let sent = post.header("Content-Type", "application/json").send(body);
        Ok(self.answer(path, sent)?["data"].take())
    }

    /// `PATCH path`: the `data` of the answer.
    pub(crate) fn patch(&self, path: &str, body: &Value) -> Result<Value> {
        let sent = self.agent.patch(self.address(path)).header("Authorization", self.authorization()).send_json(body);
        Ok(self.answer(path, sent)?["data"].take())
    }

    /// `DELETE path`.
    pub(crate) fn delete(&self, path: &str) -> Result<Value> {
        let sent = self.agent.delete(self.address(path)).header("Authorization", self.authorization()).call();
        Ok(self.answer(path, sent)?["data"].take())
    }

    /// Opens a stream of server-sent events.
    pub(crate) fn stream(&self, path: &str, after: Option<&str>) -> Result<BufReader<ureq::BodyReader<'static>>> {
        let mut request = self
            .agent
            .get(self.address(path))
            .config()
            .timeout_per_read(Some(SILENCE))
            .build()
            .header("Authorization", self.authorization())
            .header("Accept", "text/event-stream");
        if let Some(id) = after {
            request = request.header("Last-Event-ID", id);
        }
        let response = request.call().with_context(|| self.unreachable())?;
        if response.status().is_success() {
            return Ok(BufReader::new(response.into_body().into_reader()));
        }
        Err(refusal(path, response).into())
    }

    fn get_whole(&self, path: &str) -> Result<Value> {
        let sent = self.agent.get(self.address(path)).header("Authorization", self.authorization()).call();
        self.answer(path, sent)
    }

    fn address(&self, path: &str) -> String {
        format!("{}/api/v1{path}", self.url)
    }

    fn authorization(&self) -> String {
        format!("Bearer {}", self.key)
    }

    fn answer(&self, path: &str, sent: Result<Response<Body>, ureq::Error>) -> Result<Value> {
        let mut response = sent.with_context(|| self.unreachable())?;
        if !response.status().is_success() {
            return Err(refusal(path, response).into());
        }
        if response.status().as_u16() == 204 {
            return Ok(Value::Object(serde_json::Map::new()));
        }
        let body = response.body_mut().with_config().limit(LARGEST_ANSWER_BYTES);
        body.read_json().with_context(|| format!("{} does not answer like a BadgerPanel; is --url right?", self.url))
    }

    fn unreachable(&self) -> String {
        format!("cannot reach the panel at {}: is it running, and is --url (BADGER_URL) right?", self.url)
    }
}

fn refusal(path: &str, mut response: Response<Body>) -> Refusal {
    let status = response.status().as_u16();
    // A proxy in between may answer with anything; then the status is all there is to tell.
    let body: Value = response.body_mut().read_json().unwrap_or_default();
    let error = &body["error"];
    let code = error["code"].as_str().unwrap_or("unknown").to_owned();
    let mut message = match error["message"].as_str() {
        Some(message) => message.to_owned(),
        None => format!("The panel answered {path} with status {status}"),
    };
    if status == 401 {
        message.push_str(" Set BADGER_API_KEY or --key-file.");
    }
    Refusal { status, code, message, details: error["details"].clone() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    /// Answers one request with `body` and returns what was asked.
    fn panel(status: &'static str, body: &'static str) -> (Api, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let api = Api::new(&format!("http://{}/", listener.local_addr().unwrap()), "bp_test").unwrap();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut request, mut bytes) = (Vec::new(), [0; 4096]);
            while !is_whole(&request) {
                let n = stream.read(&mut bytes).unwrap();
                request.extend_from_slice(&bytes[..n]);
            }
            let response = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            stream.write_all(response.as_bytes()).unwrap();
            String::from_utf8(request).unwrap()
        });
        (api, thread)
    }

    fn is_whole(request: &[u8]) -> bool {
        let text = String::from_utf8_lossy(request);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
        let head = head.to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        body.len() >= length.map_or(0, |length| length.parse().unwrap())
    }

    #[test]
    fn a_call_carries_the_key_and_returns_the_data() {
        let (api, asked) = panel("200 OK", r#"{"success": true, "data": [1, 2]}"#);
        assert_eq!(api.get("/admin/nodes").unwrap(), json!([1, 2]));
        let asked = asked.join().unwrap();
        assert!(asked.starts_with("GET /api/v1/admin/nodes HTTP/1.1"), "{asked}");
        assert!(asked.to_lowercase().contains("authorization: bearer bp_test"), "{asked}");
    }

    #[test]
    fn a_document_is_sent_and_got_as_it_is() {
        // The first of an egg's images is its default one.
        let egg = r#"{ "docker_images": {"Z": "first", "A": "second"} }"#;
        let (api, asked) = panel("201 Created", r#"{"success": true, "data": {"id": "e"}}"#);
        assert_eq!(api.post_text("/admin/eggs/import", egg).unwrap()["id"], "e");
        let asked = asked.join().unwrap();
        assert!(asked.ends_with(egg), "{asked}");
        let (api, asked) = panel("200 OK", r#"{ "docker_images": {"Z": "first", "A": "second"} }"#);
        assert_eq!(api.get_text("/admin/eggs/e/export").unwrap(), egg);
        asked.join().unwrap();
    }

    #[test]
    fn a_refusal_shows_message_code_and_fields() {
        let (api, asked) = panel(
            "400 Bad Request",
            r#"{"error": {"code": "validation_error", "message": "Not valid.", "details": {
                "memory_mb": {"needed": 9, "available": 1}, "name": ["is empty"]}}}"#,
        );
        let refused = api.get("/x").unwrap_err();
        let refused = refused.downcast_ref::<Refusal>().unwrap();
        assert_eq!(
            refused.to_string(),
            "Not valid. [400 validation_error]\n  memory_mb: 1 available, 9 needed\n  name: is empty"
        );
        asked.join().unwrap();
    }

    #[test]
    fn an_answer_of_something_else_is_explained() {
        let (api, asked) = panel("200 OK", "<html");
        assert!(api.get("/x").unwrap_err().to_string().contains("is --url right?"));
        asked.join().unwrap();
        assert!(Api::new("panel:8080", "k").unwrap_err().to_string().contains("http://"));
    }

    #[test]
    fn a_panel_that_is_not_there_is_explained() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let api = Api::new(&format!("http://{free}"), "k").unwrap();
        assert!(api.get("/x").unwrap_err().to_string().contains("is it running"));
    }
}
