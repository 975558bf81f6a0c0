-- Cores as models of the catalogue, and the conversations that people have with them.

ALTER TABLE cores ADD COLUMN published_model_id TEXT;
ALTER TABLE cores ADD COLUMN published_backend_id TEXT;
ALTER TABLE cores ADD COLUMN published_slug TEXT;

-- The tenant is that of the Core. The caller is a user, or an execution that asks a Core as its model; key is what they name
-- the conversation by.
CREATE TABLE conversations (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    core_id TEXT NOT NULL,
    caller_tenant_id TEXT NOT NULL,
    caller TEXT NOT NULL,
    key TEXT,
    entity_id TEXT,
    status TEXT NOT NULL,
    turns INTEGER NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX conversations_by_core ON conversations (tenant_id, core_id, id);
CREATE UNIQUE INDEX conversations_by_key ON conversations (tenant_id, core_id, caller, key) WHERE key IS NOT NULL;
CREATE INDEX conversations_by_entity ON conversations (tenant_id, core_id, caller, entity_id, id)
    WHERE entity_id IS NOT NULL;

-- One row per request: what was new in it, what was answered, and by which execution. Tokens and cost are those that no
-- earlier turn of the same execution has told of.
CREATE TABLE conversation_turns (
    tenant_id TEXT NOT NULL,
    conversation_id TEXT NOT NULL,
    turn INTEGER NOT NULL,
    core_id TEXT NOT NULL,
    caller TEXT NOT NULL,
    execution_id TEXT NOT NULL,
    status TEXT NOT NULL,
    asked BLOB NOT NULL,
    asked_print TEXT NOT NULL,
    answer TEXT,
    answer_print TEXT,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    cost TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    ended_at BIGINT,
    PRIMARY KEY (tenant_id, conversation_id, turn)
);
CREATE INDEX conversation_turns_by_answer ON conversation_turns (tenant_id, core_id, caller, answer_print);
CREATE INDEX conversation_turns_by_question ON conversation_turns (tenant_id, core_id, caller, asked_print);
CREATE INDEX conversation_turns_by_caller ON conversation_turns (tenant_id, caller);
CREATE INDEX conversation_turns_by_execution ON conversation_turns (tenant_id, execution_id);

-- What an execution has used is summed for those who chat with its Core.
CREATE INDEX model_usage_by_execution ON model_usage (tenant_id, execution_id) WHERE execution_id IS NOT NULL;
