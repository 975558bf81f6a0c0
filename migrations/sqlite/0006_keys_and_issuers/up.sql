-- Who is who at a trusted issuer of tokens.

CREATE TABLE external_identities (
    tenant_id TEXT NOT NULL REFERENCES tenants (id),
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES users (id),
    -- The youngest token whose word about roles was taken.
    heard_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, issuer, subject)
) WITHOUT ROWID;

-- Tokens may name a tenant as its issuer does.
CREATE INDEX tenants_by_scaikey_id ON tenants (scaikey_tenant_id) WHERE scaikey_tenant_id IS NOT NULL;

-- The keys that secrets are sealed under, each wrapped by a master key. The youngest of an owner seals. An owner is a
-- tenant, a partner, or the platform.

CREATE TABLE data_keys (
    owner TEXT NOT NULL,
    generation INTEGER NOT NULL,
    id TEXT NOT NULL,
    master_key TEXT NOT NULL,
    wrapped BLOB NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (owner, generation),
    UNIQUE (owner, id)
) WITHOUT ROWID;
-- Which keys are still wrapped by which master key.
CREATE INDEX data_keys_by_master_key ON data_keys (master_key, owner);
