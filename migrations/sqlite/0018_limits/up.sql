-- Executions that wait to run, for whoever takes them round robin by tenant and by Core, and for whoever counts them.
CREATE INDEX executions_queued ON executions (tenant_id, core_id, id) WHERE status = 'queued' AND slots IS NULL;
CREATE INDEX executions_queued_in_turn ON executions (tenant_id, core_id, id)
    WHERE status = 'queued' AND slots IS NOT NULL;

-- Executions that have ended, by when: what retention looks for.
CREATE INDEX executions_finished ON executions (tenant_id, finished_at) WHERE finished_at IS NOT NULL;

-- Machines of executions that go on for long, as they stood before a journal entry: whatever is kept of the journal begins at one.
CREATE TABLE execution_snapshots (
    tenant_id TEXT NOT NULL,
    execution_id TEXT NOT NULL,
    seq BIGINT NOT NULL,
    machine BLOB NOT NULL,
    PRIMARY KEY (tenant_id, execution_id, seq)
);

-- Cores that were deleted and whose rows have not all gone yet.
CREATE TABLE removed_cores (
    tenant_id TEXT NOT NULL,
    core_id TEXT NOT NULL,
    PRIMARY KEY (tenant_id, core_id)
);

-- Work that one node at a time does for all.
CREATE TABLE duties (
    name TEXT PRIMARY KEY,
    node_id TEXT NOT NULL,
    until BIGINT NOT NULL
);
