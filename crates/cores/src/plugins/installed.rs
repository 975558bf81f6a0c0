//! What a Core means by an alias.

use scaigrid_ir::module::PluginDecl;
use scaigrid_scope::Name;
use serde_json::{Map, Value, json};

use super::fields::{Fields, Problems};
use super::name::PluginName;
use crate::core::FieldProblem;

/// What a program declares of a plugin.
pub type Declared = PluginDecl;

/// An entry of a Core: what it means by an alias, whatever its program declares.
#[derive(Debug, Clone, PartialEq)]
pub struct InstalledPlugin {
    /// The alias.
    pub alias: Name,
    /// The plugin in the registry; left out, the one that the program declares.
    pub plugin: Option<PluginName>,
    /// What goes with each call, over what the program declares.
    pub config: Map<String, Value>,
    /// Whether it can be called.
    pub enabled: bool,
}

impl InstalledPlugin {
    /// Reads `{alias, plugin?, config?, enabled?}`.
    ///
    /// # Errors
    /// Everything that is wrong with it, by field.
    pub fn parse(written: Value, at: &str) -> Result<Self, Vec<FieldProblem>> {
        let mut problems = Problems::default();
        let read = Self::read(written, at, &mut problems);
        read.filter(|_| problems.is_empty()).ok_or_else(|| problems.into_inner())
    }

    fn read(written: Value, at: &str, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(written, at, problems)?;
        let alias = fields.required_text("alias", 200);
        let alias = alias.and_then(|alias| {
            let parsed = Name::parse(&alias).ok();
            if parsed.is_none() {
                fields.note("alias", "must be a name");
            }
            parsed
        });
        let plugin = fields.maybe::<PluginName>("plugin");
        let config = match fields.take("config") {
            None => Some(Map::new()),
            Some(Value::Object(config)) => Some(config),
            Some(_) => {
                fields.note("config", "must be an object");
                None
            }
        };
        let enabled = match fields.take("enabled") {
            None => Some(true),
            Some(Value::Bool(enabled)) => Some(enabled),
            Some(_) => {
                fields.note("enabled", "must be true or false");
                None
            }
        };
        fields.done();
        Some(Self { alias: alias?, plugin, config: config?, enabled: enabled? })
    }

    /// The entry as JSON.
    pub fn to_json(&self) -> Value {
        json!({
            "alias": self.alias.as_str(),
            "plugin": self.plugin.as_ref().map(PluginName::as_str),
            "config": self.config,
            "enabled": self.enabled,
        })
    }

    /// The entry of an alias among those of a Core.
    fn among(entries: &[Value], alias: &str) -> Option<Self> {
        let entry = entries.iter().find(|entry| entry.get("alias").and_then(Value::as_str) == Some(alias))?;
        // Entries were checked when they were written; of those that earlier versions took, what can be read counts.
        Self::parse(entry.clone(), "").ok().or_else(|| {
            Some(Self {
                alias: Name::parse(alias).ok()?,
                plugin: entry.get("plugin").and_then(Value::as_str).and_then(|name| name.parse().ok()),
                config: entry.get("config").and_then(Value::as_object).cloned().unwrap_or_default(),
                enabled: entry.get("enabled").and_then(Value::as_bool).unwrap_or(true),
            })
        })
    }
}

/// What an alias means.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolution {
    /// The plugin, by its name in the registry.
    pub plugin: PluginName,
    /// What goes with each call.
    pub config: Map<String, Value>,
}

/// Why an alias means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// Neither the Core nor its program knows it.
    #[error("the plugin {alias} is neither installed nor declared")]
    Unknown {
        /// The alias.
        alias: String,
    },
    /// The Core has switched it off.
    #[error("the plugin {alias} is switched off")]
    Disabled {
        /// The alias.
        alias: String,
    },
    /// What is said of it is no plugin's name.
    #[error("the plugin {alias} is said to be {plugin:?}, which is no plugin's name")]
    BadName {
        /// The alias.
        alias: String,
        /// What is said.
        plugin: String,
    },
}

