-- Platform, partners, tenants, people.

CREATE TABLE platform_facts (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE nodes (
    id TEXT PRIMARY KEY,
    started_at TIMESTAMPTZ NOT NULL,
    lease_until TIMESTAMPTZ NOT NULL
);

CREATE TABLE partners (
    id TEXT PRIMARY KEY,
    slug TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    contact_email TEXT,
    status TEXT NOT NULL,
    limits JSONB NOT NULL,
    revision BIGINT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE tenants (
    id TEXT PRIMARY KEY,
    partner_id TEXT NOT NULL REFERENCES partners (id),
    slug TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    status TEXT NOT NULL,
    scaikey_tenant_id TEXT,
    limits JSONB NOT NULL,
    features JSONB NOT NULL,
    revision BIGINT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX tenants_by_partner ON tenants (partner_id, id);

CREATE TABLE users (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants (id),
    email TEXT NOT NULL,
    display_name TEXT,
    kind TEXT NOT NULL,
    status TEXT NOT NULL,
    roles JSONB NOT NULL,
    revision BIGINT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);
-- A deleted user's address is free again.
CREATE UNIQUE INDEX users_by_email ON users (tenant_id, email) WHERE status <> 'deleted';
CREATE INDEX users_by_tenant ON users (tenant_id, id);

CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants (id),
    user_id TEXT NOT NULL REFERENCES users (id),
    name TEXT NOT NULL,
    prefix TEXT NOT NULL,
    hash BYTEA NOT NULL UNIQUE,
    scopes JSONB NOT NULL,
    expires_at TIMESTAMPTZ,
    revoked_at TIMESTAMPTZ,
    created_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX api_keys_by_user ON api_keys (tenant_id, user_id, id);

CREATE TABLE module_settings (
    level TEXT NOT NULL,
    scope_id TEXT NOT NULL,
    module_id TEXT NOT NULL,
    enablement TEXT NOT NULL,
    changed_by TEXT NOT NULL,
    changed_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (level, scope_id, module_id)
);

CREATE TABLE audit_records (
    id TEXT PRIMARY KEY,
    tenant_id TEXT,
    partner_id TEXT,
    at TIMESTAMPTZ NOT NULL,
    action TEXT NOT NULL,
    actor_id TEXT,
    actor_email TEXT,
    actor_type TEXT NOT NULL,
    resource_type TEXT NOT NULL,
    resource_id TEXT NOT NULL,
    status TEXT NOT NULL,
    changes JSONB NOT NULL,
    request_id TEXT,
    ip_address TEXT,
    user_agent TEXT,
    module TEXT
);
CREATE INDEX audit_records_by_tenant ON audit_records (tenant_id, id);

CREATE TABLE idempotency_keys (
    tenant_id TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    key TEXT NOT NULL,
    body_hash BYTEA NOT NULL,
    node_id TEXT NOT NULL,
    status INTEGER,
    headers JSONB,
    body BYTEA,
    created_at TIMESTAMPTZ NOT NULL,
    expires_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (tenant_id, endpoint, key)
);
CREATE INDEX idempotency_keys_by_expiry ON idempotency_keys (expires_at);

-- Cores and what they run.

CREATE TABLE cores (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants (id),
    slug TEXT NOT NULL,
    name TEXT NOT NULL,
    status TEXT NOT NULL,
    last_error JSONB,
    runtime_mode TEXT NOT NULL,
    concurrency_mode TEXT NOT NULL,
    entity_key_field TEXT,
    source_version INTEGER NOT NULL,
    plugins JSONB NOT NULL,
    environment JSONB NOT NULL,
    resource_limits JSONB NOT NULL,
    checkpoint_mode TEXT NOT NULL,
    privilege_level TEXT NOT NULL,
    metadata JSONB NOT NULL,
    identity_mode TEXT NOT NULL,
    created_by TEXT NOT NULL,
    revision BIGINT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    UNIQUE (tenant_id, slug)
);
CREATE INDEX cores_by_tenant ON cores (tenant_id, id);

CREATE TABLE core_versions (
    tenant_id TEXT NOT NULL,
    core_id TEXT NOT NULL REFERENCES cores (id) ON DELETE CASCADE,
    version INTEGER NOT NULL,
    bundle BYTEA NOT NULL,
    created_by TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (tenant_id, core_id, version)
);

-- The tables of the hot path carry no foreign keys: each would cost a look-up and a row lock per insert. Deleting a
-- Core removes their rows by tenant and Core.

CREATE TABLE executions (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    core_id TEXT NOT NULL,
    flow TEXT NOT NULL,
    source_version INTEGER NOT NULL,
    status TEXT NOT NULL,
    origin TEXT NOT NULL,
    instance_key TEXT,
    parent_id TEXT,
    parent_effect INTEGER,
    depth INTEGER NOT NULL,
    input BYTEA NOT NULL,
    output BYTEA,
    error BYTEA,
    snapshot BYTEA,
    next_seq BIGINT NOT NULL,
    snapshot_seq BIGINT NOT NULL,
    owner TEXT,
    epoch BIGINT NOT NULL,
    started_at TIMESTAMPTZ NOT NULL,
    finished_at TIMESTAMPTZ
);
CREATE INDEX executions_by_core ON executions (tenant_id, core_id, id);
CREATE INDEX executions_to_run ON executions (status, owner, id) WHERE status IN ('queued', 'running');
CREATE INDEX executions_by_parent ON executions (tenant_id, parent_id, id) WHERE parent_id IS NOT NULL;

CREATE TABLE journal (
    tenant_id TEXT NOT NULL,
    execution_id TEXT NOT NULL,
    seq BIGINT NOT NULL,
    entries BYTEA NOT NULL,
    PRIMARY KEY (tenant_id, execution_id, seq)
);

CREATE TABLE execution_inbox (
    tenant_id TEXT NOT NULL,
    execution_id TEXT NOT NULL,
    effect INTEGER NOT NULL,
    outcome BYTEA NOT NULL,
    PRIMARY KEY (tenant_id, execution_id, effect)
);

CREATE TABLE checkpoints (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    core_id TEXT NOT NULL,
    execution_id TEXT NOT NULL,
    effect INTEGER NOT NULL,
    flow_name TEXT NOT NULL,
    block_id TEXT NOT NULL,
    instance_key TEXT,
    checkpoint_type TEXT NOT NULL,
    prompt TEXT NOT NULL,
    options JSONB NOT NULL,
    context JSONB NOT NULL,
    assignee_raw TEXT,
    assignee_type TEXT NOT NULL,
    assignee_value TEXT,
    priority TEXT NOT NULL,
    status TEXT NOT NULL,
    expires_at TIMESTAMPTZ,
    expiry_action TEXT NOT NULL,
    escalation_target TEXT,
    decision TEXT,
    response_data JSONB,
    comment TEXT,
    resolved_by TEXT,
    resolved_at TIMESTAMPTZ,
    history JSONB NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX checkpoints_by_tenant ON checkpoints (tenant_id, id);
-- An inbox is read from its newest end, and who is asked is told by the index alone.
CREATE INDEX checkpoints_pending ON checkpoints (tenant_id, id, assignee_type, assignee_value) WHERE status = 'pending';
CREATE INDEX checkpoints_by_core ON checkpoints (tenant_id, core_id, id);
CREATE INDEX checkpoints_by_execution ON checkpoints (tenant_id, execution_id, id);
CREATE INDEX checkpoints_by_expiry ON checkpoints (expires_at) WHERE status = 'pending' AND expires_at IS NOT NULL;

CREATE TABLE core_memory (
    tenant_id TEXT NOT NULL,
    core_id TEXT NOT NULL,
    partition TEXT NOT NULL,
    name TEXT NOT NULL,
    key TEXT NOT NULL,
    value BYTEA NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, core_id, partition, name, key)
);

CREATE TABLE core_events (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    core_id TEXT NOT NULL,
    execution_id TEXT,
    name TEXT NOT NULL,
    data BYTEA NOT NULL,
    at TIMESTAMPTZ NOT NULL
);
CREATE INDEX core_events_by_core ON core_events (tenant_id, core_id, id);
