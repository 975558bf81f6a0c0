//! What a tenant has set of its AI as a whole.

use async_recursion::async_recursion as boxed;
use scaigrid_audit::{AuditAction, AuditRecord, RequestContext, diff};
use scaigrid_catalog::{Modality, ModelSlug};
use scaigrid_persistence::models::{ModelFilter, ModelRef, SeenModel};
use scaigrid_persistence::workspace_settings::{self, Setting, SettingName};
use scaigrid_persistence::{Connection, Transaction, api_keys, audit, models, tenants};
use scaigrid_scope::{Authorized, Name, PlaintextKey, Principal, TenantScope, UserId, UserStatus, perm};
use scaigrid_workspace::Prompt;
use scaigrid_workspace::ai_config::{AiConfig, AiConfigChanges, AuthMode, DefaultRefused, Template, masked};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{check_fingerprint, fingerprint};
use crate::transaction::{Expected, ended};
use crate::{App, Error, FieldError, Resource};

/// The most models that are enabled, or told of, by way of the configuration.
pub const MODELS_AT_MOST: usize = 1_000;

/// The AI configuration of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AiSettings {
    /// What is set.
    pub config: AiConfig,
    /// The models that the tenant has enabled, by slug: the first thousand.
    pub enabled_models: Vec<ModelSlug>,
    /// What an entity tag is made of.
    pub revision: u64,
}

/// What is to be changed of it; what is left out stays.
#[derive(Debug, Clone, Default)]
pub struct AiSettingsChanges {
    /// What is set.
    pub config: AiConfigChanges,
    /// The models that are to be enabled, and no others.
    pub enabled_models: Option<Vec<ModelSlug>>,
}

/// The configuration as it is kept, but for the key.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Kept {
    #[serde(skip_serializing_if = "Option::is_none")]
    default_model: Option<String>,
    templates: Vec<KeptTemplate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_mode: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct KeptTemplate {
    name: String,
    prompt: String,
}

fn kept(config: &AiConfig) -> Result<Value, Error> {
    let template = |template: &Template| KeptTemplate {
        name: template.name.to_string(),
        prompt: template.prompt.as_str().to_owned(),
    };
    let kept = Kept {
        default_model: config.default_model.as_ref().map(ToString::to_string),
        templates: config.templates.iter().map(template).collect(),
        auth_mode: Some(config.auth_mode.to_string()),
    };
    serde_json::to_value(kept).map_err(Error::internal)
}

/// What was kept, without the key.
fn read(setting: Option<&Setting>) -> Result<AiConfig, Error> {
    let Some(setting) = setting else { return Ok(AiConfig::default()) };
    let kept = Kept::deserialize(&setting.document).map_err(Error::internal)?;
    let template = |kept: KeptTemplate| -> Result<Template, Error> {
        let name = Name::parse(&kept.name).map_err(Error::internal)?;
        Ok(Template { name, prompt: Prompt::parse(&kept.prompt).map_err(Error::internal)? })
    };
    let default_model = kept.default_model.as_deref().map(str::parse::<ModelSlug>).transpose();
    let mode = kept.auth_mode.as_deref().map(str::parse::<AuthMode>).transpose();
    Ok(AiConfig {
        default_model: default_model.map_err(Error::internal)?,
        templates: kept.templates.into_iter().map(template).collect::<Result<_, _>>()?,
        auth_mode: mode.map_err(Error::internal)?.unwrap_or(AuthMode::PerUserExchange),
        api_key: None,
    })
}

/// The configuration as one is shown it; the key as it is given here.
fn shown(config: &AiConfig, key: Option<&str>) -> Value {
    let template =
        |template: &Template| json!({"name": template.name.as_str(), "prompt": template.prompt.as_str()});
    json!({
        "default_model": config.default_model.as_ref().map(ModelSlug::as_str),
        "system_prompt_templates": config.templates.iter().map(template).collect::<Vec<_>>(),
        "scaigrid_auth_mode": config.auth_mode.as_str(),
        "scaigrid_api_key": key,
    })
}

/// The configuration as the audit log compares it. The comparison masks the key.
fn state(config: &AiConfig) -> Value {
    shown(config, config.api_key.as_ref().map(PlaintextKey::reveal))
}

fn slugs(found: &[SeenModel]) -> Vec<ModelSlug> {
    found.iter().take(MODELS_AT_MOST).map(|seen| seen.model.slug.clone()).collect()
}

/// What a tenant has set, without the key.
pub(crate) async fn configured(c: &mut Connection, scope: TenantScope) -> Result<AiConfig, Error> {
    read(workspace_settings::read(c, scope, SettingName::AiConfig).await?.as_ref())
}

