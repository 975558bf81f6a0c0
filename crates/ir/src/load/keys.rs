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
pub(crate) const STATEMENT: &[&str] = &["kind", "source_location"];

/// The further keys of each kind of trigger.
pub(crate) const TRIGGERS: &[(&str, &[&str])] = &[
    ("api", &["method", "path", "public"]),
    ("webhook", &["method", "path", "secret", "scheme"]),
    ("schedule", &["cron", "timezone", "catch_up"]),
    ("event", &["event", "filter"]),
];

const GENERATION: &[&str] = &[
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
];

/// The further keys of each kind of block that this version runs.
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
        ],
    ),
    ("core_call", &["target", "flow_name", "input_bindings", "instance_key", "version", "is_async"]),
];

/// The further keys of each kind of block that this version knows and does not run.
pub(crate) const BLOCKS_NOT_YET: &[(&str, &[&str])] = &[
    ("model_call", &["role", "messages", "prompt", "output_type", "params"]),
    ("flexible", GENERATION),
    ("guarded", &["guard", "validate", "on_validation_failure"]),
    ("parallel", &["branches", "max_concurrent", "fail_fast"]),
    ("await_responses", &["of", "mode", "n"]),
    ("budget", &["max_tokens", "max_cost", "max_duration", "max_calls", "body", "on_exceeded"]),
    ("debug", &["statements"]),
];

/// The fields of a checkpoint that mean something which this version does not do.
pub(crate) const CHECKPOINT_NOT_YET: &[&str] =
    &["form", "required_approvals", "exclude_requester", "action", "hitl_target"];

/// The further keys of each kind of statement that this version runs.
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
];

/// The further keys of each kind of statement that this version knows and does not run.
pub(crate) const STATEMENTS_NOT_YET: &[(&str, &[&str])] = &[
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

/// The further keys of a block that is known and not run; `guarded` has those of `flexible` too.
pub(crate) fn of_block_not_yet(kind: &str) -> Option<[&'static [&'static str]; 2]> {
    let own = of(BLOCKS_NOT_YET, kind)?;
    Some([own, if kind == "guarded" { GENERATION } else { &[] }])
}
