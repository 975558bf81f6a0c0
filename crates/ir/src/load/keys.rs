//! The keys that each part of a document may have. What is not listed is a warning.
//!
//! A test holds these lists against the published JSON Schema.

pub(crate) const MODULE: &[&str] = &[
    "schema_version",
    "name",
    "version",
    "description",
    "identity",
    "avatar",
    "types",
    "models",
    "plugins",
    "memory",
    "reference",
    "config",
    "constraints",
    "instance",
    "triggers",
    "flows",
    "subscriptions",
    "source_location",
];
pub(crate) const IDENTITY: &[&str] = &["name", "persona", "languages"];
pub(crate) const AVATAR: &[&str] = &["content_type", "data_b64"];
pub(crate) const MODEL: &[&str] =
    &["role", "provider", "model", "temperature", "modalities", "fallback", "system_context", "use_when"];
pub(crate) const FALLBACK: &[&str] = &["provider", "model"];
pub(crate) const PLUGIN: &[&str] = &["alias", "plugin", "config", "required"];
pub(crate) const MEMORY: &[&str] = &["type", "default"];
pub(crate) const CONFIG: &[&str] = &["type", "default", "secret", "runtime_configurable", "description"];
pub(crate) const CONSTRAINTS: &[&str] = &["never", "always", "prefer"];
pub(crate) const INSTANCE: &[&str] =
    &["mode", "key", "idle_timeout", "max_concurrent", "max_active_instances", "overflow"];
pub(crate) const TRIGGER: &[&str] = &["kind", "name", "target_flow", "source_location"];
pub(crate) const SUBSCRIPTION: &[&str] = &["event", "from", "filter", "flow", "source_location"];
pub(crate) const FLOW: &[&str] = &["name", "description", "params", "returns", "body", "source_location"];
pub(crate) const PARAM: &[&str] = &["name", "type", "default"];
pub(crate) const BLOCK: &[&str] =
    &["kind", "id", "result_binding", "when", "timeout", "retry", "source_location", "label"];
pub(crate) const RETRY: &[&str] = &["max", "backoff", "on"];
pub(crate) const BACKOFF: &[&str] = &["initial", "factor", "max", "jitter"];
pub(crate) const PRESENT: &[&str] = &["prompt", "payload"];
pub(crate) const ARM: &[&str] = &["pattern", "guard", "body", "source_location"];
pub(crate) const CATCH: &[&str] = &["code", "as", "body", "source_location"];
pub(crate) const BRANCH: &[&str] = &["name", "body", "source_location"];
pub(crate) const ACTION: &[&str] = &["alias", "method", "args", "decisions", "expires_in"];
pub(crate) const AWAIT_EVENT: &[&str] = &["event", "filter"];
pub(crate) const AWAIT_TIMER: &[&str] = &["timer"];
pub(crate) const OWN_CONSTRAINTS: &[&str] = &["never", "always", "prefer", "inherit"];
pub(crate) const EXAMPLE: &[&str] = &["input", "output"];
pub(crate) const FAILURE: &[&str] = &["kind", "when", "actions"];
pub(crate) const FAILURE_ACTION: &[&str] = &["action", "max", "with", "assignee", "priority", "timeout"];
pub(crate) const OWN_BUDGET: &[&str] = &["max_tokens", "max_cost", "max_duration", "max_retries"];
pub(crate) const STATEMENT: &[&str] = &["kind", "source_location"];

/// The further keys of each kind of trigger.
pub(crate) const TRIGGERS: &[(&str, &[&str])] = &[
    ("api", &["method", "path", "public"]),
    ("webhook", &["method", "path", "secret", "scheme"]),
    ("schedule", &["cron", "timezone", "catch_up"]),
    ("event", &["event", "filter"]),
];

/// The further keys of each kind of block.
pub(crate) const BLOCKS: &[(&str, &[&str])] = &[
    ("rigid", &["statements"]),
    ("match", &["subject", "arms", "else"]),
    ("foreach", &["items", "var", "index_var", "body", "max_concurrent", "on_error"]),
    ("while", &["condition", "max_iterations", "body"]),
    ("try", &["body", "catch", "finally"]),
    (
        "checkpoint",
        &[
            "checkpoint_type",
            "present",
            "options",
            "assignee",
            "priority",
            "on_timeout",
            "escalation_target",
            "on_response",
            "form",
            "required_approvals",
            "exclude_requester",
            "reminder_interval_m",
            "action",
            "hitl_target",
        ],
    ),
    ("core_call", &["target", "flow_name", "input_bindings", "instance_key", "version", "is_async"]),
    ("parallel", &["branches", "max_concurrent", "fail_fast"]),
    ("await_responses", &["of", "mode", "n"]),
    ("model_call", &["role", "messages", "prompt", "output_type", "params"]),
    (
        "flexible",
        &[
            "goal",
            "output_type",
            "llm_role",
            "input_bindings",
            "context_bindings",
            "guidance",
            "identity_ref",
            "constraints",
            "examples",
            "on_failure",
            "budget",
        ],
    ),
    (
        "guarded",
        &[
            "goal",
            "output_type",
            "llm_role",
            "input_bindings",
            "context_bindings",
            "guidance",
            "identity_ref",
            "constraints",
            "examples",
            "on_failure",
            "budget",
            "guard",
            "validate",
            "on_validation_failure",
        ],
    ),
    ("budget", &["max_tokens", "max_cost", "max_duration", "max_calls", "body", "on_exceeded"]),
    ("debug", &["statements"]),
];

/// The further keys of each kind of statement.
pub(crate) const STATEMENTS: &[(&str, &[&str])] = &[
    ("let", &["name", "value"]),
    ("assign", &["target", "value"]),
    ("expression", &["value", "expression"]),
    ("if", &["condition", "then", "else"]),
    ("return", &["value"]),
    ("break", &[]),
    ("continue", &[]),
    ("emit", &["event", "data"]),
    ("log", &["level", "message", "fields"]),
    (
        "memory",
        &[
            "op",
            "target",
            "key",
            "value",
            "prefix",
            "query",
            "min_similarity",
            "limit",
            "order",
            "result_binding",
        ],
    ),
    ("fail", &["code", "message"]),
    ("plugin_call", &["alias", "method", "args", "result_binding"]),
    ("sleep", &["duration", "until"]),
    ("wait_event", &["name", "filter", "timeout", "result_binding"]),
];

/// The further keys of a kind, if the kind is in the table.
pub(crate) fn of(
    table: &'static [(&'static str, &'static [&'static str])],
    kind: &str,
) -> Option<&'static [&'static str]> {
    table.iter().find(|(name, _)| *name == kind).map(|(_, keys)| *keys)
}
