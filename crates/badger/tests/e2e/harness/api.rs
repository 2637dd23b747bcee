//! A client of the panel's API that shows everything: status, headers where they matter, body.

use std::time::Duration;

use serde_json::Value;
use ureq::http::Request;

/// Where and as whom to call.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    /// `http://host:port`.
    pub(crate) url: String,
    /// `bp_…`.
    pub(crate) key: String,
    agent: ureq::Agent,
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// HTTP status.
    pub(crate) status: u16,
    /// The body; null where there is none.
    pub(crate) body: Value,
    /// The `Location` header.
    pub(crate) location: Option<String>,
}

impl Answer {
    /// `data` of an answer that must be a success with `status`.
    pub(crate) fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        assert!(status == 204 || self.body["success"] == true, "{}", self.body);
        self.body["data"].clone()
    }

    /// The error of an answer that must have `status` and `code`, with a message for people.
    pub(crate) fn refused(&self, status: u16, code: &str) -> &Value {
        let error = &self.body["error"];
        assert_eq!((self.status, error["code"].as_str()), (status, Some(code)), "{}", self.body);
        assert_eq!(self.body["success"], false, "{}", self.body);
        let message = error["message"].as_str().unwrap_or_default();
        assert!(message.len() > 10, "the message says what happened and what to do: {message}");
        assert!(error["details"].is_object(), "{}", self.body);
        error
    }
}

impl Api {
    /// A client of the panel at `url`.
    pub(crate) fn new(url: &str, key: &str) -> Self {
        let config =
            ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_mins(1)));
        Self { url: url.to_owned(), key: key.to_owned(), agent: config.build().into() }
    }

    /// The same panel, another key.
    pub(crate) fn with_key(&self, key: &str) -> Self {
        Self { key: key.to_owned(), ..self.clone() }
    }

    /// `GET /api/v1{path}`.
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.try_get(path).unwrap()
    }

    /// `GET`, where the panel may be down.
    pub(crate) fn try_get(&self, path: &str) -> Result<Answer, ureq::Error> {
        self.run(Request::get(self.at(path)), None)
    }

    /// `GET`, beside the API.
    pub(crate) fn get_raw(&self, path: &str) -> Answer {
        self.run(Request::get(format!("{}{path}", self.url)), None).unwrap()
    }

    /// `POST` with a JSON body.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_text(path, &body.to_string())
    }

    /// `POST`, where the panel may be down.
    pub(crate) fn try_post(&self, path: &str, body: &Value) -> Result<Answer, ureq::Error> {
        self.run(Request::post(self.at(path)), Some(&body.to_string()))
    }

    /// `POST` with a body that may be no JSON.
    pub(crate) fn post_text(&self, path: &str, body: &str) -> Answer {
        self.run(Request::post(self.at(path)), Some(body)).unwrap()
    }

    /// `PATCH` with a JSON body.
    pub(crate) fn patch(&self, path: &str, body: &Value) -> Answer {
        self.run(Request::patch(self.at(path)), Some(&body.to_string())).unwrap()
    }

    /// `DELETE`.
    pub(crate) fn delete(&self, path: &str) -> Answer {
        self.try_delete(path).unwrap()
    }

    /// `DELETE`, where the panel may be down.
    pub(crate) fn try_delete(&self, path: &str) -> Result<Answer, ureq::Error> {
        self.run(Request::delete(self.at(path)), None)
    }

    fn at(&self, path: &str) -> String {
        format!("{}/api/v1{path}", self.url)
    }

    fn run(&self, request: ureq::http::request::Builder, body: Option<&str>) -> Result<Answer, ureq::Error> {
        let request =
            if self.key.is_empty() { request } else { request.header("Authorization", format!("Bearer {}", self.key)) };
        let mut response = match body {
            None => self.agent.run(request.body(())?)?,
            Some(body) => self.agent.run(request.header("Content-Type", "application/json").body(body.to_owned())?)?,
        };
        let location = response.headers().get("Location").and_then(|v| v.to_str().ok()).map(ToOwned::to_owned);
        let text = response.body_mut().read_to_string()?;
        let body =
            if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap_or(Value::String(text)) };
        Ok(Answer { status: response.status().as_u16(), body, location })
    }
}
