//! Making a Core, and changing it: what a client may say, checked field by field.

use std::collections::HashSet;
use std::sync::Arc;

use scaigrid_scope::{CoreId, Instant, Name, Slug, TenantId, UserId};
use serde_json::{Map, Value};

use crate::core::{
    Core, CoreError, CoreIdentity, EntityKeyField, FieldProblem, Source, is_no_program, json_size,
};
use crate::environment::Environment;
use crate::lifecycle::{Action, Outcome, Status};
use crate::modes::{CheckpointMode, Concurrency, ConcurrencyMode, PrivilegeLevel, RuntimeMode};
use crate::plugins::InstalledPlugin;
use crate::publication;
use crate::resource_limits;
use crate::triggers::Trigger;

const MAX_PLUGINS: usize = 64;
const MAX_OBJECT_BYTES: usize = 64 * 1024;

/// What a new Core is made of. Everything but the name has a default.
#[derive(Debug, Clone, PartialEq)]
pub struct NewCore {
    /// What people will call it; the slug is made of it.
    pub name: String,
    /// Default: event-driven.
    pub runtime_mode: RuntimeMode,
    /// Default: stateless.
    pub concurrency_mode: ConcurrencyMode,
    /// Required with, and only with, the entity mode.
    pub entity_key_field: Option<String>,
    /// Default: no program.
    pub source: Value,
    /// Default: none.
    pub plugins: Vec<Value>,
    /// Default: empty. See [`Environment::merge`].
    pub environment: Map<String, Value>,
    /// Default: empty.
    pub resource_limits: Map<String, Value>,
    /// Default: auto.
    pub checkpoint_mode: CheckpointMode,
    /// Default: standard.
    pub privilege_level: PrivilegeLevel,
    /// Default: empty.
    pub metadata: Map<String, Value>,
}

impl NewCore {
    /// A Core of which nothing but the name is said.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            runtime_mode: RuntimeMode::EventDriven,
            concurrency_mode: ConcurrencyMode::Stateless,
            entity_key_field: None,
            source: Value::Object(Map::new()),
            plugins: Vec::new(),
            environment: Map::new(),
            resource_limits: Map::new(),
            checkpoint_mode: CheckpointMode::Auto,
            privilege_level: PrivilegeLevel::Standard,
            metadata: Map::new(),
        }
    }
}

/// What a client wants changed; `None` keeps what is there. Slug, tenant and identity cannot be changed so.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CoreChanges {
    /// A new name. The slug stays.
    pub name: Option<String>,
    /// A new runtime mode.
    pub runtime_mode: Option<RuntimeMode>,
    /// A new concurrency mode. Leaving the entity mode drops the key field.
    pub concurrency_mode: Option<ConcurrencyMode>,
    /// A new key field; `Some(None)` takes it away.
    pub entity_key_field: Option<Option<String>>,
    /// A new program.
    pub source: Option<Value>,
    /// New plugin entries, all of them.
    pub plugins: Option<Vec<Value>>,
    /// A new environment, all of it, but for the secrets that `"***"` keeps.
    pub environment: Option<Map<String, Value>>,
    /// New limits.
    pub resource_limits: Option<Map<String, Value>>,
    /// A new checkpoint mode.
    pub checkpoint_mode: Option<CheckpointMode>,
    /// A new privilege level.
    pub privilege_level: Option<PrivilegeLevel>,
    /// New metadata.
    pub metadata: Option<Map<String, Value>>,
}

/// Metadata without what the platform tells there.
fn own_metadata(mut metadata: Map<String, Value>) -> Map<String, Value> {
    for name in publication::METADATA {
        metadata.remove(name);
    }
    metadata
}

/// Collects what is wrong with the fields, so that a client hears of everything at once.
#[derive(Default)]
struct Problems(Vec<FieldProblem>);

impl Problems {
    fn note(&mut self, field: &str, message: impl Into<String>) {
        self.0.push(FieldProblem::new(field, message));
    }

    fn name(&mut self, text: &str) -> Option<Name> {
        Name::parse(text).map_err(|error| self.note("name", error.to_string())).ok()
    }

    fn concurrency(&mut self, mode: ConcurrencyMode, key_field: Option<&str>) -> Option<Concurrency> {
        let parsed = key_field.map(EntityKeyField::parse);
        if parsed == Some(None) {
            self.note("entity_key_field", "must be the name of a field, 1 to 128 characters");
            return None;
        }
        let concurrency = Concurrency::new(mode, parsed.flatten());
        if concurrency.is_none() {
            let message = if mode == ConcurrencyMode::Entity {
                "is required when concurrency_mode is entity"
            } else {
                "is allowed only when concurrency_mode is entity"
            };
            self.note("entity_key_field", message);
        }
        concurrency
    }

