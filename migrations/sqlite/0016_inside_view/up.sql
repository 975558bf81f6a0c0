-- What programs and the runtime log. A row holds the entries of one step of one execution; they are numbered within the Core
-- and a lane, and `last` is the number of the last of them. Each node writes to a lane of its own as far as there are enough:
-- who gives out numbers in a lane waits for whoever did before, so that what can be seen of a lane has no gap.
CREATE TABLE core_logs (
    tenant_id TEXT NOT NULL,
    core_id TEXT NOT NULL,
    lane INTEGER NOT NULL,
    last BIGINT NOT NULL,
    entry_count INTEGER NOT NULL,
    level INTEGER NOT NULL,
    execution_id TEXT NOT NULL,
    at BIGINT NOT NULL,
    entries BLOB NOT NULL,
    PRIMARY KEY (tenant_id, core_id, lane, last)
) WITHOUT ROWID;
CREATE INDEX core_logs_by_execution ON core_logs (tenant_id, execution_id, at);
CREATE INDEX core_logs_by_time ON core_logs (tenant_id, at);

-- The last number that was given out.
CREATE TABLE core_log_lanes (
    tenant_id TEXT NOT NULL,
    core_id TEXT NOT NULL,
    lane INTEGER NOT NULL,
    last BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, core_id, lane)
) WITHOUT ROWID;

-- Where executions of a Core stop.
CREATE TABLE core_breakpoints (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    core_id TEXT NOT NULL,
    flow TEXT NOT NULL,
    block TEXT NOT NULL,
    condition TEXT,
    enabled INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX core_breakpoints_by_core ON core_breakpoints (tenant_id, core_id, id);

-- What a debugger has made of an execution: where it stands, or how far it is to go.
ALTER TABLE executions ADD COLUMN debugging TEXT;

-- When what a row of the journal tells of became durable; the history of events is told along it. Rows from before have none.
ALTER TABLE journal ADD COLUMN core_id TEXT;
ALTER TABLE journal ADD COLUMN at BIGINT;
CREATE INDEX journal_by_core ON journal (tenant_id, core_id, at, execution_id, seq);