/// The models that a tenant has enabled, by slug, and one more than are told of.
async fn enabled(c: &mut Connection, caller: &Principal) -> Result<Vec<SeenModel>, Error> {
    let rows = i64::try_from(MODELS_AT_MOST).unwrap_or(i64::MAX).saturating_add(1);
    let (level, partner) = (caller.tenant_scope().into(), caller.tenant().partner_id);
    Ok(models::list(c, level, partner, &ModelFilter::default(), None, rows).await?)
}

/// Whether a tenant, which is held, may disable a model: not its default.
///
/// # Errors
/// [`Error::Conflict`].
pub(crate) async fn check_disabling(
    c: &mut Connection,
    scope: TenantScope,
    model: &ModelSlug,
) -> Result<(), Error> {
    Ok(configured(c, scope).await?.check_disabling(model)?)
}

impl From<DefaultRefused> for Error {
    fn from(refused: DefaultRefused) -> Self {
        match refused {
            DefaultRefused::NotEnabled => Self::invalid("default_model", refused.to_string()),
            DefaultRefused::WouldBeDisabled => Self::Conflict(refused.to_string()),
        }
    }
}

impl App {
    /// What the caller's tenant has set of its AI.
    #[boxed]
    pub async fn ai_config(&self, caller: &Authorized<perm::AdminAccess>) -> Result<AiSettings, Error> {
        let mut connection = self.0.database.read().await?;
        let found = enabled(&mut connection, caller).await?;
        self.ai_settings(&mut connection, caller.tenant_scope(), slugs(&found)).await
    }

    async fn ai_settings(
        &self,
        c: &mut Connection,
        scope: TenantScope,
        enabled_models: Vec<ModelSlug>,
    ) -> Result<AiSettings, Error> {
        let setting = workspace_settings::read(c, scope, SettingName::AiConfig).await?;
        let mut config = read(setting.as_ref())?;
        if let Some(setting) = &setting {
            let key = setting.secret(c, scope, &self.0.vault).await?;
            config.api_key = key.map(|key| PlaintextKey::parse(&key)).transpose().map_err(Error::internal)?;
        }
        let mut told = shown(&config, config.api_key.as_ref().map(masked).as_deref());
        told["enabled_models"] = enabled_models.iter().map(ModelSlug::as_str).collect();
        // Two keys can look the same.
        told["written"] = setting.map(|setting| setting.updated_at.micros()).into();
        Ok(AiSettings { config, enabled_models, revision: fingerprint(&told) })
    }

    /// Changes what the caller's tenant has set of its AI, and which models it has enabled.
    ///
    /// # Errors
    /// [`Error::PreconditionFailed`]; [`Error::Invalid`] for models that the tenant may not use, for a default that is not
    /// enabled or answers no chat, and for a mask that is not the stored key's; [`Error::Conflict`] where the default would be
    /// disabled, and where more models are enabled than can be told of.
    pub async fn update_ai_config(
        &self,
        caller: &Authorized<perm::AdminAccess>,
        request: &RequestContext,
        expected: Expected<'_>,
        changes: AiSettingsChanges,
    ) -> Result<AiSettings, Error> {
        let mut tx = self.0.database.begin().await?;
        let after = self.change_ai_config(&mut tx, caller, request, expected, changes).await;
        let after = ended(tx, after).await?;
        self.catalog_changed();
        Ok(after)
    }

    async fn change_ai_config(
        &self,
        tx: &mut Transaction,
        caller: &Authorized<perm::AdminAccess>,
        request: &RequestContext,
        expected: Expected<'_>,
        changes: AiSettingsChanges,
    ) -> Result<AiSettings, Error> {
        let (now, scope) = (self.now(), caller.tenant_scope());
        tenants::lock(tx, scope).await?.ok_or(Error::NotFound(Resource::Tenant))?;
        let were = enabled(tx, caller).await?;
        let before = self.ai_settings(tx, scope, slugs(&were)).await?;
        check_fingerprint(expected, before.revision)?;
        let config = changes
            .config
            .applied_to(before.config.clone())
            .map_err(|error| Error::invalid("scaigrid_api_key", error.to_string()))?;
        let switches = match &changes.enabled_models {
            Some(wanted) => switches(tx, caller, were, wanted).await?,
            None => Vec::new(),
        };
        let chosen = changes.config.default_model.is_some();
        check_default(tx, caller, &config, chosen, changes.enabled_models.as_deref()).await?;
        if config == before.config && switches.is_empty() {
            return Ok(before);
        }
        if config != before.config {
            let (name, document) = (SettingName::AiConfig, kept(&config)?);
            let secret = config.api_key.as_ref().map(PlaintextKey::reveal);
            workspace_settings::write(tx, scope, name, document, secret, &self.0.vault, now).await?;
            let changes = diff(&state(&before.config), &state(&config), &["/scaigrid_api_key"]);
            let (stamp, id) = (self.audit_stamp(now), scope.tenant_id().to_string());
            let action = AuditAction::AiConfigUpdate;
            audit::add(tx, &AuditRecord::in_tenant(stamp, caller, request, action, id, changes)).await?;
        }
        for (mut found, enabled) in switches {
            self.say_access(tx, caller, request, &mut found, enabled, now).await?;
        }
        let are = enabled(tx, caller).await?;
        self.ai_settings(tx, scope, slugs(&are)).await
    }

