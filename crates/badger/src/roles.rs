//! The long-running roles: `badger panel` and `badger daemon`. SIGTERM and SIGINT end them in good order.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use ipnet::IpNet;
use panel::db::PostgresUrl;
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::alone::Alone;
use crate::exit::Exit;
use crate::output;

/// How long tasks may take to end after their role has.
const GRACE: Duration = Duration::from_secs(5);

/// Arguments of `badger panel`.
#[derive(Args, Debug)]
#[command(after_help = "At the first start an admin API key is made, and a user `admin`;\n\
    the key is in DIR/admin.key, the password in DIR/admin.password.\n\n\
    Example:\n  badger panel --data /var/lib/badger-panel --listen 0.0.0.0:8080 --public-url https://panel.example\n  \
    badger panel --data /var/lib/badger-panel --database postgres://badger@db.example/badger")]
pub(crate) struct PanelArgs {
    /// Directory of the keys and the SQLite database; made if it is not there
    #[arg(long, value_name = "DIR", env = "BADGER_PANEL_DATA")]
    data: PathBuf,
    /// Where to listen; port 0 takes a free one, and the first line of output says which
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8080", env = "BADGER_PANEL_LISTEN")]
    listen: SocketAddr,
    /// How users and agents reach the panel, if not at the address it listens on
    #[arg(long, value_name = "URL", env = "BADGER_PANEL_PUBLIC_URL")]
    public_url: Option<String>,
    /// Container image of this release that clusters run, if not the one that the release was published with
    #[arg(long, value_name = "IMAGE", env = "BADGER_IMAGE")]
    image: Option<String>,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    access: AccessArgs,
    #[command(flatten)]
    outbound: OutboundArgs,
    #[command(flatten)]
    parent: ParentArgs,
}

/// Where the panel's database is.
#[derive(Args, Debug)]
struct DatabaseArgs {
    /// PostgreSQL database, as postgres://USER@HOST:PORT/NAME [default: an SQLite file in the data directory]
    #[arg(long = "database", value_name = "URL", env = "BADGER_DATABASE", hide_env_values = true)]
    url: Option<String>,
    /// File with the password for it; else PGPASSWORD or ~/.pgpass. In the URL everybody on this machine can read it
    #[arg(
        long = "database-password-file",
        value_name = "FILE",
        env = "BADGER_DATABASE_PASSWORD_FILE",
        requires = "url"
    )]
    password_file: Option<PathBuf>,
    /// Move what is in DIR/panel.db (SQLite) into it first; the file is DIR/panel.db.moved then
    #[arg(long, requires = "url")]
    move_from_sqlite: bool,
}

impl DatabaseArgs {
    fn config(self) -> Result<Option<PostgresUrl>> {
        let Some(url) = self.url.filter(|url| !url.is_empty()) else { return Ok(None) };
        // Here and not by the command line's parser: that repeats what it does not understand, with the password.
        let url: PostgresUrl = url.parse().context("--database (BADGER_DATABASE) cannot be used")?;
        let Some(path) = self.password_file else { return Ok(Some(url)) };
        let password = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read the database's password from {}", path.display()))?;
        Ok(Some(url.with_password(password.trim_end_matches(['\r', '\n']).to_owned())))
    }
}

/// Who may ask the panel for others, and how often.
#[derive(Args, Debug)]
struct AccessArgs {
    /// Network of proxies whose X-Forwarded-For and X-Forwarded-Proto are believed [default: this machine]
    #[arg(long = "trusted-proxy", value_name = "CIDR", env = "BADGER_TRUSTED_PROXIES", value_delimiter = ',')]
    trusted_proxies: Option<Vec<IpNet>>,
    /// Requests per second that one user, key or unknown address may make on average; ten times as many at once
    #[arg(long, value_name = "N", env = "BADGER_REQUESTS_PER_S", default_value_t = 200)]
    requests_per_s: u32,
}

impl AccessArgs {
    fn config(self) -> panel::AccessConfig {
        let default = panel::AccessConfig::default();
        panel::AccessConfig {
            trusted_proxies: self.trusted_proxies.unwrap_or(default.trusted_proxies),
            requests_per_s: self.requests_per_s,
        }
    }
}

/// What webhooks may lead to beside the public Internet.
#[derive(Args, Debug)]
struct OutboundArgs {
    /// Let webhooks lead to this machine and to private networks
    #[arg(long, env = "BADGER_ALLOW_PRIVATE_WEBHOOKS")]
    allow_private_webhooks: bool,
    /// Let webhooks lead to link-local addresses, which is where clouds keep their metadata
    #[arg(long, env = "BADGER_ALLOW_LINK_LOCAL_WEBHOOKS")]
    allow_link_local_webhooks: bool,
}

impl OutboundArgs {
    fn config(&self) -> panel::OutboundConfig {
        panel::OutboundConfig { private: self.allow_private_webhooks, link_local: self.allow_link_local_webhooks }
    }
}

