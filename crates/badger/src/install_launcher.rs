//! `badger install-launcher`: the init container of a server's pod. Puts this executable where the game's container, whose
//! image knows nothing of us, will find its launcher, and makes the server's directories on the volume.
//!
//! The pod's manifest calls it, nobody else does. It runs at each start of a pod, so it changes nothing that is there.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use model::ServerId;

use crate::exit::Exit;

/// Arguments of `badger install-launcher`.
#[derive(Args, Debug)]
#[command(about = "Prepare a pod: the launcher for the game's container, the server's directories on the volume")]
pub(crate) struct InstallLauncherArgs {
    /// Directory that the game's container sees too
    #[arg(long, value_name = "DIR", default_value = "/pod/bin")]
    into: PathBuf,
    /// The server's volume
    #[arg(long, value_name = "DIR", default_value = "/volume")]
    volume: PathBuf,
    /// The server of this pod
    #[arg(long, value_name = "ID", env = "BADGER_SERVER_ID")]
    server: ServerId,
}

/// Does both and ends.
pub(crate) fn run(args: &InstallLauncherArgs) -> Result<Exit> {
    let me = std::env::current_exe().context("cannot find the own executable")?;
    place_executable(&me, &args.into)?;
    // A directory that the kubelet had to make for a mount would belong to root.
    let data = args.volume.join("servers").join(args.server.to_string()).join("data");
    fs::create_dir_all(&data).with_context(|| {
        format!("cannot make {} on the volume; it must be writable for the pod's group (fsGroup)", data.display())
    })?;
    Ok(Exit::Done)
}

/// Under its name only when it is whole: a container that is restarted runs what it finds there.
fn place_executable(from: &Path, into: &Path) -> Result<()> {
    let (part, whole) = (into.join(".badger.part"), into.join("badger"));
    fs::copy(from, &part).with_context(|| format!("cannot write {}", part.display()))?;
    fs::set_permissions(&part, Permissions::from_mode(0o755))
        .with_context(|| format!("cannot make {} executable", part.display()))?;
    fs::rename(&part, &whole).with_context(|| format!("cannot make {}", whole.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_pod_is_prepared_again_at_each_start_and_keeps_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let (into, volume, server) = (dir.path().join("bin"), dir.path().join("volume"), ServerId::new());
        fs::create_dir_all(&into).unwrap();
        fs::create_dir_all(&volume).unwrap();
        let args = InstallLauncherArgs { into: into.clone(), volume: volume.clone(), server };
        run(&args).unwrap();
        let world = volume.join(format!("servers/{server}/data/world"));
        fs::write(&world, "blocks").unwrap();
        run(&args).unwrap();
        assert_eq!(fs::read_to_string(world).unwrap(), "blocks");
        let launcher = into.join("badger");
        assert_eq!(fs::metadata(&launcher).unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!(
            fs::metadata(launcher).unwrap().len(),
            fs::metadata(std::env::current_exe().unwrap()).unwrap().len()
        );
    }
}
