//! From an egg's startup line to what is executed. Pure apart from looking a program up.
//!
//! No shell is involved: the line is filled in, split as a shell would split it, and executed. A value that a user may
//! set can therefore add words, but no second command.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use model::agent_api::{AgentError, ErrorCode};
use model::{ServerSpec, fill_in};

/// Where programs are looked up, for the agent and for the game alike, unless an image says otherwise.
pub(super) const PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/games:/usr/local/games";

/// The words of the server's startup line.
pub(crate) fn words(spec: &ServerSpec) -> Result<Vec<String>, AgentError> {
    let line = fill_in(&spec.startup, &spec.environment);
    let words = shell_words::split(&line)
        .map_err(|e| refuse(format!("the startup line of server {} cannot be split ({e}): {line}", spec.id)))?;
    if words.is_empty() {
        return Err(refuse(format!("the startup line of server {} is empty: set one in its egg", spec.id)));
    }
    Ok(words)
}

/// The file to execute for the first word: beneath `data` if it is a relative path, from `path` if it is a name.
pub(super) fn program(word: &str, data: &Path, path: &str) -> PathBuf {
    if word.contains('/') {
        return data.join(word);
    }
    let in_path = path.split(':').map(|dir| Path::new(dir).join(word)).find(|file| is_executable(file));
    in_path.unwrap_or_else(|| PathBuf::from(word))
}

/// Refuses a program that no start will find. One that comes with the server's files cannot be judged before them.
pub(super) fn check_program(word: &str, data: &Path, path: &str) -> Result<(), AgentError> {
    let file = program(word, data, path);
    if file.starts_with(data) || is_executable(&file) {
        return Ok(());
    }
    Err(refuse(format!("the program {word} is not here (PATH is {path}): install it, or change the startup line")))
}

pub(super) fn is_executable(file: &Path) -> bool {
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn refuse(message: String) -> AgentError {
    AgentError::new(ErrorCode::Conflict, message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeMap;

    use super::*;

    fn environment() -> BTreeMap<String, String> {
        [("PORT", "25565"), ("FLAGS", "-Xms1G -Xmx2G"), ("EVIL", "; rm -rf /")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    }

    #[test]
    fn variables_are_filled_in_and_unknown_ones_vanish() {
        assert_eq!(fill_in("a {{PORT}} {{ FLAGS }} {{NONE}}.", &environment()), "a 25565 -Xms1G -Xmx2G .");
        assert_eq!(fill_in("open {{PORT", &environment()), "open {{PORT");
    }

    #[test]
    fn a_value_can_add_words_but_no_command() {
        let line = fill_in("java {{FLAGS}} '{{FLAGS}}' {{EVIL}}", &environment());
        let words = shell_words::split(&line).unwrap();
        assert_eq!(words, ["java", "-Xms1G", "-Xmx2G", "-Xms1G -Xmx2G", ";", "rm", "-rf", "/"]);
    }

    #[test]
    fn a_program_is_found_in_the_path_or_beneath_the_data() {
        let data = Path::new("/d");
        assert_eq!(program("./game", data, PATH), Path::new("/d/./game"));
        assert_eq!(program("/opt/game", data, PATH), Path::new("/opt/game"));
        assert!(check_program("sh", data, PATH).is_ok());
        assert!(check_program("sh", data, "/nowhere").is_err());
        assert!(check_program("./game", data, PATH).is_ok());
        assert!(check_program("no-such-program-here", data, PATH).is_err());
    }
}
