//! A panel whose database is PostgreSQL: killed in the middle, and with a database that goes away in the middle.
//!
//! `scripts/test-postgres.sh` starts the server and says where it is: `BADGER_TEST_POSTGRES` and, to stop and start it,
//! `BADGER_TEST_POSTGRES_CONTROL`. One test at a time: the second one stops the server for all.

use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;

use crate::crash::{BANDWIDTH, Victim, assert_outcome, kill_in_every_phase};
use crate::harness::{House, Setup, eventually};

static ALONE: Mutex<()> = Mutex::new(());

/// A database of its own on the server of the tests.
fn setup() -> Setup {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let location = runtime.block_on(panel::db::testing::location(dir.path()));
    assert!(matches!(location, panel::db::Location::Postgres(_)), "BADGER_TEST_POSTGRES is not set");
    let url = std::fs::read_to_string(dir.path().join("database-url")).unwrap();
    Setup { database: Some(url), ..Setup::default() }
}

fn control(word: &str) {
    let program = std::env::var("BADGER_TEST_POSTGRES_CONTROL").unwrap();
    assert!(Command::new(program).arg(word).status().unwrap().success(), "the server does not {word}");
}

#[test]
#[ignore = "takes PostgreSQL: scripts/test-postgres.sh"]
fn postgres_panel_killed_in_any_phase_goes_on_by_itself() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    kill_in_every_phase(Victim::Panel, setup());
}

#[test]
#[ignore = "takes PostgreSQL: scripts/test-postgres.sh"]
fn postgres_restarted_in_the_middle_of_a_migration_harms_nobody() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (house, player) = House::playing(Setup { world: "8M", ..setup() });
    for phase in ["copying_while_running", "stopping", "starting"] {
        let source = house.owner();
        let transfer = house.migrate(&json!({"bandwidth_limit": BANDWIDTH}));
        house.wait_stage(&transfer, phase);
        let going_on = house.transfer(&transfer)["finished_at"].is_null();
        control("stop");
        let down = house.readiness();
        assert_eq!((down.status, down.body["error"]["code"].as_str()), (503, Some("database_unavailable")), "{down:?}");
        // Nobody who plays notices, unless the game is just being moved.
        if phase == "copying_while_running" {
            player.plays_on();
        }
        control("start");
        eventually("the panel has its database back", Duration::from_secs(30), || {
            (house.readiness().status == 200).then_some(())
        });
        let ended = house.wait_final(&transfer);
        eprintln!("restarted in {phase}: {}, failure {}", ended["state"], ended["failure"]);
        assert!(going_on || phase == "starting", "the transfer was over before the server was stopped in {phase}");
        assert_outcome(&house, &player, &ended, source);
    }
}

#[test]
#[ignore = "takes PostgreSQL: scripts/test-postgres.sh"]
fn postgres_has_one_panel() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let house = House::build(setup());
    let (ended, said) = house.second_panel();
    assert!(!ended.success());
    assert!(said.contains("another panel, on "), "{said}");
    house.api.get("/admin/servers").expect(200);
}
