-- Operating a transfer: a pause, limits that change while it runs, and what a transfer has to do with an earlier one.

ALTER TABLE transfers ADD COLUMN pause_requested BIGINT NOT NULL DEFAULT 0;
ALTER TABLE transfers ADD COLUMN paused_step TEXT;  -- of the saga; null while it is not held
ALTER TABLE transfers ADD COLUMN paused_at   BIGINT;

-- How often its options were changed since it began: whoever acts on them says which they have seen.
ALTER TABLE transfers ADD COLUMN tuned   BIGINT NOT NULL DEFAULT 0;
-- The server is about to be stopped: what only counts before that cannot be changed any more.
ALTER TABLE transfers ADD COLUMN settled BIGINT NOT NULL DEFAULT 0;

-- No references: history outlives what it is about.
ALTER TABLE transfers ADD COLUMN retry_of TEXT; -- the one that was rolled back and that this one tries again
CREATE INDEX transfers_by_retry ON transfers (retry_of);
ALTER TABLE transfers ADD COLUMN undo_of TEXT;  -- the one that completed and that this one takes back, building on what it left
CREATE INDEX transfers_by_undo ON transfers (undo_of);
