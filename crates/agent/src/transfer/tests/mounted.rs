//! A house in which the data directory is mounted into what runs: it is filled and emptied, never replaced.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;

use async_trait::async_trait;
use model::{Clock, RuntimeKind, StopHow, Timestamp};

use super::*;
use crate::layout::Place;
use crate::runtime::{House, Running, Runtime, Unit};

/// Any runtime, in such a house.
pub(super) struct Mounted(pub(super) Arc<dyn Runtime>);

#[async_trait]
impl Runtime for Mounted {
    fn kind(&self) -> RuntimeKind {
        self.0.kind()
    }

    fn house(&self) -> House {
        House { data_is_mounted: true, ..self.0.house() }
    }

    async fn fetch(&self, spec: &ServerSpec) -> Result<(), AgentError> {
        self.0.fetch(spec).await
    }

    async fn prepare(&self, unit: Unit<'_>) -> Result<(), AgentError> {
        self.0.prepare(unit).await
    }

    async fn install(&self, unit: Unit<'_>) -> Result<(), AgentError> {
        self.0.install(unit).await
    }

    async fn start(&self, unit: Unit<'_>) -> Result<Running, AgentError> {
        self.0.start(unit).await
    }

    async fn find(&self, place: &Place) -> Result<Option<Running>, AgentError> {
        self.0.find(place).await
    }

    async fn history(&self, place: &Place) -> Vec<String> {
        self.0.history(place).await
    }

    async fn send(&self, place: &Place, line: &str) -> Result<(), AgentError> {
        self.0.send(place, line).await
    }

    async fn ask_to_end(&self, place: &Place, how: &StopHow) -> Result<(), AgentError> {
        self.0.ask_to_end(place, how).await
    }

    async fn kill(&self, place: &Place) -> Result<(), AgentError> {
        self.0.kill(place).await
    }

    async fn destroy(&self, place: &Place) -> Result<(), AgentError> {
        self.0.destroy(place).await
    }

    async fn list(&self) -> Result<Vec<ServerId>, AgentError> {
        self.0.list().await
    }

    async fn game_address(&self, unit: Unit<'_>) -> Option<SocketAddr> {
        self.0.game_address(unit).await
    }
}

/// A running server, and a target whose volume is mounted already.
async fn stage() -> (Stage, u64) {
    let stage = Stage::in_houses(RuntimeConfig::Process, "none", Data::Mounted).await;
    fs::create_dir_all(stage.target_data()).unwrap();
    stage.start().await;
    let inode = inode(&stage.target_data());
    (stage, inode)
}

fn inode(dir: &Path) -> u64 {
    fs::metadata(dir).unwrap().ino()
}

fn names(dir: &Path) -> Vec<String> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

