//! Who is asking, and may they: API keys as bearer tokens.
//!
//! A key has 256 random bits, so its SHA-256 is what the database keeps and looks up; how long the lookup takes tells
//! nothing about a key that could be guessed. The hashes are then compared without an early exit.

use std::io;

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use model::ApiKeyId;
use ring::rand::{SecureRandom, SystemRandom};

use super::ApiError;
use crate::app::App;
use crate::db::keys;

/// How old `last_used_at` may be before a use is written down again.
const LAST_USED_GRAIN_MS: i64 = 60_000;

/// A caller with a valid API key.
#[derive(Clone, Debug)]
pub struct Admin {
    /// The key's id. Idempotency keys are per API key.
    pub key_id: ApiKeyId,
    /// The key's name, for the audit log.
    pub name: String,
    scopes: Vec<String>,
}

impl Admin {
    /// Passes if the key has `permission`, for example `admin.servers.transfer`.
    pub fn may(&self, permission: &str) -> Result<(), ApiError> {
        if self.scopes.iter().any(|scope| covers(scope, permission)) {
            Ok(())
        } else {
            Err(ApiError::forbidden(permission))
        }
    }

    /// How the audit log and a transfer's `requested_by` name the caller.
    #[must_use]
    pub fn actor(&self) -> String {
        format!("api_key:{}:{}", self.key_id, self.name)
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

impl FromRequestParts<App> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let token = bearer(parts).ok_or_else(ApiError::unauthorized)?;
        let hash = sha256_hex(token);
        let mut conn = app.db.acquire().await?;
        let key = keys::key_by_hash(&mut conn, &hash).await?.ok_or_else(ApiError::unauthorized)?;
        let now = app.now();
        if !same(&key.key_hash, &hash) || key.expires_at.is_some_and(|at| at <= now) {
            return Err(ApiError::unauthorized());
        }
        let stale = now.as_millisecond() - LAST_USED_GRAIN_MS;
        if key.last_used_at.is_none_or(|at| at.as_millisecond() < stale) {
            keys::key_used(&mut conn, key.id, now).await?;
        }
        Ok(Self { key_id: key.id, name: key.name, scopes: key.scopes })
    }
}

/// The token of `Authorization: Bearer …`.
pub(crate) fn bearer(parts: &Parts) -> Option<&str> {
    let value = parts.headers.get(AUTHORIZATION)?.to_str().ok()?;
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
    fn secrets_compare_whole() {
        assert!(same("abc", "abc"));
        assert!(!same("abc", "abd"));
        assert!(!same("abc", "abcd"));
        assert!(!same("", "a"));
    }
}
