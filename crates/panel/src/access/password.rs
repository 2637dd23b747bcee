//! Passwords: Argon2id, on threads that may block, a few at a time.
//!
//! One hash takes 19 MiB and some ten milliseconds of a core. Without a bound a few hundred log-ins at once would take
//! the memory and the processor from everything else that the panel does.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Hashes that are computed at once.
const AT_ONCE: usize = 2;
/// How long one may wait for its turn.
const PATIENCE: Duration = Duration::from_secs(10);
/// Characters of a password.
pub const SHORTEST: usize = 10;
/// Bytes of a password: more is somebody's attempt to make the panel work.
pub const LONGEST_BYTES: usize = 512;

/// Why there is no answer about a password.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// Too many at once. Try again.
    #[error("too many passwords are being checked")]
    Busy,
    /// The hash cannot be computed, or the stored one cannot be read.
    #[error("a password hash failed: {0}")]
    Broken(String),
}

/// What is compared with the password of a user that does not exist: it must take as long as one that does.
static NOBODY: LazyLock<Result<String, String>> = LazyLock::new(|| hash_now("nobody has this password"));

/// Computes and checks password hashes, a few at a time.
#[derive(Clone, Debug)]
pub struct Passwords {
    turns: Arc<Semaphore>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self { turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Passwords {
    /// The PHC string of `password`, with a new salt.
    pub async fn hash(&self, password: String) -> Result<String, PasswordError> {
        self.in_turn(move || hash_now(&password)).await
    }

    /// Whether `password` is the one of `stored`. Without a stored one it is not, and that takes as long.
    pub async fn verify(&self, password: String, stored: Option<String>) -> Result<bool, PasswordError> {
        self.in_turn(move || match stored {
            Some(stored) => verify_now(&password, &stored),
            None => verify_now(&password, NOBODY.as_ref().map_err(Clone::clone)?).map(|_| false),
        })
        .await
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, String> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let turn = timeout(PATIENCE, Arc::clone(&self.turns).acquire_owned()).await;
        let turn = turn.map_err(|_| PasswordError::Busy)?.map_err(|_| PasswordError::Busy)?;
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            // Held by the thread and not by the request: one that is given up goes on computing.
            drop(turn);
            done
        });
        done.await.map_err(|error| PasswordError::Broken(error.to_string()))?.map_err(PasswordError::Broken)
    }
}

fn hash_now(password: &str) -> Result<String, String> {
    let hash = Argon2::default().hash_password(password.as_bytes()).map_err(|error| error.to_string())?;
    Ok(hash.to_string())
}

/// The parameters are those of the stored hash, so that they can change without anybody's password.
fn verify_now(password: &str, stored: &str) -> Result<bool, String> {
    let stored = PasswordHash::new(stored).map_err(|error| error.to_string())?;
    match Argon2::default().verify_password(password.as_bytes(), &stored) {
        Ok(()) => Ok(true),
        Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
        Err(error) => Err(error.to_string()),
    }
}

/// What is wrong with a password that somebody chose; none if it will do.
#[must_use]
pub fn problem(password: &str, username: &str) -> Option<String> {
    if password.chars().count() < SHORTEST {
        return Some(format!("must have at least {SHORTEST} characters"));
    }
    if password.len() > LONGEST_BYTES {
        return Some(format!("must have at most {LONGEST_BYTES} bytes"));
    }
    let same = password.to_lowercase() == username.to_lowercase();
    same.then(|| "must not be the user name".to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_hash_is_argon2id_salted_and_only_its_password_fits() {
        let passwords = Passwords::default();
        let one = passwords.hash("correct horse".to_owned()).await.unwrap();
        let other = passwords.hash("correct horse".to_owned()).await.unwrap();
        assert!(one.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{one}");
        assert_ne!(one, other);
        assert!(passwords.verify("correct horse".to_owned(), Some(one.clone())).await.unwrap());
        assert!(!passwords.verify("correct horsf".to_owned(), Some(one)).await.unwrap());
        assert!(!passwords.verify("nobody has this password".to_owned(), None).await.unwrap());
        assert!(passwords.verify("x".to_owned(), Some("not a hash".to_owned())).await.is_err());
    }

    #[tokio::test]
    async fn no_more_are_computed_at_once_than_there_are_turns() {
        let passwords = Passwords::default();
        let turns = passwords.turns.clone().acquire_many_owned(2).await.unwrap();
        tokio::time::pause();
        // The clock jumps to the end of the patience, because nothing else can happen.
        let refused = passwords.hash("correct horse".to_owned()).await;
        assert!(matches!(refused, Err(PasswordError::Busy)));
        drop(turns);
        passwords.hash("correct horse".to_owned()).await.unwrap();
    }

    #[test]
    fn short_ones_and_the_name_itself_will_not_do() {
        assert!(problem("short", "kim").is_some());
        assert!(problem(&"x".repeat(LONGEST_BYTES + 1), "kim").is_some());
        assert!(problem("Administrator", "administrator").is_some());
        assert!(problem("correct horse", "kim").is_none());
    }
}
