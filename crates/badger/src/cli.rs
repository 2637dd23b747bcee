//! The command line.
use anyhow::Result;
use clap::{Parser, Subcommand};
use crate::exit::Exit;
use crate::logging::LogArgs;
use crate::ledger::{self, LedgerCommand};
/// x
#[derive(Parser, Debug)]
pub(crate) struct Cli {
    #[command(flatten)]
    log: LogArgs,
    #[command(subcommand)]
    command: Command,
}
#[derive(Subcommand, Debug)]
enum Command {
    /// ledger
    #[command(subcommand)]
    Ledger(LedgerCommand),
}
impl Cli {
    pub(crate) fn run(self) -> Result<Exit> {
        self.log.start("warn")?;
        match self.command { Command::Ledger(c) => ledger::run(c) }
    }
}
