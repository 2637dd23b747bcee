//! Speaking with the storage over signed addresses: one part there, one range back, several times if need be.
//!
//! ```text
//! address ─► request ─┬─ done
//!    ▲                ├─ 400, 401, 403: the address has ended ─► another one from the panel
//!    │                ├─ 408, 429, 5xx, no answer: later again
//!    └── pause ◄──────┴─ anything else: an error
//! ```

use std::io::Read;
use std::time::Duration;

use model::agent_api::{AgentError, ErrorCode};
use tokio_util::sync::CancellationToken;
use ureq::Agent;
use ureq::http::{Response, StatusCode};

use super::session::{Desk, cancelled};

const CONNECT: Duration = Duration::from_secs(10);
/// A storage that sends or takes nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(30);
/// For the answer to a part, which the storage may still have to put somewhere.
const ANSWER: Duration = Duration::from_mins(1);
/// How often one part or range is tried. With the pauses that is more than a minute.
const ATTEMPTS: u32 = 8;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(20);
/// How often a fresh address may be refused as well.
const REFUSALS: u32 = 3;
/// Bytes of an answer that people are shown.
const SHOWN: u64 = 2048;

/// A client of the storage.
pub(super) struct Storage<'a> {
    agent: Agent,
    desk: &'a Desk,
}

enum Failed {
    Ended(String),
    Later(String),
    Never(String),
}

impl<'a> Storage<'a> {
    pub(super) fn new(desk: &'a Desk) -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_connect(Some(CONNECT))
            .timeout_per_write(Some(SILENCE))
            .timeout_recv_response(Some(ANSWER))
            .timeout_per_read(Some(SILENCE))
            .user_agent(concat!("badger/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        Self { agent, desk }
    }

    /// Uploads part `number`; answers its tag.
    pub(super) fn put(&self, number: u32, bytes: &[u8]) -> Result<String, AgentError> {
        let what = format!("part {number} could not be uploaded");
        self.try_often(number, &what, |url| {
            let answer = self.agent.put(url).send(bytes).map_err(|e| Failed::Later(e.to_string()))?;
            let answer = good(answer)?;
            let etag = answer.headers().get("etag").and_then(|etag| etag.to_str().ok());
            etag.map(str::to_owned).ok_or_else(|| Failed::Never("the storage gave no ETag for it".to_owned()))
        })
    }

    /// Reads `into.len()` bytes of the object from `offset` on. The object must be `of` bytes long.
    pub(super) fn get(&self, offset: u64, of: u64, into: &mut [u8]) -> Result<(), AgentError> {
        let last = offset + into.len() as u64 - 1;
        let what = format!("bytes {offset} to {last} of the backup could not be read");
        self.try_often(0, &what, |url| {
            let answer = self.agent.get(url).header("Range", format!("bytes={offset}-{last}")).call();
            let mut answer = good(answer.map_err(|e| Failed::Later(e.to_string()))?)?;
            let range = answer.headers().get("content-range").and_then(|range| range.to_str().ok()).unwrap_or_default();
            if answer.status() != StatusCode::PARTIAL_CONTENT || range != format!("bytes {offset}-{last}/{of}") {
                return Err(Failed::Never(format!("the storage has another object, of which it gave `{range}`")));
            }
            let body = answer.body_mut().with_config().limit(u64::MAX);
            body.reader().read_exact(into).map_err(|e| Failed::Later(e.to_string()))
        })
    }

    fn try_often<T>(
        &self,
        of: u32,
        what: &str,
        mut once: impl FnMut(&str) -> Result<T, Failed>,
    ) -> Result<T, AgentError> {
        let (mut attempts, mut refusals, mut pause) = (0, 0, FIRST_PAUSE);
        loop {
            let failed = match once(&self.desk.address(of)?) {
                Ok(done) => return Ok(done),
                Err(failed) => failed,
            };
            if self.desk.cancel.is_cancelled() {
                return Err(cancelled());
            }
            let (why, give_up) = match failed {
                Failed::Never(why) => (why, true),
                Failed::Later(why) => {
                    attempts += 1;
                    (why, attempts == ATTEMPTS)
                }
                Failed::Ended(why) => {
                    refusals += 1;
                    self.desk.refused(of);
                    (why, refusals > REFUSALS)
                }
            };
            if give_up {
                return Err(AgentError::new(ErrorCode::Unreachable, format!("{what}: {why}")));
            }
            tracing::debug!(what, why, "backup: tried again");
            rest(pause, &self.desk.cancel);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// A pause that a cancel cuts short.
fn rest(pause: Duration, cancel: &CancellationToken) {
    const LOOK: Duration = Duration::from_millis(100);
    let mut left = pause;
    while !left.is_zero() && !cancel.is_cancelled() {
        let now = left.min(LOOK);
        std::thread::sleep(now);
        left -= now;
    }
}

fn good(mut answer: Response<ureq::Body>) -> Result<Response<ureq::Body>, Failed> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let text = answer.body_mut().with_config().limit(SHOWN).read_to_string().unwrap_or_default();
    let why = format!("the storage answers {status}{}", said(&text));
    Err(match status.as_u16() {
        // Storages differ in how they call a signature that has ended.
        400 | 401 | 403 => Failed::Ended(why),
        404 => Failed::Never(format!("{why} (was the object, or its bucket, removed?)")),
        408 | 429 | 500.. => Failed::Later(why),
        _ => Failed::Never(why),
    })
}

/// The code out of an XML document of an error.
fn said(text: &str) -> String {
    let code = text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
    code.map(|(code, _)| format!(" ({code})")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_storages_own_word_is_found() {
        assert_eq!(said("<?xml?><Error><Code>ExpiredToken</Code><Message/></Error>"), " (ExpiredToken)");
        assert_eq!((said(""), said("<Code>x")), (String::new(), String::new()));
    }
}
