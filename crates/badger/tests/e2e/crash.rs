//! `kill -9` of one of the three processes, anywhere in a migration: it ends completed or rolled back with no human,
//! the server is in exactly one place, and every acknowledged record is there.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::random::Random;
use crate::harness::{House, Player, Setup};

/// Slow enough that the copying of a world of 4 MiB lasts a second or two, so that every phase can be hit.
pub(crate) const BANDWIDTH: u64 = 4 << 20;
/// Phases at whose beginning the victim is killed, one after the other.
const PHASES: [&str; 6] = ["preparing", "copying_while_running", "stopping", "transferring", "starting", "cleanup"];
/// Kills at random moments on top of that.
const RANDOM_KILLS: usize = 4;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Victim {
    /// The panel.
    Panel,
    /// The daemon that has the server.
    Source,
    /// The one that gets it.
    Target,
}

#[test]
fn the_panel_killed_in_any_phase_goes_on_by_itself() {
    kill_in_every_phase(Victim::Panel, Setup::default());
}

#[test]
fn the_source_daemon_killed_in_any_phase_harms_nobody() {
    kill_in_every_phase(Victim::Source, Setup::default());
}

#[test]
fn the_target_daemon_killed_in_any_phase_harms_nobody() {
    kill_in_every_phase(Victim::Target, Setup::default());
}

/// Migrates back and forth in a house, with a kill in each phase.
pub(crate) fn kill_in_every_phase(victim: Victim, setup: Setup) {
    let (mut house, player) = House::playing(setup);
    let mut random = Random::new("kill_in_every_phase");
    let mut in_time = 0;
    for phase in PHASES {
        in_time += usize::from(migrate_with_a_kill(&mut house, &player, victim, &When::Phase(phase)));
    }
    for _ in 0..RANDOM_KILLS {
        let moment = Duration::from_millis(random.below(3_000));
        in_time += usize::from(migrate_with_a_kill(&mut house, &player, victim, &When::After(moment)));
    }
    // A phase may be over before the kill comes; but if most are, nothing was tested.
    assert!(in_time >= 6, "{in_time} kills hit a migration that was going on");
}

#[derive(Clone, Debug)]
enum When {
    Phase(&'static str),
    After(Duration),
}

/// Migrates to wherever the server is not, kills the victim, starts it again; whether the migration was going on.
fn migrate_with_a_kill(house: &mut House, player: &Player, victim: Victim, when: &When) -> bool {
    let source = house.owner();
    let transfer = house.migrate(&json!({"bandwidth_limit": BANDWIDTH}));
    match when {
        When::Phase(phase) => drop(house.wait_stage(&transfer, phase)),
        When::After(moment) => thread::sleep(*moment),
    }
    let going_on = house.transfer(&transfer)["finished_at"].is_null();
    let began = Instant::now();
    match victim {
        Victim::Panel => {
            house.kill_panel();
            house.start_panel();
        }
        Victim::Source => restart_daemon(house, source),
        Victim::Target => restart_daemon(house, 1 - source),
    }
    let ended = house.wait_final(&transfer);
    eprintln!(
        "{victim:?} killed at {when:?}: {} after {:?}, failure {}",
        ended["state"],
        began.elapsed(),
        ended["failure"]
    );
    assert_outcome(house, player, &ended, source);
    going_on
}

fn restart_daemon(house: &mut House, node: usize) {
    house.nodes[node].kill();
    house.nodes[node].start();
}

/// It is where it must be after a migration that ended like this, it runs, and everything is there.
pub(crate) fn assert_outcome(house: &House, player: &Player, ended: &Value, source: usize) {
    let owner = match ended["state"].as_str().unwrap() {
        "completed" => 1 - source,
        "rolled_back" => source,
        other => panic!("{other}: {ended}"),
    };
    house.wait_status("running");
    assert_eq!(house.owner(), owner, "{ended}");
    house.assert_settled();
    player.plays_on();
    player.assert_all_there(&house.address());
}

#[test]
fn a_panel_that_is_restarted_in_good_order_goes_on_too() {
    let (mut house, player) = House::playing(Setup::default());
    for phase in ["copying_while_running", "stopping", "starting"] {
        let source = house.owner();
        let transfer = house.migrate(&json!({"bandwidth_limit": BANDWIDTH}));
        house.wait_stage(&transfer, phase);
        assert!(house.panel.as_mut().unwrap().stop().success());
        house.start_panel();
        let ended = house.wait_final(&transfer);
        assert_eq!(ended["state"], "completed", "{ended}");
        assert_outcome(&house, &player, &ended, source);
    }
}

#[test]
fn a_target_that_dies_for_good_leaves_the_server_where_it_was() {
    let (mut house, player) = House::playing(Setup { world: "16M", ..Setup::default() });
    let transfer = house.migrate(&json!({"bandwidth_limit": 512 << 10}));
    assert!(house.wait_stage(&transfer, "copying_while_running"));
    house.wait_copying(&transfer);
    house.nodes[1].kill();
    player.plays_on();
    // While the game runs, a target is given two minutes to come back: that harms nobody.
    let rolling_back = crate::harness::within(Duration::from_mins(4), || {
        let state = house.transfer(&transfer)["state"].clone();
        matches!(state.as_str(), Some("rolling_back" | "rolled_back")).then_some(())
    });
    assert!(rolling_back.is_some(), "a dead target is noticed: {}", house.transfer(&transfer));
    // What it left on the dead machine is removed when that comes back; until then players go on.
    player.plays_on();
    house.nodes[1].start();
    let ended = house.wait_final(&transfer);
    assert_eq!(ended["state"], "rolled_back", "{ended}");
    assert!(ended["failure"]["code"].is_string() && ended["failure"]["message"].is_string(), "{ended}");
    assert_outcome(&house, &player, &ended, 0);
    house.nodes[1].assert_nothing_of(&house.server);
}

#[test]
fn a_source_that_hears_nothing_while_frozen_starts_its_server_again() {
    let (mut house, player) = House::playing(Setup { world: "16M", ..Setup::default() });
    // Cold, and slowly: the freeze is long enough for the panel to die in it and stay away for longer than the lease.
    let transfer = house.migrate(&json!({"mode": "cold", "bandwidth_limit": 512 << 10}));
    assert!(house.wait_stage(&transfer, "transferring") || house.wait_stage(&transfer, "compressing"));
    house.kill_panel();
    player.plays_on_within(Duration::from_secs(45));
    house.start_panel();
    let ended = house.wait_final(&transfer);
    assert_eq!(ended["state"], "rolled_back", "{ended}");
    assert_outcome(&house, &player, &ended, 0);
}

#[test]
#[ignore = "takes minutes: make soak"]
fn soak_migrations_under_random_kills() {
    let minutes = std::env::var("BADGER_SOAK_MINUTES").ok().and_then(|m| m.parse().ok()).unwrap_or(10);
    let end = Instant::now() + Duration::from_mins(minutes);
    let (mut house, player) = House::playing(Setup::default());
    let mut random = Random::new("soak");
    let (mut migrations, mut kills) = (0, 0);
    while Instant::now() < end {
        let victim = [Victim::Panel, Victim::Source, Victim::Target][usize::try_from(random.below(3)).unwrap()];
        let when = When::After(Duration::from_millis(random.below(4_000)));
        kills += usize::from(migrate_with_a_kill(&mut house, &player, victim, &when));
        migrations += 1;
    }
    eprintln!(
        "{migrations} migrations, {kills} kills in the middle, {} acknowledged records, none lost",
        player.acknowledged()
    );
    assert!(kills > 0);
}
