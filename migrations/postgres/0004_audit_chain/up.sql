-- The chains that make tampering with the audit log visible. Records themselves are never changed: what seals them
-- stands beside them.

-- Records that are in no chain yet, written in the transaction of the record itself.
CREATE TABLE audit_unsealed (
    record_id TEXT PRIMARY KEY,
    chain TEXT NOT NULL
);

-- The links: each record's place in its chain.
CREATE TABLE audit_seals (
    chain TEXT NOT NULL,
    position BIGINT NOT NULL,
    record_id TEXT NOT NULL,
    digest BYTEA NOT NULL,
    PRIMARY KEY (chain, position)
);
CREATE UNIQUE INDEX audit_seals_by_record ON audit_seals (record_id);

-- Where each chain ends, and where what is left of it begins; under a key that is not in the database.
CREATE TABLE audit_chains (
    chain TEXT PRIMARY KEY,
    links BIGINT NOT NULL,
    last BYTEA NOT NULL,
    cut BIGINT NOT NULL,
    cut_last BYTEA NOT NULL,
    changed_at TIMESTAMPTZ NOT NULL,
    key_id TEXT NOT NULL,
    code BYTEA NOT NULL
);

-- One row that covers all rows of audit_chains. Whoever seals holds it meanwhile.
CREATE TABLE audit_root (
    id INTEGER PRIMARY KEY,
    key_id TEXT NOT NULL,
    nonce BYTEA NOT NULL,
    chains BIGINT NOT NULL,
    value BYTEA NOT NULL
);

-- What was recorded by an earlier version is sealed by this one.
INSERT INTO audit_unsealed (record_id, chain)
SELECT id, COALESCE(tenant_id, partner_id, 'platform') FROM audit_records;

-- What the log is searched by. Ids of actors and resources are found at every level.
CREATE INDEX audit_records_by_partner ON audit_records (partner_id, id);
CREATE INDEX audit_records_by_actor ON audit_records (actor_id, id);
CREATE INDEX audit_records_by_resource ON audit_records (resource_id, id);
CREATE INDEX audit_records_by_action ON audit_records (tenant_id, action, id);
