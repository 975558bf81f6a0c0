//! The rules of configurations: each module's JSON Schema, made ready for checking when the process starts.
//!
//! What the checker finds is told in words of our own: its own messages quote what they are about, which may be a
//! secret.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Deref;

use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use jsonschema::{Draft, ValidationError, Validator};
use scaigrid_modules::config::{ConfigSchema, Finding};
use scaigrid_modules::{Catalogue, InvalidCatalogue, Manifest, ModuleId};
use serde_json::{Value, json};

/// The most findings about one configuration.
const MAX_FINDINGS: usize = 50;
/// The most characters of one message.
const MAX_MESSAGE: usize = 300;

/// Modules that cannot be offered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidModules {
    /// Their manifests do not go together.
    #[error(transparent)]
    Catalogue(#[from] InvalidCatalogue),
    /// The schema of a module's configuration is none, or its own defaults break it.
    #[error("module {module}: config_schema: {problem}")]
    Schema {
        /// The module.
        module: ModuleId,
        /// What is wrong with its schema.
        problem: String,
    },
}

impl InvalidModules {
    /// The module that is at fault.
    pub const fn module(&self) -> &ModuleId {
        match self {
            Self::Catalogue(
                InvalidCatalogue::Twice(module)
                | InvalidCatalogue::Circle(module)
                | InvalidCatalogue::UnknownDependency { module, .. },
            )
            | Self::Schema { module, .. } => module,
        }
    }
}

/// The modules that there are, and the rules of their configurations.
#[derive(Debug)]
pub struct Modules {
    catalogue: Catalogue,
    rules: BTreeMap<ModuleId, Rules>,
}

/// The rules of one module's configuration.
#[derive(Debug)]
pub(crate) struct Rules {
    validator: Validator,
    /// Tells one schema from another, the same on every node.
    pub(crate) mark: u32,
}

impl Deref for Modules {
    type Target = Catalogue;

    fn deref(&self) -> &Catalogue {
        &self.catalogue
    }
}

impl Modules {
    /// Puts manifests together.
    ///
    /// # Errors
    /// When they do not go together, or a schema is none or breaks itself.
    pub fn new(manifests: impl IntoIterator<Item = Manifest>) -> Result<Self, InvalidModules> {
        let catalogue = Catalogue::new(manifests)?;
        let rules = catalogue.iter().map(|manifest| {
            let module = manifest.module_id.clone();
            let invalid = |problem| InvalidModules::Schema { module: module.clone(), problem };
            let rules = Rules::of(&manifest.config_schema).map_err(invalid)?;
            Ok((module, rules))
        });
        let rules = rules.collect::<Result<_, InvalidModules>>()?;
        Ok(Self { catalogue, rules })
    }

    pub(crate) fn rules(&self, module: &ModuleId) -> Option<&Rules> {
        self.rules.get(module)
    }
}

impl Rules {
    fn of(schema: &ConfigSchema) -> Result<Self, String> {
        let options = jsonschema::options().with_draft(Draft::Draft202012).should_validate_formats(true);
        let validator = options.build(schema.as_value()).map_err(|error| {
            format!("{}: is not JSON Schema 2020-12: {error}", at_least_root(error.instance_path().as_str()))
        })?;
        let rules = Self { validator, mark: checksum(schema.as_value().to_string().as_bytes()) };
        let findings = rules.findings(&schema.defaults_for(&json!({})));
        match findings.into_iter().find(|finding| !finding.missing) {
            Some(finding) => Err(format!("the default of {} {}", finding.pointer, finding.message)),
            None => Ok(rules),
        }
    }

    /// What is wrong with a configuration.
    pub(crate) fn findings(&self, config: &Value) -> Vec<Finding> {
        self.validator.iter_errors(config).flat_map(|error| told(&error)).take(MAX_FINDINGS).collect()
    }
}

fn at_least_root(pointer: &str) -> &str {
    if pointer.is_empty() { "/" } else { pointer }
}