    fn program(&mut self, program: &Value) {
        if !program.is_object() {
            self.note("source", "must be an object");
        } else if json_size(program) > Source::MAX_BYTES {
            self.note("source", format!("must have at most {} bytes", Source::MAX_BYTES));
        }
    }

    fn object(&mut self, field: &str, fields: &Map<String, Value>) {
        let size: usize = fields.iter().map(|(name, value)| name.len() + 3 + json_size(value)).sum();
        if size > MAX_OBJECT_BYTES {
            self.note(field, format!("must have at most {MAX_OBJECT_BYTES} bytes"));
        }
    }

    fn limits(&mut self, limits: &Map<String, Value>) {
        self.object("resource_limits", limits);
        self.0.extend(resource_limits::problems(limits));
    }

    fn plugins(&mut self, entries: &[Value]) {
        if entries.len() > MAX_PLUGINS {
            return self.note("plugins", format!("must have at most {MAX_PLUGINS} entries"));
        }
        if entries.iter().map(json_size).sum::<usize>() > MAX_OBJECT_BYTES {
            return self.note("plugins", format!("must have at most {MAX_OBJECT_BYTES} bytes"));
        }
        let mut aliases = HashSet::new();
        for (index, entry) in entries.iter().enumerate() {
            let alias = entry.get("alias").and_then(Value::as_str).unwrap_or_default();
            let field = format!("plugins[{index}].alias");
            if Name::parse(alias).is_err() {
                self.note(&field, "must be a name");
            } else if !aliases.insert(alias) {
                self.note(&field, "must differ from the other aliases");
            } else if let Err(problems) = InstalledPlugin::parse(entry.clone(), &format!("plugins[{index}]"))
            {
                self.0.extend(problems);
            }
        }
    }

    fn environment(
        &mut self,
        mut written: Map<String, Value>,
        stored: &Environment,
        triggers: &[Trigger],
    ) -> Option<Environment> {
        // Triggers are shown there; what is shown can be written back, and is no value of the environment.
        let shown: Value = triggers.iter().map(Trigger::shown).collect();
        if let Some(value) = written.remove(Core::TRIGGERS) {
            // A value that was given that name before it meant something stays what it is, also while triggers are shown in its place.
            let kept = stored.shown().remove(Core::TRIGGERS);
            let is_shown = value == shown && (kept.is_none() || !triggers.is_empty());
            if !is_shown && kept.as_ref() != Some(&value) {
                let field = format!("environment.{}", Core::TRIGGERS);
                self.note(
                    &field,
                    "cannot be written here: triggers are registered and removed at the Core's triggers",
                );
                return None;
            }
            written.extend(kept.map(|kept| (Core::TRIGGERS.to_owned(), kept)));
        }
        Environment::merge(written, stored).map_err(|problems| self.0.extend(problems)).ok()
    }

    fn into_error(self) -> CoreError {
        CoreError::Invalid { problems: self.0 }
    }
}

impl Core {
    /// Makes a Core. It is `created`, or `configuring` as long as it has no program.
    pub fn create(
        id: CoreId,
        tenant_id: TenantId,
        created_by: UserId,
        now: Instant,
        new: NewCore,
    ) -> Result<Self, CoreError> {
        let mut problems = Problems::default();
        let name = problems.name(&new.name);
        let slug = Slug::from_name(&new.name);
        if name.is_some() && slug.is_none() {
            problems.note("name", "must contain a letter or a digit");
        }
        let concurrency = problems.concurrency(new.concurrency_mode, new.entity_key_field.as_deref());
        problems.program(&new.source);
        problems.plugins(&new.plugins);
        problems.limits(&new.resource_limits);
        problems.object("metadata", &new.metadata);
        let environment = problems.environment(new.environment, &Environment::default(), &[]);
        let (Some(name), Some(slug), Some(concurrency), Some(environment), true) =
            (name, slug, concurrency, environment, problems.0.is_empty())
        else {
            return Err(problems.into_error());
        };
        let source = Source::first(new.source);
        Ok(Self {
            id,
            tenant_id,
            name,
            slug,
            status: Status::at_creation(!source.is_empty()),
            last_error: None,
            runtime_mode: new.runtime_mode,
            concurrency,
            source,
            plugins: Arc::new(new.plugins),
            environment,
            resource_limits: Arc::new(new.resource_limits),
            checkpoint_mode: new.checkpoint_mode,
            privilege_level: new.privilege_level,
            metadata: Arc::new(own_metadata(new.metadata)),
            identity: CoreIdentity::ServiceAccount,
            avatar: None,
            publication: None,
            triggers: Arc::default(),
            created_by,
            created_at: now,
            updated_at: now,
        })
    }

