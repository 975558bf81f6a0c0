-- Calls of models that go on are kept as the records that they leave should their node die: it is settled then what it may
-- have used. What was held back before this is nobody's: no server of an older version is left to settle it.

ALTER TABLE model_usage ADD COLUMN effect INTEGER;

DROP TABLE model_reservations;
CREATE TABLE model_reservations (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    model_id TEXT NOT NULL,
    model TEXT NOT NULL,
    backend_id TEXT,
    user_id TEXT,
    core_id TEXT,
    execution_id TEXT,
    effect INTEGER,
    month TEXT NOT NULL,
    node_id TEXT NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    cost TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX model_reservations_by_tenant ON model_reservations (tenant_id, month);

-- Vectors of texts that Cores have searched, by the hash of the text and the space of the model that made them: a cache.
CREATE TABLE core_vectors (
    tenant_id TEXT NOT NULL,
    core_id TEXT NOT NULL,
    space TEXT NOT NULL,
    hash TEXT NOT NULL,
    vector BYTEA NOT NULL,
    used_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (tenant_id, core_id, space, hash)
);
