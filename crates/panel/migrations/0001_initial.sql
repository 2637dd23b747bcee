-- One portable schema: SQLite and PostgreSQL run it as it is.
-- Ids and hashes are text, times are milliseconds since 1970 (UTC), truth values are 0 and 1, JSON is text.

CREATE TABLE settings (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE feature_flags (
    name    TEXT PRIMARY KEY,
    enabled BIGINT NOT NULL
);
INSERT INTO feature_flags (name, enabled) VALUES ('server_transfers', 1);

CREATE TABLE api_keys (
    id           TEXT PRIMARY KEY,
    name         TEXT NOT NULL,
    key_hash     TEXT NOT NULL UNIQUE, -- SHA-256 of the key, hex: the key has 256 random bits, so no salt is needed
    scopes       TEXT NOT NULL,        -- JSON list of permissions, ["*"] for all
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT,
    last_used_at BIGINT
);

CREATE TABLE nodes (
    id              TEXT PRIMARY KEY,
    name            TEXT NOT NULL UNIQUE,
    memory_mb       BIGINT NOT NULL,
    disk_mb         BIGINT NOT NULL,
    cpu_percent     BIGINT NOT NULL,
    cordoned        BIGINT NOT NULL DEFAULT 0,
    -- null until the agent has enrolled
    fingerprint     TEXT,
    secret_hash     TEXT,
    data_address    TEXT,
    runtime         TEXT,
    host            TEXT,
    software        TEXT,
    last_seen_at    BIGINT,
    created_at      BIGINT NOT NULL
);

CREATE TABLE enrolment_tokens (
    token_hash  TEXT PRIMARY KEY,
    node_id     TEXT NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    expires_at  BIGINT NOT NULL,
    secret_hash TEXT -- of the agent that used it; a repeat with the same secret is the same enrolment
);

CREATE TABLE eggs (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    author     TEXT NOT NULL,
    document   TEXT NOT NULL, -- the imported JSON as it came, so that it can be exported without loss
    created_at BIGINT NOT NULL
);

CREATE TABLE servers (
    id             TEXT PRIMARY KEY,
    name           TEXT NOT NULL,
    egg_id         TEXT NOT NULL REFERENCES eggs (id),
    node_id        TEXT NOT NULL REFERENCES nodes (id), -- the owner: where its authoritative files are (I2)
    epoch          BIGINT NOT NULL,                     -- generation of that ownership (I1)
    status         TEXT NOT NULL,
    locked_by      TEXT,                                -- transfer or operation that holds it
    transfer_state TEXT,
    memory_limit   BIGINT NOT NULL,                     -- MiB
    disk_limit     BIGINT NOT NULL,                     -- MiB
    cpu_limit      BIGINT NOT NULL,                     -- percent of one core
    startup        TEXT NOT NULL,
    image          TEXT NOT NULL,
    environment    TEXT NOT NULL,                       -- JSON object of the egg's variables
    install_error  TEXT,                                -- what the agent said, while status is install_failed
    created_at     BIGINT NOT NULL
);
CREATE INDEX servers_by_node ON servers (node_id);

CREATE TABLE allocations (
    id          TEXT PRIMARY KEY,
    node_id     TEXT NOT NULL REFERENCES nodes (id),
    ip_address  TEXT NOT NULL,
    ip_alias    TEXT,
    port        BIGINT NOT NULL,
    server_id   TEXT REFERENCES servers (id),
    is_primary  BIGINT NOT NULL DEFAULT 0,
    reserved_by TEXT, -- transfer that will give it to its server
    UNIQUE (node_id, ip_address, port)
);
CREATE INDEX allocations_by_server ON allocations (server_id);

CREATE TABLE transfers (
    id                   TEXT PRIMARY KEY,
    server_id            TEXT NOT NULL REFERENCES servers (id) ON DELETE CASCADE,
    mode                 TEXT NOT NULL,
    state                TEXT NOT NULL,
    stage                TEXT NOT NULL,
    -- no references: history outlives nodes and allocations. A node that an unfinished transfer names is not deleted
    source_node_id       TEXT NOT NULL,
    target_node_id       TEXT NOT NULL,
    source_allocation_id TEXT,
    target_allocation_id TEXT,
    -- addresses as text, so that history stays readable when an allocation is gone
    source_address       TEXT,
    target_address       TEXT,
    options              TEXT NOT NULL, -- JSON, model::Options
    epoch                BIGINT NOT NULL, -- of the server when the transfer began
    memory_mb            BIGINT NOT NULL, -- reserved on the target while the transfer is not over
    disk_mb              BIGINT NOT NULL,
    cpu_percent          BIGINT NOT NULL,
    progress             TEXT NOT NULL, -- JSON, model::CopyProgress
    receipt              TEXT,          -- JSON, model::CopyReceipt
    freeze_ms            BIGINT,
    boot_ms              BIGINT,
    failure              TEXT,          -- JSON, model::Failure
    cancel_requested     BIGINT NOT NULL DEFAULT 0,
    retained_until       BIGINT,
    retained_bytes       BIGINT,
    requested_by         TEXT NOT NULL,
    created_at           BIGINT NOT NULL,
    finished_at          BIGINT
);
CREATE INDEX transfers_by_server ON transfers (server_id, created_at);
CREATE INDEX transfers_by_state ON transfers (state);

CREATE TABLE transfer_stages (
    transfer_id TEXT NOT NULL REFERENCES transfers (id) ON DELETE CASCADE,
    name        TEXT NOT NULL,
    started_at  BIGINT NOT NULL,
    finished_at BIGINT,
    PRIMARY KEY (transfer_id, name)
);

-- What a client of the event stream may ask for again (Last-Event-ID). Progress is not kept, only its latest value.
CREATE TABLE transfer_events (
    transfer_id TEXT NOT NULL REFERENCES transfers (id) ON DELETE CASCADE,
    seq         BIGINT NOT NULL,
    kind        TEXT NOT NULL, -- stage, log, end
    body        TEXT NOT NULL, -- JSON
    at          BIGINT NOT NULL,
    PRIMARY KEY (transfer_id, seq)
);

-- Sagas that were promised to be finished; a panel that starts goes on with those that are not.
CREATE TABLE sagas (
    id       TEXT PRIMARY KEY,
    finished BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX sagas_by_finished ON sagas (finished);

-- What is left of a transfer that was rolled back on a target that could not be reached. Paid when it is back.
CREATE TABLE owed_cleanups (
    transfer_id TEXT PRIMARY KEY REFERENCES transfers (id) ON DELETE CASCADE,
    server_id   TEXT NOT NULL,
    node_id     TEXT NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    epoch       BIGINT NOT NULL -- of the server when the transfer began
);

-- The log of a saga is its whole state. The primary key is what keeps two executors from writing one history.
CREATE TABLE saga_log (
    saga_id TEXT NOT NULL,
    seq     BIGINT NOT NULL,
    event   TEXT NOT NULL, -- JSON, saga::Event
    at      BIGINT NOT NULL,
    PRIMARY KEY (saga_id, seq)
);

CREATE TABLE idempotency_keys (
    api_key_id TEXT NOT NULL,
    key        TEXT NOT NULL,
    route      TEXT NOT NULL,
    request_hash TEXT NOT NULL,
    status     BIGINT NOT NULL,
    body       TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (api_key_id, key)
);

CREATE TABLE audit_log (
    id         TEXT PRIMARY KEY,
    at         BIGINT NOT NULL,
    actor      TEXT NOT NULL,
    action     TEXT NOT NULL,
    subject    TEXT NOT NULL,
    details    TEXT NOT NULL
);
