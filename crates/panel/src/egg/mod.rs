//! Eggs: recipes for servers, in Pterodactyl's JSON (`PTDL_v1`, `PTDL_v2`) and Pelican's YAML or JSON (`PLCN_v1` to `_v3`).
//!
//! The document is kept as it came (`db::eggs`), so that an export loses nothing; this module reads out of it what it
//! takes to make and run a server. What it finds but does not do (a rule of Laravel that is not known here, a configuration
//! file in XML) is named in [`Egg::warnings`], never silently counted as done.
//!
//! Format: the exporters of both panels (`EggExporterService`), and the daemon for how `stop`, `done` and `config.files` are
//! meant.

mod document;
mod export;
mod ports;
mod rules;
mod spec;

use model::{ConfigFile, InstallScript, StopHow};

pub use export::{Format, export};
pub use ports::moved;
pub use rules::Rules;
pub use spec::{RESERVED, build_spec, check_environment, load_egg, load_spec, moved_variables};

/// What an egg says, read.
#[derive(Clone, Debug)]
pub struct Egg {
    /// Its name.
    pub name: String,
    /// Who made it (an e-mail address, as a rule).
    pub author: String,
    /// For people.
    pub description: String,
    /// `PTDL_v1`, `PTDL_v2`, or `PLCN_v1` to `PLCN_v3`.
    pub version: String,
    /// Who it is, if it says so: an egg that is imported again is known by it.
    pub uuid: Option<String>,
    /// Command line with `{{VARIABLE}}` placeholders.
    pub startup: String,
    /// Label and container image; the first is the default. At least one.
    pub images: Vec<(String, String)>,
    /// How to ask the game to end.
    pub stop: StopHow,
    /// Console lines that say that the game is up; patterns behind `regex:`.
    pub done: Vec<String>,
    /// Files of the game that are written before each start.
    pub configs: Vec<ConfigFile>,
    /// What users can set.
    pub variables: Vec<Variable>,
    /// What to run before the first start.
    pub install: Option<InstallScript>,
    /// What is in the document and not done.
    pub warnings: Vec<String>,
}

/// One variable of an egg.
#[derive(Clone, Debug)]
pub struct Variable {
    /// For people.
    pub name: String,
    /// For people.
    pub description: String,
    /// Its name in the environment.
    pub env_variable: String,
    /// Its value where a server sets none.
    pub default_value: String,
    /// Whether users of a server see it.
    pub user_viewable: bool,
    /// Whether users of a server may change it.
    pub user_editable: bool,
    /// What a value must be.
    pub rules: Rules,
    /// How a form shows it.
    pub field_type: String,
}

/// Why a document is no egg.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct EggError {
    /// Which part of the document.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
}

impl EggError {
    fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }
}

impl Egg {
    /// Reads a document.
    pub fn parse(document: &str) -> Result<Self, EggError> {
        document::read(document)
    }

    /// The image that a server gets if nobody chooses.
    #[must_use]
    pub fn default_image(&self) -> &str {
        self.images.first().map_or("", |(_, image)| image)
    }
}