    /// In whose name an AI calls its model when a user asks it: the user's own, or, where the tenant has it so, that of the
    /// service whose key it has given, as long as the key is good and of this tenant, or else nobody's but the tenant's.
    #[boxed]
    pub(crate) async fn asking_user(
        &self,
        scope: TenantScope,
        user: UserId,
    ) -> Result<Option<UserId>, Error> {
        let mut connection = self.0.database.read().await?;
        let c = &mut connection;
        let Some(setting) = workspace_settings::read(c, scope, SettingName::AiConfig).await? else {
            return Ok(Some(user));
        };
        if read(Some(&setting))?.auth_mode == AuthMode::PerUserExchange {
            return Ok(Some(user));
        }
        let Some(key) = setting.secret(c, scope, &self.0.vault).await? else { return Ok(None) };
        let key = PlaintextKey::parse(&key).map_err(Error::internal)?;
        let known = api_keys::find_by_hash(c, &self.0.system, &key.hash()).await?;
        let good = known.filter(|known| {
            known.key.is_valid_at(self.now())
                && known.user.status == UserStatus::Active
                && known.tenant.id == scope.tenant_id()
        });
        Ok(good.map(|known| known.user.id))
    }
}

/// Which models have to be switched so that those that are wanted are enabled, and no others.
async fn switches(
    tx: &mut Transaction,
    caller: &Principal,
    were: Vec<SeenModel>,
    wanted: &[ModelSlug],
) -> Result<Vec<(SeenModel, bool)>, Error> {
    if were.len() > MODELS_AT_MOST {
        let text = "More models are enabled than a list can hold; enable and disable them one by one";
        return Err(Error::Conflict(text.to_owned()));
    }
    if wanted.len() > MODELS_AT_MOST {
        return Err(Error::invalid("enabled_models", format!("must be at most {MODELS_AT_MOST}")));
    }
    let (level, partner) = (caller.tenant_scope().into(), caller.tenant().partner_id);
    let (mut switches, mut problems) = (Vec::new(), Vec::new());
    for (index, slug) in wanted.iter().enumerate() {
        let known = were.iter().any(|seen| seen.model.slug == *slug)
            || wanted.iter().take(index).any(|earlier| earlier == slug);
        if known {
            continue;
        }
        if let Some(found) = models::lookup(tx, level, partner, &ModelRef::Slug(slug.clone())).await? {
            switches.push((found, true));
        } else {
            let field = format!("enabled_models[{index}]");
            problems.push(FieldError::new(field, "is no model that the tenant may use"));
        }
    }
    if !problems.is_empty() {
        return Err(Error::Invalid(problems));
    }
    let gone = were.into_iter().filter(|seen| !wanted.contains(&seen.model.slug));
    switches.extend(gone.map(|seen| (seen, false)));
    Ok(switches)
}

/// Whether the default goes with the models that are to be enabled: those that are wanted, or else those that were.
async fn check_default(
    tx: &mut Transaction,
    caller: &Principal,
    config: &AiConfig,
    chosen: bool,
    wanted: Option<&[ModelSlug]>,
) -> Result<(), Error> {
    let Some(slug) = &config.default_model else { return Ok(()) };
    let (level, partner) = (caller.tenant_scope().into(), caller.tenant().partner_id);
    let found = models::lookup(tx, level, partner, &ModelRef::Slug(slug.clone())).await?;
    let was = found.as_ref().is_some_and(|found| found.enabled);
    let is = wanted.map_or(was, |wanted| wanted.contains(slug));
    config.check_default(chosen, was, is)?;
    if chosen && found.is_some_and(|found| found.model.modality != Modality::Chat) {
        return Err(Error::invalid("default_model", "must be a model for chat"));
    }
    Ok(())
}
