//! Who is asking, and may they: users with the access token of a session, programs with an API key.
//!
//! A key has 256 random bits, so its SHA-256 is what the database keeps and looks up; how long the lookup takes tells
//! nothing about a key that could be guessed. The hashes are then compared without an early exit.
//!
//! Whatever the token says, user, role and session are read anew for each request: who was disabled, demoted or logged
//! out a moment ago has a token that is worth nothing.

use std::io;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use model::{ApiKeyId, SessionId, UserId};
use ring::rand::{SecureRandom, SystemRandom};

use super::ApiError;
use super::client::Client;
use crate::app::App;
use crate::db::keys::{self, ApiKey};
use crate::db::sessions;
use crate::db::users::{self, User};
use crate::db::{Conn, DbError};

/// How old `last_used_at` may be before a use is written down again.
const LAST_USED_GRAIN_MS: i64 = 60_000;

/// How a caller has shown who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// With this API key.
    Key(ApiKeyId),
    /// With the access token of this session.
    Session(SessionId),
}

/// A caller who has shown who they are. What they may do is asked for with [`Admin::may`].
#[derive(Clone, Debug)]
pub struct Admin {
    /// How they have shown it.
    pub proof: Proof,
    /// Who they are; none for a key that belongs to nobody.
    pub user: Option<User>,
    /// The name of the key or the user, for the audit log.
    pub name: String,
    /// From where they ask.
    pub client: Client,
    /// What they may: of a user's key, what both the key and the role allow.
    permissions: Vec<String>,
    /// What a key is good for; none for a session, which is good for all that its user may.
    scopes: Option<Vec<String>>,
}

impl Admin {
    /// Passes if the caller has `permission`, for example `admin.servers.transfer`.
    pub fn may(&self, permission: &str) -> Result<(), ApiError> {
        if self.has(permission) { Ok(()) } else { Err(ApiError::forbidden(permission)) }
    }

    /// Whether the caller has `permission`, which may be a pattern itself (`admin.servers.*`).
    #[must_use]
    pub fn has(&self, permission: &str) -> bool {
        self.permissions.iter().any(|held| covers(held, permission))
    }

    /// The same caller as they are now; none if they are let in no more. For what outlives a request.
    pub(super) async fn again(&self, app: &App) -> Result<Option<Self>, ApiError> {
        let mut conn = app.db.acquire().await?;
        match self.proof {
            Proof::Session(id) => Ok(by_session(&mut conn, app, id, self.client).await?),
            Proof::Key(id) => match keys::key_get(&mut conn, id).await? {
                Some(key) => admit_key(&mut conn, app, key, self.client).await,
                None => Ok(None),
            },
        }
    }

    /// What the caller may, as patterns.
    #[must_use]
    pub fn permissions(&self) -> &[String] {
        &self.permissions
    }

    /// Whether the caller's token is good for `permission`, if they have it by other means than their role.
    #[must_use]
    pub fn in_scope(&self, permission: &str) -> bool {
        self.scopes.as_ref().is_none_or(|scopes| scopes.iter().any(|scope| covers(scope, permission)))
    }

    /// The caller's user, if there is one.
    #[must_use]
    pub fn user_id(&self) -> Option<UserId> {
        self.user.as_ref().map(|user| user.id)
    }

    /// Under what idempotency keys are kept and requests are counted: a key or a user, however often logged in.
    #[must_use]
    pub fn caller(&self) -> String {
        match (self.proof, &self.user) {
            (Proof::Session(_), Some(user)) => format!("user:{}", user.id),
            (Proof::Session(id), None) => format!("session:{id}"),
            (Proof::Key(id), _) => id.to_string(),
        }
    }

    /// How the audit log and a transfer's `requested_by` name the caller.
    #[must_use]
    pub fn actor(&self) -> String {
        match (self.proof, &self.user) {
            (Proof::Key(id), _) => format!("api_key:{id}:{}", self.name),
            (Proof::Session(_), Some(user)) => format!("user:{}:{}", user.id, self.name),
            (Proof::Session(id), None) => format!("session:{id}:{}", self.name),
        }
    }
}

/// Whether `scope` (`*`, `admin.servers.*`, `admin.servers.list`) contains `permission`.
fn covers(scope: &str, permission: &str) -> bool {
    match scope.strip_suffix('*') {
        Some("") => true,
        Some(prefix) => prefix.ends_with('.') && permission.starts_with(prefix),
        None => scope == permission,
    }
}

/// What both lists allow. Patterns contain each other or have nothing in common, so this is exact.
fn both(scopes: &[String], permissions: &[String]) -> Vec<String> {
    let mut common: Vec<String> = Vec::new();
    for scope in scopes {
        for permission in permissions {
            let narrower = if covers(scope, permission) { permission } else { scope };
            let in_both = covers(scope, narrower) && covers(permission, narrower);
            if in_both && !common.contains(narrower) {
                common.push(narrower.clone());
            }
        }
    }
    common
}

impl FromRequestParts<App> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let client = Client::from_request_parts(parts, app).await?;
        let now_ms = app.now().as_millisecond();
        if let Some(admin) = identify(parts, app, client).await? {
            let taken = app.access.requests.take(&admin.caller(), now_ms);
            return taken.map(|()| admin).map_err(ApiError::too_many_requests);
        }
        // Who has no valid token is counted by address: guessing is not free.
        let taken = app.access.requests.take(&format!("address:{}", client.network()), now_ms);
        Err(taken.map_or_else(ApiError::too_many_requests, |()| ApiError::unauthorized()))
    }
}

