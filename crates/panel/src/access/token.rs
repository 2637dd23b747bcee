//! The two tokens of a session, both made with one key that lies beside the database.
//!
//! ```text
//!   access   JWT, HS256: {sub: user, sid: session, iat, exp}     15 minutes
//!   refresh  bpr_<session>.<generation>.<HMAC of both>           7 days; each use makes the next generation
//! ```
//!
//! Nothing of a refresh token is at rest: the database has the session's generation, and the token is computed from it.
//! So whoever reads the database has none, and a forged one is refused before the database is asked. An access token is
//! worth nothing without its session's row; that is what makes a log-out count at once.
//!
//! A JWT of one fixed header and one algorithm, by ring: a library would bring four more algorithms to confuse, and RSA.

use std::io;
use std::path::Path;

use data_encoding::BASE64URL_NOPAD;
use model::{SessionId, Timestamp, UserId};
use ring::hmac;
use serde::{Deserialize, Serialize};

use super::private_file::load_or_create_key;

/// Seconds for which an access token is good.
pub const ACCESS_S: i64 = 15 * 60;
/// Seconds for which a refresh token is good.
pub const REFRESH_S: i64 = 7 * 24 * 3600;
/// What every refresh token begins with.
const REFRESH_PREFIX: &str = "bpr_";
const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

/// What an access token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Whose it is.
    #[serde(rename = "sub")]
    pub user: UserId,
    /// The session that it belongs to.
    #[serde(rename = "sid")]
    pub session: SessionId,
    /// When it was made, seconds since 1970.
    pub iat: i64,
    /// From when on it is worth nothing, seconds since 1970.
    pub exp: i64,
}

/// Makes and reads tokens.
#[derive(Debug)]
pub struct Tokens {
    key: hmac::Key,
}

impl Tokens {
    /// Reads the key at `path` (32 bytes, hex), or makes one there (0600).
    pub fn load_or_create(path: &Path) -> io::Result<Self> {
        let bytes = load_or_create_key(path)?;
        Ok(Self { key: hmac::Key::new(hmac::HMAC_SHA256, &bytes) })
    }

    /// An access token that is good from `now` on.
    #[must_use]
    pub fn access(&self, user: UserId, session: SessionId, now: Timestamp) -> String {
        let iat = now.as_second();
        let claims = Claims { user, session, iat, exp: iat + ACCESS_S };
        let claims = serde_json::to_vec(&claims).expect("ids and numbers are JSON");
        let signed = format!("{}.{}", BASE64URL_NOPAD.encode(HEADER.as_bytes()), BASE64URL_NOPAD.encode(&claims));
        let tag = hmac::sign(&self.key, signed.as_bytes());
        format!("{signed}.{}", BASE64URL_NOPAD.encode(tag.as_ref()))
    }

    /// What an access token says, if this panel made it and its time is not over.
    #[must_use]
    pub fn read_access(&self, token: &str, now: Timestamp) -> Option<Claims> {
        let (signed, tag) = token.rsplit_once('.')?;
        let tag = BASE64URL_NOPAD.decode(tag.as_bytes()).ok()?;
        hmac::verify(&self.key, signed.as_bytes(), &tag).ok()?;
        // Whatever its header says: we have made it, and there is one kind that we make.
        let claims = BASE64URL_NOPAD.decode(signed.split_once('.')?.1.as_bytes()).ok()?;
        let claims: Claims = serde_json::from_slice(&claims).ok()?;
        (claims.exp > now.as_second()).then_some(claims)
    }

    /// The refresh token of a session's `generation`.
    #[must_use]
    pub fn refresh(&self, session: SessionId, generation: u64) -> String {
        let tag = hmac::sign(&self.key, refresh_signed(session, generation).as_bytes());
        format!("{REFRESH_PREFIX}{session}.{generation}.{}", BASE64URL_NOPAD.encode(tag.as_ref()))
    }

    /// Session and generation of a refresh token, if this panel made it.
    #[must_use]
    pub fn read_refresh(&self, token: &str) -> Option<(SessionId, u64)> {
        let mut parts = token.strip_prefix(REFRESH_PREFIX)?.split('.');
        let (session, generation) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let tag = BASE64URL_NOPAD.decode(parts.next()?.as_bytes()).ok()?;
        hmac::verify(&self.key, refresh_signed(session, generation).as_bytes(), &tag).ok()?;
        parts.next().is_none().then_some((session, generation))
    }
}

/// Begins like nothing that is signed as an access token, so that neither can be taken for the other.
fn refresh_signed(session: SessionId, generation: u64) -> String {
    format!("badgerpanel refresh v1\n{session}\n{generation}\n")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_token_is_good_for_its_time_after_a_restart_too_and_for_one_panel() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = dir.path().join("session.key");
        let (user, session) = (UserId::new(), SessionId::new());
        let token = Tokens::load_or_create(&path).unwrap().access(user, session, at(1000));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let tokens = Tokens::load_or_create(&path).unwrap();
        let claims = tokens.read_access(&token, at(1000 + ACCESS_S - 1)).unwrap();
        assert_eq!((claims.user, claims.session), (user, session));
        assert_eq!(tokens.read_access(&token, at(1000 + ACCESS_S)), None);
        let other = Tokens::load_or_create(&other.path().join("session.key")).unwrap();
        assert_eq!(other.read_access(&token, at(1000)), None);
    }

    #[test]
    fn a_token_that_was_touched_anywhere_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::load_or_create(&dir.path().join("session.key")).unwrap();
        let session = SessionId::new();
        let access = tokens.access(UserId::new(), session, at(0));
        let refresh = tokens.refresh(session, 7);
        assert_eq!(tokens.read_refresh(&refresh), Some((session, 7)));
        for index in 0..access.len() {
            assert_eq!(tokens.read_access(&touched(&access, index), at(0)), None, "{index}");
        }
        for index in 0..refresh.len() {
            assert_eq!(tokens.read_refresh(&touched(&refresh, index)), None, "{index}");
        }
        assert_eq!(tokens.read_refresh(&format!("{refresh}.x")), None);
        assert_eq!(tokens.read_refresh(&access), None);
        assert_eq!(tokens.read_access(&refresh, at(0)), None);
        // The oldest trick: no signature at all.
        let unsigned = format!("{}.", access.rsplit_once('.').unwrap().0);
        assert_eq!(tokens.read_access(&unsigned, at(0)), None);
    }

    fn touched(token: &str, index: usize) -> String {
        let mut bytes = token.as_bytes().to_vec();
        bytes[index] = if bytes[index] == b'5' { b'6' } else { b'5' };
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_file_that_is_no_key_is_refused_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("session.key");
        std::fs::write(&path, "abc").unwrap();
        assert!(Tokens::load_or_create(&path).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "abc");
    }
}
