//! Where the caller is logged in, and ending that from elsewhere.

use axum::extract::State;
use jiff::Timestamp;
use model::{SessionId, UserId};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::api::auth::Proof;
use crate::api::views::One;
use crate::api::{Admin, Answer, ApiError, Id};
use crate::app::App;
use crate::db::sessions::{self, Session};
use crate::db::{DbError, audit};

/// A log-in of the caller.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SessionView {
    /// Its id.
    #[schema(value_type = uuid::Uuid)]
    id: SessionId,
    /// Whether it is the one that asks.
    current: bool,
    /// From where: an address, or the /64 of a longer one.
    #[schema(example = "192.0.2.7")]
    address: String,
    /// When the user logged in.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was last refreshed.
    #[schema(value_type = String, format = DateTime)]
    refreshed_at: Timestamp,
    /// From when on it is over, unless it is refreshed.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

impl SessionView {
    fn new(session: Session, proof: Proof) -> Self {
        Self {
            id: session.id,
            current: proof == Proof::Session(session.id),
            address: session.address,
            created_at: session.created_at,
            refreshed_at: session.rotated_at,
            expires_at: session.expires_at,
        }
    }
}

/// Lists where the caller is logged in; nowhere, if they have come with an API key of nobody.
#[utoipa::path(get, path = "/api/v1/auth/sessions", tag = "auth",
    responses((status = 200, description = "All of them, the youngest first", body = One<Vec<SessionView>>)))]
pub(super) async fn list(State(app): State<App>, admin: Admin) -> Result<Answer, ApiError> {
    let mut conn = app.db.acquire().await?;
    let all = match admin.user_id() {
        Some(user) => sessions::sessions_of(&mut conn, user, app.now()).await?,
        None => Vec::new(),
    };
    Answer::ok(&all.into_iter().map(|session| SessionView::new(session, admin.proof)).collect::<Vec<_>>())
}

/// Ends one of the caller's own sessions.
#[utoipa::path(delete, path = "/api/v1/auth/sessions/{id}", tag = "auth", params(("id" = uuid::Uuid, Path)),
    responses((status = 204, description = "It is over")))]
pub(super) async fn end(State(app): State<App>, admin: Admin, Id(id): Id<SessionId>) -> Result<Answer, ApiError> {
    let mut tx = app.db.begin().await?;
    let owner = sessions::session_get(&mut tx, id, app.now()).await?.map(|(session, _)| session.user_id);
    let own: Option<UserId> = admin.user_id().filter(|user| owner == Some(*user));
    if own.is_none() {
        return Err(ApiError::not_found("session"));
    }
    sessions::session_end(&mut tx, id).await?;
    audit::audit(&mut tx, app.now(), &admin.actor(), "auth.session_end", id, &json!({"reason": "asked for"})).await?;
    tx.commit().await.map_err(DbError::from)?;
    Ok(Answer::no_content())
}
