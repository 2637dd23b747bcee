-- Databases of game servers on MySQL or MariaDB servers. They stay where they are when their server moves.

CREATE TABLE database_hosts (
    id            TEXT PRIMARY KEY,
    name          TEXT NOT NULL UNIQUE,
    host          TEXT NOT NULL,
    port          BIGINT NOT NULL,
    username      TEXT NOT NULL,
    password      TEXT NOT NULL, -- sealed
    node_id       TEXT REFERENCES nodes (id) ON DELETE SET NULL, -- the machine that it runs on, if it is one of ours
    max_databases BIGINT,        -- null for as many as are asked for
    created_at    BIGINT NOT NULL
);

CREATE TABLE server_databases (
    id         TEXT PRIMARY KEY,
    server_id  TEXT NOT NULL REFERENCES servers (id),
    host_id    TEXT NOT NULL REFERENCES database_hosts (id),
    name       TEXT NOT NULL, -- made by us, of letters, digits and underscores
    username   TEXT NOT NULL, -- the same
    remote     TEXT NOT NULL, -- pattern of the addresses from which its user may connect
    password   TEXT NOT NULL, -- sealed
    ready      BIGINT NOT NULL, -- 0 until it is there
    created_at BIGINT NOT NULL,
    UNIQUE (host_id, name),
    UNIQUE (host_id, username)
);
CREATE INDEX server_databases_by_server ON server_databases (server_id);

-- What is to be dropped on a host that could not be reached, or by a panel that was cut. Paid when that is possible.
CREATE TABLE owed_databases (
    id       TEXT PRIMARY KEY, -- of the database
    host_id  TEXT NOT NULL REFERENCES database_hosts (id) ON DELETE CASCADE,
    name     TEXT NOT NULL,
    username TEXT NOT NULL
);

ALTER TABLE servers ADD COLUMN database_limit BIGINT; -- null for as many as are asked for
