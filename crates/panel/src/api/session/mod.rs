//! Logging in, staying logged in, logging out.
//!
//! ```text
//!   login ──► session, generation 1 ──refresh──► generation 2 ──► …      each refresh token is used once
//!                     │                  │
//!                   logout     a token of an earlier generation: somebody has a copy, so the session ends
//! ```
//!
//! A browser that opens two pages at once sends its one cookie twice. So a cookie of the generation before the current
//! one is answered with the current tokens for some seconds; a token in a body, which programs send, is not.

mod account;
mod cookie;
mod login;
mod places;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use model::{SessionId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{OpenApi, ToSchema};

use super::auth::bearer_of;
use super::client::Client;
use super::views::One;
use super::{Answer, ApiError, Body};
use crate::access::token::{ACCESS_S, REFRESH_S};
use crate::app::App;
use crate::db::sessions::{self, Session};
use crate::db::users::User;
use crate::db::{Conn, DbError, audit};
use account::Me;

/// How long a cookie of the generation before is answered with the current tokens.
const SAME_TIME_MS: i64 = 10_000;

#[derive(OpenApi)]
#[openapi(paths(login::login, refresh, logout, account::me, account::set_password, places::list, places::end))]
pub(super) struct Doc;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/auth/login", post(login::login))
        .route("/auth/refresh", post(refresh))
        .route("/auth/logout", post(logout))
        .route("/auth/me", get(account::me))
        .route("/auth/password", post(account::set_password))
        .route("/auth/sessions", get(places::list))
        .route("/auth/sessions/{id}", delete(places::end))
}

/// The tokens of a session.
#[derive(Debug, Serialize, ToSchema)]
struct TokensView {
    /// For `Authorization: Bearer …`.
    #[schema(example = "eyJ…")]
    access_token: String,
    /// Always `Bearer`.
    #[schema(example = "Bearer")]
    token_type: &'static str,
    /// Seconds for which the access token is good.
    #[schema(example = 900)]
    expires_in: i64,
    /// For the next refresh, within 7 days; used once. Browsers have it as a cookie too.
    #[schema(example = "bpr_…")]
    refresh_token: String,
    /// Who has logged in.
    user: Me,
}

impl TokensView {
    fn new(app: &App, session: &Session, user: User) -> Self {
        Self {
            access_token: app.access.tokens.access(user.id, session.id, app.now()),
            token_type: "Bearer",
            expires_in: ACCESS_S,
            refresh_token: app.access.tokens.refresh(session.id, session.generation),
            user: Me::from(user),
        }
    }

    fn answer(&self, client: Client) -> Result<Response, ApiError> {
        cookie::keep(Answer::ok(self)?, &self.refresh_token, client.is_https)
    }
}

/// A refresh token, unless it comes as a cookie.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({}))]
struct RefreshRequest {
    /// As the last log-in or refresh gave it; without it the cookie `badger_refresh`.
    refresh_token: Option<String>,
}

impl RefreshRequest {
    fn token(self, headers: &HeaderMap) -> Option<Presented> {
        let given = self.refresh_token.map(|token| Presented { token, is_cookie: false });
        given.or_else(|| cookie::refresh_token(headers).map(|token| Presented { token, is_cookie: true }))
    }
}

struct Presented {
    token: String,
    is_cookie: bool,
}

/// When a session that is used now will be over.
fn expiry(now: Timestamp) -> Result<Timestamp, ApiError> {
    now.checked_add(jiff::SignedDuration::from_secs(REFRESH_S)).map_err(ApiError::internal)
}

/// Gives new tokens for a refresh token, which is used up by that.
///
/// A refresh token that was used before ends the session: somebody has a copy of it.
#[utoipa::path(post, path = "/api/v1/auth/refresh", tag = "auth",
    request_body(content = RefreshRequest, description = "Empty with the cookie"),
    responses(
        (status = 200, description = "New tokens; the cookie is set anew", body = One<TokensView>),
        (status = 400, description = "`validation_error`"),
        (status = 401, description = "`session_ended`: log in again"),
        (status = 403, description = "`cross_site`"),
    ))]
async fn refresh(
    State(app): State<App>,
    client: Client,
    headers: HeaderMap,
    body: Body<RefreshRequest>,
) -> Result<Response, ApiError> {
    cookie::same_site(&headers)?;
    let presented = body.value.token(&headers);
    let mut tx = app.db.begin().await?;
    let rotated = match presented {
        Some(presented) => rotate(&mut tx, &app, &presented).await?,
        None => None,
    };
    tx.commit().await.map_err(DbError::from)?;
    match rotated {
        Some((session, user)) => TokensView::new(&app, &session, user).answer(client),
        None => cookie::forget(session_ended(), client.is_https),
    }
}

/// The session behind a token, in its next generation. None if there is none any more.
async fn rotate(tx: &mut Conn, app: &App, presented: &Presented) -> Result<Option<(Session, User)>, ApiError> {
    let now = app.now();
    let Some((id, generation)) = app.access.tokens.read_refresh(&presented.token) else { return Ok(None) };
    let Some((mut session, user)) = sessions::session_get(tx, id, now).await? else { return Ok(None) };
    let since = now.as_millisecond() - session.rotated_at.as_millisecond();
    let at_the_same_time = presented.is_cookie && generation + 1 == session.generation && since < SAME_TIME_MS;
    if user.disabled || (generation != session.generation && !at_the_same_time) {
        sessions::session_end(tx, id).await?;
        let details = json!({"reason": if user.disabled { "user disabled" } else { "refresh token used twice" }});
        let actor = format!("user:{}:{}", user.id, user.username);
        audit::audit(tx, now, &actor, "auth.session_end", id, &details).await?;
        return Ok(None);
    }
    if generation == session.generation {
        session.generation += 1;
        session.rotated_at = now;
        session.expires_at = expiry(now)?;
        sessions::session_rotate(tx, &session).await?;
    }
    Ok(Some((session, user)))
}

fn session_ended() -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, "session_ended", "You are not logged in any more. Log in again.")
}

/// Ends the session of the access token, or of the refresh token. There being none is no error.
#[utoipa::path(post, path = "/api/v1/auth/logout", tag = "auth",
    request_body(content = RefreshRequest, description = "Empty with the cookie or an access token"),
    responses(
        (status = 204, description = "Logged out; the cookie is gone"),
        (status = 400, description = "`validation_error`"),
        (status = 403, description = "`cross_site`"),
    ))]
async fn logout(
    State(app): State<App>,
    client: Client,
    headers: HeaderMap,
    body: Body<RefreshRequest>,
) -> Result<Response, ApiError> {
    cookie::same_site(&headers)?;
    let tokens = &app.access.tokens;
    let bearer = bearer_of(&headers).and_then(|token| tokens.read_access(token, app.now()));
    let presented = body.value.token(&headers).and_then(|presented| tokens.read_refresh(&presented.token));
    let ended: Vec<SessionId> =
        bearer.map(|claims| claims.session).into_iter().chain(presented.map(|it| it.0)).collect();
    let mut conn = app.db.acquire().await?;
    for session in ended {
        sessions::session_end(&mut conn, session).await?;
    }
    cookie::forget(Answer::no_content().into_response(), client.is_https)
}
