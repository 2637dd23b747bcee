//! Successful answers in the API's envelope.

use axum::Json;
use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ApiError;
use crate::db::{Page, Paging};

/// A success. Plain data, so that an idempotent repeat can be answered with the recorded one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    status: u16,
    location: Option<String>,
    body: Option<Value>,
}

impl Answer {
    fn with(status: StatusCode, location: Option<String>, data: &impl Serialize) -> Result<Self, ApiError> {
        let data = serde_json::to_value(data).map_err(ApiError::internal)?;
        Ok(Self { status: status.as_u16(), location, body: Some(json!({"success": true, "data": data})) })
    }

    /// 200 with one object (or a list that has no pages).
    pub fn ok(data: &impl Serialize) -> Result<Self, ApiError> {
        Self::with(StatusCode::OK, None, data)
    }

    /// 201 with the new resource and where it is.
    pub fn created(location: impl Into<String>, data: &impl Serialize) -> Result<Self, ApiError> {
        Self::with(StatusCode::CREATED, Some(location.into()), data)
    }

    /// 202 with the resource that shows what comes of it.
    pub fn accepted(location: impl Into<String>, data: &impl Serialize) -> Result<Self, ApiError> {
        Self::with(StatusCode::ACCEPTED, Some(location.into()), data)
    }

    /// 204.
    #[must_use]
    pub fn no_content() -> Self {
        Self { status: StatusCode::NO_CONTENT.as_u16(), location: None, body: None }
    }

    /// 200 with one page of a list.
    pub fn page<T: Serialize>(page: &Page<T>, paging: Paging) -> Result<Self, ApiError> {
        let total_pages = page.total.div_ceil(u64::from(paging.per_page)).max(1);
        let meta = json!({
            "current_page": paging.page, "per_page": paging.per_page, "total": page.total, "total_pages": total_pages,
        });
        let mut answer = Self::ok(&page.items)?;
        if let Some(Value::Object(body)) = &mut answer.body {
            body.insert("meta".to_owned(), meta);
        }
        Ok(answer)
    }

    /// The same page with one more number beside its slice.
    #[must_use]
    pub fn with_meta(mut self, name: &str, value: impl Into<Value>) -> Self {
        if let Some(meta) = self.body.as_mut().and_then(|body| body.get_mut("meta")).and_then(Value::as_object_mut) {
            meta.insert(name.to_owned(), value.into());
        }
        self
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::OK);
        let mut response = match self.body {
            Some(body) => (status, Json(body)).into_response(),
            None => status.into_response(),
        };
        if let Some(location) = self.location.and_then(|location| HeaderValue::try_from(location).ok()) {
            response.headers_mut().insert(LOCATION, location);
        }
        response
    }
}
