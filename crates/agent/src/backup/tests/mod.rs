//! An agent, a storage, and no panel: the test takes the turns itself. The game is a real process.

#![allow(clippy::unwrap_used)]

mod storage;

use std::fs;
use std::time::Duration;

use ::transfer::{OwnerMap, tree_root};
use model::agent_api::{AgentError, ErrorCode, Outcome, Reply, Request};
use model::{BackupAction, BackupContents, BackupId, BackupResult, BackupStand, RestoreId, ServerStatus};
use tokio_util::sync::CancellationToken;

use crate::RuntimeConfig;
use crate::transfer::tests::{Data, Stage, root_of};
use storage::Storage;

const PATIENCE: Duration = Duration::from_mins(1);
const PART: u64 = 5 << 20;

struct Scene {
    stage: Stage,
    storage: Storage,
    backup: BackupId,
    signature: u64,
}

impl Scene {
    async fn new(data: Data) -> Self {
        let stage = Stage::in_houses(RuntimeConfig::Process, "none", data).await;
        // More than one part, whatever the compression makes of it.
        let noise: Vec<u8> = (0..4).flat_map(|_| fs::read(stage.source_data().join("region.bin")).unwrap()).collect();
        let mixed: Vec<u8> =
            noise.iter().enumerate().map(|(i, byte)| byte.wrapping_add((i / 4096 % 256).try_into().unwrap())).collect();
        fs::write(stage.source_data().join("world.bin"), mixed).unwrap();
        Self { stage, storage: Storage::start().await, backup: BackupId::new(), signature: 1 }
    }

    async fn turn(&self, action: BackupAction) -> Result<BackupStand, AgentError> {
        let request = Request::Backup { backup_id: self.backup, server_id: self.stage.spec.id, action };
        match tokio::time::timeout(PATIENCE, self.stage.source.node.obey(request)).await.unwrap() {
            Outcome::Ok(Reply::Backup { stand }) => Ok(stand),
            Outcome::Ok(other) => panic!("{other:?}"),
            Outcome::Err(error) => Err(error),
        }
    }

    async fn cancel(&self) {
        let action = BackupAction::Cancel;
        let request = Request::Backup { backup_id: self.backup, server_id: self.stage.spec.id, action };
        let done = tokio::time::timeout(PATIENCE, self.stage.source.node.obey(request)).await.unwrap();
        assert_eq!(done, Outcome::Ok(Reply::Done));
    }

    fn upload(&self, known: u32) -> BackupAction {
        let parts = (known + 1..known + 3).map(|number| self.storage.part(number, self.signature)).collect();
        BackupAction::Upload { part_bytes: PART, parts, known, wait_ms: 1000 }
    }

    /// Turns until it has ended, as a panel takes them.
    async fn uploaded(&mut self) -> Result<(BackupContents, Vec<String>), AgentError> {
        let mut etags = Vec::new();
        loop {
            let stand = self.turn(self.upload(u32::try_from(etags.len()).unwrap())).await?;
            etags.extend(stand.parts.into_iter().map(|part| part.etag));
            self.signature += 1;
            if let Some(BackupResult::Uploaded { contents, bytes, left_out, .. }) = stand.result {
                assert_eq!((bytes, left_out.len()), (self.storage.bytes().len() as u64, 0));
                assert!(etags.len() > 1, "several parts");
                return Ok((contents, etags));
            }
        }
    }

    async fn verified(&self) -> Result<String, AgentError> {
        loop {
            let action = BackupAction::Verify { object: self.storage.object(self.signature), wait_ms: 1000 };
            if let Some(BackupResult::Read { sha256 }) = self.turn(action).await?.result {
                return Ok(sha256);
            }
        }
    }

    async fn restored(&self, restore_id: RestoreId, contents: &BackupContents) -> Result<String, AgentError> {
        loop {
            let object = self.storage.object(self.signature);
            let action = BackupAction::Restore { restore_id, object, contents: contents.clone(), wait_ms: 1000 };
            if let Some(BackupResult::Restored { root }) = self.turn(action).await?.result {
                return Ok(root);
            }
        }
    }

    fn root(&self) -> String {
        root_of(&self.stage.source_data())
    }
}

fn code<T: std::fmt::Debug>(outcome: Result<T, AgentError>) -> ErrorCode {
    outcome.unwrap_err().code
}

