-- People: who they are, what their role allows, where they are logged in, and which servers are theirs.

CREATE TABLE roles (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE,
    permissions TEXT NOT NULL, -- JSON list, ["*"] for all
    built_in    BIGINT NOT NULL DEFAULT 0,
    created_at  BIGINT NOT NULL
);
INSERT INTO roles (id, name, permissions, built_in, created_at) VALUES
    ('00000000-0000-7000-8000-000000000001', 'Admin', '["*"]', 1, 0),
    ('00000000-0000-7000-8000-000000000002', 'Moderator',
     '["admin.servers.list","admin.servers.power","admin.servers.console","admin.nodes.list","admin.clusters.list","admin.allocations.list","admin.eggs.list","admin.users.list","admin.roles.list","admin.announcements.*"]', 1, 0),
    ('00000000-0000-7000-8000-000000000003', 'User', '[]', 1, 0);

CREATE TABLE users (
    id            TEXT PRIMARY KEY,
    username      TEXT NOT NULL,        -- as its owner writes it
    username_key  TEXT NOT NULL UNIQUE, -- in lower case: how it is looked up
    email         TEXT,
    email_key     TEXT UNIQUE,
    password_hash TEXT NOT NULL,        -- Argon2id, PHC string
    role_id       TEXT NOT NULL REFERENCES roles (id),
    disabled      BIGINT NOT NULL DEFAULT 0,
    created_at    BIGINT NOT NULL,
    last_login_at BIGINT
);
CREATE INDEX users_by_role ON users (role_id);

-- A log-in. Its tokens are computed, not kept: the generation says which refresh token is the current one.
CREATE TABLE sessions (
    id         TEXT PRIMARY KEY,
    user_id    TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    generation BIGINT NOT NULL,
    rotated_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    address    TEXT NOT NULL
);
CREATE INDEX sessions_by_user ON sessions (user_id);

-- Where a user has logged in from: strangers who guess a password cannot shut these out.
CREATE TABLE known_addresses (
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    address TEXT NOT NULL,
    at      BIGINT NOT NULL,
    PRIMARY KEY (user_id, address)
);

ALTER TABLE servers ADD COLUMN owner_id TEXT REFERENCES users (id);
CREATE INDEX servers_by_owner ON servers (owner_id);

CREATE TABLE subusers (
    server_id   TEXT NOT NULL REFERENCES servers (id) ON DELETE CASCADE,
    user_id     TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    permissions TEXT NOT NULL, -- JSON list of words
    created_at  BIGINT NOT NULL,
    PRIMARY KEY (server_id, user_id)
);
CREATE INDEX subusers_by_user ON subusers (user_id);

-- A key of a user has no more rights than the user, and ends with them.
ALTER TABLE api_keys ADD COLUMN user_id TEXT REFERENCES users (id) ON DELETE CASCADE;
ALTER TABLE api_keys ADD COLUMN allowed_networks TEXT NOT NULL DEFAULT '[]'; -- JSON list of CIDR, [] for everywhere

CREATE TABLE announcements (
    id         TEXT PRIMARY KEY,
    title      TEXT NOT NULL,
    body       TEXT NOT NULL,
    level      TEXT NOT NULL, -- info, warning, critical
    starts_at  BIGINT NOT NULL,
    ends_at    BIGINT,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE INDEX audit_log_by_time ON audit_log (at);
