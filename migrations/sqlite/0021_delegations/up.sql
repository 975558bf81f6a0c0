-- Users' identities that are lent to Cores. A Core has at most one; scopes is an array of keys of permissions.
CREATE TABLE delegations (
    tenant_id TEXT NOT NULL,
    core_id TEXT NOT NULL,
    id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    scopes BLOB NOT NULL,
    expires_at BIGINT,
    granted_by TEXT NOT NULL,
    granted_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, core_id)
);
CREATE UNIQUE INDEX delegations_by_id ON delegations (id);
CREATE INDEX delegations_by_user ON delegations (tenant_id, user_id, id);

-- The delegation that an execution was begun under.
ALTER TABLE executions ADD COLUMN delegation_id TEXT;

-- What is known of a Core's picture: its media type, and the SHA-256 of its bytes in hexadecimal.
ALTER TABLE cores ADD COLUMN avatar_type TEXT;
ALTER TABLE cores ADD COLUMN avatar_hash TEXT;

-- Where the picture of a model is: of a published Core, that of the Core.
ALTER TABLE models ADD COLUMN avatar_url TEXT;

-- Cores under whose keys there may be a picture in the object store, be the Core there or not.
CREATE TABLE avatar_objects (
    tenant_id TEXT NOT NULL,
    core_id TEXT NOT NULL,
    touched_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, core_id)
);
