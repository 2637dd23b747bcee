//! `badger doctor`: is this machine fit to be a node, or this cluster to join? Each finding comes with its cure.

mod cluster;
mod machine;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use crate::exit::Exit;
use crate::output;

/// Arguments of `badger doctor`.
#[derive(Args, Debug)]
#[command(after_help = "Exit code 1 if something would not work; warnings do not count.\n\n\
    Examples:\n  badger doctor --data /srv/badger\n  badger doctor --cluster --kubeconfig ~/.kube/config")]
pub(crate) struct DoctorArgs {
    /// Where the daemon will keep its servers
    #[arg(long, value_name = "DIR", default_value = "/var/lib/badger")]
    data: PathBuf,
    /// Where the daemon will listen for other daemons
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:8443")]
    data_listen: SocketAddr,
    /// Docker engine that the daemon will use
    #[arg(long, value_name = "URL", env = "DOCKER_HOST", default_value = "unix:///var/run/docker.sock")]
    docker_host: String,
    /// Check a Kubernetes cluster instead of this machine
    #[arg(long, conflicts_with_all = ["data", "data_listen"])]
    cluster: bool,
    #[command(flatten)]
    wanted: cluster::ClusterArgs,
    /// Print the findings as one line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    Warning,
    Error,
}

/// What was found, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    check: Cow<'static, str>,
    level: Level,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cure: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self { check: check.into(), level: Level::Ok, message: message.into(), cure: None }
    }

    fn warning(check: &'static str, message: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { check: check.into(), level: Level::Warning, message: message.into(), cure: Some(cure.into()) }
    }

    fn error(check: &'static str, message: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { check: check.into(), level: Level::Error, message: message.into(), cure: Some(cure.into()) }
    }
}

/// Checks this machine or a cluster.
pub(crate) fn run(args: &DoctorArgs) -> Result<Exit> {
    let findings = if args.cluster {
        cluster::look(&args.wanted)?
    } else {
        machine::look(&args.data, args.data_listen, &args.docker_host)
    };
    if args.json {
        output::json(&findings);
    } else {
        findings.iter().for_each(show);
    }
    Ok(if findings.iter().any(|finding| finding.level == Level::Error) { Exit::Failed } else { Exit::Done })
}

fn show(finding: &Finding) {
    let mark = match finding.level {
        Level::Ok => "✔",
        Level::Warning => "!",
        Level::Error => "✘",
    };
    output::line(format!("{mark} {:14}{}", finding.check, finding.message));
    if let Some(cure) = &finding.cure {
        output::line(format!("                → {cure}"));
    }
}
