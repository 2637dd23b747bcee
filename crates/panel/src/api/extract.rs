//! Requests in the API's own words: what axum would refuse with plain text is a `validation_error` here.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::ApiError;
use crate::app::App;
use crate::db::Paging;

/// How long a client may take to send a body.
const BODY_PATIENCE: Duration = Duration::from_secs(30);

/// A JSON body. The `Content-Type` is not looked at: `curl -d` sends a form's, and nothing but JSON is understood here
/// anyway. An empty body is `{}`. Unknown fields are refused where `T` says `deny_unknown_fields`.
#[derive(Debug)]
pub struct Body<T> {
    /// The value.
    pub value: T,
    /// As it came, for [`super::Idempotency`].
    pub raw: Bytes,
}

impl<T: DeserializeOwned> FromRequest<App> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let raw = read_body(request, app).await?;
        let text: &[u8] = if raw.iter().all(u8::is_ascii_whitespace) { b"{}" } else { &raw };
        // serde takes a list for a struct, field by field: nobody means that.
        if text.trim_ascii_start().first() != Some(&b'{') {
            return Err(ApiError::invalid("body", "is not a JSON object"));
        }
        let value = from_json(text)?;
        Ok(Self { value, raw })
    }
}

/// A body that is a text of its own, whatever its `Content-Type` says.
#[derive(Debug)]
pub(super) struct Text {
    /// The text.
    pub(super) text: String,
    /// The same, for [`super::Idempotency`].
    pub(super) raw: Bytes,
}

impl FromRequest<App> for Text {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let raw = read_body(request, app).await?;
        let text = String::from_utf8(raw.to_vec()).map_err(|_| ApiError::invalid("body", "is not UTF-8"))?;
        Ok(Self { text, raw })
    }
}

async fn read_body(request: Request, app: &App) -> Result<Bytes, ApiError> {
    let read = timeout(BODY_PATIENCE, Bytes::from_request(request, app)).await.map_err(|_| {
        ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            "request_timeout",
            "The body did not come to its end within 30 seconds. Send the request again.",
        )
    })?;
    read.map_err(|error| match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "payload_too_large",
            "The body is larger than 2 MiB. Send less.",
        ),
        _ => ApiError::invalid("body", "could not be read to its end"),
    })
}

/// `text` as a `T`, or a `validation_error` that names the field.
pub(crate) fn from_json<T: DeserializeOwned>(text: &[u8]) -> Result<T, ApiError> {
    let json = &mut serde_json::Deserializer::from_slice(text);
    let value = serde_path_to_error::deserialize(&mut *json).map_err(|error| {
        let path = error.path().to_string();
        let error = error.into_inner();
        if error.is_syntax() || error.is_eof() || error.is_io() {
            return ApiError::invalid("body", format!("is not JSON: {error}"));
        }
        let (field, problem) = blame(&path, &error.to_string());
        ApiError::invalid(&field, problem)
    })?;
    json.end().map_err(|error| ApiError::invalid("body", format!("is not JSON: {error}")))?;
    Ok(value)
}

/// Which field a complaint of serde is about, and the complaint in our words.
fn blame(path: &str, complaint: &str) -> (String, String) {
    let complaint = complaint.rsplit_once(" at line ").map_or(complaint, |(complaint, _)| complaint);
    let below = |name: &str| match path {
        "." | "?" | "" => name.to_owned(),
        path if path == name || path.ends_with(&format!(".{name}")) => path.to_owned(),
        path => format!("{path}.{name}"),
    };
    if let Some((name, rest)) = quoted(complaint, "unknown field `") {
        return (below(name), format!("is not known{}", rest.replacen(", expected", "; expected", 1)));
    }
    if let Some((name, _)) = quoted(complaint, "missing field `") {
        return (below(name), "is required".to_owned());
    }
    let field = if matches!(path, "." | "?" | "") { "body" } else { path };
    (field.to_owned(), complaint.to_owned())
}

fn quoted<'a>(text: &'a str, before: &str) -> Option<(&'a str, &'a str)> {
    text.strip_prefix(before)?.split_once('`')
}

/// The `{id}` of a route, as one of the model's ids. A word that is no id is a 400, not a 404.
#[derive(Clone, Copy, Debug)]
pub struct Id<T>(pub T);

impl<T: FromStr<Err: Display>> FromRequestParts<App> for Id<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let Path(text) = Path::<String>::from_request_parts(parts, app)
            .await
            .map_err(|_| ApiError::invalid("id", "is missing in the path"))?;
        text.parse().map(Self).map_err(|_| ApiError::invalid("id", format!("`{text}` is not a UUID")))
    }
}

/// `?page=&per_page=&sort=&filter[…]=` of a list, not yet checked against what the list knows.
#[derive(Clone, Debug, Default)]
pub struct ListQuery {
    /// The slice.
    pub paging: Paging,
    sort: Option<String>,
    filters: BTreeMap<String, String>,
}

/// A query of one's own: `?name=number`, nothing else.
#[derive(Clone, Debug)]
pub(super) struct Numbers(Vec<(String, String)>);

impl FromRequestParts<App> for Numbers {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let Query(pairs) = Query::from_request_parts(parts, app)
            .await
            .map_err(|_| ApiError::invalid("query", "could not be parsed"))?;
        Ok(Self(pairs))
    }
}

