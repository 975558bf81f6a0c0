DROP TABLE core_vectors;
DROP TABLE model_reservations;
CREATE TABLE model_reservations (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    core_id TEXT,
    month TEXT NOT NULL,
    node_id TEXT NOT NULL,
    tokens BIGINT NOT NULL,
    cost TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX model_reservations_by_tenant ON model_reservations (tenant_id, month);
ALTER TABLE model_usage DROP COLUMN effect;
