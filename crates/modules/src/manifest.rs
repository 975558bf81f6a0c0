//! What a module declares of itself.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use scaigrid_scope::{Name, PermissionKey};
use semver::Version;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use crate::config::ConfigSchema;

/// A text that cannot name a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a module id is a letter and up to 62 of a-z, 0-9, _ and -")]
pub struct InvalidModuleId;

/// The name of a module, which its addresses and permissions begin with.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModuleId(Arc<str>);

impl ModuleId {
    /// Checks a module id.
    pub fn parse(text: &str) -> Result<Self, InvalidModuleId> {
        let good = (1..=63).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || b"_-".contains(&c));
        if good { Ok(Self(text.into())) } else { Err(InvalidModuleId) }
    }

    /// The module that this program itself brings.
    pub fn scaicore() -> Self {
        Self("scaicore".into())
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ModuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for ModuleId {
    type Err = InvalidModuleId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// A manifest that cannot be taken, and the first thing that is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct InvalidManifest {
    /// The field.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

/// A page that a module adds to the administration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminPage {
    /// Unique within the module.
    pub page_id: String,
    /// The title.
    pub title: String,
    /// The name of an icon.
    pub icon: Option<String>,
    /// The path below the administration.
    pub path: String,
    /// The heading that it appears under.
    pub parent_nav: Option<String>,
    /// What one needs to see it.
    pub permission: Option<PermissionKey>,
}

/// A permission that a module asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredPermission {
    /// Its key, which begins with the module's id.
    pub key: PermissionKey,
    /// What people call it.
    pub display_name: String,
    /// What it allows.
    pub description: String,
}

/// Where a module's code is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModuleKind {
    /// In this program.
    BuiltIn,
    /// Behind an address.
    Remote {
        /// The address that requests are passed on to.
        endpoint: Url,
        /// The path, below that, which answers when the module is well.
        health_path: String,
    },
    /// Nowhere yet: it is listed and cannot be enabled.
    Announced,
}

/// What a module declares of itself.
///
/// It is read from JSON or TOML. Fields that are unknown are refused, so that a misspelled one is not silently
/// without effect.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "Declaration")]
pub struct Manifest {
    /// The module.
    pub module_id: ModuleId,
    /// What people call it.
    pub display_name: Name,
    /// Its version, as <https://semver.org> has it.
    pub version: Version,
    /// What it is for.
    pub description: String,
    /// The pages that it adds to the administration.
    pub admin_pages: Vec<AdminPage>,
    /// The permissions that it asks for.
    pub permissions: Vec<DeclaredPermission>,
    /// The modules that it cannot do without.
    pub dependencies: Vec<ModuleId>,
    /// A script for its users' pages.
    pub frontend_url: Option<String>,
    /// The JSON Schema (2020-12) of its configuration; a manifest without one has nothing to configure.
    pub config_schema: Arc<ConfigSchema>,
    /// Whether it is at work where no one has said anything.
    pub default_enabled: bool,
    /// Where its code is.
    pub kind: ModuleKind,
}

impl Manifest {
    const MAX_ENTRIES: usize = 200;
    const MAX_TEXT_BYTES: usize = 4096;

