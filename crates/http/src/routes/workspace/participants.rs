//! Participants: the people and the AIs of a tenant.

use actix_web::web;
use scaigrid_app::App;
use scaigrid_app::workspace::participants::{ListedParticipant, NewParticipant, ParticipantFilter};
use scaigrid_http_macros::{get, post, put};
use scaigrid_scope::{Instant, ParticipantId, perm};
use scaigrid_workspace::{AiChanges, AiProfile, HelperConfig, Prompt, ResponseMode, Temperature, Who};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use validator::Validate;

use crate::auth::Allowed;
use crate::body::Body;
use crate::conditional::IfMatch;
use crate::envelope::{DataOf, Listed, Reply, WorkspacePageOf};
use crate::error::Error;
use crate::filters::Filters;
use crate::openapi::{ServiceConfig, kinds};
use crate::paging::{Bounds, PageParams, Paging};
use crate::path::PathId;
use crate::request::Origin;
use crate::routes::given::{Conflict, Problems, given};

/// An AI as it is asked for.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({"local_id": "code-helper", "model": "openai/gpt-4o", "display_name": "Code Helper",
    "system_prompt": "You review code. Be brief."}))]
struct NewModelParticipant {
    /// The name by which it is mentioned: 1 to 64 of `a-z`, `0-9` and inner `.`, `_` and `-`; no two of a tenant have the same.
    #[schema(value_type = kinds::LocalId)]
    local_id: String,
    /// The model that answers: one for chat that the tenant may use.
    #[schema(value_type = kinds::ModelSlug)]
    model: String,
    #[schema(value_type = kinds::Name)]
    display_name: String,
    /// What it is told before all else: at most 32 KiB.
    #[schema(value_type = Option<kinds::Prompt>)]
    system_prompt: Option<String>,
    /// `streaming`, or `conversational`; left out, `streaming`.
    #[schema(value_type = Option<kinds::ResponseMode>)]
    default_response_mode: Option<String>,
    /// The plugins that it may use, at most 64; left out or `null`, all that the tenant has enabled.
    plugins: Option<Vec<String>>,
    /// How freely it answers, from 0 to 2; left out or `null`, as the model does by itself.
    #[schema(minimum = 0, maximum = 2)]
    temperature: Option<f64>,
}

/// What is to be changed of an AI; what is left out stays.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({"local_id": "code-helper", "display_name": "Code Helper",
    "system_prompt": "You review code. Be brief.", "default_response_mode": "conversational", "enabled": true}))]
#[expect(clippy::option_option, reason = "left out, null and a value are three things")]
pub(super) struct AiUpdate {
    /// The name by which it is mentioned.
    #[schema(value_type = Option<kinds::LocalId>)]
    local_id: Option<String>,
    #[schema(value_type = Option<kinds::Name>)]
    display_name: Option<String>,
    /// What it is told before all else: at most 32 KiB.
    #[schema(value_type = Option<kinds::Prompt>)]
    system_prompt: Option<String>,
    /// `streaming`, or `conversational`.
    #[schema(value_type = Option<kinds::ResponseMode>)]
    default_response_mode: Option<String>,
    /// Whether it takes part.
    enabled: Option<bool>,
    /// The plugins that it may use, at most 64; `null` for all that the tenant has enabled.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Vec<String>>)]
    plugins: Option<Option<Vec<String>>>,
    /// How freely it answers, from 0 to 2; `null` for as the model does by itself.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 2)]
    temperature: Option<Option<f64>>,
}

/// The work of an AI as a helper, which others ask as a tool.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HelperWork {
    /// Whether it can be asked.
    helper_enabled: bool,
    /// What it is good for.
    helper_role_description: String,
    /// How freely it answers then, in hundredths.
    #[schema(required = true, example = 30)]
    helper_temperature: Option<u8>,
    /// How many tokens it may use on a day (UTC).
    #[schema(required = true)]
    helper_daily_token_cap: Option<u64>,
    /// Whether it may be asked by plans.
    planner_enabled: bool,
    /// Whether it is offered by the general tool alone.
    above_threshold_dispatcher_only: bool,
}

