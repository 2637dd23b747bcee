//! The one error of the HTTP API: what people read, and what only the log gets.

use std::error::Error;
use std::net::IpAddr;

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::db::DbError;

/// An answer that is not a success: `{"success": false, "error": {"code", "message", "details"}}`.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    code: String,
    message: String,
    details: Map<String, Value>,
    /// For the log, never for the client.
    cause: Option<Box<dyn Error + Send + Sync>>,
    retry_after_s: Option<u64>,
}

impl ApiError {
    /// An error with a stable `code`. The message says what happened and what to do.
    pub fn new(status: StatusCode, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.into(),
            message: message.into(),
            details: Map::new(),
            cause: None,
            retry_after_s: None,
        }
    }

    /// 400 `validation_error` about one field.
    pub fn invalid(field: &str, problem: impl Into<String>) -> Self {
        Self::invalid_fields([(field.to_owned(), problem.into())])
    }

    /// 400 `validation_error` about several fields; `details` maps each to its list of problems.
    pub fn invalid_fields(problems: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut error = Self::new(
            StatusCode::BAD_REQUEST,
            "validation_error",
            "The request is not valid. See details for each field.",
        );
        for (field, problem) in problems {
            let list = error.details.entry(field).or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(list) = list {
                list.push(Value::String(problem));
            }
        }
        error
    }

    /// 401: no token or key, or one that is unknown or expired. It does not say which.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "Log in, or send a valid API key as Authorization: Bearer bp_….",
        )
    }

    /// 403 `forbidden`: the caller lacks `permission`.
    #[must_use]
    pub fn forbidden(permission: &str) -> Self {
        let message = format!("This needs the permission {permission}. Use an account or an API key that has it.");
        Self::new(StatusCode::FORBIDDEN, "forbidden", message).detail("permission", permission)
    }

    /// 403 `network_not_allowed`: the key is good, but not at `address`.
    #[must_use]
    pub fn network_not_allowed(address: IpAddr) -> Self {
        let message =
            format!("This API key may not be used from {address}. Use it where it is allowed, or allow it here.");
        Self::new(StatusCode::FORBIDDEN, "network_not_allowed", message).detail("address", address.to_string())
    }

    /// 429 `too_many_requests`, with `Retry-After`.
    #[must_use]
    pub fn too_many_requests(wait_ms: u64) -> Self {
        let seconds = wait_ms.div_ceil(1000).max(1);
        let message = format!("Too many requests. Try again in {seconds} seconds.");
        let mut error = Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", message);
        error.retry_after_s = Some(seconds);
        error.detail("retry_after_s", seconds)
    }

    /// 404 about a `noun` (`server`, `node`).
    #[must_use]
    pub fn not_found(noun: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("There is no such {noun}. Check the id."))
    }

    /// 409.
    pub fn conflict(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, message)
    }

    /// 422.
    pub fn unprocessable(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, message)
    }

    /// 503.
    pub fn unavailable(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message)
    }

    /// 500: our fault. The cause goes to the log.
    pub fn internal(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let mut error = Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal_error",
            "The panel failed at this. Its log says why.",
        );
        error.cause = Some(cause.into());
        error
    }

    /// The same with one more detail.
    #[must_use]
    pub fn detail(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }

    /// The same with what the log should know.
    #[must_use]
    pub fn cause(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What people read.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The stable word.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }
}

impl From<DbError> for ApiError {
    fn from(error: DbError) -> Self {
        match error {
            DbError::NotFound => {
                Self::new(StatusCode::NOT_FOUND, "not_found", "There is no such resource. Check the id.")
            }
            DbError::Conflict => Self::conflict(
                "conflict",
                "The resource has changed in the meantime, or is in use. Look at it again and decide.",
            ),
            DbError::Unavailable(_) => {
                Self::unavailable("database_unavailable", "The database did not answer in time. Try again.")
                    .cause(error)
            }
            DbError::Unstorable(_) => Self::new(
                StatusCode::BAD_REQUEST,
                "validation_error",
                "The request holds a character or a number that cannot be stored (a zero byte, for example). Leave it out.",
            ),
            DbError::Taken { .. } => {
                Self::unavailable("database_unavailable", "Another panel has taken over the database. Ask that one.")
                    .cause(error)
            }
            DbError::Corrupt { .. } | DbError::Newer { .. } | DbError::Schema(_) => Self::internal(error),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if let Some(cause) = &self.cause {
            let cause = chain(cause.as_ref());
            tracing::error!(status = self.status.as_u16(), code = self.code, cause, "request failed");
        }
        let error = json!({"code": self.code, "message": self.message, "details": self.details});
        let mut response = (self.status, Json(json!({"success": false, "error": error}))).into_response();
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// An error and its sources, one line.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