    /// The manifest of the built-in module.
    #[expect(
        clippy::expect_used,
        clippy::missing_panics_doc,
        reason = "the text is a part of the program, and a test reads it"
    )]
    pub fn scaicore() -> Self {
        let manifest: Self =
            serde_json::from_str(include_str!("../manifests/scaicore.json")).expect("a valid manifest");
        Self { kind: ModuleKind::BuiltIn, ..manifest }
    }

    /// Whether there is code behind the manifest.
    pub const fn is_installed(&self) -> bool {
        !matches!(self.kind, ModuleKind::Announced)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Declaration {
    module_id: String,
    display_name: String,
    version: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    admin_pages: Vec<DeclaredPage>,
    #[serde(default)]
    permissions: Vec<PermissionDeclaration>,
    #[serde(default)]
    dependencies: Vec<String>,
    frontend_url: Option<String>,
    config_schema: Option<Value>,
    #[serde(default)]
    default_enabled: bool,
    endpoint: Option<String>,
    health_path: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeclaredPage {
    page_id: String,
    title: String,
    icon: Option<String>,
    path: String,
    parent_nav: Option<String>,
    permission: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PermissionDeclaration {
    key: String,
    #[serde(default)]
    display_name: String,
    #[serde(default)]
    description: String,
}

fn invalid(field: &'static str, problem: impl fmt::Display) -> InvalidManifest {
    InvalidManifest { field, problem: problem.to_string() }
}

fn bounded(field: &'static str, text: String) -> Result<String, InvalidManifest> {
    if text.len() > Manifest::MAX_TEXT_BYTES { Err(invalid(field, "is too long")) } else { Ok(text) }
}

fn few<T>(field: &'static str, entries: &[T]) -> Result<(), InvalidManifest> {
    if entries.len() > Manifest::MAX_ENTRIES { Err(invalid(field, "has too many entries")) } else { Ok(()) }
}

impl TryFrom<Declaration> for Manifest {
    type Error = InvalidManifest;

    fn try_from(declared: Declaration) -> Result<Self, Self::Error> {
        let module_id = ModuleId::parse(&declared.module_id).map_err(|error| invalid("module_id", error))?;
        few("admin_pages", &declared.admin_pages)?;
        few("permissions", &declared.permissions)?;
        few("dependencies", &declared.dependencies)?;

        let mut permissions: Vec<DeclaredPermission> = Vec::new();
        for permission in declared.permissions {
            let permission = read_permission(&module_id, permission)?;
            if permissions.iter().any(|other| other.key == permission.key) {
                return Err(invalid("permissions", format!("{} is declared twice", permission.key)));
            }
            permissions.push(permission);
        }
        let mut admin_pages: Vec<AdminPage> = Vec::new();
        for page in declared.admin_pages {
            let page = read_page(page, &permissions)?;
            if admin_pages.iter().any(|other| other.page_id == page.page_id) {
                return Err(invalid("admin_pages", format!("{} is declared twice", page.page_id)));
            }
            admin_pages.push(page);
        }
        let mut dependencies = Vec::new();
        for text in declared.dependencies {
            let dependency = ModuleId::parse(&text).map_err(|error| invalid("dependencies", error))?;
            if dependency == module_id || dependencies.contains(&dependency) {
                return Err(invalid("dependencies", format!("{dependency} cannot be named here")));
            }
            dependencies.push(dependency);
        }
        let config_schema = match declared.config_schema {
            None => ConfigSchema::nothing(),
            Some(schema) => ConfigSchema::parse(schema).map_err(|error| invalid("config_schema", error))?,
        };
        Ok(Self {
            display_name: Name::parse(&declared.display_name)
                .map_err(|error| invalid("display_name", error))?,
            version: Version::parse(&declared.version).map_err(|error| invalid("version", error))?,
            description: bounded("description", declared.description)?,
            admin_pages,
            permissions,
            dependencies,
            frontend_url: declared.frontend_url.map(|url| bounded("frontend_url", url)).transpose()?,
            config_schema: Arc::new(config_schema),
            default_enabled: declared.default_enabled,
            kind: read_kind(declared.endpoint.as_deref(), declared.health_path)?,
            module_id,
        })
    }
}

fn read_permission(
    module_id: &ModuleId,
    declared: PermissionDeclaration,
) -> Result<DeclaredPermission, InvalidManifest> {
    let key: PermissionKey =
        declared.key.parse().map_err(|error| invalid("permissions", format!("{}: {error}", declared.key)))?;
    if declared.key.split(':').next() != Some(module_id.as_str()) {
        return Err(invalid("permissions", format!("{key} must begin with {module_id}:")));
    }
    Ok(DeclaredPermission {
        display_name: if declared.display_name.is_empty() {
            key.to_string()
        } else {
            bounded("permissions", declared.display_name)?
        },
        description: bounded("permissions", declared.description)?,
        key,
    })
}

fn read_page(
    declared: DeclaredPage,
    permissions: &[DeclaredPermission],
) -> Result<AdminPage, InvalidManifest> {
    let permission = match declared.permission {
        None => None,
        Some(text) => {
            let mut known = permissions.iter().map(|permission| &permission.key);
            let key = known.find(|key| key.to_string() == text).cloned();
            let unknown = || invalid("admin_pages", format!("{text} is not among the permissions"));
            Some(key.ok_or_else(unknown)?)
        }
    };
    if !declared.path.starts_with('/') {
        return Err(invalid("admin_pages", "a path must begin with /"));
    }
    Ok(AdminPage {
        page_id: bounded("admin_pages", declared.page_id)?,
        title: bounded("admin_pages", declared.title)?,
        icon: declared.icon.map(|icon| bounded("admin_pages", icon)).transpose()?,
        path: bounded("admin_pages", declared.path)?,
        parent_nav: declared.parent_nav.map(|nav| bounded("admin_pages", nav)).transpose()?,
        permission,
    })
}

fn read_kind(endpoint: Option<&str>, health_path: Option<String>) -> Result<ModuleKind, InvalidManifest> {
    let Some(endpoint) = endpoint else {
        return match health_path {
            None => Ok(ModuleKind::Announced),
            Some(_) => Err(invalid("health_path", "is of no use without endpoint")),
        };
    };
    let endpoint = Url::parse(endpoint).map_err(|error| invalid("endpoint", error))?;
    if !matches!(endpoint.scheme(), "http" | "https") || !endpoint.has_host() {
        return Err(invalid("endpoint", "must be an http or https address"));
    }
    if !endpoint.username().is_empty() || endpoint.password().is_some() {
        return Err(invalid("endpoint", "must not contain credentials"));
    }
    if endpoint.query().is_some() || endpoint.fragment().is_some() {
        return Err(invalid("endpoint", "must not have a query or a fragment"));
    }
    let health_path = bounded("health_path", health_path.unwrap_or_else(|| "/health".to_owned()))?;
    if !health_path.starts_with('/') || health_path.starts_with("//") {
        return Err(invalid("health_path", "must begin with one /"));
    }
    let plain = |c: char| c.is_ascii_graphic() && !"?#\\\"<>".contains(c);
    if !health_path.chars().all(plain) || health_path.split('/').any(|part| part == "..") {
        return Err(invalid("health_path", "must be the path of a URL, without .. and without a query"));
    }
    Ok(ModuleKind::Remote { endpoint, health_path })
}

#[cfg(test)]
mod tests {
    use scaigrid_scope::Permission;
    use serde_json::json;

    use super::*;

    fn read(changes: Value) -> Result<Manifest, String> {
        let mut manifest = json!({"module_id": "scaibot", "display_name": "ScaiBot", "version": "1.0.0"});
        let Value::Object(changes) = changes else { panic!("an object") };
        manifest.as_object_mut().unwrap().extend(changes);
        serde_json::from_value(manifest).map_err(|error| error.to_string())
    }

    #[test]
    fn the_built_in_module_declares_what_this_program_asks_for() {
        let manifest = Manifest::scaicore();
        assert_eq!((manifest.module_id, manifest.kind), (ModuleId::scaicore(), ModuleKind::BuiltIn));
        assert!(manifest.default_enabled);
        let keys: Vec<_> = manifest.permissions.into_iter().map(|permission| permission.key).collect();
        let asked: Vec<_> = Permission::SCAICORE.iter().copied().map(PermissionKey::Known).collect();
        assert_eq!(keys, asked);
    }

    #[test]
    fn a_module_is_remote_by_its_endpoint() {
        assert_eq!(read(json!({})).unwrap().kind, ModuleKind::Announced);
        let remote = read(json!({"endpoint": "https://bots.example/base"})).unwrap();
        let ModuleKind::Remote { endpoint, health_path } = remote.kind else { panic!("remote") };
        assert_eq!((endpoint.as_str(), health_path.as_str()), ("https://bots.example/base", "/health"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (changes, named) in [
            (json!({"module_id": "Scai Bot"}), "module_id"),
            (json!({"display_name": " "}), "display_name"),
            (json!({"version": "1.0"}), "version"),
            (json!({"permissions": [{"key": "other:read"}]}), "must begin with scaibot:"),
            (json!({"permissions": [{"key": "scaibot"}]}), "permissions"),
            (json!({"permissions": [{"key": "scaibot:a"}, {"key": "scaibot:a"}]}), "twice"),
            (json!({"dependencies": ["scaibot"]}), "dependencies"),
            (json!({"endpoint": "ftp://x"}), "endpoint"),
            (json!({"endpoint": "http://me:pw@x"}), "credentials"),
            (json!({"health_path": "/health"}), "health_path"),
            (json!({"endpoint": "https://x/?a=b"}), "query"),
            (json!({"endpoint": "https://x", "health_path": "//elsewhere.example/"}), "health_path"),
            (json!({"endpoint": "https://x", "health_path": "/a/../b"}), "health_path"),
            (json!({"endpoint": "https://x", "health_path": "/a?b"}), "health_path"),
            (json!({"config_schema": true}), "config_schema"),
            (json!({"config_schema": {"properties": {"a": {"$ref": "https://x/y"}}}}), "/properties/a/$ref"),
            (json!({"admin_pages": [{"page_id": "a", "title": "A", "path": "a"}]}), "admin_pages"),
            (json!({"colour": "red"}), "colour"),
        ] {
            let error = read(changes).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
    }
}
