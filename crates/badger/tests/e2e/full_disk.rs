//! A target without room: the documented failure, the source goes on, nothing is left.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{House, Setup, tree, within};

/// A small file system that goes with its owner.
pub(crate) struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    pub(crate) fn mount(mebibytes: u32) -> Self {
        let dir = tempfile::Builder::new().prefix("badger-e2e-disk.").tempdir().unwrap();
        let size = format!("size={mebibytes}m,mode=0700");
        let status =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "badger-e2e"]).arg(dir.path()).status().unwrap();
        assert!(status.success(), "mounting takes root");
        Self(dir)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process of a failed test may still be in it.
        let unmounted = Command::new("umount").arg("-l").arg(self.path()).status();
        assert!(
            std::thread::panicking() || unmounted.is_ok_and(|status| status.success()),
            "the small disk stays mounted"
        );
    }
}

fn assert_rolled_back(house: &House, ended: &Value) {
    assert_eq!(ended["state"], "rolled_back", "{ended}");
    let failure = &ended["failure"];
    assert!(matches!(failure["code"].as_str(), Some("insufficient_disk" | "no_space")), "{ended}");
    assert!(failure["message"].as_str().is_some_and(|m| m.len() > 10), "{ended}");
    assert!(failure["step"].is_string(), "{ended}");
    house.assert_settled();
    house.nodes[1].assert_nothing_of(&house.server);
}

#[test]
#[ignore = "takes root: it mounts a small file system"]
fn as_root_a_target_that_is_too_small_is_noticed_before_anything_is_copied() {
    let disk = SmallDisk::mount(16);
    let (house, player) =
        House::playing(Setup { world: "32M", target_data: Some(disk.path().into()), ..Setup::default() });
    let ended = house.wait_final(&house.migrate(&json!({})));
    assert_rolled_back(&house, &ended);
    assert_eq!(ended["progress"]["bytes_sent"], 0, "{ended}");
    player.plays_on();
    player.assert_all_there(&house.nodes[0].addresses[0]);
    drop(house);
    drop(disk);
}

#[test]
#[ignore = "takes root: it mounts a small file system"]
fn as_root_a_target_that_fills_up_meanwhile_ends_the_attempt() {
    // Enough for the world and for what a daemon insists on keeping free, until something else takes it.
    let disk = SmallDisk::mount(192);
    let (house, player) =
        House::playing(Setup { world: "16M", target_data: Some(disk.path().into()), ..Setup::default() });
    let transfer = house.migrate(&json!({"bandwidth_limit": 1 << 20}));
    assert!(house.wait_stage(&transfer, "copying_while_running"));
    house.wait_copying(&transfer);
    let filler = disk.path().join("filler");
    fill(&filler);
    let ended = house.wait_final(&transfer);
    assert_rolled_back(&house, &ended);
    player.plays_on();
    player.assert_all_there(&house.nodes[0].addresses[0]);
    // With room again, the same call works.
    fs::remove_file(filler).unwrap();
    house.migrated(&json!({}));
    assert!(!tree::is_empty(&house.nodes[1].server_data(&house.server)));
    drop(house);
    drop(disk);
}

/// Takes what is left, and what is freed in the next moments too: the copy is going on.
fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    let block = vec![1; 64 << 10];
    let full = within(std::time::Duration::from_secs(10), || file.write_all(&block).is_err().then_some(()));
    assert!(full.is_some() || path.metadata().unwrap().len() > 0, "the disk is not full");
    while file.write(&block[..4096]).is_ok_and(|n| n > 0) {}
}
