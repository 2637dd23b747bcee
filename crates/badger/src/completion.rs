//! `badger completion`: a script that completes this command line in a shell.

use anyhow::Result;
use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

use crate::cli::Cli;
use crate::exit::Exit;
use crate::output;

const EXAMPLES: &str = "\
Examples:
  badger completion bash > /etc/bash_completion.d/badger
  badger completion zsh > \"${fpath[1]}/_badger\"
  badger completion fish > ~/.config/fish/completions/badger.fish";

/// Which shell.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CompletionArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints it.
pub(crate) fn run(args: &CompletionArgs) -> Result<Exit> {
    let mut script = Vec::new();
    generate(args.shell, &mut Cli::command(), "badger", &mut script);
    output::line(String::from_utf8(script)?.trim_end());
    Ok(Exit::Done)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_gets_a_script_that_knows_the_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::Elvish, Shell::PowerShell] {
            let mut script = Vec::new();
            generate(shell, &mut Cli::command(), "badger", &mut script);
            let script = String::from_utf8(script).unwrap();
            assert!(script.contains("evacuate") && script.contains("at-once"), "{shell}");
        }
    }
}