async fn comes_back(data: Data) {
    let mut scene = Scene::new(data).await;
    let before = scene.root();
    let (contents, _) = scene.uploaded().await.unwrap();
    assert_eq!(scene.verified().await.unwrap(), contents.sha256);
    let dir = scene.stage.source_data();
    fs::write(dir.join("region.bin"), "griefed").unwrap();
    fs::remove_dir_all(dir.join("empty")).unwrap();
    fs::write(dir.join("new"), "new").unwrap();
    let restore = RestoreId::new();
    assert_eq!(scene.restored(restore, &contents).await.unwrap(), contents.root);
    assert_eq!(scene.root(), before, "owners and the top among it");
    assert_eq!(scene.stage.source.names("staging"), Vec::<String>::new());
    fs::write(dir.join("played"), "on").unwrap();
    let again = scene.restored(restore, &contents).await.unwrap();
    assert_eq!((again, dir.join("played").exists()), (contents.root.clone(), true), "done once, whoever asks again");
    scene.stage.source.restart().await;
    assert_eq!(scene.restored(restore, &contents).await.unwrap(), contents.root, "also after a restart");
    assert!(dir.join("played").exists());
}

#[tokio::test]
async fn a_backup_comes_back_as_it_was() {
    comes_back(Data::Plain).await;
}

#[tokio::test]
async fn a_backup_comes_back_into_a_directory_that_is_mounted() {
    comes_back(Data::Mounted).await;
}

#[tokio::test]
async fn a_server_that_runs_is_backed_up_and_not_restored_over() {
    let mut scene = Scene::new(Data::Plain).await;
    scene.stage.start().await;
    let (contents, _) = scene.uploaded().await.unwrap();
    assert_eq!(code(scene.restored(RestoreId::new(), &contents).await), ErrorCode::Conflict);
    assert_eq!(
        scene.stage.source.node.server(scene.stage.spec.id).unwrap().observation().status,
        ServerStatus::Running
    );
}

#[tokio::test]
async fn addresses_that_have_ended_are_asked_for_again_and_a_storage_that_stumbles_is_waited_for() {
    let mut scene = Scene::new(Data::Plain).await;
    {
        let mut state = scene.storage.state.lock().unwrap();
        (state.good_from, state.failing) = (3, 2);
    }
    let (contents, _) = scene.uploaded().await.unwrap();
    assert!(scene.storage.state.lock().unwrap().faults >= 4, "they were refused, and it stumbled");
    scene.storage.state.lock().unwrap().failing = 1;
    assert_eq!(scene.verified().await.unwrap(), contents.sha256);
    assert_eq!(scene.storage.state.lock().unwrap().failing, 0);
}

#[tokio::test]
async fn what_comes_back_damaged_is_not_put_in_place() {
    let mut scene = Scene::new(Data::Plain).await;
    let (contents, _) = scene.uploaded().await.unwrap();
    let before = scene.root();
    let other = BackupContents { root: "0".repeat(64), ..contents.clone() };
    assert_eq!(code(scene.restored(RestoreId::new(), &other).await), ErrorCode::RootsDiffer);
    {
        let mut state = scene.storage.state.lock().unwrap();
        let part = state.parts.get_mut(&1).unwrap();
        let last = part.len() - 1;
        part[last] ^= 1;
    }
    assert_ne!(scene.verified().await.unwrap(), contents.sha256);
    let refused = code(scene.restored(RestoreId::new(), &contents).await);
    assert!(matches!(refused, ErrorCode::Conflict | ErrorCode::RootsDiffer), "{refused:?}");
    let lost = BackupContents { files: 1, ..contents };
    assert_eq!(code(scene.restored(RestoreId::new(), &lost).await), ErrorCode::Conflict);
    assert_eq!((scene.root(), scene.stage.source.names("staging").len()), (before, 0));
}

#[tokio::test]
async fn another_backup_takes_the_place_of_one_and_a_cancel_ends_it_whatever_the_storage_does() {
    let mut scene = Scene::new(Data::Plain).await;
    let hangs = |scene: &Scene, hangs: bool| scene.storage.state.lock().unwrap().hangs = hangs;
    hangs(&scene, true);
    assert_eq!(scene.turn(scene.upload(0)).await.unwrap().result, None);
    hangs(&scene, false);
    scene.backup = BackupId::new();
    scene.uploaded().await.unwrap();
    hangs(&scene, true);
    scene.backup = BackupId::new();
    assert_eq!(scene.turn(scene.upload(0)).await.unwrap().result, None);
    scene.cancel().await;
    hangs(&scene, false);
    scene.uploaded().await.unwrap();
    scene.stage.source.restart().await;
    assert_eq!(code(scene.turn(scene.upload(1)).await), ErrorCode::Cancelled, "what was read is gone");
}

#[tokio::test]
async fn the_root_of_a_backup_is_that_of_the_tree_without_owners() {
    let mut scene = Scene::new(Data::Plain).await;
    let (contents, _) = scene.uploaded().await.unwrap();
    let nobody = OwnerMap::To { uid: 0, gid: 0 };
    let found = tree_root(&scene.stage.source_data(), nobody, &CancellationToken::new()).unwrap();
    assert_eq!((contents.root, contents.files), (found.root.to_string(), found.files));
    assert_eq!(contents.tree_bytes, found.bytes);
}