/// Arguments of `badger daemon`.
#[derive(Args, Debug)]
#[command(
    after_help = "The panel prints the whole command, token included: `badger node create` or `badger node token`.\n\n\
    Example:\n  badger daemon --panel https://panel.example --token bpe_… --data /var/lib/badger --runtime docker"
)]
pub(crate) struct DaemonArgs {
    /// Where the panel is
    #[arg(long, value_name = "URL", env = "BADGER_PANEL")]
    panel: String,
    /// Single-use enrolment token; not needed once enrolled
    #[arg(long, value_name = "TOKEN", env = "BADGER_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Directory of the servers' files and the agent's identity; made if it is not there
    #[arg(long, value_name = "DIR", env = "BADGER_DATA", default_value = "/var/lib/badger")]
    data: PathBuf,
    /// Where other daemons deliver servers to (TLS); port 0 takes a free one
    #[arg(long, value_name = "IP:PORT", env = "BADGER_DATA_LISTEN", default_value = "0.0.0.0:8443")]
    data_listen: SocketAddr,
    /// How other daemons reach that, if not at this machine's address
    #[arg(long, value_name = "HOST:PORT", env = "BADGER_ADVERTISE")]
    advertise: Option<String>,
    /// What servers run in
    #[arg(long, value_enum, env = "BADGER_RUNTIME", default_value_t = RuntimeName::Process)]
    runtime: RuntimeName,
    /// The Docker engine
    #[arg(long, value_name = "URL", env = "DOCKER_HOST", default_value = "unix:///var/run/docker.sock")]
    docker_host: String,
    /// User and group that games run as in containers
    #[arg(long, value_name = "UID:GID", env = "BADGER_DOCKER_USER", default_value = "1000:1000")]
    docker_user: String,
    /// Name of this machine for people [default: its host name]
    #[arg(long, value_name = "NAME", env = "BADGER_NODE_NAME")]
    name: Option<String>,
    #[command(flatten)]
    parent: ParentArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RuntimeName {
    /// Child processes of the daemon: no isolation, for trying out.
    Process,
    /// Containers of a Docker engine.
    Docker,
}

/// For a role that is started by `badger demo` and must not outlive it, whatever ends the demo.
#[derive(Args, Debug)]
struct ParentArgs {
    #[arg(long = "end-with", value_name = "PID", hide = true)]
    pid: Option<i32>,
}

impl ParentArgs {
    fn apply(&self) -> Result<()> {
        let Some(pid) = self.pid else { return Ok(()) };
        set_parent_process_death_signal(Some(Signal::TERM)).context("cannot ask for the parent's death signal")?;
        // The parent may have ended before the request: then no signal will come.
        if getppid() != Pid::from_raw(pid) {
            bail!("the process {pid} that started this one is gone");
        }
        Ok(())
    }
}

/// Runs a panel until a signal.
pub(crate) fn panel(args: PanelArgs) -> Result<Exit> {
    args.parent.apply()?;
    let _alone = Alone::on(&args.data, 0o700)?;
    let config = panel::Config {
        listen: args.listen,
        move_from_sqlite: args.database.move_from_sqlite,
        database: args.database.config()?,
        data_dir: args.data,
        public_url: args.public_url,
        image: args.image,
        access: args.access.config(),
        outbound: args.outbound.config(),
    };
    until_signal(async |shutdown| {
        let ready = |address| output::line(format!("listening on http://{address}"));
        Box::pin(panel::run(config, shutdown, ready)).await.context("the panel cannot run")
    })
}

/// Runs a daemon until a signal.
pub(crate) fn daemon(args: DaemonArgs) -> Result<Exit> {
    args.parent.apply()?;
    let _alone = Alone::on(&args.data, 0o755)?;
    let runtime = match args.runtime {
        RuntimeName::Process => agent::RuntimeConfig::Process,
        RuntimeName::Docker => agent::RuntimeConfig::Docker { socket: args.docker_host, user: args.docker_user },
    };
    let config = agent::Config {
        panel_url: args.panel,
        enrolment_token: args.token.filter(|token| !token.is_empty()),
        data_dir: args.data,
        data_listen: args.data_listen,
        advertise: args.advertise,
        runtime,
        name: args.name.unwrap_or_else(host_name),
    };
    until_signal(async |shutdown| Box::pin(agent::run(config, shutdown)).await.context("the daemon cannot run"))
}

/// Runs `role` until it ends or, asked by SIGTERM or SIGINT, has ended in good order.
pub(crate) fn until_signal(role: impl AsyncFnOnce(CancellationToken) -> Result<()>) -> Result<Exit> {
    let runtime = Runtime::new().context("cannot start the asynchronous runtime")?;
    let ended = runtime.block_on(async {
        let shutdown = CancellationToken::new();
        let (mut int, mut term) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let asked = shutdown.clone();
        tokio::spawn(async move {
            tokio::select! { _ = int.recv() => {}, _ = term.recv() => {} }
            tracing::info!("asked to end");
            asked.cancel();
        });
        role(shutdown).await
    });
    runtime.shutdown_timeout(GRACE);
    ended.map(|()| Exit::Done)
}

fn host_name() -> String {
    match std::fs::read_to_string("/proc/sys/kernel/hostname") {
        Ok(name) if !name.trim().is_empty() => name.trim().to_owned(),
        _ => "unnamed".to_owned(),
    }
}
