-- Places: more addresses than one, what moves with them, and what an agent has to be told when a server changes.

-- Addresses in all, up to which a server's owner may take more; 0: none but those that an administrator gives.
ALTER TABLE servers ADD COLUMN allocation_limit BIGINT NOT NULL DEFAULT 0;
-- Counts what the agent has to be told of the server, and the count that the agent has heard of.
ALTER TABLE servers ADD COLUMN spec_version BIGINT NOT NULL DEFAULT 1;
ALTER TABLE servers ADD COLUMN spec_told BIGINT NOT NULL DEFAULT 1;

ALTER TABLE allocations ADD COLUMN notes TEXT NOT NULL DEFAULT ''; -- its owner's words

-- Which address becomes which. No references to allocations: history outlives them.
CREATE TABLE transfer_addresses (
    transfer_id       TEXT NOT NULL REFERENCES transfers (id) ON DELETE CASCADE,
    position          BIGINT NOT NULL, -- 0 is the primary one
    old_allocation_id TEXT,            -- null if the server had no address
    old_address       TEXT,
    new_allocation_id TEXT NOT NULL,
    new_address       TEXT NOT NULL,
    PRIMARY KEY (transfer_id, position)
);
CREATE INDEX transfer_addresses_by_new ON transfer_addresses (new_allocation_id);

-- What the switch-over made of the server's variables: JSON list of {name, old, new}; and all of them before, to go back.
ALTER TABLE transfers ADD COLUMN variables TEXT NOT NULL DEFAULT '[]';
ALTER TABLE transfers ADD COLUMN environment_before TEXT;

-- An egg that says who it is can be imported again over itself.
ALTER TABLE eggs ADD COLUMN uuid TEXT;
ALTER TABLE eggs ADD COLUMN updated_at BIGINT;
CREATE UNIQUE INDEX eggs_by_uuid ON eggs (uuid);
