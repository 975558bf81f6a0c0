-- The plugins that tenants have registered for their Cores to call.

CREATE TABLE plugins (
    tenant_id TEXT NOT NULL REFERENCES tenants (id),
    plugin TEXT NOT NULL,
    kind TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    -- Sealed.
    credentials TEXT,
    -- What was accepted of what it offers, and what it was last found to offer where that is something else.
    manifest BLOB NOT NULL,
    found BLOB,
    read_at BIGINT,
    revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, plugin)
);
