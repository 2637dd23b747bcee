//! `badger launcher`: the first process of a game's container on a cluster. The pod's manifest calls it, nobody else does.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::mpsc::sync_channel;

use anyhow::{Context, Result};
use clap::Args;
use model::{NodeId, ServerId};

use crate::exit::Exit;
use crate::roles::until_signal;

/// Console lines on their way to the container's log. What does not fit is missing there, and nowhere else.
const WAITING: usize = 1024;

/// Arguments of `badger launcher`.
#[derive(Args, Debug)]
#[command(
    about = "Run the game of a pod; the pod itself calls this, as the entrypoint of the game's container",
    long_about = "Runs the game of a pod. The orchestrator puts this executable into the game's container as its \
        entrypoint; there is no reason to call it by hand.\n\n\
        It waits at a Unix socket for the mover of the same pod, checks the panel's permit on the volume before each \
        start, runs the game as its child and outlives it. It runs /entrypoint.sh if the image has an executable one \
        (it finds the startup line in STARTUP), else the words of the startup line. SIGTERM asks the game to end as its \
        egg says, and ends the launcher after it."
)]
pub(crate) struct LauncherArgs {
    /// Where to listen for the mover
    #[arg(long, value_name = "PATH", default_value = "/badger/run/launcher.sock")]
    socket: PathBuf,
    /// The server's directory on the volume, with its records; mounted read-only
    #[arg(long, value_name = "DIR", default_value = "/badger/place")]
    place: PathBuf,
    /// The game's home: the data directory of the volume
    #[arg(long, value_name = "DIR", default_value = "/home/container")]
    data: PathBuf,
    /// A directory of the pod, for console and process records
    #[arg(long, value_name = "DIR", default_value = "/badger/run/game")]
    run: PathBuf,
    /// The server of this pod
    #[arg(long, value_name = "ID", env = "BADGER_SERVER_ID")]
    server_id: ServerId,
    /// To whom the panel addresses the server's permits
    #[arg(long, value_name = "ID", env = "BADGER_AGENT_ID")]
    agent_id: NodeId,
    /// The key with which the panel signs permits
    #[arg(long, value_name = "BASE64", env = "BADGER_PERMIT_KEY")]
    permit_key: String,
}

/// Runs a launcher until a signal and the game's end.
pub(crate) fn run(args: LauncherArgs) -> Result<Exit> {
    let config = agent::launcher::Config {
        socket: args.socket,
        place: args.place,
        data: args.data,
        run: args.run,
        server_id: args.server_id,
        agent_id: args.agent_id,
        permit_key: args.permit_key,
        echo: echo()?,
    };
    until_signal(async |shutdown| {
        Box::pin(agent::launcher::run(config, shutdown)).await.context("the launcher cannot run")
    })
}

/// The game's console as this container's log, from a thread of its own: a log that stands still must not hold up a game.
fn echo() -> Result<agent::launcher::Echo> {
    let (sender, lines) = sync_channel::<String>(WAITING);
    let printing = move || {
        let mut out = io::stdout().lock();
        // A log that nobody reads any more must not end the game, so this is not how results are printed.
        let failed = lines.into_iter().find_map(|line| writeln!(out, "{line}").err());
        if let Some(error) = failed {
            tracing::warn!(%error, "the game's console is not in this container's log any more");
        }
    };
    std::thread::Builder::new().name("console".into()).spawn(printing).context("cannot start a thread")?;
    Ok(Box::new(move |line| {
        if sender.try_send(line.to_owned()).is_err() {
            tracing::trace!("the container's log is slower than the game");
        }
    }))
}
