//! The moment at which something happens to a migration: a step of it, and not a wish.
//!
//! ```text
//!   events of the transfer:  … final_copy started ─┬─ (bytes flow) ─ panel held still ─ FAULT ─ panel goes on ─ …
//!                                                  └─ "final_copy done" before that: missed, and tried again
//! ```
//!
//! The panel writes the steps' log; while it stands still no step can end on record. So a fault that happens meanwhile, and
//! is followed by the step's end, has hit it. Agents and clusters go on all the while.

use std::cell::Cell;
use std::time::Instant;

use model::{Clock, SystemClock, Timestamp};
use serde_json::{Value, json};

use super::cluster::Cluster;
use super::fleet::SLOW;
use super::{Fleet, Place};
use crate::harness::events::{Event, follow, read_all};

/// Slow enough that the copying of a world of 4 MiB lasts some seconds; for what happens in a copy.
const BANDWIDTH: u64 = 2 << 20;
/// The steps in which an agent has something to do, in their order.
pub(super) const STEPS: [&str; 10] = [
    "prepare_target",
    "precopy",
    "stop_source",
    "final_copy",
    "fence_source",
    "switch_over",
    "start_target",
    "check_health",
    "audit",
    "release_source",
];
/// Some steps last for milliseconds, and one that was missed is tried again.
const TRIES: usize = 6;

/// Between the clusters, wherever the server is.
pub(super) fn other(place: Place) -> Place {
    match place {
        Place::Cluster(n) => Place::Cluster(1 - n),
        Place::Node(_) => Place::Cluster(0),
    }
}

/// What happens, and to whom.
pub(super) struct Moment<'a> {
    /// Where the server comes from.
    pub(super) source: Place,
    /// Where it goes to.
    pub(super) target: Place,
    /// The transfer.
    pub(super) transfer: String,
    fleet: &'a Fleet,
    at: Timestamp,
    held: Cell<bool>,
}

impl Moment<'_> {
    /// Lets the panel go on, for whom the fault takes longer than it may stand still.
    pub(super) fn go_on(&self) {
        if self.held.replace(false) {
            self.fleet.hold_panel(false);
        }
    }

    /// Kills the panel, which stands still, and starts another.
    pub(super) fn restart_panel(&self) {
        self.held.set(false);
        self.fleet.restart_panel();
    }
}

impl Drop for Moment<'_> {
    fn drop(&mut self) {
        self.go_on();
    }
}

impl Fleet {
    /// Migrates between the clusters and lets `fault` happen in `step`; how it ended. Fails if the step cannot be hit.
    pub(super) fn strike(&self, step: &str, options: &Value, fault: impl Fn(&Moment<'_>)) -> Value {
        for _ in 0..TRIES {
            let (hit, ended) = self.try_strike(step, options, &fault);
            if hit {
                return ended;
            }
            eprintln!("{step}: missed, again");
        }
        panic!("{step} was over before anything could happen to it, {TRIES} times");
    }

    fn try_strike(&self, step: &str, options: &Value, fault: impl Fn(&Moment<'_>)) -> (bool, Value) {
        self.clusters.iter().for_each(|cluster| cluster.wait_online(&self.api));
        let source = self.owner();
        let copies = matches!(step, "precopy" | "final_copy");
        let mut all = if copies { json!({"bandwidth_limit": BANDWIDTH}) } else { json!({}) };
        all.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
        let transfer = self.migrate(other(source), &all);
        let in_its_middle = step == "precopy" || (step == "final_copy" && all["mode"] == "cold");
        let began = Instant::now();
        let struck = self.come_to(&transfer, step, in_its_middle).then(|| {
            if step == "prepare_target" {
                // Only the source is asked before that, and there is nothing at the target yet that a fault could hit.
                self.cluster(other(source)).process("mover", &self.server);
            }
            self.hold_panel(true);
            let (target, transfer, held) = (other(source), transfer.clone(), Cell::new(true));
            let moment = Moment { source, target, transfer, fleet: self, at: SystemClock.now(), held };
            fault(&moment);
            moment.at
        });
        let ended = self.wait_final(&transfer);
        let journal = read_all(&self.api, &transfer, None, SLOW);
        let hit = struck.is_some_and(|at| ended_after(&journal, step, at));
        eprintln!("{step}: hit {hit}, {} after {:?}, failure {}", ended["state"], began.elapsed(), ended["failure"]);
        self.assert_outcome(&ended, source, other(source));
        (hit, ended)
    }

    /// Waits for a step to begin, or for the middle of its copy; whether it came.
    fn come_to(&self, transfer: &str, step: &str, in_its_middle: bool) -> bool {
        let events = follow(&self.api, transfer, SLOW * 2);
        let says = |event: &Event, what: &str| event.data["message"] == format!("{step} {what}");
        if !events.iter().any(|event| says(&event, "started")) {
            return false;
        }
        let copies = |event: &Event| event.data["bytes_written"].as_u64().is_some_and(|bytes| bytes > 0);
        !in_its_middle
            || events.iter().find(|event| copies(event) || says(event, "done")).is_some_and(|event| copies(&event))
    }

    /// The cluster that a place is.
    pub(super) fn cluster(&self, place: Place) -> &Cluster {
        let Place::Cluster(n) = place else { panic!("a node is no cluster") };
        &self.clusters[n]
    }

    /// Whatever happened: the server is in one place, plays, has all its records, and nothing of the attempt is left.
    pub(super) fn assert_outcome(&self, ended: &Value, source: Place, target: Place) {
        let owner = match ended["state"].as_str().unwrap() {
            "completed" => target,
            "rolled_back" => source,
            state => panic!("{state}: {ended}"),
        };
        self.clusters.iter().for_each(|cluster| cluster.wait_online(&self.api));
        self.wait_status("running");
        assert_eq!(self.owner(), owner, "{ended}");
        self.player().plays_on_within(SLOW);
        self.assert_settled();
        self.player().assert_all_there(&self.address());
        if owner == target {
            self.free_retained(ended);
        }
        self.cluster(other(owner)).wait_empty(&self.server);
    }
}

/// Whether a step was still on record as begun at an instant: what ended it, either way, was written later.
fn ended_after(journal: &[Event], step: &str, at: Timestamp) -> bool {
    let mut ends = journal.iter().filter(|event| {
        let message = event.data["message"].as_str().unwrap_or_default();
        message == format!("{step} done") || message.starts_with(&format!("{step} given up"))
    });
    ends.next().is_some_and(|end| end.data["at"].as_str().unwrap().parse::<Timestamp>().unwrap() > at)
}
