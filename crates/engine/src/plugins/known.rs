//! What is known of plugins on this node: read at most once a second, and made ready for checking once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use jsonschema::Validator;
use moka::sync::Cache;
use scaigrid_bus::Recent;
use scaigrid_cores::plugins::{Drift, PluginName, Registration};
use scaigrid_ir::types::TypeError;
use scaigrid_outbound::plugins::mcp::Greeting;
use scaigrid_persistence::plugins;
use scaigrid_scope::{Instant, TenantId, TenantScope};
use serde_json::{Map, Value};

use super::fault::CallError;
use super::{Plugins, failure};

/// How many plugins are kept in memory.
const KEPT: u64 = 10_000;
/// How long one that nobody calls is kept.
const IDLE: Duration = Duration::from_mins(10);
/// The most places of a value that are told to be wrong.
const MAX_DETAILS: usize = 20;

/// Which registration, and in which revision.
type Mark = (i64, i64);

/// A plugin, ready to be called.
pub(crate) struct Known {
    pub(crate) registration: Registration,
    pub(crate) revision: i64,
    pub(crate) drift: Drift,
    mark: Mark,
    /// What checks arguments and results, made when it is first needed; by the position of the method.
    validators: Vec<OnceLock<Checks>>,
    /// What was learnt by speaking with it.
    learnt: Mutex<Learnt>,
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Learnt {
    /// How it wants to be greeted.
    pub(crate) greeting: Option<Greeting>,
    /// When its tools were last compared with what was accepted.
    pub(crate) compared_at: Option<Instant>,
}

struct Checks {
    input: Result<Validator, String>,
    output: Option<Result<Validator, String>>,
}

impl Known {
    fn of(registration: Registration, revision: i64) -> Self {
        let validators = registration.accepted.methods().iter().map(|_| OnceLock::new()).collect();
        let mark = (revision, registration.created_at.micros());
        let drift = registration.drift();
        Self { drift, registration, revision, mark, validators, learnt: Mutex::default() }
    }

    pub(crate) fn learnt(&self) -> Learnt {
        *self.learnt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn learn(&self, learnt: Learnt) {
        *self.learnt.lock().unwrap_or_else(PoisonError::into_inner) = learnt;
    }

    fn checks(&self, position: usize) -> Option<&Checks> {
        let method = self.registration.accepted.methods().get(position)?;
        let make = || Checks {
            input: validator(&method.input_schema),
            output: method.output_schema.as_deref().map(validator),
        };
        Some(self.validators.get(position)?.get_or_init(make))
    }

    /// Whether arguments are what a method takes.
    pub(super) fn check_input(
        &self,
        position: usize,
        args: &Map<String, Value>,
        alias: &str,
    ) -> Result<(), CallError> {
        let Some(checks) = self.checks(position) else { return Ok(()) };
        let name = &self.registration.accepted.methods()[position].name;
        let validator = checks.input.as_ref().map_err(|problem| {
            CallError::before("PLUGIN_ERROR", format!("the input schema of {alias}.{name}: {problem}"))
        })?;
        let found = findings(validator, &Value::Object(args.clone()));
        if found.is_empty() {
            return Ok(());
        }
        let mut error =
            CallError::before("PLUGIN_ERROR", told(&format!("the arguments of {alias}.{name}"), &found));
        error.failure.details = found.into();
        Err(error)
    }

    /// Whether a value is what a method gives.
    pub(super) fn check_output(&self, position: usize, value: &Value) -> Result<(), CallError> {
        let Some(Some(output)) = self.checks(position).map(|checks| &checks.output) else { return Ok(()) };
        let name = &self.registration.accepted.methods()[position].name;
        let plugin = &self.registration.plugin;
        let validator = output.as_ref().map_err(|problem| {
            CallError::invalid_result(format!("the output schema of {plugin}.{name}: {problem}"))
        })?;
        let found = findings(validator, value);
        if found.is_empty() {
            return Ok(());
        }
        let mut error = CallError::invalid_result(told(&format!("the result of {plugin}.{name}"), &found));
        error.failure.details = found.into();
        Err(error)
    }
}

/// What checks values against a schema: one of JSON Schema 2020-12, unless it says itself that it is of another draft.
/// Nothing is fetched: references lead to the schema's own parts.
pub(super) fn validator(schema: &Value) -> Result<Validator, String> {
    let built = jsonschema::options().should_validate_formats(true).build(schema);
    built.map_err(|error| {
        let text: String = error.to_string().chars().take(300).collect();
        format!("is not JSON Schema: {text}")
    })
}

/// The places of a value that are not as they must be. What is there is not told: it may be long, or a secret.
fn findings(validator: &Validator, value: &Value) -> Vec<TypeError> {
    let finding = |error: jsonschema::ValidationError<'_>| {
        let path = error.instance_path().to_string();
        let keyword = error.schema_path().to_string();
        let expected = keyword.rsplit('/').find(|part| part.parse::<usize>().is_err()).unwrap_or_default();
        let found = kind(value.pointer(&path).unwrap_or(&Value::Null));
        let told = told_by(expected, &error);
        TypeError { path, expected: told, found: found.into() }
    };
    validator.iter_errors(value).take(MAX_DETAILS).map(finding).collect()
}

fn told_by(keyword: &str, error: &jsonschema::ValidationError<'_>) -> String {
    use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
    match error.kind() {
        Kind::Required { property } => format!("an object with {}", property.as_str().unwrap_or_default()),
        Kind::Type { kind: TypeKind::Single(one) } => one.to_string(),
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            format!("an object without {}", unexpected.join(", "))
        }
        _ => format!("what the schema says by {keyword}"),
    }
}

