//! `Idempotency-Key`: the same key gives the same answer for 24 hours.
//!
//! ```text
//! absent ──claim──► claimed ──record──► answered          a repeat gets the recorded answer
//!                      │  └──error──► absent              nothing was started: the key is free again
//!                      └──crash──► claimed                a repeat is told that the outcome is not known
//! ```

use std::future::Future;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::auth::sha256_hex;
use super::{Admin, Answer, ApiError};
use crate::app::App;
use crate::db::idempotency::{self, Claim};

/// How long an answer is remembered.
const KEEP_MS: i64 = 24 * 3600 * 1000;
const MAX_LENGTH: usize = 255;

/// The `Idempotency-Key` header of a request, if it has one.
#[derive(Clone, Debug)]
pub struct Idempotency(Option<String>);

impl FromRequestParts<App> for Idempotency {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _app: &App) -> Result<Self, ApiError> {
        let Some(value) = parts.headers.get("idempotency-key") else { return Ok(Self(None)) };
        let key = value.to_str().ok().filter(|key| !key.is_empty() && key.len() <= MAX_LENGTH);
        let key =
            key.ok_or_else(|| ApiError::invalid("Idempotency-Key", "must be 1 to 255 visible ASCII characters"))?;
        Ok(Self(Some(key.to_owned())))
    }
}

impl Idempotency {
    /// Runs `work`, unless a request with this key was answered before: then that answer.
    ///
    /// `route` names what is asked for, `raw` is the body: the same key with another request is refused. Errors are not
    /// remembered; whoever sent them may repair the request or try later under the same key.
    pub async fn once(
        &self,
        app: &App,
        admin: &Admin,
        route: &str,
        raw: &[u8],
        work: impl Future<Output = Result<Answer, ApiError>>,
    ) -> Result<Answer, ApiError> {
        let Some(key) = &self.0 else { return work.await };
        let hash = sha256_hex(&format!("{route}\n{}", String::from_utf8_lossy(raw)));
        let now = app.now();
        let mut conn = app.db.acquire().await?;
        idempotency::keys_forget(&mut conn, now.as_millisecond() - KEEP_MS).await?;
        match idempotency::key_claim(&mut conn, &admin.caller(), key, route, &hash, now).await? {
            Claim::Mine => {}
            Claim::Answered { body, request_hash } if request_hash == hash => {
                return serde_json::from_str(&body).map_err(ApiError::internal);
            }
            Claim::Pending { request_hash } if request_hash == hash => return Err(pending()),
            Claim::Answered { .. } | Claim::Pending { .. } => return Err(other_request()),
        }
        drop(conn);
        let answer = work.await;
        let mut conn = app.db.acquire().await?;
        match &answer {
            Ok(answer) => {
                let body = serde_json::to_string(answer).map_err(ApiError::internal)?;
                idempotency::key_answer(&mut conn, &admin.caller(), key, &body).await?;
            }
            Err(_) => idempotency::key_release(&mut conn, &admin.caller(), key).await?,
        }
        answer
    }
}

fn pending() -> ApiError {
    ApiError::conflict(
        "idempotency_pending",
        "A request with this Idempotency-Key has not ended, or the panel stopped while it ran. Look whether it was \
         done before you use another key.",
    )
}

fn other_request() -> ApiError {
    ApiError::unprocessable(
        "idempotency_mismatch",
        "This Idempotency-Key was used for another request within the last 24 hours. Use a new one.",
    )
}