    /// The Core after a change. Equal to the Core before, `updated_at` included, if nothing has changed.
    ///
    /// A new program makes a new version, and the first one makes a `configuring` Core `created`. The program of a
    /// Core that is alive cannot be taken away.
    pub fn change(&self, changes: CoreChanges, now: Instant) -> Result<Self, CoreError> {
        let mut problems = Problems::default();
        let mut core = self.clone();
        if let Some(name) = changes.name.and_then(|name| problems.name(&name)) {
            core.name = name;
        }
        if changes.concurrency_mode.is_some() || changes.entity_key_field.is_some() {
            let mode = changes.concurrency_mode.unwrap_or(self.concurrency.mode());
            let stored = self.concurrency.entity_key_field().filter(|_| mode == ConcurrencyMode::Entity);
            let stored = stored.map(|field| field.as_str().to_owned());
            let key_field = changes.entity_key_field.unwrap_or(stored);
            if let Some(concurrency) = problems.concurrency(mode, key_field.as_deref()) {
                core.concurrency = concurrency;
            }
        }
        if let Some(program) = changes.source {
            core.replace_program(program, &mut problems);
        }
        if let Some(plugins) = changes.plugins {
            problems.plugins(&plugins);
            core.plugins = Arc::new(plugins);
        }
        if let Some(written) = changes.environment
            && let Some(environment) = problems.environment(written, &self.environment, &self.triggers)
        {
            core.environment = environment;
        }
        if let Some(limits) = changes.resource_limits {
            problems.limits(&limits);
            core.resource_limits = Arc::new(limits);
        }
        if let Some(metadata) = changes.metadata.map(own_metadata) {
            problems.object("metadata", &metadata);
            core.metadata = Arc::new(metadata);
        }
        core.runtime_mode = changes.runtime_mode.unwrap_or(core.runtime_mode);
        core.checkpoint_mode = changes.checkpoint_mode.unwrap_or(core.checkpoint_mode);
        core.privilege_level = changes.privilege_level.unwrap_or(core.privilege_level);
        if !problems.0.is_empty() {
            return Err(problems.into_error());
        }
        if core != *self {
            core.updated_at = now;
        }
        Ok(core)
    }

