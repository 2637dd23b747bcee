//! The one executable: parse, run, report once.

mod alone;
mod cli;
mod client;
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
    match cli::Cli::parse().run() {
        Ok(exit) => exit.into(),
        Err(e) => {
            output::note(format!("error: {e:#}"));
            exit::Exit::Failed.into()
        }
    }
}
