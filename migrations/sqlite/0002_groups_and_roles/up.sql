-- What people of a tenant have beside their built-in roles: groups, roles of the tenant's own, and direct grants.

CREATE TABLE user_groups (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants (id),
    slug TEXT NOT NULL,
    name TEXT NOT NULL,
    revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (tenant_id, slug)
);
CREATE INDEX user_groups_by_tenant ON user_groups (tenant_id, id);

CREATE TABLE group_members (
    tenant_id TEXT NOT NULL REFERENCES tenants (id),
    group_id TEXT NOT NULL REFERENCES user_groups (id),
    user_id TEXT NOT NULL REFERENCES users (id),
    PRIMARY KEY (group_id, user_id)
) WITHOUT ROWID;
-- Every caller who is not in a cache is asked for their groups.
CREATE INDEX group_members_by_user ON group_members (tenant_id, user_id, group_id);

CREATE TABLE custom_roles (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants (id),
    slug TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT,
    permissions BLOB NOT NULL,
    created_by TEXT NOT NULL,
    revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (tenant_id, slug)
);
CREATE INDEX custom_roles_by_tenant ON custom_roles (tenant_id, id);

CREATE TABLE custom_role_holders (
    tenant_id TEXT NOT NULL REFERENCES tenants (id),
    role_id TEXT NOT NULL REFERENCES custom_roles (id),
    user_id TEXT NOT NULL REFERENCES users (id),
    PRIMARY KEY (role_id, user_id)
) WITHOUT ROWID;
CREATE INDEX custom_role_holders_by_user ON custom_role_holders (tenant_id, user_id, role_id);

-- No row for those who were granted nothing, which is nearly everybody.
CREATE TABLE user_grants (
    tenant_id TEXT NOT NULL REFERENCES tenants (id),
    user_id TEXT NOT NULL REFERENCES users (id),
    permissions BLOB NOT NULL,
    PRIMARY KEY (tenant_id, user_id)
) WITHOUT ROWID;
