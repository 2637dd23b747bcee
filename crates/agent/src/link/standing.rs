//! The right to speak with an orchestrator: a bearer that somebody else put beside us and may replace.

use std::path::PathBuf;

use async_trait::async_trait;
use model::agent_api::Welcome;

use super::{Credential, End, Shown};
use crate::error::Result;

/// A bearer in a file. It is read at each attempt: a Secret that changes is mounted anew by itself.
pub(crate) struct Standing {
    file: PathBuf,
}

impl Standing {
    pub(crate) fn new(file: PathBuf) -> Self {
        Self { file }
    }
}

#[async_trait]
impl Credential for Standing {
    fn show(&mut self) -> Result<Shown, End> {
        let text = std::fs::read_to_string(&self.file);
        let text = text.map_err(|error| End::lost(format!("cannot read {}: {error}", self.file.display())))?;
        Ok(Shown { bearer: text.trim().to_owned(), secret: None })
    }

    async fn welcomed(&mut self, _welcome: &Welcome) -> Result<()> {
        Ok(())
    }

    /// Games depend on us: a refusal is waited out, for whoever refuses may be corrected without us.
    fn refused(&mut self, reason: String) -> Result<()> {
        tracing::error!(reason, "the orchestrator refuses this mover: is the Secret in this namespace its own?");
        Ok(())
    }
}
