//! Why a module stands as it does.

use actix_web::web;
use scaigrid_app::{App, modules};
use scaigrid_http_macros::get;
use scaigrid_modules::config::field_name;
use scaigrid_modules::{Enablement, Reason};
use scaigrid_scope::{Instant, perm};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::ModuleFailure;
use crate::auth::AllowedAtLevel;
use crate::envelope::{DataOf, Reply};
use crate::error::Error;
use crate::path::Path;

/// Why a module is in its state, and why each value of its configuration is what it is, at the level that the caller acts
/// at.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ModuleExplanation {
    #[schema(example = "scaibot")]
    module_id: String,
    state: StateExplanation,
    /// Every value of the configuration that counts, by its name.
    config: Vec<ValueExplanation>,
}

/// Why a module is in its state.
#[derive(Debug, Serialize, ToSchema)]
struct StateExplanation {
    /// `active`, `available`, `error` or `disabled`.
    #[schema(example = "disabled")]
    status: &'static str,
    /// `failed`, `disabled`, `not_installed`, `not_enabled`, `enabled`, `enabled_by_default` or `dependency_not_active`.
    #[schema(example = "disabled")]
    reason: &'static str,
    /// The reason in words.
    #[schema(example = "It was disabled at the partner's level")]
    message: String,
    /// The level that decides, where one does: `platform`, `partner` or `tenant`.
    #[schema(required = true, example = "partner")]
    level: Option<&'static str>,
    /// What each level says, from above to the caller's own.
    levels: Vec<LevelExplanation>,
    /// Whether it is on where no level says anything.
    default_enabled: bool,
    /// Whether there is code behind its manifest.
    installed: bool,
    /// The modules that it depends on.
    dependencies: Vec<DependencyExplanation>,
    /// What is wrong with it, when its status is `error`.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<ModuleFailure>,
}

/// What one level says of a module.
#[derive(Debug, Serialize, ToSchema)]
struct LevelExplanation {
    /// `platform`, `partner` or `tenant`.
    level: &'static str,
    /// `enabled`, `disabled`, or `null` for nothing.
    #[schema(required = true)]
    enablement: Option<&'static str>,
    /// Whether the state is as it is because of this.
    decides: bool,
    /// Since when.
    #[schema(required = true, value_type = Option<String>, format = DateTime)]
    since: Option<Instant>,
    /// Who said so; told at that level only.
    #[schema(required = true)]
    by: Option<Author>,
}

/// A module that another depends on.
#[derive(Debug, Serialize, ToSchema)]
struct DependencyExplanation {
    module_id: String,
    status: &'static str,
}

/// Who said or gave something.
#[derive(Debug, Serialize, ToSchema)]
struct Author {
    user_id: String,
    /// `null` when the user is gone, or is none of those whom the caller may see.
    #[schema(required = true)]
    email: Option<String>,
}

/// Why a value of a configuration is what it is.
#[derive(Debug, Serialize, ToSchema)]
struct ValueExplanation {
    /// Its name, with those that it lies in: `smtp.host`.
    #[schema(example = "escalation_email")]
    field: String,
    /// Whether it is secret, and shown as `***`.
    secret: bool,
    #[serde(flatten)]
    winner: SourcedValue,
    /// What it hides, the nearest first.
    overrides: Vec<SourcedValue>,
}

/// A value, and where it comes from.
#[derive(Debug, Serialize, ToSchema)]
struct SourcedValue {
    /// The value; `***` for a secret.
    #[schema(value_type = Value)]
    value: Value,
    /// `tenant`, `partner`, `platform`, or `default` for the module's schema.
    #[schema(example = "tenant")]
    level: &'static str,
    /// Since when; `null` for a default.
    #[schema(required = true, value_type = Option<String>, format = DateTime)]
    since: Option<Instant>,
    /// Who gave it; told at that level only.
    #[schema(required = true)]
    by: Option<Author>,
}

impl From<modules::Author> for Author {
    fn from(author: modules::Author) -> Self {
        Self { user_id: author.user_id.to_string(), email: author.email.map(|email| email.to_string()) }
    }
}

impl From<modules::SourcedValue> for SourcedValue {
    fn from(given: modules::SourcedValue) -> Self {
        Self {
            value: given.value,
            level: given.source.as_str(),
            since: given.since,
            by: given.by.map(Author::from),
        }
    }
}

/// The reason's name, its words, and the level that decides.
fn reason(reason: &Reason) -> (&'static str, String, Option<&'static str>) {
    match reason {
        Reason::Failed(failure) => ("failed", format!("It has failed: {}", failure.message), None),
        Reason::DependencyNotActive(dependency) => {
            ("dependency_not_active", format!("It depends on {dependency}, which is not active"), None)
        }
        Reason::DisabledAt(level) => {
            ("disabled", format!("It was disabled at the {level}'s level"), Some(level.as_str()))
        }
        Reason::EnabledAt(level) => {
            ("enabled", format!("It was enabled at the {level}'s level"), Some(level.as_str()))
        }
        Reason::EnabledByDefault => {
            ("enabled_by_default", "It is on where no level says anything".to_owned(), None)
        }
        Reason::NotEnabled => ("not_enabled", "No level has enabled it".to_owned(), None),
        Reason::NotInstalled => ("not_installed", "There is no code behind its manifest".to_owned(), None),
    }
}

impl From<modules::Explanation> for ModuleExplanation {
    fn from(told: modules::Explanation) -> Self {
        let (name, message, level) = reason(&told.effective.reason);
        let levels = told.levels.into_iter().map(|word| LevelExplanation {
            level: word.level.as_str(),
            enablement: word.enablement.map(Enablement::as_str),
            decides: word.decides,
            since: word.since,
            by: word.by.map(Author::from),
        });
        let dependencies = told
            .dependencies
            .into_iter()
            .map(|(id, status)| DependencyExplanation { module_id: id.to_string(), status: status.as_str() });
        let config = told.config.into_iter().map(|one| ValueExplanation {
            field: field_name(&one.pointer),
            secret: one.secret,
            winner: one.winner.into(),
            overrides: one.losers.into_iter().map(SourcedValue::from).collect(),
        });
        Self {
            module_id: told.manifest.module_id.to_string(),
            state: StateExplanation {
                status: told.effective.status.as_str(),
                reason: name,
                message,
                level,
                levels: levels.collect(),
                default_enabled: told.manifest.default_enabled,
                installed: told.manifest.is_installed(),
                dependencies: dependencies.collect(),
                last_error: told
                    .last_error
                    .map(|failure| ModuleFailure { message: failure.message, timestamp: failure.at }),
            },
            config: config.collect(),
        }
    }
}

/// Explain why a module is on or off, and where each value of its configuration comes from.
#[utoipa::path(
    tag = "modules",
    operation_id = "explain_module",
    params(("module_id" = String, Path, example = "scaibot")),
    responses((status = 200, body = DataOf<ModuleExplanation>))
)]
#[get("/v1/modules/{module_id}/explain")]
pub(super) async fn explain_module(
    caller: AllowedAtLevel<perm::ModulesUse>,
    id: Path<String>,
    app: web::Data<App>,
) -> Result<Reply<ModuleExplanation>, Error> {
    Ok(Reply::ok(app.explain_module(&caller, &id).await?.into()))
}
