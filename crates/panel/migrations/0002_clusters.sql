-- A cluster is a node whose agent is an orchestrator: it owns servers, has allocations and is the end of transfers.

ALTER TABLE nodes ADD COLUMN kind TEXT NOT NULL DEFAULT 'node'; -- node, cluster
ALTER TABLE nodes ADD COLUMN facts TEXT;                        -- JSON, model::agent_api::ClusterFacts; of the last hello
ALTER TABLE nodes ADD COLUMN address TEXT;                      -- where players reach it, if an admin knows better

-- What a person should look at, as the agent says: JSON list of sentences.
ALTER TABLE servers ADD COLUMN attention TEXT NOT NULL DEFAULT '[]';

-- Made by the panel when somebody needed it, and removed when nobody does any more.
ALTER TABLE allocations ADD COLUMN on_demand BIGINT NOT NULL DEFAULT 0;

-- How the bytes of the copy went: JSON, model::CopyPath.
ALTER TABLE transfers ADD COLUMN path TEXT;

-- What the two ends were, for history that outlives them: node, cluster.
ALTER TABLE transfers ADD COLUMN source_kind TEXT NOT NULL DEFAULT 'node';
ALTER TABLE transfers ADD COLUMN target_kind TEXT NOT NULL DEFAULT 'node';
