//! Diagnostics on standard error. Standard output belongs to results.

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

/// How to log.
#[derive(Args, Debug)]
pub(crate) struct LogArgs {
    /// What to log, for example `info` or `panel=debug,agent=trace` [default: info for panel and daemon, warn otherwise]
    #[arg(long, global = true, value_name = "FILTER", env = "RUST_LOG", help_heading = "Logging")]
    log: Option<String>,
    /// How a log line looks
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, env = "BADGER_LOG_FORMAT", help_heading = "Logging")]
    log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl LogArgs {
    /// Starts logging; `default` is the filter where the user asked for none.
    pub(crate) fn start(&self, default: &str) -> anyhow::Result<()> {
        let filter = self.log.as_deref().filter(|f| !f.is_empty()).unwrap_or(default);
        let filter = EnvFilter::try_new(filter)
            .map_err(|e| anyhow::anyhow!("--log {filter}: {e}; try `info` or `panel=debug,agent=info`"))?;
        let started = match self.log_format {
            LogFormat::Text => fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(ansi()).try_init(),
            LogFormat::Json => fmt().json().with_env_filter(filter).with_writer(std::io::stderr).try_init(),
        };
        started.map_err(|e| anyhow::anyhow!("cannot start logging: {e}"))
    }
}

fn ansi() -> bool {
    use std::io::IsTerminal;
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}
