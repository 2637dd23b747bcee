//! The steps of a migration, in their order.
//!
//! Read aloud: lock the server and keep room for it on the target. Back it up, if that is wanted. Get everything ready there that could be missing.
//! Copy while it runs, and wait until it may be stopped. Stop it, send the rest, see that both sides hold the same. Forbid the source to start it, write
//! down that the target owns it, start it there and see that it is well. — From here on players may have changed it:
//! nothing goes back. Let players in, look once more at what the source holds, keep that for a while, let go.

mod admit;
mod back_up;
mod copy;
mod freeze;
mod ladder;
mod lock;
mod outputs;
mod prepare;
mod reserve;
mod retire;
mod start;
mod switch;
mod walk;
mod window;

use saga::{Executor, Step};

use super::Move;
pub(in crate::migrate) use ladder::Way;

/// The first step past the pivot: `admit_players`.
const PIVOT: usize = 12;

/// The saga of one migration.
pub(crate) fn executor() -> Executor<Move> {
    let steps: Vec<Box<dyn Step<Move>>> = vec![
        // Nobody else may act on the server from here to the end.
        Box::new(lock::LockServer),
        // Room and address first: cheap to get, cheap to give back, and the most frequent reason to refuse.
        Box::new(reserve::ReserveTarget),
        // Before anything is made on the target, so that nothing waits there for as long as a backup takes.
        Box::new(back_up::BackUp),
        // Whatever can fail for want of something fails here, while players notice nothing.
        Box::new(prepare::PrepareTarget),
        // All but the last changes, while it runs: what makes the freeze independent of the size.
        Box::new(copy::Precopy),
        // The last moment at which nobody has noticed anything: it may be long, and whoever waited copies once more.
        Box::new(window::AwaitWindow),
        // --- frozen: nothing is held from here on ---
        Box::new(freeze::StopSource),
        // Both sides have computed the same root before anything is decided (I3).
        Box::new(copy::FinalCopy),
        // The tombstone before the change of the owner: two owners who may start is what must never be (I1). Between
        // the two nobody may start, which is safe and undone by a newer epoch.
        Box::new(freeze::FenceSource),
        // The database before the start: a permit is only ever signed for the owner on record (I2).
        Box::new(switch::SwitchOver),
        Box::new(start::StartTarget),
        // The last thing that can go wrong without a loss. Behind it players may have built on the target.
        Box::new(start::CheckHealth),
        // --- pivot: from here on only forward ---
        // Not a moment later than it can be: players wait. Not a step earlier: what they do now is not taken back.
        Box::new(admit::AdmitPlayers),
        // Did anything write to the source's files after they were copied? Now, because it takes as long as reading
        // them, and nobody waits any more.
        Box::new(retire::Audit),
        Box::new(retire::ReleaseSource),
        Box::new(lock::UnlockServer),
    ];
    Executor::new(steps, PIVOT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pivot_lies_behind_check_health() {
        let executor = executor();
        let plan = executor.plan();
        assert_eq!(plan.name(PIVOT - 1), "check_health");
        assert_eq!(plan.name(PIVOT), "admit_players");
        assert!(!plan.is_before_pivot(PIVOT));
    }
}
