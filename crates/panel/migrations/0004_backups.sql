-- Backups: where they go, which there are, and what was given back.

CREATE TABLE backup_storages (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    endpoint   TEXT NOT NULL,
    region     TEXT NOT NULL,
    bucket     TEXT NOT NULL,
    prefix     TEXT NOT NULL,          -- of the objects' keys; empty or with a slash at its end
    path_style BIGINT NOT NULL,
    access_key TEXT NOT NULL,
    secret     TEXT NOT NULL,          -- sealed
    is_default BIGINT NOT NULL DEFAULT 0,
    created_at BIGINT NOT NULL
);

CREATE TABLE backups (
    id            TEXT PRIMARY KEY,
    server_id     TEXT NOT NULL,       -- no reference: a backup may outlive its server
    server_name   TEXT NOT NULL,
    storage_id    TEXT NOT NULL REFERENCES backup_storages (id),
    object_key    TEXT NOT NULL UNIQUE,
    name          TEXT NOT NULL,
    locked        BIGINT NOT NULL DEFAULT 0,
    state         TEXT NOT NULL,       -- running, verifying, completed, failed
    node_id       TEXT NOT NULL,       -- where the server was; no reference
    transfer_id   TEXT,                -- the transfer in front of which it was made
    owes          BIGINT NOT NULL,     -- 1 while the storage may hold something of it that is no backup
    bytes         BIGINT,              -- of the object
    contents      TEXT,                -- JSON, model::BackupContents
    progress      TEXT NOT NULL,       -- JSON, model::BackupProgress
    changed       TEXT NOT NULL,       -- JSON list of paths
    changed_count BIGINT NOT NULL DEFAULT 0,
    left_out      TEXT NOT NULL,       -- JSON list of paths
    failure       TEXT,                -- JSON: code, message
    created_by    TEXT NOT NULL,
    created_at    BIGINT NOT NULL,
    finished_at   BIGINT
);
CREATE INDEX backups_by_server ON backups (server_id, created_at);
CREATE INDEX backups_by_state ON backups (state);

CREATE TABLE restores (
    id          TEXT PRIMARY KEY,
    backup_id   TEXT NOT NULL REFERENCES backups (id) ON DELETE CASCADE,
    server_id   TEXT NOT NULL REFERENCES servers (id) ON DELETE CASCADE,
    node_id     TEXT NOT NULL,
    state       TEXT NOT NULL,         -- running, completed, failed
    was_running BIGINT NOT NULL,       -- whether it is to be started again
    progress    TEXT NOT NULL,         -- JSON, model::BackupProgress
    failure     TEXT,
    created_by  TEXT NOT NULL,
    created_at  BIGINT NOT NULL,
    finished_at BIGINT
);
CREATE INDEX restores_by_backup ON restores (backup_id, created_at);
CREATE INDEX restores_by_state ON restores (state);

ALTER TABLE servers ADD COLUMN backup_limit BIGINT; -- null for as many as one likes
