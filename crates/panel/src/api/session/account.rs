//! The caller themselves: who they are, and their own password.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::access::password;
use crate::access::rate::Attempt;
use crate::api::auth::Proof;
use crate::api::views::One;
use crate::api::{Admin, Answer, ApiError, Body};
use crate::app::App;
use crate::db::users::User;
use crate::db::{DbError, audit, sessions, users};

/// Who asks, and what they may.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Me {
    /// Of the user; of the key, if it belongs to nobody.
    id: Uuid,
    /// Of the user; of the key, if it belongs to nobody.
    #[schema(example = "admin")]
    username: String,
    /// Null if there is none.
    #[schema(example = "kim@example.com")]
    email: Option<String>,
    /// The role's name; null for a key that belongs to nobody.
    #[schema(example = "Admin")]
    role: Option<String>,
    /// What the caller may: names and patterns, `*` for everything.
    #[schema(example = json!(["*"]))]
    permissions: Vec<String>,
}

impl From<User> for Me {
    fn from(user: User) -> Self {
        let User { id, username, email, role, permissions, .. } = user;
        Self { id: id.0, username, email, role: Some(role), permissions }
    }
}

impl From<Admin> for Me {
    fn from(admin: Admin) -> Self {
        let permissions = admin.permissions().to_vec();
        let key = match admin.proof {
            Proof::Key(id) => id.0,
            Proof::Session(id) => id.0,
        };
        match admin.user {
            Some(user) => Self { permissions, ..Self::from(user) },
            None => Self { id: key, username: admin.name, email: None, role: None, permissions },
        }
    }
}

/// Shows who asks, and what they may.
#[utoipa::path(get, path = "/api/v1/auth/me", tag = "auth",
    responses((status = 200, description = "The user, or the API key", body = One<Me>)))]
pub(super) async fn me(admin: Admin) -> Result<Answer, ApiError> {
    Answer::ok(&Me::from(admin))
}

/// A new password of one's own.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"current_password": "correct horse battery staple", "new_password": "wrong donkey battery staple"}))]
pub(super) struct PasswordChange {
    /// The one until now.
    current_password: String,
    /// At least 10 characters.
    new_password: String,
}

/// Changes the caller's own password. All their other sessions end.
#[utoipa::path(post, path = "/api/v1/auth/password", tag = "auth", request_body = PasswordChange, responses(
    (status = 204, description = "Changed"),
    (status = 409, description = "`not_a_session`: API keys have no password"),
    (status = 429, description = "`too_many_requests`, with `Retry-After`"),
    (status = 503, description = "`busy`"),
))]
pub(super) async fn set_password(
    State(app): State<App>,
    admin: Admin,
    body: Body<PasswordChange>,
) -> Result<Answer, ApiError> {
    let (Proof::Session(session), Some(user)) = (admin.proof, &admin.user) else {
        let message = "API keys have no password. Log in to change yours.";
        return Err(ApiError::conflict("not_a_session", message));
    };
    let PasswordChange { current_password, new_password } = body.value;
    if let Some(problem) = password::problem(&new_password, &user.username) {
        return Err(ApiError::invalid("new_password", problem));
    }
    let attempt = Attempt { account: &user.username, address: admin.client.address, is_known: true };
    app.access.logins.check(attempt, app.now().as_millisecond()).map_err(ApiError::too_many_requests)?;
    let stored = users::user_by_login(&mut *app.db.acquire().await?, &user.username).await?.map(|(_, hash)| hash);
    if current_password.len() > password::LONGEST_BYTES
        || !app.access.passwords.verify(current_password, stored).await?
    {
        return Err(ApiError::invalid("current_password", "is wrong"));
    }
    app.access.logins.succeeded(attempt);
    let hash = app.access.passwords.hash(new_password).await?;
    let mut tx = app.db.begin().await?;
    users::user_set_password(&mut tx, user.id, &hash).await?;
    sessions::sessions_end(&mut tx, user.id, Some(session)).await?;
    audit::audit(&mut tx, app.now(), &admin.actor(), "user.set_password", user.id, &json!({})).await?;
    tx.commit().await.map_err(DbError::from)?;
    Ok(Answer::no_content())
}
