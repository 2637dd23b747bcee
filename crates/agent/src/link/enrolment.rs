//! The right to speak with a panel: an enrolment token once, id and secret from then on.

use std::sync::Arc;

use async_trait::async_trait;
use model::agent_api::Welcome;

use super::{Credential, End, Shown};
use crate::error::{Error, Result};
use crate::identity::{Enrolled, Identity, Vault};

/// What an agent shows its panel.
pub(crate) struct Enrolment {
    panel_url: String,
    token: Option<String>,
    secret: String,
    enrolled: Option<Enrolled>,
    vault: Arc<dyn Vault>,
}

impl Enrolment {
    /// An agent that never joined needs a token.
    pub(crate) fn new(
        identity: &Identity,
        vault: Arc<dyn Vault>,
        panel_url: String,
        token: Option<String>,
    ) -> Result<Self> {
        if identity.enrolled.is_none() && token.is_none() {
            let message = "this agent has not joined a panel: make a node or a cluster there and run the command that \
                           it shows";
            return Err(Error::Config(message.to_owned()));
        }
        let (secret, enrolled) = (identity.secret.clone(), identity.enrolled.clone());
        Ok(Self { panel_url, token, secret, enrolled, vault })
    }
}

#[async_trait]
impl Credential for Enrolment {
    /// The secret itself goes along only with a token.
    fn show(&mut self) -> Result<Shown, End> {
        if let Some(enrolled) = &self.enrolled {
            return Ok(Shown { bearer: format!("{}.{}", enrolled.agent_id, self.secret), secret: None });
        }
        let bearer = self.token.clone().ok_or_else(|| End::refused("it does not know this agent"))?;
        Ok(Shown { bearer, secret: Some(self.secret.clone()) })
    }

    async fn welcomed(&mut self, welcome: &Welcome) -> Result<()> {
        let enrolled = Enrolled {
            panel_url: self.panel_url.clone(),
            agent_id: welcome.agent_id,
            permit_key: welcome.permit_key.clone(),
        };
        if self.enrolled.as_ref() != Some(&enrolled) {
            enrolled.keep(&*self.vault).await?;
            self.enrolled = Some(enrolled);
        }
        Ok(())
    }

    /// An agent that the panel has forgotten joins again if it was given a new token.
    fn refused(&mut self, reason: String) -> Result<()> {
        let forgotten = self.enrolled.take().is_some();
        if forgotten && self.token.is_some() {
            tracing::warn!(reason, "the panel does not know this agent any more: trying the enrolment token");
            return Ok(());
        }
        Err(Error::Refused { reason })
    }
}
