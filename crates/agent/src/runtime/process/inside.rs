//! The container around a launcher, as its games need to know it.
//!
//! Docker runs what the image says. In a pod nobody can ask the image: its entrypoint was replaced by the launcher. So the
//! convention of Pterodactyl's images is looked for, an executable [`ENTRYPOINT`] that runs `STARTUP`; an image without it
//! gets the words of the startup line executed.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::Arc;

use model::agent_api::AgentError;

use super::family::Family;
use super::startup;
use crate::runtime::{Unit, inside};

const ENTRYPOINT: &str = "/entrypoint.sh";
/// Variables of ours and of Kubernetes: nothing of the image, and nothing of a game's business.
const NOT_THE_IMAGES: [&str; 3] = ["BADGER_", "KUBERNETES_SERVICE_", "KUBERNETES_PORT"];

/// What games in this container are executed with.
#[derive(Debug)]
pub(crate) struct Inside {
    pub(super) family: Arc<Family>,
    environment: BTreeMap<OsString, OsString>,
    entrypoint: PathBuf,
}

impl Inside {
    /// `environment` is that of this process: the image's, and what Kubernetes added.
    pub(crate) fn new(family: Arc<Family>, environment: impl Iterator<Item = (OsString, OsString)>) -> Self {
        let environment = environment.filter(|(name, _)| is_the_images(name)).collect();
        Self { family, environment, entrypoint: PathBuf::from(ENTRYPOINT) }
    }

    pub(super) fn words(&self, unit: Unit<'_>) -> Result<Vec<String>, AgentError> {
        // Looked at even where the entrypoint decides: an image that evaluates a broken line fails in its own words.
        let words = inside::words(unit.spec, &home(unit))?;
        let has_entrypoint = startup::is_executable(&self.entrypoint);
        Ok(if has_entrypoint { vec![self.entrypoint.to_string_lossy().into_owned()] } else { words })
    }

    /// The image's own environment, and over it the server's.
    pub(super) fn environment(&self, unit: Unit<'_>) -> BTreeMap<OsString, OsString> {
        let mut all = self.environment.clone();
        // The home of the image's user is not the game's.
        all.remove(OsStr::new("HOME"));
        all.entry("PATH".into()).or_insert_with(|| startup::PATH.into());
        let server = inside::environment(unit.spec, &home(unit));
        all.extend(server.into_iter().map(|(name, value)| (name.into(), value.into())));
        all
    }

    pub(super) fn path(&self) -> String {
        let path = self.environment.get(OsStr::new("PATH"));
        path.map_or_else(|| startup::PATH.to_owned(), |path| path.to_string_lossy().into_owned())
    }
}

fn home(unit: Unit<'_>) -> String {
    unit.place.data().to_string_lossy().into_owned()
}

fn is_the_images(name: &OsStr) -> bool {
    !NOT_THE_IMAGES.iter().any(|prefix| name.as_encoded_bytes().starts_with(prefix.as_bytes()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use model::Epoch;

    use super::*;
    use crate::layout::Layout;
    use crate::server::testing::spec;

    fn of_an_image() -> Inside {
        let variables = [
            ("PATH", "/opt/java/bin:/bin"),
            ("JAVA_HOME", "/opt/java"),
            ("HOME", "/root"),
            ("BADGER_PERMIT_KEY", "k"),
            ("KUBERNETES_SERVICE_HOST", "10.0.0.1"),
            ("KUBERNETES_PORT_443_TCP", "tcp://10.0.0.1:443"),
        ];
        // Not through `gather`: that would make this test process the parent of every orphan of the others.
        let family = Arc::new(Family::of_nobody());
        Inside::new(family, variables.map(|(name, value)| (name.into(), value.into())).into_iter())
    }

    #[test]
    fn a_game_gets_the_images_variables_and_the_servers_and_no_others() {
        let mut spec = spec();
        spec.environment = [("JAVA_HOME".to_owned(), "/other".to_owned())].into();
        let place = Layout::new("/volume").place(spec.id);
        let given = of_an_image().environment(Unit { place: &place, spec: &spec, epoch: Epoch(1) });
        let names: Vec<_> = given.keys().map(|name| name.to_string_lossy()).collect();
        assert_eq!(names, ["HOME", "JAVA_HOME", "PATH", "P_SERVER_UUID", "SERVER_IP", "STARTUP"]);
        assert_eq!(given[OsStr::new("JAVA_HOME")], "/other", "the egg's word is the last");
        assert_eq!(given[OsStr::new("HOME")], place.data());
    }

    #[test]
    fn the_images_entrypoint_goes_before_the_startup_line() {
        let dir = tempfile::tempdir().unwrap();
        let mut inside = of_an_image();
        inside.entrypoint = dir.path().join("entrypoint.sh");
        let mut spec = spec();
        spec.startup = "game --ip {{SERVER_IP}}".to_owned();
        let place = Layout::new(dir.path()).place(spec.id);
        let unit = Unit { place: &place, spec: &spec, epoch: Epoch(1) };
        assert_eq!(inside.words(unit).unwrap(), ["game", "--ip", "0.0.0.0"]);
        fs::write(&inside.entrypoint, "#!/bin/sh\n").unwrap();
        assert_eq!(inside.words(unit).unwrap().len(), 3, "it is not executable");
        fs::set_permissions(&inside.entrypoint, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(inside.words(unit).unwrap(), [inside.entrypoint.to_str().unwrap()]);
    }
}
