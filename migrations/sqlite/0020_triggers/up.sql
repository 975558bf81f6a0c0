-- What was registered to start flows of a Core, beside what its program declares. Secrets are sealed.
CREATE TABLE core_triggers (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    core_id TEXT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    flow TEXT NOT NULL,
    config BLOB NOT NULL,
    secret TEXT,
    previous_secret TEXT,
    previous_until BIGINT,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX core_triggers_by_name ON core_triggers (tenant_id, core_id, name);

-- Messages that came in through webhooks, by the hash of their ids, so that none counts twice; and what each began.
CREATE TABLE hook_messages (
    tenant_id TEXT NOT NULL,
    core_id TEXT NOT NULL,
    trigger_id TEXT NOT NULL,
    message TEXT NOT NULL,
    execution_id TEXT,
    at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, core_id, trigger_id, message)
);
CREATE INDEX hook_messages_by_time ON hook_messages (at);

-- What became of an event with those who listen to its name.
ALTER TABLE core_events ADD COLUMN heard TEXT;
