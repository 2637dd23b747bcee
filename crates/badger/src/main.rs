//! The one executable: parse, run, report once.

mod alone;
mod cli;
mod client;
mod completion;
mod copy;
mod demo;
mod doctor;
mod exit;
mod install_launcher;
mod launcher;
mod ledger;
mod logging;
mod mover;
mod orchestrator;
mod output;
mod roles;
mod signals;
mod units;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let json = cli.wants_json();
    match cli.run() {
        Ok(exit) => exit.into(),
        Err(e) => {
            output::note(if json { client::error_json(&e) } else { format!("error: {e:#}") });
            exit::Exit::Failed.into()
        }
    }
}
