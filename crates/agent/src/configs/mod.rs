//! Configuration files of games: what an egg's `config.files` says is written into them before each start.
//!
//! ```text
//! spec.configs ──fill (placeholders)──► rules ──text | tree (pure)──► the new text ──files──► the server's directory
//! ```
//!
//! It is a convenience and no duty: a file that cannot be read, parsed or written is named on the console and to whoever
//! looks at the server, and the game starts with it as it is. What no rule names stays as it was, to the byte where the
//! format lets it. A file is written only if it changes. Nothing outside the server's directory is reached, whatever the egg
//! or a symbolic link says.
//!
//! Formats and rules are Pterodactyl's (`parser` of its daemon). What differs: comments and order are kept.

mod files;
mod fill;
mod text;
mod tree;

use std::path::Path;

use model::agent_api::Owner;
use model::{ConfigFile, ServerSpec};
use serde_json::Value;

/// A rule whose placeholders are filled in.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) find: String,
    pub(super) if_value: Option<String>,
    pub(super) value: Value,
}

/// Brings the files beneath `data` in line with `spec`. Answers what could not be done, for people. Blocks.
pub(crate) fn apply(data: &Path, spec: &ServerSpec, inside_container: bool, owner: Option<Owner>) -> Vec<String> {
    let mut problems = Vec::new();
    for config in &spec.configs {
        if let Err(problem) = apply_one(data, spec, config, inside_container, owner) {
            problems.push(format!("configuration file {}: {problem}; it stays as it is", config.path));
        }
    }
    problems
}

fn apply_one(
    data: &Path,
    spec: &ServerSpec,
    config: &ConfigFile,
    inside_container: bool,
    owner: Option<Owner>,
) -> Result<(), String> {
    let rules: Vec<Rule> = config.rules.iter().map(|rule| fill::rule(rule, spec, inside_container)).collect();
    let mut file = files::Config::open(data, &config.path)?;
    let before = file.read()?;
    let after = changed(&config.parser, &before, &rules)?;
    if after == before { Ok(()) } else { file.replace(&after, owner) }
}

/// The text of a file after `rules`.
fn changed(parser: &str, before: &str, rules: &[Rule]) -> Result<String, String> {
    match parser {
        "file" => Ok(text::lines(before, rules)),
        "properties" => Ok(text::properties(before, rules)),
        "ini" => Ok(text::ini(before, rules)),
        "json" => tree::json(before, rules),
        "yaml" | "yml" => tree::yaml(before, rules),
        other => Err(format!("the parser `{other}` is not known here")),
    }
}

#[cfg(test)]
mod tests;