/// A participant.
#[derive(Debug, Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "the fields are called so on the wire")]
pub(super) struct Participant {
    #[schema(example = "par_01JZ8QZ5T0000000000000000A")]
    id: String,
    /// The name by which it is mentioned.
    #[schema(example = "code-helper")]
    local_id: String,
    /// The host of the platform's public address.
    #[schema(example = "grid.example.com")]
    server_name: String,
    /// The name that is unique on all servers.
    #[schema(example = "@code-helper:grid.example.com")]
    fqid: String,
    display_name: String,
    /// `human`, `model`, `agent`, `helper`, `bridge` or `federated`.
    #[schema(example = "model")]
    participant_type: &'static str,
    /// Of an AI the picture of its model.
    #[schema(required = true)]
    avatar_url: Option<String>,
    /// Whether it takes part: an AI that is enabled, a user who is active.
    enabled: bool,
    /// Of a person.
    #[schema(required = true)]
    user_id: Option<String>,
    /// Of an AI, as what follows.
    #[schema(required = true, example = "openai/gpt-4o")]
    model: Option<String>,
    #[schema(required = true)]
    system_prompt: Option<String>,
    /// `streaming`, or `conversational`.
    #[schema(required = true, example = "conversational")]
    default_response_mode: Option<&'static str>,
    /// `null` for all that the tenant has enabled.
    #[schema(required = true)]
    plugins: Option<Vec<String>>,
    #[schema(required = true)]
    temperature: Option<f64>,
    /// `null` where it has no work as a helper.
    #[schema(required = true)]
    helper: Option<HelperWork>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Instant,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Instant,
}

impl From<HelperConfig> for HelperWork {
    fn from(helper: HelperConfig) -> Self {
        Self {
            helper_enabled: helper.enabled,
            helper_role_description: helper.role_description,
            helper_temperature: helper.temperature.map(Temperature::hundredths),
            helper_daily_token_cap: helper.daily_token_cap,
            planner_enabled: helper.planner_enabled,
            above_threshold_dispatcher_only: helper.dispatcher_only,
        }
    }
}

impl Participant {
    /// As those who administer the tenant see it.
    pub(super) fn of(listed: ListedParticipant, server: &str) -> Self {
        let ListedParticipant { participant, avatar_url } = listed;
        let (id, fqid) = (participant.id.to_string(), participant.full_name(server));
        let (mut user_id, mut ai) = (None, None);
        match participant.who {
            Who::Human(user) => user_id = Some(user.to_string()),
            Who::Ai { model, profile, helper } => ai = Some((model, profile, helper)),
        }
        let (model, profile, helper) = match ai {
            Some((model, profile, helper)) => (Some(model.to_string()), Some(profile), helper),
            None => (None, None, None),
        };
        let of_profile = profile.as_ref();
        Self {
            id,
            local_id: participant.local_id.to_string(),
            server_name: server.to_owned(),
            fqid,
            display_name: participant.display_name.into_string(),
            participant_type: participant.kind.as_str(),
            avatar_url,
            enabled: participant.enabled,
            user_id,
            model,
            system_prompt: of_profile.map(|profile| profile.system_prompt.as_str().to_owned()),
            default_response_mode: of_profile.map(|profile| profile.response_mode.as_str()),
            temperature: of_profile.and_then(|profile| profile.temperature).map(Temperature::number),
            plugins: profile.and_then(|profile| profile.plugins),
            helper: helper.map(Into::into),
            created_at: participant.created_at,
            updated_at: participant.updated_at,
        }
    }
}

/// A participant with its tag. A person has none: what they are called is their user's, and changes there.
pub(super) fn of_listed(listed: ListedParticipant, server: &str, made: bool) -> Reply<Participant> {
    let is_ai = matches!(listed.participant.who, Who::Ai { .. });
    let revision = listed.participant.revision.unsigned_abs();
    let shown = Participant::of(listed, server);
    let reply = if made {
        Reply::created(format!("/v1/admin/participants/{}", shown.id), shown)
    } else {
        Reply::ok(shown)
    };
    if is_ai { reply.with_etag(revision) } else { reply }
}

fn temperature(problems: &mut Problems, number: Option<f64>) -> Option<Temperature> {
    let temperature = Temperature::of_number(number?);
    if temperature.is_none() {
        problems.note("temperature", "must be a number from 0 to 2");
    }
    temperature
}

impl NewModelParticipant {
    fn read(self) -> Result<NewParticipant, Error> {
        let mut problems = Problems::default();
        let p = &mut problems;
        let local_id = p.read("local_id", &self.local_id);
        let model = p.read("model", &self.model);
        let display_name = p.read("display_name", &self.display_name);
        let profile = AiProfile {
            system_prompt: p.maybe("system_prompt", self.system_prompt.as_deref()).unwrap_or_default(),
            response_mode: p
                .maybe("default_response_mode", self.default_response_mode.as_deref())
                .unwrap_or(ResponseMode::Streaming),
            temperature: temperature(p, self.temperature),
            plugins: self.plugins,
        };
        problems.check()?;
        let (Some(local_id), Some(model), Some(display_name)) = (local_id, model, display_name) else {
            return Err(problems.refusal());
        };
        Ok(NewParticipant { local_id, display_name, model, profile })
    }
}

