//! What a mover shows at the hub: its server's id and our signature of it.
//!
//! Nothing is stored: whoever holds the key can tell a bearer that it gave out, also after it was deleted and came back.
//! The key is in the orchestrator's identity, the bearer in a Secret of the server's namespace.

use data_encoding::BASE64URL_NOPAD;
use model::ServerId;
use ring::hmac::{self, HMAC_SHA256, Key};

/// Gives bearers out and knows them again.
pub(crate) struct Bearers(Key);

impl Bearers {
    pub(crate) fn new(secret: &str) -> Self {
        Self(Key::new(HMAC_SHA256, secret.as_bytes()))
    }

    /// The same one each time.
    pub(crate) fn bearer(&self, server: ServerId) -> String {
        let signature = hmac::sign(&self.0, signed(server).as_bytes());
        format!("{server}.{}", BASE64URL_NOPAD.encode(signature.as_ref()))
    }

    /// Whose it is; none if we did not give it out. The comparison takes the same time whatever is wrong.
    pub(crate) fn whose(&self, bearer: &str) -> Option<ServerId> {
        let (server, signature) = bearer.split_once('.')?;
        let server = server.parse().ok()?;
        let signature = BASE64URL_NOPAD.decode(signature.as_bytes()).ok()?;
        hmac::verify(&self.0, signed(server).as_bytes(), &signature).ok().map(|()| server)
    }
}

fn signed(server: ServerId) -> String {
    format!("badgerpanel mover v1\n{server}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_for_the_same_server_is_known() {
        let (ours, theirs) = (Bearers::new("a"), Bearers::new("b"));
        let (server, other) = (ServerId::new(), ServerId::new());
        let bearer = ours.bearer(server);
        assert_eq!(ours.whose(&bearer), Some(server));
        assert_eq!(Bearers::new("a").bearer(server), bearer, "it stays the same");
        for wrong in [
            theirs.bearer(server),
            bearer.replace(&server.to_string(), &other.to_string()),
            server.to_string(),
            format!("{server}."),
            bearer[..bearer.len() - 1].to_owned(),
            String::new(),
        ] {
            assert_eq!(ours.whose(&wrong), None, "{wrong}");
        }
    }
}
