//! Why a module is in the state that it is in, and why each value of its configuration is what it is.
//!
//! Those who act at a level are told what the levels above say and since when, for that is what they must live with; but
//! who there said it is told only at that level itself.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use scaigrid_modules::config::{ConfigSource, Explained, Given, Levels};
use scaigrid_modules::{Effective, Enablement, Manifest, ModuleId, ModuleStatus, Reason, SettingLevel};
use scaigrid_persistence::module_settings::ModuleSetting;
use scaigrid_persistence::users;
use scaigrid_scope::{AuthorizedAtLevel, Email, Instant, UserId, perm};
use serde_json::Value;

use super::config::setting_level;
use super::{ModuleFailure, settings_at};
use crate::{App, Error, Resource};

/// Why a module stands as it does at the caller's level.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// What the module declares of itself.
    pub manifest: Arc<Manifest>,
    /// Its state, and why.
    pub effective: Effective,
    /// What is wrong with it, if something is.
    pub last_error: Option<ModuleFailure>,
    /// What each level says, from above to the caller's own.
    pub levels: Vec<LevelWord>,
    /// The modules that it depends on, and how they stand.
    pub dependencies: Vec<(ModuleId, ModuleStatus)>,
    /// Every value of the configuration that counts.
    pub config: Vec<ExplainedValue>,
}

/// What one level says of a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LevelWord {
    /// The level.
    pub level: SettingLevel,
    /// On, off, or nothing.
    pub enablement: Option<Enablement>,
    /// Whether the state is as it is because of this.
    pub decides: bool,
    /// Since when.
    pub since: Option<Instant>,
    /// Who said so, if the caller may know.
    pub by: Option<Author>,
}

/// Someone who said or gave something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// The user.
    pub user_id: UserId,
    /// Their address, if they are still there and of those whom the caller may see.
    pub email: Option<Email>,
}

/// A value of a configuration, what it hides, and whose each is.
#[derive(Debug, Clone, PartialEq)]
pub struct ExplainedValue {
    /// Its place, as a JSON Pointer.
    pub pointer: String,
    /// Whether it is secret, and shown as `"***"`.
    pub secret: bool,
    /// The value that counts.
    pub winner: SourcedValue,
    /// Those that do not, the nearest first.
    pub losers: Vec<SourcedValue>,
}

/// A value, and where it comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct SourcedValue {
    /// Where it was found.
    pub source: ConfigSource,
    /// The value; secrets masked.
    pub value: Value,
    /// Since when it has been there; none for defaults.
    pub since: Option<Instant>,
    /// Who gave it, if the caller may know.
    pub by: Option<Author>,
}

impl App {
    /// Why a module stands as it does, and why its configuration is what it is.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    #[boxed]
    pub async fn explain_module(
        &self,
        caller: &AuthorizedAtLevel<perm::ModulesUse>,
        id: &str,
    ) -> Result<Explanation, Error> {
        let manifest = self.manifest(id)?;
        let scope = caller.level_scope();
        let own = setting_level(scope.level());
        let mut connection = self.0.database.read().await?;
        let rows = settings_at(&mut connection, caller, scope).await?;
        let bearing = self.bearing(&mut connection, caller, scope, &manifest).await?;
        let said: Vec<ModuleSetting> =
            rows.iter().filter(|row| row.module_id == manifest.module_id).cloned().collect();
        let states = self.states_of(rows);
        let view = self.view(&manifest, &states).ok_or(Error::NotFound(Resource::Module))?;
        let layers = bearing.refs();
        let explained = Levels { schema: &manifest.config_schema, layers: &layers }.explain();

        let mut people = BTreeSet::new();
        people.extend(
            said.iter().filter(|row| setting_level(row.level) == own).filter_map(|row| row.changed_by),
        );
        let given = explained.iter().flat_map(|one| std::iter::once(&one.winner).chain(&one.losers));
        people.extend(given.filter(|given| given.source == own.into()).filter_map(|given| given.origin?.by));
        let people: Vec<UserId> = people.into_iter().collect();
        let emails = users::emails(&mut connection, scope, &people).await?;
        let author = |level: ConfigSource, user: Option<UserId>| {
            let user_id = user.filter(|_| level == own.into())?;
            Some(Author { user_id, email: emails.get(&user_id).cloned() })
        };

        let decisive = match &view.effective.reason {
            Reason::DisabledAt(level) | Reason::EnabledAt(level) => Some(*level),
            _ => None,
        };
        let levels = layers.iter().map(|(level, _)| {
            let row = said.iter().find(|row| setting_level(row.level) == *level);
            LevelWord {
                level: *level,
                enablement: row.map(|row| row.enablement),
                decides: decisive == Some(*level),
                since: row.map(|row| row.changed_at),
                by: row.and_then(|row| author((*level).into(), row.changed_by)),
            }
        });
        let dependencies = manifest
            .dependencies
            .iter()
            .filter_map(|id| Some((id.clone(), states.effective.get(id)?.status)));
        Ok(Explanation {
            levels: levels.collect(),
            dependencies: dependencies.collect(),
            config: explained.into_iter().map(|one| with_authors(one, &author)).collect(),
            effective: view.effective,
            last_error: view.last_error,
            manifest: Arc::clone(&manifest),
        })
    }
}

fn with_authors(
    explained: Explained,
    author: &impl Fn(ConfigSource, Option<UserId>) -> Option<Author>,
) -> ExplainedValue {
    let sourced = |given: Given| SourcedValue {
        source: given.source,
        value: given.value,
        since: given.origin.map(|origin| origin.at),
        by: author(given.source, given.origin.and_then(|origin| origin.by)),
    };
    ExplainedValue {
        pointer: explained.pointer,
        secret: explained.secret,
        winner: sourced(explained.winner),
        losers: explained.losers.into_iter().map(sourced).collect(),
    }
}
