-- Names of game servers in zones that take updates (RFC 2136).

CREATE TABLE dns_zones (
    id            TEXT PRIMARY KEY,
    name          TEXT NOT NULL UNIQUE, -- in lower case, without the last dot
    server        TEXT NOT NULL,        -- host:port of its primary name server
    key_name      TEXT NOT NULL,
    key_algorithm TEXT NOT NULL,        -- hmac-sha256, hmac-sha384, hmac-sha512
    key_secret    TEXT NOT NULL,        -- sealed; base64
    ttl           BIGINT NOT NULL,      -- seconds
    created_at    BIGINT NOT NULL
);

-- What a name should be is computed from its server; what it is, as far as we know, is kept here. Whoever finds a
-- difference sends an update, and again until the two agree.
CREATE TABLE dns_names (
    id              TEXT PRIMARY KEY,
    zone_id         TEXT NOT NULL REFERENCES dns_zones (id),
    server_id       TEXT REFERENCES servers (id) ON DELETE SET NULL,
    name            TEXT NOT NULL, -- within the zone
    service         TEXT,          -- _minecraft._tcp
    address         TEXT NOT NULL, -- where players were led last; while the server moves, that is where they are led still
    port            BIGINT NOT NULL,
    removing        BIGINT NOT NULL DEFAULT 0, -- its records go, then this row
    written         TEXT,          -- JSON, dns::Records: what we wrote last and nobody may have changed since
    error           TEXT,          -- why what should be is not
    attempts        BIGINT NOT NULL DEFAULT 0, -- in vain since it last was as it should be
    next_attempt_at BIGINT NOT NULL,
    created_at      BIGINT NOT NULL,
    UNIQUE (zone_id, name)
);
CREATE INDEX dns_names_by_server ON dns_names (server_id);
