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

-- Large values, which lie in the object store by their hash. A row is there before its object is, and goes after it.
CREATE TABLE objects (
    tenant_id TEXT NOT NULL,
    hash TEXT NOT NULL,
    id TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    state TEXT NOT NULL,
    touched_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, hash)
);

-- What refers to them: written with the rows that do.
CREATE TABLE object_refs (
    tenant_id TEXT NOT NULL,
    object_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    holder TEXT NOT NULL,
    place TEXT NOT NULL,
    PRIMARY KEY (tenant_id, object_id, kind, holder, place)
);
CREATE INDEX object_refs_by_kind ON object_refs (kind, tenant_id, object_id, holder, place);
