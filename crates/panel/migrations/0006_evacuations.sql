-- Several servers at once: what was asked for, and each server's turn. An item carries its own target.

CREATE TABLE evacuations (
    id             TEXT PRIMARY KEY,
    state          TEXT NOT NULL,   -- running, paused, cancelling, completed, completed_with_failures, cancelled
    -- no references: history outlives nodes. Null where servers were picked
    source_node_id TEXT,
    source_kind    TEXT,
    concurrency    BIGINT NOT NULL,
    options        TEXT NOT NULL,   -- JSON, model::Options of each transfer
    cancel_running BIGINT NOT NULL DEFAULT 0,
    requested_by   TEXT NOT NULL,
    created_at     BIGINT NOT NULL,
    finished_at    BIGINT
);
CREATE INDEX evacuations_by_state ON evacuations (state);

CREATE TABLE evacuation_items (
    id             TEXT PRIMARY KEY,
    evacuation_id  TEXT NOT NULL REFERENCES evacuations (id) ON DELETE CASCADE,
    position       BIGINT NOT NULL,
    server_id      TEXT NOT NULL,   -- no reference: the report outlives the server
    server_name    TEXT NOT NULL,
    source_node_id TEXT NOT NULL,
    target_node_id TEXT NOT NULL,
    target_kind    TEXT NOT NULL,
    bytes          BIGINT,          -- as measured when the order was made
    state          TEXT NOT NULL,   -- waiting, starting, running, completed, failed, skipped, cancelled
    transfer_id    TEXT,            -- chosen and written down before the transfer is started
    problem        TEXT,            -- JSON {code, message}: why it failed, was left out, or still waits
    blocked_since  BIGINT,          -- since when its turn has come and it could not be started
    retry_at       BIGINT,          -- not before
    started_at     BIGINT,
    finished_at    BIGINT
);
CREATE INDEX evacuation_items_by_evacuation ON evacuation_items (evacuation_id, position);

-- The stream of everything goes on behind a moment.
CREATE INDEX transfer_events_by_time ON transfer_events (at);
