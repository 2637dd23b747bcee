//! The sending half.

use std::{
    io::{BufRead, stdin},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::{Instant, sleep_until},
};
use transfer::{Error, Identity, OwnerMap, Progress, RateLimit, Source, SourceOptions, Summary};

use super::{
    show::{Figures, Show},
    url::CopyUrl,
};

/// The shortest time from the start of a round to the start of the next.
const PACE: Duration = Duration::from_secs(1);

/// What to send, and how.
pub(super) struct Order {
    pub(super) from: PathBuf,
    pub(super) owner: OwnerMap,
    pub(super) bandwidth: Option<Arc<RateLimit>>,
    pub(super) follow: bool,
}

/// Sends a tree to a receiver and has it put in place there.
pub(super) async fn send(order: Order, receiver: &CopyUrl, show: &Show) -> Result<()> {
    // Before anything else: a signal that comes early must not end us.
    let finish = if order.follow { Some(word_to_finish()?) } else { None };
    let me = Identity::generate("badger copy").context("cannot make a certificate")?;
    let options = SourceOptions { owner: order.owner, bandwidth: order.bandwidth, ..SourceOptions::default() };
    let progress = Arc::new(Progress::default());
    let watching = show.watch("copying", Arc::clone(&progress), |seen| seen.bytes_read);
    let (fingerprint, ticket) = (receiver.fingerprint, &receiver.ticket);
    let source = Source::connect(&receiver.address, &me, fingerprint, ticket, &order.from, options, progress).await;
    let mut source = source.map_err(|e| explained(e, &order.from))?;
    let copied = async {
        if let Some(finish) = finish {
            follow(&mut source, finish, show).await?;
        }
        let receipt = source.finish().await?;
        source.publish().await?;
        Ok(receipt)
    };
    let receipt = copied.await.map_err(|e: Error| explained(e, &order.from))?;
    drop(watching);
    let figures = Figures::new(receipt.root_target, receipt.files, receipt.bytes_total, &Summary::from(&receipt));
    show.receipt(&order.from, &figures);
    Ok(())
}

/// Rounds until somebody says finish.
async fn follow(source: &mut Source, mut finish: watch::Receiver<bool>, show: &Show) -> transfer::Result<()> {
    loop {
        let started = Instant::now();
        let report = source.round().await?;
        show.round(&report);
        tokio::select! {
            // The sender lives as long as the process.
            _ = finish.wait_for(|now| *now) => return Ok(()),
            () = sleep_until(started + PACE) => {}
        }
    }
}

/// Turns true on a line on standard input or on SIGUSR1. The end of the input is no line: somebody who cannot type
/// can still send a signal.
fn word_to_finish() -> Result<watch::Receiver<bool>> {
    let mut signals = signal(SignalKind::user_defined1()).context("cannot listen for SIGUSR1")?;
    let (word, heard) = watch::channel(false);
    let by_line = word.clone();
    // A thread of its own: a read of standard input cannot be given up, and must not hold up the end of the process.
    std::thread::spawn(move || {
        if stdin().lock().read_line(&mut String::new()).is_ok_and(|n| n > 0) {
            by_line.send_replace(true);
        }
    });
    tokio::spawn(async move {
        while signals.recv().await.is_some() {
            word.send_replace(true);
        }
    });
    Ok(heard)
}

/// With what a person can do about it.
fn explained(error: Error, from: &std::path::Path) -> anyhow::Error {
    let hint = match &error {
        Error::CannotCarry { .. } => {
            "nothing was changed at the destination; remove the path, or copy as root, or give --owner"
        }
        Error::NoSpace { .. } => "nothing was changed at the destination; make room there and start again",
        Error::Unreachable(_) => "nothing was changed at the destination; start again, what arrived is kept and used",
        Error::Changed { .. } => "somebody writes there; --follow copies a tree that is in use until it is stopped",
        Error::Refused(_) => "is it the URL of a receiver that still waits?",
        _ => return anyhow::Error::from(error).context(format!("cannot copy {}", from.display())),
    };
    anyhow::Error::from(error).context(format!("cannot copy {} ({hint})", from.display()))
}