impl Stage {
    /// The volume is as it was made.
    fn assert_vacant(&self, inode_before: u64) {
        let data = self.target_data();
        assert_eq!(inode(&data), inode_before);
        assert_eq!(names(data.parent().unwrap()), ["data"]);
        assert!(names(&data).is_empty() && self.target.names("staging").is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_moves_into_the_directory_that_is_there() {
    let (stage, inode_before) = stage().await;
    let root = stage.frozen_and_copied().await;
    let permit = stage.permit(&stage.target, EPOCH + 1);
    stage.at_target("start_target", TransferAction::StartTarget { permit, start: false }).await.unwrap();
    assert_eq!((inode(&stage.target_data()), root_of(&stage.target_data())), (inode_before, root));
    assert!(stage.target.names("staging").is_empty());
    stage.at_target("start_target#2", stage.start_target()).await.unwrap();
    stage.at_target("check_health", health()).await.unwrap();
    assert!(stage.target_data().join("game.sh").exists(), "what is published is not published again");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_abort_leaves_the_directory_empty() {
    for steps in 0..3 {
        let (mut stage, inode_before) = stage().await;
        match steps {
            0 => drop(stage.prepare().await.unwrap()),
            _ => drop(stage.frozen_and_copied().await),
        }
        if steps == 2 {
            stage.at_target("start_target", stage.start_target()).await.unwrap();
            stage.target.until(stage.spec.id, ServerStatus::Running).await;
            stage.target.restart().await;
        }
        stage.at_target("undo_start_target", TransferAction::AbortTarget).await.unwrap();
        stage.assert_vacant(inode_before);
        stage.target.restart().await;
        stage.assert_vacant(inode_before);
        // The next transfer finds it as the first one did.
        (stage.transfer, stage.ticket) = (TransferId::new(), Ticket::random().to_string());
        stage.prepare().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_that_was_not_noted_is_finished() {
    let (mut stage, inode_before) = stage().await;
    let root = stage.frozen_and_copied().await;
    stage.target.node.around.shutdown.cancel();
    let staged = stage.target.path(&format!("staging/{}/tree", stage.transfer));
    ::transfer::publish_into(&staged, &stage.target_data()).unwrap();
    let record = stage.target.path(&format!("transfers/{}.json", stage.transfer));
    let mut text: serde_json::Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
    text["target"]["phase"] = "starting".into();
    fs::write(&record, text.to_string()).unwrap();
    stage.target.restart().await;
    let permit = stage.permit(&stage.target, EPOCH + 1);
    stage.at_target("start_target", TransferAction::StartTarget { permit, start: false }).await.unwrap();
    assert_eq!((inode(&stage.target_data()), root_of(&stage.target_data())), (inode_before, root));
}

#[tokio::test(flavor = "multi_thread")]
async fn staging_that_is_lost_is_not_taken_for_published() {
    let (mut stage, _) = stage().await;
    stage.frozen_and_copied().await;
    stage.target.node.around.shutdown.cancel();
    fs::remove_dir_all(stage.target.path(&format!("staging/{}", stage.transfer))).unwrap();
    let record = stage.target.path(&format!("transfers/{}.json", stage.transfer));
    let mut text: serde_json::Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
    text["target"]["phase"] = "starting".into();
    fs::write(&record, text.to_string()).unwrap();
    stage.target.restart().await;
    assert!(stage.at_target("start_target", stage.start_target()).await.is_err(), "an empty world does not start");
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_files_are_neither_hidden_nor_overwritten() {
    let (mut stage, inode_before) = stage().await;
    stage.frozen_and_copied().await;
    let foreign = stage.target_data().join("somebodys");
    fs::write(&foreign, "x").unwrap();
    let refused = stage.at_target("start_target", stage.start_target()).await.unwrap_err();
    assert!(refused.code == ErrorCode::Conflict && refused.message.contains("somebodys"), "{refused}");
    fs::remove_file(&foreign).unwrap();
    stage.at_target("start_target#2", stage.start_target()).await.unwrap();
    assert_eq!(inode(&stage.target_data()), inode_before);
    // And a volume that holds something is no target to begin with.
    (stage.transfer, stage.spec.id) = (TransferId::new(), ServerId::new());
    fs::create_dir_all(stage.target_data()).unwrap();
    fs::write(stage.target_data().join("somebodys"), "x").unwrap();
    assert_eq!(code(stage.prepare().await), ErrorCode::Conflict);
    assert!(stage.target_data().join("somebodys").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retained_copy_stays_where_it_is() {
    let (mut stage, _) = stage().await;
    let root = stage.frozen_and_copied().await;
    stage.at_target("start_target", stage.start_target()).await.unwrap();
    let expires_at = Timestamp::from_millisecond(SystemClock.now().as_millisecond() - 1).unwrap();
    let retained = stage.at_source("release_source", TransferAction::RetainSource { expires_at }).await.unwrap();
    assert!(matches!(retained, Reply::Retained { bytes } if bytes > 3 << 20));
    stage.source.restart().await;
    assert_eq!(root_of(&stage.source_data()), root, "it is whoever keeps the volume that ends it");
    let seen = stage.source.node.server(stage.spec.id).unwrap().observation();
    assert!(seen.fenced && !seen.status.is_live());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_removed_leaves_the_mount_behind() {
    let (stage, _) = stage().await;
    let inode_before = inode(&stage.source_data());
    let kill = Request::KillServer { server_id: stage.spec.id };
    assert_eq!(stage.source.node.obey(kill).await, Outcome::Ok(Reply::Done));
    stage.source.until(stage.spec.id, ServerStatus::Offline).await;
    let remove = Request::RemoveServer { server_id: stage.spec.id };
    assert_eq!(stage.source.node.obey(remove).await, Outcome::Ok(Reply::Done));
    assert_eq!(names(stage.source_data().parent().unwrap()), ["data"]);
    assert_eq!(inode(&stage.source_data()), inode_before);
    assert!(names(&stage.source_data()).is_empty());
}
