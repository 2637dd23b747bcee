//! The ledger: a small real game server that can prove that nothing it acknowledged was lost, its player, and the proof.
//!
//! `badger demo` and the end-to-end tests move it between nodes. It knows nothing of panels and agents: to them it is a
//! game like any other, with a console, a port, a stop command and a directory full of files that change all the time.

mod background;
mod commit;
mod connection;
mod layout;
mod line;
pub(crate) mod play;
mod protocol;
pub(crate) mod record;
mod region;
mod serve;
mod store;
pub(crate) mod verify;

#[cfg(test)]
mod kill_tests;

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};

use crate::exit::Exit;
use crate::output;
use crate::signals::Stop;
use crate::units;

/// `badger ledger …`
#[derive(Subcommand, Debug)]
pub(crate) enum LedgerCommand {
    /// Run the game server
    Serve(ServeArgs),
    /// Play on it: send numbered records, survive its moves, verify at the end
    Play(PlayArgs),
    /// Prove from the files alone that a world is whole
    Verify(VerifyArgs),
}

/// Arguments of `serve`.
#[derive(Args, Debug)]
pub(crate) struct ServeArgs {
    /// Where to listen [default: `$SERVER_IP:$SERVER_PORT`]
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<SocketAddr>,
    /// Directory of the world
    #[arg(long, value_name = "DIR", default_value = ".")]
    world: PathBuf,
    /// Size of the world that is laid out at the first start
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size, default_value = "16M", env = "WORLD_SIZE")]
    size: u64,
    /// Bytes per second that the game rewrites by itself; 0 for none
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size, default_value = "1M", env = "DIRTY_RATE")]
    dirty: u64,
    #[arg(long, hide = true, env = "SERVER_IP", default_value = "127.0.0.1")]
    server_ip: IpAddr,
    #[arg(long, hide = true, env = "SERVER_PORT", default_value_t = 25565)]
    server_port: u16,
    /// Process whose end ends the server too; empty for none
    #[arg(long, hide = true, env = "END_WITH", value_name = "PID")]
    end_with: Option<String>,
}

/// Arguments of `play`.
#[derive(Args, Debug)]
pub(crate) struct PlayArgs {
    /// Where the server may be; several are tried in turn
    #[arg(long = "address", value_name = "HOST:PORT", required = true, value_delimiter = ',')]
    addresses: Vec<String>,
    /// Name of the player
    #[arg(long, value_name = "NAME")]
    client: Option<record::ClientName>,
    /// Records per second
    #[arg(long, default_value_t = 50)]
    rate: u32,
    /// End after so many acknowledged records
    #[arg(long)]
    count: Option<u64>,
    /// End after so many seconds
    #[arg(long = "for", value_name = "SECONDS")]
    seconds: Option<u64>,
    /// Write the acknowledged records here, one a line, for `badger ledger verify --acks`
    #[arg(long, value_name = "FILE")]
    acks: Option<PathBuf>,
    /// Seconds to wait for the server at the end
    #[arg(long, default_value_t = 30)]
    patience: u64,
    /// Print the outcome as one line of JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `verify`.
#[derive(Args, Debug)]
pub(crate) struct VerifyArgs {
    /// Directory of the world
    world: PathBuf,
    /// Acknowledged records that must be there, as `badger ledger play --acks` writes them
    #[arg(long, value_name = "FILE")]
    acks: Option<PathBuf>,
    /// Print the findings as one line of JSON
    #[arg(long)]
    json: bool,
}

/// Runs one of the subcommands.
pub(crate) fn run(command: LedgerCommand) -> Result<Exit> {
    match command {
        LedgerCommand::Serve(args) => serve(&args),
        LedgerCommand::Play(args) => play(args),
        LedgerCommand::Verify(args) => verify(&args),
    }
}

fn serve(args: &ServeArgs) -> Result<Exit> {
    let listen = args.listen.unwrap_or(SocketAddr::new(args.server_ip, args.server_port));
    let stop = Stop::on_signals()?;
    if let Some(pid) = args.end_with.as_deref().filter(|pid| !pid.is_empty()) {
        stop.when_process_ends(pid.parse().context("--end-with takes a process id")?)?;
    }
    serve::run(
        &serve::Config { listen, world: args.world.clone(), size_bytes: args.size, dirty_rate: args.dirty },
        &stop,
    )?;
    Ok(Exit::Done)
}

fn play(args: PlayArgs) -> Result<Exit> {
    let client = match args.client {
        Some(client) => client,
        None => format!("player-{}", std::process::id()).parse()?,
    };
    let stop = Stop::on_signals()?;
    let player = play::Player::start(play::Config {
        client: client.clone(),
        addresses: args.addresses,
        rate: args.rate,
        count: args.count,
        patience: Duration::from_secs(args.patience),
    })?;
    let until = args.seconds.map(|s| Instant::now() + Duration::from_secs(s));
    while !player.is_over() && until.is_none_or(|until| Instant::now() < until) {
        if stop.wait(Duration::from_millis(50)) {
            break;
        }
    }
    let (outcome, acknowledged) = player.finish()?;
    if let Some(path) = &args.acks {
        let lines: Vec<_> = acknowledged.iter().map(|(seq, sum)| format!("{client} {seq} {sum}")).collect();
        fs::write(path, lines.join("\n")).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if args.json {
        output::json(&outcome);
    } else {
        show_outcome(&outcome);
    }
    Ok(if outcome.is_whole() { Exit::Done } else { Exit::Failed })
}

fn show_outcome(outcome: &play::Outcome) {
    let stats = &outcome.stats;
    output::line(format!("{} records acknowledged, {} verified", stats.acknowledged, outcome.verified));
    output::line(format!("{} reconnects, longest outage {}", stats.reconnects, units::millis(stats.longest_gap_ms)));
    for missing in outcome.missing.iter().take(20) {
        output::line(format!("MISSING {missing}"));
    }
}

fn verify(args: &VerifyArgs) -> Result<Exit> {
    let acknowledged = args.acks.as_deref().map(verify::read_acknowledged).transpose()?;
    let found = verify::world(&args.world, acknowledged.as_deref())?;
    if args.json {
        output::json(&found);
    } else {
        output::line(format!("{} records, each in sector, log and database", found.records));
        if acknowledged.is_some() {
            output::line(format!("{} acknowledged records found", found.acknowledged_found));
        }
        output::line(format!("{} sectors checked, {} of them rewritten", found.sectors, found.rewritten));
        for problem in &found.problems {
            output::line(format!("PROBLEM {problem}"));
        }
        output::line(format!("{} problems", found.problem_count));
    }
    Ok(if found.problem_count == 0 { Exit::Done } else { Exit::Failed })
}
