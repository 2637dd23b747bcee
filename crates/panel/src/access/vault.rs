//! Secrets that the panel must be able to read again (keys of object storage, of webhooks, of name servers), as they
//! lie in the database: sealed, with a key that lies beside it.
//!
//! ```text
//!   v1.<base64url of: nonce (12 bytes), ciphertext, tag (16 bytes)>      ChaCha20-Poly1305, RFC 8439
//! ```
//!
//! Whoever has the database alone, a dump of it or a backup, has none of them. What a sealed text is for is part of the
//! seal, so that one cannot be put in the place of another. Passwords and tokens of callers are no secrets of this
//! kind: they are hashed ([`super::password`], [`super::token`]).

use std::io;
use std::path::Path;

use data_encoding::BASE64URL_NOPAD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};

use super::private_file::load_or_create_key;

/// What every sealed text begins with.
const PREFIX: &str = "v1.";

/// Why a sealed text gives nothing.
#[derive(Debug, thiserror::Error)]
#[error(
    "a secret in the database does not fit `secrets.key`: put back the key that belongs to this database, or set the secret again"
)]
pub struct Unreadable;

/// Seals and opens secrets.
pub struct Vault {
    key: LessSafeKey,
    random: SystemRandom,
}

impl Vault {
    /// Reads the key at `path` (32 bytes, hex), or makes one there (0600).
    pub fn load_or_create(path: &Path) -> io::Result<Self> {
        let key = UnboundKey::new(&CHACHA20_POLY1305, &load_or_create_key(path)?).map_err(io::Error::other)?;
        Ok(Self { key: LessSafeKey::new(key), random: SystemRandom::new() })
    }

    /// Seals `secret` for one purpose, for example `webhook/<id>`; only the same purpose opens it.
    pub fn seal(&self, purpose: &str, secret: &str) -> io::Result<String> {
        let mut nonce = [0; NONCE_LEN];
        let no_random = |_| io::Error::other("the system gives no random numbers");
        self.random.fill(&mut nonce).map_err(no_random)?;
        let mut sealed = secret.as_bytes().to_vec();
        let aad = Aad::from(purpose.as_bytes());
        let tag = self.key.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed);
        let tag = tag.map_err(io::Error::other)?;
        let whole = [&nonce[..], &sealed, tag.as_ref()].concat();
        Ok(format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&whole)))
    }

    /// The secret in `sealed`, if it was sealed here and for this purpose.
    pub fn open(&self, purpose: &str, sealed: &str) -> Result<String, Unreadable> {
        let text = sealed.strip_prefix(PREFIX).ok_or(Unreadable)?;
        let whole = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| Unreadable)?;
        let (nonce, sealed) = whole.split_first_chunk::<NONCE_LEN>().ok_or(Unreadable)?;
        let (nonce, mut sealed) = (Nonce::assume_unique_for_key(*nonce), sealed.to_vec());
        let opened = self.key.open_in_place(nonce, Aad::from(purpose.as_bytes()), &mut sealed);
        let secret = opened.map_err(|_| Unreadable)?.to_vec();
        String::from_utf8(secret).map_err(|_| Unreadable)
    }
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vault")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_by_the_same_key_for_the_same_purpose_alone() {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::load_or_create(&dir.path().join("secrets.key")).unwrap();
        let sealed = vault.seal("webhook/1", "hunter2 ü").unwrap();
        assert!(!sealed.contains("hunter2"));
        assert_ne!(sealed, vault.seal("webhook/1", "hunter2 ü").unwrap(), "a nonce was used twice");
        let again = Vault::load_or_create(&dir.path().join("secrets.key")).unwrap();
        assert_eq!(again.open("webhook/1", &sealed).unwrap(), "hunter2 ü");
        assert!(vault.open("webhook/2", &sealed).is_err());
        let other = Vault::load_or_create(&dir.path().join("other.key")).unwrap();
        assert!(other.open("webhook/1", &sealed).is_err());
    }

    #[test]
    fn what_was_changed_or_cut_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::load_or_create(&dir.path().join("secrets.key")).unwrap();
        let sealed = vault.seal("p", "secret").unwrap();
        for broken in ["", "v1.", "v1.AAAA", "secret", &sealed[..sealed.len() - 2], &sealed.replacen('v', "w", 1)] {
            assert!(vault.open("p", broken).is_err(), "{broken}");
        }
        let mut bytes = sealed.clone().into_bytes();
        let at = bytes.len() / 2;
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        assert!(vault.open("p", &String::from_utf8(bytes).unwrap()).is_err());
    }
}
