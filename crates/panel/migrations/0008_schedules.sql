-- Schedules: what the panel does to a server at times. They belong to the server, so they go with it wherever it moves.

CREATE TABLE schedules (
    id               TEXT PRIMARY KEY,
    server_id        TEXT NOT NULL REFERENCES servers (id) ON DELETE CASCADE,
    name             TEXT NOT NULL,
    cron             TEXT NOT NULL,   -- minute, hour, day of the month, month, day of the week
    time_zone        TEXT NOT NULL,   -- IANA name
    enabled          BIGINT NOT NULL,
    only_when_online BIGINT NOT NULL,
    tasks            TEXT NOT NULL,   -- JSON list, schedule::Task
    next_run_at      BIGINT,          -- null while it is disabled
    created_at       BIGINT NOT NULL
);
CREATE INDEX schedules_by_server ON schedules (server_id);
CREATE INDEX schedules_by_next_run ON schedules (next_run_at);

-- One row for each time that a schedule was due or was run by hand. Claiming the time of a schedule and writing this row
-- are one transaction, so no restart repeats a run or forgets it.
CREATE TABLE schedule_runs (
    id           TEXT PRIMARY KEY,
    schedule_id  TEXT NOT NULL REFERENCES schedules (id) ON DELETE CASCADE,
    server_id    TEXT NOT NULL REFERENCES servers (id) ON DELETE CASCADE,
    due_at       BIGINT NOT NULL,
    requested_by TEXT,            -- null if it was the clock
    state        TEXT NOT NULL,   -- due, deferred, running, then completed, failed, skipped or missed
    message      TEXT,            -- why, for people
    tasks        TEXT NOT NULL,   -- JSON, as they were when it was due
    next_task    BIGINT NOT NULL, -- index of the first task that has not begun
    started_at   BIGINT,
    finished_at  BIGINT
);
CREATE INDEX schedule_runs_by_schedule ON schedule_runs (schedule_id, due_at);
CREATE INDEX schedule_runs_by_state ON schedule_runs (state);
