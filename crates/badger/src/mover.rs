//! `badger mover`: the agent inside a server's pod. The orchestrator puts it there; nobody types it.

use std::net::SocketAddr;
use std::path::PathBuf;

use agent::MoverConfig;
use anyhow::{Context, Result};
use clap::Args;

use crate::exit::Exit;
use crate::roles::until_signal;

/// Arguments of `badger mover`.
#[derive(Args, Debug)]
#[command(after_help = "A pod runs this beside its game. The orchestrator says all of it by the environment.")]
pub(crate) struct MoverArgs {
    /// The orchestrator's hub
    #[arg(long, value_name = "HOST:PORT", env = "BADGER_ORCHESTRATOR")]
    orchestrator: String,
    /// SHA-256 of its certificate
    #[arg(long, value_name = "HEX", env = "BADGER_ORCHESTRATOR_FINGERPRINT")]
    fingerprint: String,
    /// File with what to show there
    #[arg(long, value_name = "FILE", env = "BADGER_TOKEN_FILE")]
    token_file: PathBuf,
    /// Whose pod this is
    #[arg(long, value_name = "UUID", env = "BADGER_SERVER_ID")]
    server: model::ServerId,
    /// The volume
    #[arg(long, value_name = "DIR", env = "BADGER_DATA", default_value = "/volume")]
    data: PathBuf,
    /// Where other agents deliver to (TLS)
    #[arg(long, value_name = "IP:PORT", env = "BADGER_DATA_LISTEN", default_value = "0.0.0.0:8443")]
    data_listen: SocketAddr,
    /// Socket of the game's launcher
    #[arg(long, value_name = "SOCKET", env = "BADGER_LAUNCHER", default_value = "/badger/run/launcher.sock")]
    launcher: PathBuf,
    /// To whom all files belong: the pod's user
    #[arg(long, value_name = "UID", env = "BADGER_UID", default_value_t = 1000)]
    uid: u32,
    /// The pod's group
    #[arg(long, value_name = "GID", env = "BADGER_GID", default_value_t = 1000)]
    gid: u32,
}

/// Runs a mover until a signal.
pub(crate) fn run(args: MoverArgs) -> Result<Exit> {
    let config = MoverConfig {
        orchestrator: args.orchestrator,
        fingerprint: args.fingerprint,
        token_file: args.token_file,
        server: args.server,
        data_dir: args.data,
        data_listen: args.data_listen,
        launcher: args.launcher,
        uid: args.uid,
        gid: args.gid,
    };
    until_signal(async |shutdown| Box::pin(agent::run_mover(config, shutdown)).await.context("the mover cannot run"))
}