impl AiUpdate {
    pub(super) fn read(self) -> Result<AiChanges, Error> {
        let mut problems = Problems::default();
        let p = &mut problems;
        let changes = AiChanges {
            local_id: p.maybe("local_id", self.local_id.as_deref()),
            display_name: p.maybe("display_name", self.display_name.as_deref()),
            system_prompt: p.maybe::<Prompt>("system_prompt", self.system_prompt.as_deref()),
            response_mode: p.maybe("default_response_mode", self.default_response_mode.as_deref()),
            temperature: self.temperature.map(|number| temperature(p, number)),
            plugins: self.plugins,
            enabled: self.enabled,
        };
        problems.check()?;
        Ok(changes)
    }
}

/// Which participants a list shows.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ParticipantQuery {
    /// Of this type: `human`, `model`, `agent`, `helper`, `bridge` or `federated`.
    #[param(value_type = Option<kinds::ParticipantType>)]
    participant_type: Option<String>,
    /// AIs of this model, by its slug.
    #[param(value_type = Option<kinds::ModelSlug>)]
    model: Option<String>,
}

impl ParticipantQuery {
    fn read(&self) -> Result<ParticipantFilter, Error> {
        let mut problems = Problems::default();
        let filter = ParticipantFilter {
            kind: problems.maybe("participant_type", self.participant_type.as_deref()),
            model: problems.maybe("model", self.model.as_deref()),
            helpers: false,
        };
        problems.check()?;
        Ok(filter)
    }
}

/// List the participants of the tenant, people and AIs, the oldest first.
#[utoipa::path(
    tag = "workspace",
    operation_id = "list_participants",
    params(ParticipantQuery, PageParams),
    responses((status = 200, body = WorkspacePageOf<Participant>))
)]
#[get("/v1/admin/participants")]
async fn list_participants(
    caller: Allowed<perm::AdminAccess>,
    filters: Filters<ParticipantQuery>,
    paging: Paging,
    app: web::Data<App>,
) -> Result<Listed<Participant>, Error> {
    let filter = filters.read()?.read()?;
    let (page, seal) = paging.read("participants", &caller.tenant().id.to_string(), &Bounds::LIST)?;
    let page = app.participants(&caller, &filter, &page).await?;
    Ok(Listed::workspace(page.map(|listed| Participant::of(listed, app.server_name())), &seal))
}

/// Add an AI to the tenant. A model can have several; the first is the model's own.
#[utoipa::path(
    tag = "workspace",
    operation_id = "create_model_participant",
    request_body = NewModelParticipant,
    responses((status = 201, body = DataOf<Participant>))
)]
#[post("/v1/admin/participants/model")]
async fn create_model_participant(
    caller: Allowed<perm::AdminAccess>,
    origin: Origin,
    body: Body<NewModelParticipant>,
    app: web::Data<App>,
) -> Result<Reply<Participant>, Error> {
    let new = body.read().await?.read()?;
    let listed = app.create_participant(&caller, &origin.context(), new).await?;
    Ok(of_listed(listed, app.server_name(), true))
}

/// Get a participant.
#[utoipa::path(
    tag = "workspace",
    operation_id = "get_participant",
    params(("participant_id" = kinds::ParticipantId, Path, example = "par_01JZ8QZ5T0000000000000000A")),
    responses((status = 200, body = DataOf<Participant>))
)]
#[get("/v1/admin/participants/{participant_id}")]
async fn get_participant(
    caller: Allowed<perm::AdminAccess>,
    id: PathId<ParticipantId>,
    app: web::Data<App>,
) -> Result<Reply<Participant>, Error> {
    Ok(of_listed(app.participant(&caller, id.0).await?, app.server_name(), false))
}

/// Change an AI. People are changed as users.
#[utoipa::path(
    tag = "workspace",
    operation_id = "update_participant",
    params(("participant_id" = kinds::ParticipantId, Path, example = "par_01JZ8QZ5T0000000000000000A")),
    request_body = AiUpdate,
    responses((status = 200, body = DataOf<Participant>), (status = 409, response = Conflict))
)]
#[put("/v1/admin/participants/{participant_id}")]
async fn update_participant(
    caller: Allowed<perm::AdminAccess>,
    id: PathId<ParticipantId>,
    condition: IfMatch,
    origin: Origin,
    body: Body<AiUpdate>,
    app: web::Data<App>,
) -> Result<Reply<Participant>, Error> {
    // What is not there is told before what is wrong with the body.
    app.participant(&caller, id.0).await?;
    let changes = body.read().await?.read()?;
    let (request, expected) = (origin.context(), condition.revisions());
    let listed = app.update_participant(&caller, &request, id.0, expected, &changes).await?;
    Ok(of_listed(listed, app.server_name(), false))
}

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config
        .service(list_participants)
        .service(create_model_participant)
        .service(get_participant)
        .service(update_participant);
}