/// FNV-1a, 32 bits.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// What an error of the checker says, without what it quotes.
fn told(error: &ValidationError<'_>) -> Vec<Finding> {
    let place = error.instance_path();
    let here = |message: String| {
        let mut message = message;
        if let Some((end, _)) = message.char_indices().nth(MAX_MESSAGE) {
            message.truncate(end);
            message.push('…');
        }
        vec![Finding::new(place.as_str(), message)]
    };
    match error.kind() {
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => unexpected
            .iter()
            .map(|name| Finding::new(place.join(name.as_str()).as_str(), "is not a setting of this module"))
            .collect(),
        Kind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            vec![Finding { missing: true, ..Finding::new(place.join(name).as_str(), "is required") }]
        }
        Kind::Type { kind } => here(match kind {
            TypeKind::Single(one) => format!("must be of type {one}"),
            TypeKind::Multiple(several) => {
                format!("must be of type {}", list(several.iter().map(|one| one.to_string())))
            }
        }),
        Kind::Enum { options } => here(format!(
            "must be one of {}",
            list(options.as_array().into_iter().flatten().map(Value::to_string))
        )),
        Kind::Constant { expected_value } => here(format!("must be {expected_value}")),
        Kind::Format { format } => here(format!("must have the format {format}")),
        Kind::Pattern { pattern } => here(format!("must match {pattern}")),
        Kind::MinLength { limit } => here(format!("must be at least {limit} characters long")),
        Kind::MaxLength { limit } => here(format!("must be at most {limit} characters long")),
        Kind::Minimum { limit } => here(format!("must be at least {limit}")),
        Kind::Maximum { limit } => here(format!("must be at most {limit}")),
        Kind::ExclusiveMinimum { limit } => here(format!("must be more than {limit}")),
        Kind::ExclusiveMaximum { limit } => here(format!("must be less than {limit}")),
        Kind::MultipleOf { multiple_of } => here(format!("must be a multiple of {multiple_of}")),
        Kind::MinItems { limit } => here(format!("must have at least {limit} elements")),
        Kind::MaxItems { limit } => here(format!("must have at most {limit} elements")),
        Kind::MinProperties { limit } => here(format!("must have at least {limit} fields")),
        Kind::MaxProperties { limit } => here(format!("must have at most {limit} fields")),
        Kind::UniqueItems => here("must not have an element twice".to_owned()),
        Kind::AnyOf { .. } | Kind::OneOfNotValid { .. } => {
            here("fits none of the alternatives that the schema has for it".to_owned())
        }
        Kind::OneOfMultipleValid { .. } => {
            here("fits more than one of the alternatives that the schema has for it".to_owned())
        }
        Kind::PropertyNames { .. } => here("has a field whose name the schema does not allow".to_owned()),
        Kind::FalseSchema => {
            // A schema that tells of no field at all and allows no others is told of the whole.
            let unknown = ["/additionalProperties", "/unevaluatedProperties"];
            let of_fields = unknown.iter().any(|keyword| error.schema_path().as_str().ends_with(keyword));
            let message = if of_fields {
                "has a field that the schema does not know"
            } else {
                "is not allowed by the schema"
            };
            here(message.to_owned())
        }
        other => here(format!("breaks the schema's rule {}", other.keyword())),
    }
}

