-- ScaiWave: what a tenant has set, who takes part, and the rooms that all of it acts on.

-- What a tenant has set of its AI, its prompt studio and the processing of its notes: a document each.
CREATE TABLE workspace_settings (
    tenant_id TEXT NOT NULL REFERENCES tenants (id),
    name TEXT NOT NULL,
    document JSONB NOT NULL,
    sealed TEXT,
    updated_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (tenant_id, name)
);

-- What tenants have said of plugins: enabled or disabled.
CREATE TABLE workspace_plugins (
    tenant_id TEXT NOT NULL REFERENCES tenants (id),
    plugin_id TEXT NOT NULL,
    state TEXT NOT NULL,
    changed_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (tenant_id, plugin_id)
);

-- What AIs are to remember of users, in the words of the AI that was told.
CREATE TABLE workspace_memories (
    tenant_id TEXT NOT NULL REFERENCES tenants (id),
    user_id TEXT NOT NULL REFERENCES users (id),
    id TEXT NOT NULL,
    body TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (tenant_id, user_id, id)
);

-- Everybody who can be in a room. A person's name is in users; an AI has a model and a profile.
CREATE TABLE participants (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants (id),
    kind TEXT NOT NULL,
    local_id TEXT NOT NULL,
    user_id TEXT UNIQUE REFERENCES users (id),
    display_name TEXT,
    model TEXT,
    profile JSONB NOT NULL,
    helper JSONB,
    state TEXT NOT NULL,
    revision BIGINT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    UNIQUE (tenant_id, local_id)
);
CREATE INDEX participants_by_tenant ON participants (tenant_id, id);
CREATE INDEX participants_by_model ON participants (tenant_id, model, id) WHERE model IS NOT NULL;
CREATE INDEX participants_that_help ON participants (tenant_id, id) WHERE helper IS NOT NULL;

INSERT INTO participants
    (id, tenant_id, kind, local_id, user_id, profile, state, revision, created_at, updated_at)
SELECT
    'par_' || substr(id, 5), tenant_id, 'human', 'user-' || lower(substr(id, 15)), id, '{}', 'enabled', 1, created_at, updated_at
FROM users;

CREATE TABLE rooms (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants (id),
    name TEXT NOT NULL,
    status TEXT NOT NULL,
    last_seq BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    revision BIGINT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX rooms_by_tenant ON rooms (tenant_id, status, id);

CREATE TABLE room_members (
    tenant_id TEXT NOT NULL,
    room_id TEXT NOT NULL REFERENCES rooms (id),
    participant_id TEXT NOT NULL REFERENCES participants (id),
    power INTEGER NOT NULL,
    engagement TEXT NOT NULL,
    joined_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (tenant_id, room_id, participant_id)
);
CREATE INDEX room_members_by_participant ON room_members (tenant_id, participant_id, room_id);

-- What was said, in the order of the room. A message never changes.
CREATE TABLE room_messages (
    tenant_id TEXT NOT NULL,
    room_id TEXT NOT NULL,
    seq BIGINT NOT NULL,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    author_id TEXT NOT NULL,
    body TEXT NOT NULL,
    mentions JSONB NOT NULL,
    answer_id TEXT,
    model TEXT,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    error TEXT,
    created_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (tenant_id, room_id, seq)
);

-- What AIs owe to rooms. Whoever gives one has it in its name, as long as its lease lasts.
CREATE TABLE room_answers (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    room_id TEXT NOT NULL,
    asked_seq BIGINT NOT NULL,
    participant_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    status TEXT NOT NULL,
    owner TEXT,
    attempts INTEGER NOT NULL,
    next_at TIMESTAMPTZ NOT NULL,
    error TEXT,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX room_answers_by_room ON room_answers (tenant_id, room_id, id);
CREATE INDEX room_answers_owed ON room_answers (tenant_id, next_at) WHERE status = 'pending';
CREATE INDEX room_answers_due ON room_answers (next_at) WHERE status = 'pending' AND owner IS NULL;
CREATE INDEX room_answers_held ON room_answers (owner) WHERE status = 'pending' AND owner IS NOT NULL;

-- What helpers were asked. The tokens are an estimate until the helper has answered.
CREATE TABLE helper_invocations (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    participant_id TEXT NOT NULL,
    asked_by TEXT NOT NULL,
    user_id TEXT NOT NULL,
    question TEXT NOT NULL,
    status TEXT NOT NULL,
    tokens BIGINT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    finished_at TIMESTAMPTZ
);
CREATE INDEX helper_invocations_by_participant ON helper_invocations (tenant_id, participant_id, id);

-- What helpers have used on a day in UTC, estimates of what is still being answered included.
CREATE TABLE helper_days (
    tenant_id TEXT NOT NULL,
    participant_id TEXT NOT NULL,
    day TEXT NOT NULL,
    tokens BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, participant_id, day)
);
CREATE INDEX helper_days_by_day ON helper_days (day);
