//! The executor dies at every single point of every saga: before and after each write, and inside each step and undo
//! before, between and after its effects. Whatever happens, the saga ends where the uninterrupted one ends.
#![allow(clippy::unwrap_used)]

mod common;

use common::{FAULTS, Fault, Shared, Switch, run};
use saga::{CANCELLED, Cancel, Event, Rest};

/// Steps, pivot and the fault (if any) of one saga.
type Case = (usize, usize, Option<(usize, Fault, u32)>);

fn cases() -> Vec<Case> {
    let mut cases = vec![];
    for steps in 1..=4 {
        for pivot in 0..=steps {
            cases.push((steps, pivot, None));
            for step in 0..steps {
                for fault in FAULTS {
                    // Twice: retried and then fine. For ever: given up, which only works before the pivot.
                    cases.push((steps, pivot, Some((step, fault, 2))));
                    if step < pivot {
                        cases.push((steps, pivot, Some((step, fault, u32::MAX))));
                    }
                }
            }
        }
    }
    cases
}

fn world(case: Case) -> Shared {
    let (steps, _, fault) = case;
    let world = Shared::new(steps);
    world.0.lock().unwrap().faults.extend(fault);
    world
}

#[tokio::test(start_paused = true)]
async fn every_crash_ends_where_the_uninterrupted_run_ends() {
    let (mut crashes, mut sagas) = (0, 0);
    for case in cases() {
        let (steps, pivot, fault) = case;
        let calm = run(&world(case), steps, pivot, &Cancel::new()).await;
        let gives_up = fault.is_some_and(|(_, _, times)| times == u32::MAX);
        let (rest, switch) = if gives_up { (Rest::RolledBack, Switch::Off) } else { (Rest::Committed, Switch::On) };
        assert_eq!(calm.rest, rest, "{case:?}");
        assert_eq!(calm.world.0.lock().unwrap().switches, vec![switch.clone(); steps], "{case:?}");
        assert_eq!(calm.world.0.lock().unwrap().fired > 0, fault.is_some(), "{case:?}: the fault fired");
        let points = calm.world.0.lock().unwrap().passed;
        for fuel in 0..points {
            let world = world(case);
            world.0.lock().unwrap().fuel = Some(fuel);
            let torn = run(&world, steps, pivot, &Cancel::new()).await;
            assert_eq!(torn.lives, 2, "{case:?}: the crash at point {fuel} fired");
            assert_eq!(torn.rest, rest, "{case:?} crashed at {fuel}");
            assert_eq!(torn.world.0.lock().unwrap().switches, vec![switch.clone(); steps], "{case:?} at {fuel}");
            crashes += 1;
        }
        sagas += 1;
    }
    assert!(sagas > 100 && crashes > 3000, "{sagas} sagas, {crashes} crashes");
}

#[tokio::test(start_paused = true)]
async fn a_cancel_at_every_point_rolls_back_or_comes_too_late() {
    for steps in 1..=4 {
        for pivot in 0..=steps {
            let points = run(&Shared::new(steps), steps, pivot, &Cancel::new()).await.world.0.lock().unwrap().passed;
            for at in 1..=points {
                let (world, cancel) = (Shared::new(steps), Cancel::new());
                world.0.lock().unwrap().cancel_at = Some((at, cancel.clone()));
                let end = run(&world, steps, pivot, &cancel).await;
                let accepted = world.0.lock().unwrap().accepted;
                assert!(accepted.is_some(), "the cancel at {at} of {points} fired");
                let honoured = end.rest == Rest::RolledBack;
                assert_eq!(
                    accepted,
                    Some(honoured),
                    "what is accepted is honoured, and nothing else: {at} of {points}"
                );
                check_cancelled(&end, steps, pivot, at);
            }
        }
    }
}

fn check_cancelled(end: &common::Outcome, steps: usize, pivot: usize, at: u32) {
    let switches = end.world.0.lock().unwrap().switches.clone();
    // Each step passes seven points: two writes with two each, and three inside. The write of the last `Done` before
    // the pivot is where it becomes too late.
    let too_late = at > u32::try_from(pivot * 7).unwrap().saturating_sub(2);
    if too_late {
        assert_eq!((end.rest, switches), (Rest::Committed, vec![Switch::On; steps]), "{steps} {pivot} {at}");
    } else {
        assert_eq!((end.rest, switches), (Rest::RolledBack, vec![Switch::Off; steps]), "{steps} {pivot} {at}");
        let cancelled = |event: &&Event| matches!(event, Event::Failed { error, .. } if error.code == CANCELLED);
        assert_eq!(end.events.iter().filter(cancelled).count(), 1, "{:?}", end.events);
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_does_not_count_as_an_attempt_and_a_failure_does() {
    let world = Shared::new(1);
    world.0.lock().unwrap().faults.push((0, Fault::Half, 1));
    // Dies inside the first attempt, after the effect that the world keeps.
    world.0.lock().unwrap().fuel = Some(3);
    let end = run(&world, 1, 1, &Cancel::new()).await;
    let runs: Vec<u32> = end.world.0.lock().unwrap().runs.iter().map(|(_, attempt)| *attempt).collect();
    assert_eq!(end.lives, 2);
    assert_eq!(end.rest, Rest::Committed);
    assert_eq!(runs.first(), Some(&1));
    assert_eq!(runs.get(1), Some(&1), "the repeat after the crash has the number of what it repeats: {runs:?}");
}
