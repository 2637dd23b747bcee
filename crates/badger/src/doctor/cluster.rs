//! Is this cluster fit to join? The agent asks and judges; here is what a person may say about it, and how it is shown.

use std::path::PathBuf;

use agent::Survey;
use anyhow::{Context, Result};
use clap::Args;
use model::agent_api::{Check, CheckLevel};

use super::{Finding, Level};

/// What the cluster is wanted for.
#[derive(Args, Debug)]
pub(super) struct ClusterArgs {
    /// How to reach the cluster [default: as kubectl does]
    #[arg(long, value_name = "FILE", requires = "cluster")]
    kubeconfig: Option<PathBuf>,
    /// Class of the servers' volumes [default: the cluster's default class]
    #[arg(long, value_name = "NAME", requires = "cluster")]
    storage_class: Option<String>,
    /// Ports that servers may get
    #[arg(long, value_name = "FIRST-LAST", value_parser = range, default_value = "30000-32767")]
    node_ports: (u16, u16),
}

fn range(text: &str) -> Result<(u16, u16), String> {
    let (first, last) = text.split_once('-').ok_or("two ports with a hyphen between them")?;
    let port = |text: &str| text.parse::<u16>().map_err(|e| format!("{text}: {e}"));
    match (port(first)?, port(last)?) {
        (first, last) if first <= last => Ok((first, last)),
        _ => Err("the first port is above the last".to_owned()),
    }
}

/// Asks the cluster.
pub(super) fn look(wanted: &ClusterArgs) -> Result<Vec<Finding>> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start the asynchronous runtime")?;
    let survey = Survey {
        kubeconfig: wanted.kubeconfig.as_deref(),
        storage_class: wanted.storage_class.as_deref(),
        node_ports: wanted.node_ports,
    };
    Ok(runtime.block_on(agent::survey(&survey)).into_iter().map(Finding::from).collect())
}

impl From<Check> for Finding {
    fn from(check: Check) -> Self {
        let level = match check.level {
            CheckLevel::Info => Level::Ok,
            CheckLevel::Warning => Level::Warning,
            CheckLevel::Error => Level::Error,
        };
        let cure = (!check.remedy.is_empty()).then_some(check.remedy);
        Self { check: check.code.into(), level, message: check.message, cure }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_two_ports_in_order() {
        assert_eq!(range("30000-32767"), Ok((30000, 32767)));
        for wrong in ["30000", "2-1", "a-b", "1-70000", ""] {
            assert!(range(wrong).is_err(), "{wrong}");
        }
    }
}
