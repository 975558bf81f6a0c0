-- The catalogue of models, what their calls have used, and what may still be spent. What is kept at a level has the level
-- and the id of its partner or tenant; the platform's has an empty one.

CREATE TABLE backends (
    id TEXT PRIMARY KEY,
    level TEXT NOT NULL,
    scope_id TEXT NOT NULL,
    name TEXT NOT NULL,
    provider_type TEXT NOT NULL,
    model TEXT NOT NULL,
    sealed_config TEXT NOT NULL,
    revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX backends_by_level ON backends (level, scope_id, id);

CREATE TABLE models (
    id TEXT PRIMARY KEY,
    level TEXT NOT NULL,
    scope_id TEXT NOT NULL,
    slug TEXT NOT NULL UNIQUE,
    display_name TEXT NOT NULL,
    description TEXT,
    modality TEXT NOT NULL,
    context_window BIGINT,
    max_output_tokens BIGINT,
    input_price TEXT,
    output_price TEXT,
    default_params BLOB NOT NULL,
    capabilities BLOB NOT NULL,
    status TEXT NOT NULL,
    reach TEXT NOT NULL,
    default_state TEXT NOT NULL,
    revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX models_by_level ON models (level, scope_id, slug);

CREATE TABLE model_backends (
    model_id TEXT NOT NULL REFERENCES models (id),
    backend_id TEXT NOT NULL REFERENCES backends (id),
    priority INTEGER NOT NULL,
    weight INTEGER NOT NULL,
    PRIMARY KEY (model_id, backend_id)
) WITHOUT ROWID;
CREATE INDEX model_backends_by_backend ON model_backends (backend_id);

CREATE TABLE model_groups (
    id TEXT PRIMARY KEY,
    level TEXT NOT NULL,
    scope_id TEXT NOT NULL,
    slug TEXT NOT NULL,
    name TEXT NOT NULL,
    revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (level, scope_id, slug)
);

CREATE TABLE model_group_members (
    group_id TEXT NOT NULL REFERENCES model_groups (id),
    model_id TEXT NOT NULL REFERENCES models (id),
    PRIMARY KEY (group_id, model_id)
) WITHOUT ROWID;
CREATE INDEX model_group_members_by_model ON model_group_members (model_id);

-- What tenants have said of models: enabled or disabled.
CREATE TABLE tenant_models (
    tenant_id TEXT NOT NULL REFERENCES tenants (id),
    model_id TEXT NOT NULL REFERENCES models (id),
    state TEXT NOT NULL,
    changed_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, model_id)
) WITHOUT ROWID;
CREATE INDEX tenant_models_by_model ON tenant_models (model_id);

-- One row per call. No foreign keys: models, backends and Cores may go, what they have used stays.
CREATE TABLE model_usage (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    model_id TEXT NOT NULL,
    model TEXT NOT NULL,
    backend_id TEXT,
    user_id TEXT,
    core_id TEXT,
    execution_id TEXT,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    counted TEXT NOT NULL,
    cost TEXT NOT NULL,
    latency_us BIGINT NOT NULL,
    status TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX model_usage_by_tenant ON model_usage (tenant_id, id);

-- What a tenant, or one of its Cores, has spent in a month.
CREATE TABLE model_budgets (
    tenant_id TEXT NOT NULL,
    owner TEXT NOT NULL,
    month TEXT NOT NULL,
    tokens BIGINT NOT NULL,
    cost TEXT NOT NULL,
    calls BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, owner, month)
) WITHOUT ROWID;

-- What is held back for calls that go on, by the node that makes them. Of a node whose lease has ended nothing is.
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
