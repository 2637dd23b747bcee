//! The one executable: parse, run, report once.

mod cli;
mod exit;
mod ledger;
mod logging;
mod output;
mod signals;
mod units;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match cli.run() {
        Ok(exit) => exit.into(),
        Err(e) => {
            output::note(format!("error: {e:#}"));
            exit::Exit::Failed.into()
        }
    }
}
