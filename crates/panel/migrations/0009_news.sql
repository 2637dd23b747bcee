-- What is told to the outside (webhooks) and to users (notifications). A row is written in the transaction of what it
-- tells, so nothing is told that did not happen, and nothing that happened is forgotten.

CREATE TABLE webhooks (
    id              TEXT PRIMARY KEY,
    name            TEXT NOT NULL,
    url             TEXT NOT NULL,   -- sealed: it may have a password or a token in it
    url_shown       TEXT NOT NULL,   -- without those
    secret          TEXT NOT NULL,   -- sealed
    events          TEXT NOT NULL,   -- JSON list of patterns
    enabled         BIGINT NOT NULL,
    failing_since   BIGINT,          -- of the first attempt since the last success that failed
    disabled_reason TEXT,            -- why the panel disabled it
    created_at      BIGINT NOT NULL
);

CREATE TABLE webhook_deliveries (
    id              TEXT PRIMARY KEY, -- version 7: in the order of what is told
    webhook_id      TEXT NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    event           TEXT NOT NULL,
    body            TEXT NOT NULL,    -- exactly the bytes that are signed
    state           TEXT NOT NULL,    -- pending, delivered, failed
    attempts        BIGINT NOT NULL,
    next_attempt_at BIGINT NOT NULL,
    response_status BIGINT,
    error           TEXT,
    created_at      BIGINT NOT NULL,
    finished_at     BIGINT
);
CREATE INDEX webhook_deliveries_by_webhook ON webhook_deliveries (webhook_id, state, id);
CREATE INDEX webhook_deliveries_by_state ON webhook_deliveries (state, next_attempt_at);

CREATE TABLE notifications (
    id        TEXT PRIMARY KEY,
    user_id   TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    kind      TEXT NOT NULL,
    message   TEXT NOT NULL,
    server_id TEXT, -- no reference: what was told outlives the server
    at        BIGINT NOT NULL,
    read_at   BIGINT
);
CREATE INDEX notifications_by_user ON notifications (user_id, id);

-- What a user does not want to be told.
CREATE TABLE muted_notifications (
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    kind    TEXT NOT NULL,
    PRIMARY KEY (user_id, kind)
);

-- Whether a node was last told to be online: news of it are told once, also over restarts of the panel.
ALTER TABLE nodes ADD COLUMN told_online BIGINT NOT NULL DEFAULT 0;