fn list(options: impl Iterator<Item = String>) -> String {
    let mut text = String::new();
    for (index, option) in options.enumerate() {
        let written = write!(text, "{}{option}", if index == 0 { "" } else { ", " });
        debug_assert!(written.is_ok(), "a text takes whatever is written to it");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use scaigrid_modules::SettingLevel;
    use scaigrid_modules::config::{Layer, Levels, Origin};
    use scaigrid_scope::Instant;

    use super::*;

    fn manifest(schema: Value) -> Result<Modules, InvalidModules> {
        let schema = ConfigSchema::parse(schema).unwrap();
        Modules::new([Manifest { config_schema: schema.into(), ..Manifest::scaicore() }])
    }

    fn findings(schema: Value, config: &Value) -> Vec<(String, String)> {
        let modules = manifest(schema).unwrap();
        let found = modules.rules(&ModuleId::scaicore()).unwrap().findings(config);
        found.into_iter().map(|one| (one.pointer, one.message)).collect()
    }

    #[test]
    fn every_shipped_schema_is_one() {
        let modules = Modules::new(scaigrid_modules::shipped()).unwrap();
        assert_eq!(modules.rules.len(), modules.iter().count());
    }

    #[test]
    fn findings_name_the_place_and_the_rule_and_quote_nothing() {
        let schema = json!({
            "properties": {
                "n": {"type": "integer", "maximum": 9}, "s": {"type": ["string", "null"]},
                "e": {"enum": ["A", "B"]}, "mail": {"format": "email"}, "p": {"pattern": "^[a-z]+$"},
                "o": {"additionalProperties": false, "required": ["x"]}, "l": {"items": {"type": "string"}},
                "any": {"anyOf": [{"type": "string"}, {"type": "integer"}]}, "u": {"uniqueItems": true}
            },
            "additionalProperties": false
        });
        let config = json!({
            "n": 77, "s": ["hush"], "e": "hush", "mail": "hush", "p": "HUSH", "o": {"a/b": "hush"}, "l": ["a", {"hush": 1}],
            "any": ["hush"], "u": ["hush", "hush"], "other": "hush"
        });
        let mut found = findings(schema, &config);
        found.sort();
        let found: Vec<_> = found.iter().map(|(place, message)| format!("{place} {message}")).collect();
        assert_eq!(
            found,
            [
                "/any fits none of the alternatives that the schema has for it",
                "/e must be one of \"A\", \"B\"",
                "/l/1 must be of type string",
                "/mail must have the format email",
                "/n must be at most 9",
                "/o has a field that the schema does not know",
                "/o/x is required",
                "/other is not a setting of this module",
                "/p must match ^[a-z]+$",
                "/s must be of type null, string",
                "/u must not have an element twice",
            ]
        );
    }

    #[test]
    fn schemas_that_are_none_or_break_themselves_are_refused() {
        for (schema, named) in [
            (json!({"properties": {"a": {"type": "strin"}}}), "/properties/a/type"),
            (json!({"properties": {"a": {"pattern": "("}}}), "is not a \"regex\""),
            (
                json!({"properties": {"a": {"type": "integer", "default": "x"}}}),
                "the default of /a must be of type integer",
            ),
        ] {
            let error = manifest(schema).unwrap_err();
            assert!(error.to_string().contains(named), "{error}");
            assert_eq!(error.module(), &ModuleId::scaicore());
        }
        assert!(manifest(json!({"required": ["a"]})).is_ok(), "what is required need not have a default");
    }

    fn effective(schema: &ConfigSchema, layers: &[(SettingLevel, &Layer)]) -> Value {
        Levels { schema, layers }.effective()
    }

    /// Values of which some fit and some do not.
    fn any_patch() -> impl Strategy<Value = Value> {
        let n = prop_oneof![Just(Value::Null), (0..5_i64).prop_map(Value::from), Just(json!("x"))];
        let e =
            prop_oneof![Just(Value::Null), prop::sample::select(vec!["A", "B", "C"]).prop_map(Value::from)];
        let o = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(|b| json!({"b": b})),
            Just(json!({"b": 1}))
        ];
        (prop::option::of(n), prop::option::of(e), prop::option::of(o)).prop_map(|(n, e, o)| {
            let given = [("n", n), ("e", e), ("o", o)];
            Value::Object(given.into_iter().filter_map(|(name, v)| Some((name.to_owned(), v?))).collect())
        })
    }

    proptest! {
        #[test]
        fn what_was_found_good_stays_good(patches in prop::collection::vec((any::<bool>(), any_patch()), 1..8)) {
            let schema = json!({"additionalProperties": false, "properties": {
                "n": {"type": "integer", "maximum": 3, "default": 1}, "e": {"enum": ["A", "B"]},
                "o": {"properties": {"b": {"type": "boolean"}}, "additionalProperties": false}
            }});
            let modules = manifest(schema).unwrap();
            let (module, origin) = (ModuleId::scaicore(), Origin { at: Instant::from_micros(1), by: None });
            let (rules, schema) = (modules.rules(&module).unwrap(), &modules.get(&module).unwrap().config_schema);
            let mut layers = [Layer::default(), Layer::default()];
            for (above, patch) in patches {
                let own = usize::from(!above);
                let Ok(after) = layers[own].patched(schema, &patch, &BTreeSet::new(), origin) else { continue };
                let mut next = layers.clone();
                next[own] = after;
                // The level above does not see the one below.
                let seen = if above { &next[..1] } else { &next[..] };
                let levels = [SettingLevel::Platform, SettingLevel::Tenant];
                let stack: Vec<_> = levels.into_iter().zip(seen).collect();
                if rules.findings(&effective(schema, &stack)).is_empty() {
                    layers = next;
                }
                // Whoever writes, in whatever order: what counts below is good, as the fields do not depend on one another.
                let stack: Vec<_> = levels.into_iter().zip(&layers).collect();
                prop_assert_eq!(rules.findings(&effective(schema, &stack)), Vec::new());
                prop_assert_eq!(rules.findings(&effective(schema, &stack[..1])), Vec::new());
            }
        }
    }
}