impl Numbers {
    /// The one parameter that there may be.
    pub(super) fn only(&self, name: &str, low: u32, high: u32) -> Result<Option<u32>, ApiError> {
        match self.0.iter().find(|(given, _)| given != name) {
            Some((other, _)) => Err(ApiError::invalid(other, "is not a parameter of this route")),
            None => self.0.last().map(|(_, value)| in_range(name, value, low, high)).transpose(),
        }
    }
}

impl FromRequestParts<App> for ListQuery {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let Query(pairs) = Query::<Vec<(String, String)>>::from_request_parts(parts, app)
            .await
            .map_err(|_| ApiError::invalid("query", "could not be parsed"))?;
        let mut query = Self::default();
        for (name, value) in pairs {
            query.take(&name, value)?;
        }
        Ok(query)
    }
}

impl ListQuery {
    fn take(&mut self, name: &str, value: String) -> Result<(), ApiError> {
        // PostgreSQL has none in its texts, so nothing can match one.
        if value.contains('\0') {
            return Err(ApiError::invalid(name, "must not have a zero byte"));
        }
        match name {
            "page" => self.paging.page = in_range(name, &value, 1, u32::MAX)?,
            "per_page" => self.paging.per_page = in_range(name, &value, 1, 100)?,
            "sort" => self.sort = Some(value),
            name => {
                let filter = name.strip_prefix("filter[").and_then(|name| name.strip_suffix(']'));
                let filter = filter.ok_or_else(|| ApiError::invalid(name, "is not a parameter of this list"))?;
                self.filters.insert(filter.to_owned(), value);
            }
        }
        Ok(())
    }

    /// The order: the column's name as given in `known`, and whether it descends (`?sort=-name`).
    pub fn sort(&self, known: &[&'static str], default: &'static str) -> Result<Sort, ApiError> {
        let wanted = self.sort.as_deref().unwrap_or(default);
        let (name, descending) = wanted.strip_prefix('-').map_or((wanted, false), |name| (name, true));
        match known.iter().find(|known| **known == name) {
            Some(column) => Ok(Sort { column, descending }),
            None => Err(ApiError::invalid("sort", format!("must be one of {}", known.join(", ")))),
        }
    }

    /// Refuses filters that are not in `known`. Call it before [`ListQuery::filter`].
    pub fn only_filters(&self, known: &[&str]) -> Result<(), ApiError> {
        match self.filters.keys().find(|name| !known.contains(&name.as_str())) {
            None => Ok(()),
            Some(name) => Err(ApiError::invalid(&format!("filter[{name}]"), "is not a filter of this list")),
        }
    }

    /// The value of `filter[name]` as a word of one of the model's enums.
    pub fn filter_word<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, ApiError> {
        let Some(text) = self.filters.get(name) else { return Ok(None) };
        let word = serde_json::from_value(serde_json::Value::String(text.clone()));
        let problem = format!("`{text}` cannot be a {name}");
        word.map(Some).map_err(|_| ApiError::invalid(&format!("filter[{name}]"), problem))
    }

    /// The value of `filter[node_id]` or `filter[cluster_id]`: both name where something is.
    pub fn filter_place<T: FromStr>(&self) -> Result<Option<T>, ApiError> {
        match (self.filter("node_id")?, self.filter("cluster_id")?) {
            (Some(_), Some(_)) => {
                Err(ApiError::invalid("filter[cluster_id]", "must not be given beside filter[node_id]"))
            }
            (node, cluster) => Ok(node.or(cluster)),
        }
    }

    /// The value of `filter[name]`.
    pub fn filter<T: FromStr>(&self, name: &str) -> Result<Option<T>, ApiError> {
        let Some(text) = self.filters.get(name) else { return Ok(None) };
        let problem = format!("`{text}` cannot be a {name}");
        text.parse().map(Some).map_err(|_| ApiError::invalid(&format!("filter[{name}]"), problem))
    }
}

fn in_range(name: &str, value: &str, low: u32, high: u32) -> Result<u32, ApiError> {
    let number = value.parse().ok().filter(|number| (low..=high).contains(number));
    number.ok_or_else(|| ApiError::invalid(name, format!("must be a number from {low} to {high}")))
}

/// An order that a list knows; `column` is one of our own words, never the client's.
#[derive(Clone, Copy, Debug)]
pub struct Sort {
    /// The column.
    pub column: &'static str,
    /// Largest first.
    pub descending: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_name_the_field() {
        for (path, complaint, field, problem) in [
            (".", "missing field `name` at line 1 column 2", "name", "is required"),
            ("limits", "missing field `disk` at line 1 column 2", "limits.disk", "is required"),
            (".", "unknown field `x`, expected `y` at line 1 column 4", "x", "is not known; expected `y`"),
            ("x", "unknown field `x`, there are no fields at line 1", "x", "is not known, there are no fields"),
            (
                "port",
                "invalid type: string \"a\", expected u16 at line 3 column 1",
                "port",
                "invalid type: string \"a\", expected u16",
            ),
            (
                ".",
                "invalid type: sequence, expected struct A at line 1 column 0",
                "body",
                "invalid type: sequence, expected struct A",
            ),
        ] {
            assert_eq!(blame(path, complaint), (field.to_owned(), problem.to_owned()));
        }
    }
}
