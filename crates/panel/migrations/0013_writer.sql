-- Whose turn it is to write, and which panel the database belongs to: one row, see crates/panel/src/db/writer.rs.

CREATE TABLE writer (
    id    BIGINT PRIMARY KEY, -- 1
    panel TEXT NOT NULL,      -- made anew at each start of a panel; empty before the first one
    host  TEXT NOT NULL       -- where that panel runs, for whoever is refused
);
INSERT INTO writer (id, panel, host) VALUES (1, '', '');
