//! The clock of schedules, with a time that the test moves.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use model::agent_api::Request;
use model::{ScheduleId, ServerId};

use super::*;
use crate::db::Paging;
use crate::testing::Bench;

const MINUTE_MS: i64 = 60_000;

async fn schedule(bench: &Bench, server: ServerId, cron: &str) -> Schedule {
    let now = bench.app.now();
    let schedule = Schedule {
        id: ScheduleId::new(),
        server_id: server,
        name: "s".to_owned(),
        cron: cron.to_owned(),
        time_zone: "Europe/Berlin".to_owned(),
        enabled: true,
        only_when_online: false,
        tasks: vec![Task::Command { command: "save".to_owned(), time_offset_s: 0, continue_on_failure: false }],
        next_run_at: Times::parse(cron, "Europe/Berlin").unwrap().after(now),
        created_at: now,
    };
    schedules::schedule_insert(&mut bench.app.db.acquire().await.unwrap(), &schedule).await.unwrap();
    schedule
}

/// All runs, the oldest first, once none is going on.
async fn rest(bench: &Bench, id: ScheduleId) -> Vec<Run> {
    let all = async {
        loop {
            let mut conn = bench.app.db.acquire().await.unwrap();
            let page = schedule_runs::runs_page(&mut conn, id, Paging { page: 1, per_page: 100 }).await.unwrap();
            if page.items.iter().all(|run| run.state != RunState::Running) {
                return page.items.into_iter().rev().collect();
            }
            drop(conn);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), all).await.unwrap()
}

async fn states(bench: &Bench, id: ScheduleId) -> Vec<RunState> {
    rest(bench, id).await.iter().map(|run| run.state).collect()
}

async fn next(bench: &Bench, schedule: &Schedule) -> String {
    let mut conn = bench.app.db.acquire().await.unwrap();
    let schedule = schedules::schedule_get(&mut conn, schedule.server_id, schedule.id).await.unwrap();
    schedule.next_run_at.unwrap().to_string()
}

#[tokio::test]
async fn a_schedule_runs_when_it_is_due_and_once() {
    let bench = Bench::at("2026-03-28T00:59:00Z").await;
    let server = bench.server("running").await;
    let it = schedule(&bench, server, "0 2 * * *").await;
    tick(&bench.app).await.unwrap();
    assert!(states(&bench, it.id).await.is_empty(), "it is not due");
    bench.clock.advance_ms(MINUTE_MS);
    tick(&bench.app).await.unwrap();
    tick(&bench.app).await.unwrap();
    assert_eq!(states(&bench, it.id).await, [RunState::Completed]);
    assert_eq!(bench.agents.asked(), [Request::SendConsole { server_id: server, line: "save".to_owned() }]);
    // The next day the clocks skip this hour: it is due at the end of the gap.
    assert_eq!(next(&bench, &it).await, "2026-03-29T01:00:00Z");
}

#[tokio::test]
async fn what_was_due_while_the_panel_was_down_runs_once_if_it_is_not_too_late() {
    let bench = Bench::at("2026-01-01T00:00:30Z").await;
    let server = bench.server("running").await;
    let often = schedule(&bench, server, "*/5 * * * *").await;
    let rarely = schedule(&bench, server, "10 1 * * *").await;
    // Nobody looks for an hour and a half.
    bench.clock.advance_ms(91 * MINUTE_MS);
    tick(&bench.app).await.unwrap();
    let runs = rest(&bench, often.id).await;
    let seen: Vec<_> = runs.iter().map(|run| (run.state, run.due_at.to_string())).collect();
    let missed = (RunState::Missed, "2026-01-01T00:05:00Z".to_owned());
    assert_eq!(seen, [missed, (RunState::Completed, "2026-01-01T01:30:00Z".to_owned())]);
    assert_eq!(next(&bench, &often).await, "2026-01-01T01:35:00Z");
    assert_eq!(states(&bench, rarely.id).await, [RunState::Missed], "it was due at 00:10 UTC");
    assert!(rest(&bench, rarely.id).await[0].message.as_deref().unwrap().contains("the panel did not run"));
}

#[tokio::test]
async fn a_server_that_is_being_transferred_is_left_alone_and_the_run_is_deferred() {
    let bench = Bench::at("2026-01-01T00:00:30Z").await;
    let server = bench.server("running").await;
    let it = schedule(&bench, server, "*/30 * * * *").await;
    let lock = async |to: bool| {
        let mut conn = bench.app.db.acquire().await.unwrap();
        if to {
            servers::server_lock(&mut conn, server, "a-transfer").await.unwrap();
        } else {
            servers::server_unlock(&mut conn, server, "a-transfer").await.unwrap();
        }
    };
    lock(true).await;
    bench.clock.advance_ms(30 * MINUTE_MS);
    tick(&bench.app).await.unwrap();
    tick(&bench.app).await.unwrap();
    assert_eq!(states(&bench, it.id).await, [RunState::Deferred]);
    assert!(bench.agents.asked().is_empty());
    // It ends within the grace: then it runs.
    lock(false).await;
    bench.clock.advance_ms(10 * MINUTE_MS);
    tick(&bench.app).await.unwrap();
    assert_eq!(states(&bench, it.id).await, [RunState::Completed]);
    // The next one is held for longer.
    lock(true).await;
    bench.clock.advance_ms(20 * MINUTE_MS);
    tick(&bench.app).await.unwrap();
    bench.clock.advance_ms(16 * MINUTE_MS);
    tick(&bench.app).await.unwrap();
    lock(false).await;
    tick(&bench.app).await.unwrap();
    assert_eq!(states(&bench, it.id).await, [RunState::Completed, RunState::Skipped]);
    assert_eq!(bench.agents.asked().len(), 1);
}

#[tokio::test]
async fn a_run_that_was_cut_goes_on_with_the_task_that_had_not_begun() {
    let bench = Bench::at("2026-01-01T00:00:00Z").await;
    let server = bench.server("running").await;
    let it = schedule(&bench, server, "0 0 1 1 *").await;
    let line = |line: &str| Task::Command { command: line.to_owned(), time_offset_s: 0, continue_on_failure: false };
    let tasks = vec![line("one"), line("two"), line("three")];
    let run = Run { tasks, ..new_run(&it, RunState::Due, None, bench.app.now()) };
    let mut conn = bench.app.db.acquire().await.unwrap();
    schedule_runs::run_insert(&mut conn, &run).await.unwrap();
    schedule_runs::run_begin(&mut conn, run.id, bench.app.now()).await.unwrap();
    for begun in [0, 1] {
        schedule_runs::run_task_begin(&mut conn, run.id, begun).await.unwrap();
    }
    drop(conn);
    begin(&bench.app).await.unwrap();
    assert_eq!(states(&bench, it.id).await, [RunState::Completed]);
    bench.app.shutdown.cancel();
    assert_eq!(bench.agents.asked(), [Request::SendConsole { server_id: server, line: "three".to_owned() }]);
}

#[tokio::test]
async fn an_agent_that_is_offline_is_a_failure_that_says_so() {
    let bench = Bench::at("2026-01-01T00:00:30Z").await;
    let server = bench.server("offline").await;
    let it = schedule(&bench, server, "* * * * *").await;
    bench.agents.offline.store(true, std::sync::atomic::Ordering::SeqCst);
    bench.clock.advance_ms(MINUTE_MS);
    tick(&bench.app).await.unwrap();
    let runs = rest(&bench, it.id).await;
    assert_eq!(runs[0].state, RunState::Failed);
    assert!(runs[0].message.as_deref().unwrap().contains("not connected"), "{runs:?}");
}
