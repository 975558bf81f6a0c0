-- Who has asked for an execution, ids with a space between: they may be kept from deciding what it asks.
ALTER TABLE executions ADD COLUMN requested_by TEXT;

-- What an answer must be and what follows from it, which never changes; how far a checkpoint has come while it waits; who may not
-- answer; and how often it was changed, which whoever ends the wait must find as they have read it.
ALTER TABLE checkpoints ADD COLUMN rules JSONB;
ALTER TABLE checkpoints ADD COLUMN standing JSONB;
ALTER TABLE checkpoints ADD COLUMN excluded TEXT;
ALTER TABLE checkpoints ADD COLUMN revision BIGINT NOT NULL DEFAULT 0;
-- Streams look for what has changed.
CREATE INDEX checkpoints_by_change ON checkpoints (tenant_id, updated_at, id);

-- What people have said of checkpoints that several must decide alike: each once.
CREATE TABLE checkpoint_votes (
    tenant_id TEXT NOT NULL,
    checkpoint_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    core_id TEXT NOT NULL,
    execution_id TEXT NOT NULL,
    decision TEXT NOT NULL,
    response_data JSONB,
    comment TEXT,
    at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (tenant_id, checkpoint_id, user_id)
);
CREATE INDEX checkpoint_votes_by_execution ON checkpoint_votes (tenant_id, execution_id);
CREATE INDEX checkpoint_votes_by_core ON checkpoint_votes (tenant_id, core_id);

-- Links by which one person decides one checkpoint, once. Of the token only the hash is kept.
CREATE TABLE checkpoint_links (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    hash TEXT NOT NULL,
    checkpoint_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    core_id TEXT NOT NULL,
    execution_id TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    expires_at TIMESTAMPTZ NOT NULL,
    used_at TIMESTAMPTZ
);
CREATE UNIQUE INDEX checkpoint_links_by_hash ON checkpoint_links (hash);
CREATE INDEX checkpoint_links_by_execution ON checkpoint_links (tenant_id, execution_id);
CREATE INDEX checkpoint_links_by_core ON checkpoint_links (tenant_id, core_id);

-- Mails to people about checkpoints, which are put together when they are sent.
CREATE TABLE mails (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    checkpoint_id TEXT NOT NULL,
    core_id TEXT NOT NULL,
    execution_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    reason TEXT NOT NULL,
    status TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    next_at TIMESTAMPTZ NOT NULL,
    last_error TEXT,
    created_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX mails_due ON mails (next_at) WHERE status = 'pending';
CREATE INDEX mails_by_execution ON mails (tenant_id, execution_id);
CREATE INDEX mails_by_core ON mails (tenant_id, core_id);
