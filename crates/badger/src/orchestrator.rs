//! `badger orchestrator`: the agent of a Kubernetes cluster, in it as a Deployment or beside it with a kubeconfig.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use agent::{OrchestratorConfig, Settings};
use anyhow::{Context, Result};
use clap::Args;

use crate::exit::Exit;
use crate::roles::until_signal;

/// Where Kubernetes tells a pod its own namespace.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
const NAMESPACE: &str = "badger-system";

/// Arguments of `badger orchestrator`.
#[derive(Args, Debug)]
#[command(after_help = "The panel shows the command that installs it: make a cluster there.\n\n\
    Outside of the cluster, for trying out:\n  \
    badger orchestrator --config config.yml --kubeconfig ~/.kube/config --state-dir ./orchestrator \\\n    \
    --hub-listen 192.0.2.1:8444")]
pub(crate) struct OrchestratorArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE", env = "BADGER_CONFIG", default_value = "/etc/badgerpanel/config.yml")]
    config: PathBuf,
    /// Single-use enrolment token, instead of the one in the file; not needed once enrolled
    #[arg(long, value_name = "TOKEN", env = "BADGER_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// The same in a file
    #[arg(long, value_name = "FILE", env = "BADGER_TOKEN_FILE", conflicts_with = "token")]
    token_file: Option<PathBuf>,
    /// Credentials of the cluster, outside of it
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Its own namespace [default: the pod's, badger-system outside]
    #[arg(long, value_name = "NAME", env = "BADGER_NAMESPACE")]
    namespace: Option<String>,
    /// Where the movers of pods connect (TLS)
    #[arg(long, value_name = "IP:PORT", env = "BADGER_HUB_LISTEN", default_value = "0.0.0.0:8444")]
    hub_listen: SocketAddr,
    /// How pods reach that [default: the orchestrator's own Service; outside, where it listens]
    #[arg(long, value_name = "HOST:PORT", env = "BADGER_HUB_ADDRESS")]
    hub_address: Option<String>,
    /// Directory of its identity [default: the Secret badger-orchestrator in its namespace]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// After how many seconds a server that does not run gives its pod back
    #[arg(long, value_name = "SECONDS", env = "BADGER_IDLE_SECONDS", default_value_t = 300)]
    idle_seconds: u64,
    /// Name of this cluster for people
    #[arg(long, value_name = "NAME", env = "BADGER_NODE_NAME", default_value = "orchestrator")]
    name: String,
    /// What a Service makes known to the pods of its namespace
    #[arg(env = "BADGER_ORCHESTRATOR_SERVICE_HOST", long, hide = true)]
    service_host: Option<String>,
    #[arg(env = "BADGER_ORCHESTRATOR_SERVICE_PORT", long, hide = true)]
    service_port: Option<u16>,
}

impl OrchestratorArgs {
    fn settings(&self) -> Result<Settings> {
        let text = fs::read_to_string(&self.config);
        let text = text.with_context(|| format!("cannot read {}", self.config.display()))?;
        let mut settings = Settings::parse(&text).with_context(|| self.config.display().to_string())?;
        if let Some(file) = &self.token_file {
            let token = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
            settings.token = Some(token.trim().to_owned());
        }
        settings.token = self.token.clone().or(settings.token).filter(|token| !token.is_empty());
        Ok(settings)
    }

    fn namespace(&self) -> String {
        let told = self.namespace.clone().or_else(|| fs::read_to_string(NAMESPACE_FILE).ok());
        told.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).unwrap_or_else(|| NAMESPACE.to_owned())
    }

    /// The Service's address does not change for as long as it is there, and takes no name resolution.
    fn hub_address(&self) -> Option<String> {
        let service = self.service_host.as_ref().zip(self.service_port);
        let of_service = service
            .map(|(host, port)| if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") });
        self.hub_address.clone().or(of_service)
    }
}

/// Runs an orchestrator until a signal.
pub(crate) fn run(args: OrchestratorArgs) -> Result<Exit> {
    let config = OrchestratorConfig {
        settings: args.settings()?,
        namespace: args.namespace(),
        hub_address: args.hub_address(),
        kubeconfig: args.kubeconfig,
        hub_listen: args.hub_listen,
        state_dir: args.state_dir,
        idle: Duration::from_secs(args.idle_seconds),
        name: args.name,
    };
    until_signal(async |shutdown| {
        Box::pin(agent::run_orchestrator(config, shutdown)).await.context("the orchestrator cannot run")
    })
}