/// What a Core means by an alias: its own entry first, then what its program declares. The entry's configuration goes over
/// the declared one, setting by setting.
///
/// # Errors
/// Why it means nothing.
pub fn resolve(alias: &str, entries: &[Value], declared: &[Declared]) -> Result<Resolution, Unresolved> {
    let entry = InstalledPlugin::among(entries, alias);
    let declaration = declared.iter().find(|declaration| &*declaration.alias == alias);
    let alias = alias.to_owned();
    if entry.is_none() && declaration.is_none() {
        return Err(Unresolved::Unknown { alias });
    }
    if entry.as_ref().is_some_and(|entry| !entry.enabled) {
        return Err(Unresolved::Disabled { alias });
    }
    let mut config = match declaration.map(|declaration| declaration.config.to_json()) {
        Some(Value::Object(config)) => config,
        _ => Map::new(),
    };
    let (named, own) = entry.map_or_else(Default::default, |entry| (entry.plugin, entry.config));
    config.extend(own);
    let plugin = match (named, declaration) {
        (Some(plugin), _) => plugin,
        (None, Some(declaration)) => declaration.plugin.parse().map_err(|_| Unresolved::BadName {
            alias,
            plugin: declaration.plugin.chars().take(100).collect(),
        })?,
        (None, None) => return Err(Unresolved::Unknown { alias }),
    };
    Ok(Resolution { plugin, config })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(alias: &str, plugin: &str, config: &Value) -> Declared {
        let config = scaigrid_ir::Value::from_json(config);
        Declared { alias: alias.into(), plugin: plugin.into(), config, required: true }
    }

    #[test]
    fn the_core_s_own_entry_goes_before_the_declaration() {
        let program = [
            declared("crm", "acme.crm", &json!({"region": "eu", "depth": 1})),
            declared("odd", "not a name", &Value::Null),
        ];
        let plain = resolve("crm", &[], &program).unwrap();
        assert_eq!(
            (plain.plugin.as_str(), Value::from(plain.config)),
            ("acme.crm", json!({"region": "eu", "depth": 1}))
        );
        let entries = [
            json!({"alias": "crm", "plugin": "other.crm", "config": {"depth": 2}}),
            json!({"alias": "own", "plugin": "a"}),
        ];
        let own = resolve("crm", &entries, &program).unwrap();
        assert_eq!(
            (own.plugin.as_str(), Value::from(own.config)),
            ("other.crm", json!({"region": "eu", "depth": 2}))
        );
        assert_eq!(resolve("own", &entries, &program).unwrap().plugin.as_str(), "a");
        let configured = [json!({"alias": "crm", "config": {"depth": 3}})];
        assert_eq!(resolve("crm", &configured, &program).unwrap().plugin.as_str(), "acme.crm");
        let off = [json!({"alias": "crm", "plugin": "a", "enabled": false})];
        assert!(matches!(resolve("crm", &off, &program), Err(Unresolved::Disabled { .. })));
        assert!(matches!(resolve("none", &entries, &program), Err(Unresolved::Unknown { .. })));
        assert!(matches!(resolve("odd", &[], &program), Err(Unresolved::BadName { .. })));
        assert!(matches!(resolve("x", &[json!({"alias": "x"})], &program), Err(Unresolved::Unknown { .. })));
    }

    #[test]
    fn an_entry_is_read_strictly() {
        let written = json!({"alias": "crm", "plugin": "acme.crm", "config": {"a": 1}, "enabled": false});
        assert_eq!(InstalledPlugin::parse(written.clone(), "").unwrap().to_json(), written);
        let wrong = json!({"alias": 1, "plugin": "a b", "config": [], "enabled": "no", "more": 1});
        let told: Vec<String> =
            InstalledPlugin::parse(wrong, "").unwrap_err().into_iter().map(|problem| problem.field).collect();
        assert_eq!(told, ["alias", "plugin", "config", "enabled", "more"]);
    }
}