async fn identify(parts: &Parts, app: &App, client: Client) -> Result<Option<Admin>, ApiError> {
    let Some(token) = bearer(parts) else { return Ok(None) };
    let mut conn = app.db.acquire().await?;
    if let Some(claims) = app.access.tokens.read_access(token, app.now()) {
        return Ok(by_session(&mut conn, app, claims.session, client).await?);
    }
    by_key(&mut conn, app, token, client).await
}

async fn by_session(conn: &mut Conn, app: &App, id: SessionId, client: Client) -> Result<Option<Admin>, DbError> {
    let found = sessions::session_get(conn, id, app.now()).await?;
    Ok(found.filter(|(_, user)| !user.disabled).map(|(session, user)| Admin {
        proof: Proof::Session(session.id),
        name: user.username.clone(),
        client,
        permissions: user.permissions.clone(),
        scopes: None,
        user: Some(user),
    }))
}

async fn by_key(conn: &mut Conn, app: &App, token: &str, client: Client) -> Result<Option<Admin>, ApiError> {
    let hash = sha256_hex(token);
    let Some(key) = keys::key_by_hash(conn, &hash).await? else { return Ok(None) };
    if same(&key.key_hash, &hash) { admit_key(conn, app, key, client).await } else { Ok(None) }
}

/// The caller behind a key that was shown, if it is still good.
async fn admit_key(conn: &mut Conn, app: &App, key: ApiKey, client: Client) -> Result<Option<Admin>, ApiError> {
    let now = app.now();
    if key.expires_at.is_some_and(|at| at <= now) {
        return Ok(None);
    }
    let user = match key.user_id {
        Some(id) => Some(users::user_get(conn, id).await?),
        None => None,
    };
    if user.as_ref().is_some_and(|user| user.disabled) {
        return Ok(None);
    }
    // After everything that a stranger could fail at: only who has the key learns that it is good elsewhere.
    if !key.allowed_networks.is_empty() && !key.allowed_networks.iter().any(|net| net.contains(&client.address)) {
        return Err(ApiError::network_not_allowed(client.address));
    }
    let stale = now.as_millisecond() - LAST_USED_GRAIN_MS;
    if key.last_used_at.is_none_or(|at| at.as_millisecond() < stale) {
        keys::key_used(conn, key.id, now).await?;
    }
    Ok(Some(of_key(key, user, client)))
}

fn of_key(key: ApiKey, user: Option<User>, client: Client) -> Admin {
    let permissions = match &user {
        Some(user) => both(&key.scopes, &user.permissions),
        None => key.scopes.clone(),
    };
    Admin { proof: Proof::Key(key.id), user, name: key.name, client, permissions, scopes: Some(key.scopes) }
}

/// The token of `Authorization: Bearer …`.
pub(crate) fn bearer(parts: &Parts) -> Option<&str> {
    bearer_of(&parts.headers)
}

/// The same, out of the headers alone.
pub(super) fn bearer_of(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).filter(|token| !token.is_empty())
}

/// A new secret: `prefix` and 32 random bytes in base64url.
pub(crate) fn new_secret(prefix: &str) -> io::Result<String> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| io::Error::other("the system gives no random numbers"))?;
    Ok(prefix.to_owned() + &BASE64URL_NOPAD.encode(&bytes))
}

/// SHA-256 of a secret, lower-case hex, as the database keeps it.
pub(crate) fn sha256_hex(secret: &str) -> String {
    HEXLOWER.encode(ring::digest::digest(&ring::digest::SHA256, secret.as_bytes()).as_ref())
}

/// Equality in a time that depends on the length only.
pub(crate) fn same(a: &str, b: &str) -> bool {
    let differ = a.bytes().zip(b.bytes()).fold(0, |differ, (a, b)| differ | (a ^ b));
    a.len() == b.len() && std::hint::black_box(differ) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_cover_what_they_name_and_nothing_beside_it() {
        for (scope, permission, expected) in [
            ("*", "admin.servers.list", true),
            ("admin.servers.*", "admin.servers.list", true),
            ("admin.servers.list", "admin.servers.list", true),
            ("admin.servers.list", "admin.servers.listen", false),
            ("admin.serv*", "admin.servers.list", false),
            ("admin.nodes.*", "admin.servers.list", false),
            ("", "admin.servers.list", false),
        ] {
            assert_eq!(covers(scope, permission), expected, "{scope} {permission}");
        }
    }

    #[test]
    fn a_users_key_has_what_key_and_role_have_in_common() {
        let list = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        for (scopes, role, common) in [
            ("*", "admin.servers.list admin.nodes.*", "admin.servers.list admin.nodes.*"),
            ("admin.servers.* server.power", "*", "admin.servers.* server.power"),
            ("admin.servers.*", "admin.servers.list admin.nodes.list", "admin.servers.list"),
            ("admin.servers.list", "admin.servers.*", "admin.servers.list"),
            ("admin.servers.list", "admin.nodes.*", ""),
            ("*", "", ""),
        ] {
            assert_eq!(both(&list(scopes), &list(role)), list(common), "{scopes} and {role}");
        }
    }

    #[test]
    fn secrets_compare_whole() {
        assert!(same("abc", "abc"));
        assert!(!same("abc", "abd"));
        assert!(!same("abc", "abcd"));
        assert!(!same("", "a"));
    }
}