    fn replace_program(&mut self, program: Value, problems: &mut Problems) {
        problems.program(&program);
        let empty = is_no_program(&program);
        if empty && self.status.is_alive() {
            return problems.note("source", "cannot be taken away from a Core that is not stopped");
        }
        if *self.source.program == program {
            return;
        }
        let action = if empty { Action::SourceRemoved } else { Action::SourceAdded };
        // Only a Core without a program becomes `created` by getting one; the others stay what they are.
        if let Ok(transition) = self.status.apply(action)
            && let Outcome::Status(status) = transition.to
        {
            self.status = status;
        }
        self.source = Source { program: Arc::new(program), version: self.source.version.saturating_add(1) };
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::LastError;
    use crate::environment::{EnvValue, SecretText};

    const NOW: Instant = Instant::from_micros(1_000_000);
    const LATER: Instant = Instant::from_micros(2_000_000);

    fn ids() -> (CoreId, TenantId, UserId) {
        let ulid = "01J00000000000000000000000";
        let id = |prefix: &str| format!("{prefix}_{ulid}");
        (id("core").parse().unwrap(), id("ten").parse().unwrap(), id("usr").parse().unwrap())
    }

    fn create(new: NewCore) -> Result<Core, CoreError> {
        let (core, tenant, user) = ids();
        Core::create(core, tenant, user, NOW, new)
    }

    fn problem_fields(error: CoreError) -> Vec<String> {
        let CoreError::Invalid { problems } = error else { panic!("{error}") };
        problems.into_iter().map(|problem| problem.field).collect()
    }

    fn source(program: Value) -> CoreChanges {
        CoreChanges { source: Some(program), ..CoreChanges::default() }
    }

    #[test]
    fn a_core_without_a_program_is_configuring_until_it_gets_one() {
        let core = create(NewCore::named("Expense Approval")).unwrap();
        assert_eq!((core.status, core.source.version), (Status::Configuring, 0));
        assert_eq!(core.slug.as_str(), "expense-approval");
        let core = core.change(source(json!({"name": "A"})), LATER).unwrap();
        assert_eq!((core.status, core.source.version), (Status::Created, 1));
        assert_eq!(core.updated_at, LATER);
        let core = core.change(source(json!({})), LATER).unwrap();
        assert_eq!((core.status, core.source.version), (Status::Configuring, 2));
    }

    #[test]
    fn only_a_change_makes_a_version() {
        let core = create(NewCore { source: json!({"name": "A"}), ..NewCore::named("A") }).unwrap();
        assert_eq!(core.change(source(json!({"name": "A"})), LATER).unwrap(), core);
        assert_eq!(core.change(CoreChanges::default(), LATER).unwrap(), core);
        assert_eq!(core.change(source(json!({"name": "B"})), LATER).unwrap().source.version, 2);
    }

    #[test]
    fn a_running_core_changes_its_program_but_does_not_lose_it() {
        let core = create(NewCore { source: json!({"name": "A"}), ..NewCore::named("A") }).unwrap();
        let (core, _) = core.apply(Action::Start, NOW).unwrap();
        let (core, _) = core.apply(Action::Started, NOW).unwrap();
        assert_eq!(core.change(source(json!({"name": "B"})), LATER).unwrap().status, Status::Running);
        assert_eq!(problem_fields(core.change(source(json!({})), LATER).unwrap_err()), ["source"]);
    }

    #[test]
    fn a_key_field_goes_with_the_entity_mode_only() {
        let entity = NewCore {
            concurrency_mode: ConcurrencyMode::Entity,
            entity_key_field: Some("customer".into()),
            ..NewCore::named("A")
        };
        let core = create(entity.clone()).unwrap();
        let missing = NewCore { entity_key_field: None, ..entity.clone() };
        assert_eq!(problem_fields(create(missing).unwrap_err()), ["entity_key_field"]);
        let needless = NewCore { concurrency_mode: ConcurrencyMode::Singleton, ..entity };
        assert_eq!(problem_fields(create(needless).unwrap_err()), ["entity_key_field"]);
        let mode = |mode| CoreChanges { concurrency_mode: Some(mode), ..CoreChanges::default() };
        let stateless = core.change(mode(ConcurrencyMode::Stateless), LATER).unwrap();
        assert_eq!(stateless.concurrency, Concurrency::Stateless);
        assert!(stateless.change(mode(ConcurrencyMode::Entity), LATER).is_err());
        let dropped = CoreChanges { entity_key_field: Some(None), ..CoreChanges::default() };
        assert_eq!(problem_fields(core.change(dropped, LATER).unwrap_err()), ["entity_key_field"]);
    }

    #[test]
    fn a_value_that_was_called_triggers_can_be_written_back() {
        let mut core = create(NewCore::named("A")).unwrap();
        let old = EnvValue::Secret(SecretText::new("old"));
        core.environment = Environment::from_stored([(Core::TRIGGERS.to_owned(), old.clone())]);
        let write = |environment: Value| {
            let environment = environment.as_object().unwrap().clone();
            core.change(CoreChanges { environment: Some(environment), ..CoreChanges::default() }, LATER)
        };
        let same = write(json!({"triggers": "***", "B": 1})).unwrap();
        assert_eq!(same.environment.get(Core::TRIGGERS), Some(&old));
        for other in [json!([]), json!("new")] {
            let refused = write(json!({"triggers": other})).unwrap_err();
            assert_eq!(problem_fields(refused), ["environment.triggers"]);
        }
        assert_eq!(write(json!({"B": 1})).unwrap().environment.get(Core::TRIGGERS), None);
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let new = NewCore {
            source: json!([]),
            plugins: vec![json!({"alias": "mail"}), json!({"alias": "mail"}), json!(1)],
            environment: json!({"KEY": "***"}).as_object().unwrap().clone(),
            metadata: json!({"x": "y".repeat(70_000)}).as_object().unwrap().clone(),
            ..NewCore::named("!!")
        };
        let fields = problem_fields(create(new).unwrap_err());
        let wanted =
            ["name", "source", "plugins[1].alias", "plugins[2].alias", "metadata", "environment.KEY"];
        assert_eq!(fields, wanted);
    }

    #[test]
    fn an_error_is_kept_until_a_start_succeeds() {
        let core = create(NewCore::named("A")).unwrap();
        let (core, _) = core.apply(Action::Start, NOW).unwrap();
        let error = LastError { code: "INVALID_SOURCE_IR".into(), message: "no flows".into(), at: LATER };
        let (core, _) = core.fail(error.clone()).unwrap();
        assert_eq!((core.status, core.last_error.as_ref()), (Status::Error, Some(&error)));
        let (core, _) = core.apply(Action::Start, LATER).unwrap();
        assert!(core.last_error.is_some());
        let (core, _) = core.apply(Action::Started, LATER).unwrap();
        assert_eq!(core.last_error, None);
    }
}
