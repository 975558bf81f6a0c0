//! What a tenant has set of its AI.

use actix_web::web;
use scaigrid_app::App;
use scaigrid_app::workspace::ai_config::{AiSettings, AiSettingsChanges};
use scaigrid_catalog::ModelSlug;
use scaigrid_http_macros::{get, put};
use scaigrid_scope::perm;
use scaigrid_workspace::ai_config::{self, AiConfigChanges, InvalidTemplates, KeyChange, masked};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::Validate;

use crate::auth::Allowed;
use crate::body::{AsObject, Body};
use crate::conditional::IfMatch;
use crate::envelope::{DataOf, Reply};
use crate::error::Error;
use crate::openapi::{ServiceConfig, kinds};
use crate::request::Origin;
use crate::routes::given::{Conflict, Problems, given, nullable};

/// A prompt to begin with, to choose when an AI is set up.
#[derive(Debug, Clone, Serialize, Deserialize, Validate, ToSchema)]
struct PromptTemplate {
    /// No two of a tenant have the same: 1 to 200 characters.
    #[schema(value_type = kinds::Name)]
    name: String,
    /// At most 32 KiB.
    #[schema(value_type = kinds::Prompt)]
    prompt: String,
}

/// What is to be changed; what is left out stays.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({"default_model": "openai/gpt-4o", "enabled_models": ["echo", "openai/gpt-4o"]}))]
#[expect(clippy::option_option, reason = "left out, null and a value are three things")]
struct AiConfigUpdate {
    /// The model that answers where nobody else does: one that is enabled, for chat. `null` for none.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<kinds::ModelSlug>)]
    default_model: Option<Option<String>>,
    /// The models that the tenant enables, and no others: at most 1000.
    #[schema(value_type = Option<Vec<kinds::ModelSlug>>, max_items = 1000)]
    enabled_models: Option<Vec<String>>,
    /// All of them: at most 50.
    #[validate(nested)]
    #[schema(value_type = Option<Vec<PromptTemplate>>, max_items = 50)]
    system_prompt_templates: Option<Vec<AsObject<PromptTemplate>>>,
    /// In whose name AIs call their models: `per_user_exchange`, that of the user who asks, or `service_token`, the tenant's.
    #[schema(value_type = Option<kinds::AuthMode>)]
    scaigrid_auth_mode: Option<String>,
    /// An API key of the tenant, in the name of whose user AIs call with `service_token`; `null` for none. How the stored one
    /// is shown keeps it.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<kinds::StoredKey>)]
    scaigrid_api_key: Option<Option<String>>,
}

/// What a tenant has set of its AI.
#[derive(Debug, Serialize, ToSchema)]
struct AiConfig {
    /// The model that answers where nobody else does.
    #[schema(required = true, example = "openai/gpt-4o")]
    default_model: Option<String>,
    /// The models that the tenant has enabled, by slug: the first thousand.
    enabled_models: Vec<String>,
    system_prompt_templates: Vec<PromptTemplate>,
    /// `per_user_exchange` or `service_token`.
    #[schema(example = "per_user_exchange")]
    scaigrid_auth_mode: &'static str,
    /// The last four characters of the key.
    #[schema(required = true, example = "sgk_…1234")]
    scaigrid_api_key: Option<String>,
}

impl From<AiSettings> for AiConfig {
    fn from(settings: AiSettings) -> Self {
        let config = settings.config;
        let template = |template: ai_config::Template| PromptTemplate {
            name: template.name.into_string(),
            prompt: template.prompt.as_str().to_owned(),
        };
        Self {
            default_model: config.default_model.map(|slug| slug.to_string()),
            enabled_models: settings.enabled_models.iter().map(ToString::to_string).collect(),
            system_prompt_templates: config.templates.into_iter().map(template).collect(),
            scaigrid_auth_mode: config.auth_mode.as_str(),
            scaigrid_api_key: config.api_key.as_ref().map(masked),
        }
    }
}

fn templates(problems: &mut Problems, given: &[AsObject<PromptTemplate>]) -> Vec<ai_config::Template> {
    const FIELD: &str = "system_prompt_templates";
    let read: Vec<_> = given
        .iter()
        .enumerate()
        .map(|(index, given)| {
            let name = problems.read(&format!("{FIELD}[{index}].name"), &given.name);
            let prompt = problems.read(&format!("{FIELD}[{index}].prompt"), &given.prompt);
            Some(ai_config::Template { name: name?, prompt: prompt? })
        })
        .collect();
    let Some(templates) = read.into_iter().collect::<Option<Vec<_>>>() else { return Vec::new() };
    match ai_config::AiConfig::check_templates(&templates) {
        Ok(()) => {}
        Err(problem @ InvalidTemplates::TooMany) => problems.note(FIELD, problem),
        Err(problem @ InvalidTemplates::NameTwice(index)) => {
            problems.note(&format!("{FIELD}[{index}].name"), problem);
        }
    }
    templates
}

impl AiConfigUpdate {
    fn read(self) -> Result<AiSettingsChanges, Error> {
        let mut problems = Problems::default();
        let p = &mut problems;
        let default_model = nullable::<ModelSlug>(p, "default_model", self.default_model.as_ref());
        let enabled_models =
            self.enabled_models.as_ref().and_then(|slugs| p.each::<ModelSlug>("enabled_models", slugs));
        let templates = self.system_prompt_templates.as_ref().map(|given| templates(p, given));
        let auth_mode = p.maybe("scaigrid_auth_mode", self.scaigrid_auth_mode.as_deref());
        let api_key = match self.scaigrid_api_key {
            None => None,
            Some(None) => Some(KeyChange::Remove),
            Some(Some(text)) => match KeyChange::of_text(&text) {
                Ok(change) => Some(change),
                Err(error) => {
                    p.note("scaigrid_api_key", error);
                    None
                }
            },
        };
        problems.check()?;
        let config = AiConfigChanges { default_model, templates, auth_mode, api_key };
        Ok(AiSettingsChanges { config, enabled_models })
    }
}

fn shown(settings: AiSettings) -> Reply<AiConfig> {
    let revision = settings.revision;
    Reply::ok(AiConfig::from(settings)).with_etag(revision)
}

/// Get what the tenant has set of its AI.
#[utoipa::path(
    tag = "workspace",
    operation_id = "get_ai_config",
    responses((status = 200, body = DataOf<AiConfig>))
)]
#[get("/v1/admin/ai-config")]
async fn get_ai_config(
    caller: Allowed<perm::AdminAccess>,
    app: web::Data<App>,
) -> Result<Reply<AiConfig>, Error> {
    Ok(shown(app.ai_config(&caller).await?))
}

/// Change what the tenant has set of its AI, and which models it has enabled.
#[utoipa::path(
    tag = "workspace",
    operation_id = "update_ai_config",
    request_body = AiConfigUpdate,
    responses((status = 200, body = DataOf<AiConfig>), (status = 409, response = Conflict))
)]
#[put("/v1/admin/ai-config")]
async fn update_ai_config(
    caller: Allowed<perm::AdminAccess>,
    condition: IfMatch,
    origin: Origin,
    body: Body<AiConfigUpdate>,
    app: web::Data<App>,
) -> Result<Reply<AiConfig>, Error> {
    let changes = body.read().await?.read()?;
    let (request, expected) = (origin.context(), condition.revisions());
    Ok(shown(app.update_ai_config(&caller, &request, expected, changes).await?))
}

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config.service(get_ai_config).service(update_ai_config);
}
