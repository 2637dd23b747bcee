//! Logging in with a password: counted, in equal time for everybody, and written down.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use model::{SessionId, UserId};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{TokensView, cookie, expiry};
use crate::access::password::{LONGEST_BYTES, PasswordError};
use crate::access::rate::Attempt;
use crate::api::client::Client;
use crate::api::views::One;
use crate::api::{ApiError, Body, chain};
use crate::app::App;
use crate::db::sessions::{self, Session};
use crate::db::users::{self, User};
use crate::db::{DbError, audit};

/// Who logs in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"username": "admin", "password": "correct horse battery staple"}))]
pub(super) struct LoginRequest {
    /// Name or e-mail address, in any case of letters.
    username: String,
    /// As it is.
    password: String,
}

/// Logs a user in.
///
/// Attempts are limited for each address and each account; `Retry-After` says when the next one is taken.
#[utoipa::path(post, path = "/api/v1/auth/login", tag = "auth", request_body = LoginRequest, responses(
    (status = 200, description = "Tokens, and the cookie `badger_refresh` for browsers", body = One<TokensView>),
    (status = 400, description = "`validation_error`"),
    (status = 401, description = "`invalid_credentials`"),
    (status = 403, description = "`account_disabled`, `cross_site`"),
    (status = 429, description = "`too_many_requests`, with `Retry-After`"),
    (status = 503, description = "`busy`"),
))]
pub(super) async fn login(
    State(app): State<App>,
    client: Client,
    headers: HeaderMap,
    body: Body<LoginRequest>,
) -> Result<Response, ApiError> {
    cookie::same_site(&headers)?;
    let LoginRequest { username, password } = body.value;
    if password.len() > LONGEST_BYTES || username.len() > LONGEST_BYTES {
        return Err(invalid_credentials());
    }
    let address = client.network().to_string();
    let mut conn = app.db.acquire().await?;
    let found = users::user_by_login(&mut conn, &username).await?;
    // Asked for nobody too, so that it takes as long.
    let id = found.as_ref().map_or(UserId(Uuid::nil()), |(user, _)| user.id);
    let is_known = sessions::address_is_known(&mut conn, id, &address).await?;
    drop(conn);

    let account = found.as_ref().map_or(username.as_str(), |(user, _)| &user.username);
    let attempt = Attempt { account, address: client.address, is_known };
    app.access.logins.check(attempt, app.now().as_millisecond()).map_err(ApiError::too_many_requests)?;
    let stored = found.as_ref().map(|(_, hash)| hash.clone());
    if !app.access.passwords.verify(password, stored).await? {
        note_failure(&app, found.map(|(user, _)| user), address);
        return Err(invalid_credentials());
    }
    app.access.logins.succeeded(attempt);
    let (user, hash) = found.ok_or_else(invalid_credentials)?;
    let session = begin(&app, &user, &hash, address).await?;
    TokensView::new(&app, &session, user).answer(client)
}

/// Writes the session down, unless the user was disabled or got another password while theirs was checked.
async fn begin(app: &App, user: &User, hash: &str, address: String) -> Result<Session, ApiError> {
    let now = app.now();
    let mut tx = app.db.begin().await?;
    let current = users::user_by_login(&mut tx, &user.username).await?.filter(|(_, current)| current == hash);
    match current {
        None => return Err(invalid_credentials()),
        Some((user, _)) if user.disabled => return Err(disabled()),
        Some(_) => {}
    }
    let session = Session {
        id: SessionId::new(),
        user_id: user.id,
        generation: 1,
        rotated_at: now,
        created_at: now,
        expires_at: expiry(now)?,
        address,
    };
    sessions::session_begin(&mut tx, &session).await?;
    let actor = format!("user:{}:{}", user.id, user.username);
    let details = json!({"address": session.address});
    audit::audit(&mut tx, now, &actor, "auth.login", user.id, &details).await?;
    tx.commit().await.map_err(DbError::from)?;
    Ok(session)
}

/// In the background: that there is somebody to write about must not be seen from how long the answer takes.
fn note_failure(app: &App, user: Option<User>, address: String) {
    let Some(user) = user else { return };
    let app = app.clone();
    app.tasks.clone().spawn(async move {
        let (actor, details) = (format!("address:{address}"), json!({"username": user.username, "address": address}));
        let written = async {
            let mut conn = app.db.acquire().await?;
            audit::audit(&mut conn, app.now(), &actor, "auth.login_failed", user.id, &details).await
        };
        if let Err(error) = written.await {
            tracing::warn!(user = %user.id, error = chain(&error), "a failed log-in could not be written down");
        }
    });
}

fn invalid_credentials() -> ApiError {
    let message = "User name or password is wrong. Check both; capital letters matter in the password.";
    ApiError::new(StatusCode::UNAUTHORIZED, "invalid_credentials", message)
}

fn disabled() -> ApiError {
    let message = "This account is disabled. Ask an administrator to enable it.";
    ApiError::new(StatusCode::FORBIDDEN, "account_disabled", message)
}

impl From<PasswordError> for ApiError {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Busy => {
                Self::unavailable("busy", "Too many passwords are being checked. Try again in some seconds.")
            }
            PasswordError::Broken(_) => Self::internal(error),
        }
    }
}
