//! Migrations in which nothing goes wrong.
#![allow(clippy::unwrap_used)]

mod common;

use common::Stage;
use model::{Mode, Options, StartAfter, TransferState};
use sim::Setup;

#[tokio::test(start_paused = true)]
async fn a_running_server_moves_live() {
    let stage = Stage::open().await;
    let end = stage.play(Setup::default()).await;
    end.must_be(TransferState::Completed);
    let freeze = end.transfer.freeze_ms.unwrap();
    assert!((400..2000).contains(&freeze), "freeze of {freeze} ms");
    assert_eq!(end.transfer.boot_ms, Some(1000));
}

#[tokio::test(start_paused = true)]
async fn every_mode_and_wish_ends_as_asked_for() {
    let stage = Stage::open().await;
    for running in [true, false] {
        for mode in [Mode::Live, Mode::Cold] {
            for start_after in [StartAfter::AsBefore, StartAfter::Yes, StartAfter::No] {
                let options = Options { mode, start_after, ..Options::default() };
                let end = stage.play(Setup { running, options, ..Setup::default() }).await;
                end.must_be(TransferState::Completed);
                let copied_live = end.history.iter().any(|what| what.contains("is asked precopy"));
                assert_eq!(copied_live, running && mode == Mode::Live, "{running} {mode:?}");
            }
        }
    }
}
