-- The plugins that tenants have registered for their Cores to call.

CREATE TABLE plugins (
    tenant_id TEXT NOT NULL REFERENCES tenants (id),
    plugin TEXT NOT NULL,
    kind TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    -- Sealed.
    credentials TEXT,
    -- What was accepted of what it offers, and what it was last found to offer where that is something else.
    manifest JSONB NOT NULL,
    found JSONB,
    read_at TIMESTAMPTZ,
    revision BIGINT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (tenant_id, plugin)
);