const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn told(what: &str, found: &[TypeError]) -> String {
    failure_of(what, found).message.to_string()
}

fn failure_of(what: &str, found: &[TypeError]) -> scaigrid_runtime::Failure {
    match found.first() {
        Some(first) if first.path.is_empty() => {
            failure("PLUGIN_ERROR", format!("{what} should be {}, but is {}", first.expected, first.found))
        }
        Some(first) => failure(
            "PLUGIN_ERROR",
            format!(
                "{what} does not fit: {} should be {}, but is {}",
                first.path, first.expected, first.found
            ),
        ),
        None => failure("PLUGIN_ERROR", format!("{what} does not fit")),
    }
}

/// What this node has in memory.
pub(crate) struct Shelf {
    /// What was seen a moment ago: a plugin, or that there is none.
    seen: Recent<(), (TenantId, PluginName), Option<Arc<Known>>>,
    /// Plugins ready to be called, for as long as nothing about them changes.
    ready: Cache<(TenantId, PluginName), Arc<Known>>,
}

impl Shelf {
    pub(crate) fn new() -> Self {
        Self {
            seen: Recent::new(KEPT),
            ready: Cache::builder().max_capacity(KEPT).time_to_idle(IDLE).build(),
        }
    }

    /// Forgets what may have changed. What is ready is compared with the database before it is believed again.
    pub(crate) fn forget(&self) {
        self.seen.forget_all();
    }
}

impl Plugins {
    /// A plugin of the tenant, as it stood a second ago at most.
    pub(super) async fn known(
        &self,
        scope: TenantScope,
        plugin: &PluginName,
    ) -> Result<Option<Arc<Known>>, CallError> {
        self.seen(scope, plugin).await.map_err(|error| CallError::inside(&error))
    }

    /// The same for those who do not call it.
    pub(super) async fn seen(
        &self,
        scope: TenantScope,
        plugin: &PluginName,
    ) -> Result<Option<Arc<Known>>, scaigrid_persistence::Error> {
        let key = ((), (scope.tenant_id(), plugin.clone()));
        if let Some(seen) = self.0.shelf.seen.get(&key) {
            return Ok(seen);
        }
        let look_up = self.0.shelf.seen.look_up(key).await;
        if let Some(seen) = look_up.kept() {
            return Ok(seen);
        }
        let found = self.look(scope, plugin).await?;
        look_up.keep(found.clone());
        Ok(found)
    }

    async fn look(
        &self,
        scope: TenantScope,
        plugin: &PluginName,
    ) -> Result<Option<Arc<Known>>, scaigrid_persistence::Error> {
        let key = (scope.tenant_id(), plugin.clone());
        let mut connection = self.0.database.read().await?;
        if let Some(ready) = self.0.shelf.ready.get(&key)
            && plugins::mark(&mut connection, scope, plugin).await? == Some(ready.mark)
        {
            return Ok(Some(ready));
        }
        let found = plugins::lookup(&mut connection, scope, plugin, &self.0.vault).await?;
        let known = found.map(|found| Arc::new(Known::of(found.value, found.revision)));
        match &known {
            Some(known) => self.0.shelf.ready.insert(key, Arc::clone(known)),
            None => self.0.shelf.ready.invalidate(&key),
        }
        Ok(known)
    }
}

/// What is wrong with the schemas of methods, by their positions.
pub(super) fn unusable_schemas(
    methods: &[scaigrid_cores::plugins::Method],
) -> BTreeMap<usize, (&'static str, String)> {
    let mut wrong = BTreeMap::new();
    for (position, method) in methods.iter().enumerate() {
        let schemas =
            [("input_schema", Some(&method.input_schema)), ("output_schema", method.output_schema.as_ref())];
        for (name, schema) in schemas {
            if let Some(Err(problem)) = schema.map(|schema| validator(schema)) {
                wrong.entry(position).or_insert((name, problem));
            }
        }
    }
    wrong
}
