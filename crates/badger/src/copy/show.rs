//! What people see of a copy, and what programs get.

use std::{
    io::{IsTerminal, stderr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use tokio_util::task::AbortOnDropHandle;
use transfer::{Progress, ProgressSnapshot, RoundReport, Summary, TreeRoot};

use crate::{output, units};

/// Between two looks at the counters.
const TICK: Duration = Duration::from_millis(100);

/// How to show things.
pub(super) struct Show {
    json: bool,
    bar: ProgressBar,
}

/// The figures of a finished copy: the object of `--json`.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    root: String,
    files: u64,
    bytes_total: u64,
    bytes_wire: u64,
    blocks_sent: u64,
    rounds: u32,
    duration_ms: u64,
    final_round_ms: u64,
}

/// A bar that moves until this is dropped.
pub(super) struct Watching {
    bar: ProgressBar,
    _task: AbortOnDropHandle<()>,
}

impl Figures {
    pub(super) fn new(root: TreeRoot, files: u64, bytes_total: u64, summary: &Summary) -> Self {
        let millis = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        Self {
            root: root.to_string(),
            files,
            bytes_total,
            bytes_wire: summary.bytes_wire,
            blocks_sent: summary.blocks_sent,
            rounds: summary.rounds,
            duration_ms: millis(summary.duration),
            final_round_ms: millis(summary.final_round),
        }
    }
}

impl Show {
    pub(super) fn new(json: bool) -> Self {
        let target =
            if !json && stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        let style = "{prefix} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {msg}";
        bar.set_style(ProgressStyle::with_template(style).expect("a valid template").progress_chars("━╸ "));
        Self { json, bar }
    }

    /// Shows the counter that `of` picks until the result is dropped.
    pub(super) fn watch(
        &self,
        what: &'static str,
        progress: Arc<Progress>,
        of: impl Fn(&ProgressSnapshot) -> u64 + Send + 'static,
    ) -> Watching {
        let bar = self.bar.clone();
        bar.set_prefix(what);
        let shown = bar.clone();
        let task = AbortOnDropHandle::new(tokio::spawn(async move {
            let (mut round, mut before) = (0, 0);
            loop {
                let seen = progress.snapshot();
                if seen.round != round {
                    (round, before) = (seen.round, of(&seen));
                    shown.reset();
                }
                shown.set_length(seen.bytes_total);
                shown.set_position((of(&seen) - before).min(seen.bytes_total));
                shown.set_message(format!("{}/{} files, round {round}", seen.files_done, seen.files_total));
                tokio::time::sleep(TICK).await;
            }
        }));
        Watching { bar, _task: task }
    }

    /// One line for a round of `--follow`.
    pub(super) fn round(&self, report: &RoundReport) {
        let sent = units::bytes(report.bytes_sent);
        let line = format!(
            "round {}: {sent} in {} blocks, {}; Enter or SIGUSR1 finishes",
            report.round,
            report.blocks_sent,
            units::duration(report.duration)
        );
        self.bar.suspend(|| output::note(line));
    }

    /// The end.
    pub(super) fn receipt(&self, dir: &Path, figures: &Figures) {
        if self.json {
            return output::json(figures);
        }
        output::line(format!(
            "{}: {} files, {} in {} ({} on the wire, {} blocks, rounds: {}, the last one {})",
            dir.display(),
            figures.files,
            units::bytes(figures.bytes_total),
            units::millis(figures.duration_ms),
            units::bytes(figures.bytes_wire),
            figures.blocks_sent,
            figures.rounds,
            units::millis(figures.final_round_ms),
        ));
        output::line(format!("read back and equal, tree root {}", figures.root));
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
