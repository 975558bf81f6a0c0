//! Helpers: AIs that others ask as a tool.
use scaigrid_http_macros::{get, post, put};

use crate::openapi::{ServiceConfig, kinds};
use actix_web::web;
use scaigrid_app::App;
use scaigrid_app::workspace::helpers::helper::Invocation;
use scaigrid_app::workspace::helpers::{HelperConfig, HelperEdits, Participant, Temperature, Tried, Who};
use scaigrid_scope::{Instant, ParticipantId, RoomId, perm};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::Validate;

use crate::auth::Allowed;
use crate::body::Body;
use crate::conditional::IfMatch;
use crate::envelope::{DataOf, Listed, PageOf, Reply, WorkspacePageOf};
use crate::error::Error;
use crate::hang_up::HangUp;
use crate::paging::{Bounds, PageParams, Paging};
use crate::path::PathId;
use crate::request::Origin;
use crate::routes::given::{Problems, given};

/// What is to be changed of an AI's work as a helper; what is left out stays.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({"helper_enabled": true, "helper_role_description": "Knows the law of contracts.",
    "helper_temperature": 30, "helper_daily_token_cap": 100_000, "planner_enabled": true,
    "above_threshold_dispatcher_only": false}))]
#[expect(clippy::option_option, reason = "left out, null and a value are three things")]
struct HelperUpdate {
    /// Whether it can be asked. Needed where the AI is no helper yet.
    helper_enabled: Option<bool>,
    /// What it is good for, as those who may ask it are told: at most 2000 characters.
    #[validate(length(max = 2000, message = "must have at most 2000 characters"))]
    #[schema(max_length = 2000, pattern = r"^[^\x00]*$")]
    helper_role_description: Option<String>,
    /// How freely it answers, times 100: 30 is 0.3; `null` for the way it always does.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 200)]
    helper_temperature: Option<Option<i64>>,
    /// How many tokens it may use on a day (UTC); `null` for as many as it likes.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u64>, minimum = 0, maximum = 1_000_000_000_000_u64)]
    helper_daily_token_cap: Option<Option<u64>>,
    /// Whether it may be asked by plans.
    planner_enabled: Option<bool>,
    /// Whether it is offered by the tool `call_helper` alone, and has none of its own.
    above_threshold_dispatcher_only: Option<bool>,
}

/// A helper.
#[derive(Debug, Serialize, ToSchema)]
#[expect(clippy::struct_excessive_bools, reason = "each is switched by itself")]
#[expect(clippy::struct_field_names, reason = "the fields are called so on the wire")]
struct Helper {
    /// The participant's.
    #[schema(example = "par_01JZ8QZ5T0000000000000000A")]
    id: String,
    #[schema(example = "lawyer")]
    local_id: String,
    display_name: String,
    /// The slug of its model.
    model: String,
    /// Whether the participant is enabled; a helper that is not cannot be asked.
    enabled: bool,
    helper_enabled: bool,
    helper_role_description: String,
    /// Times 100.
    #[schema(required = true)]
    helper_temperature: Option<u8>,
    #[schema(required = true)]
    helper_daily_token_cap: Option<u64>,
    planner_enabled: bool,
    above_threshold_dispatcher_only: bool,
    #[schema(value_type = String, format = DateTime)]
    created_at: Instant,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Instant,
}

/// A helper as those see it who can ask it.
#[derive(Debug, Serialize, ToSchema)]
struct RoomHelper {
    /// The participant's.
    #[schema(example = "par_01JZ8QZ5T0000000000000000A")]
    id: String,
    #[schema(example = "lawyer")]
    local_id: String,
    display_name: String,
    /// The slug of its model.
    model: String,
    helper_role_description: String,
}

/// A question that a helper was asked.
#[derive(Debug, Serialize, ToSchema)]
struct HelperInvocation {
    #[schema(example = "hiv_01JZ8QZ5T0000000000000000A")]
    id: String,
    /// The participant that has asked.
    asked_by: String,
    /// The user in whose name it was.
    user_id: String,
    /// How the question begins: at most 500 characters.
    question: String,
    /// `running`, `completed` or `failed`. It stays `running` where it was broken off, as when its node died.
    status: &'static str,
    /// Tokens read and written; an estimate while it is `running`.
    tokens: u64,
    #[schema(value_type = String, format = DateTime)]
    created_at: Instant,
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    finished_at: Option<Instant>,
}

/// What a helper is asked on trial.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({"query": "Is a contract by e-mail binding?"}))]
struct HelperQuery {
    /// The question: at most 16 KiB.
    #[schema(value_type = kinds::HelperQuestion)]
    query: String,
}

/// What was used.
#[derive(Debug, Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "the fields are called so on the wire")]
struct HelperUsage {
    input_tokens: u64,
    output_tokens: u64,
    total_tokens: u64,
}

/// What a helper has answered.
#[derive(Debug, Serialize, ToSchema)]
struct HelperAnswer {
    text: String,
    /// The slug of the model that has answered.
    model: String,
    usage: HelperUsage,
}

/// The most tokens of a day that one can name.
const MAX_CAP: u64 = 1_000_000_000_000;

impl HelperUpdate {
    fn read(self) -> Result<HelperEdits, Error> {
        let mut problems = Problems::default();
        let temperature = self.helper_temperature.map(|hundredths| {
            let read = hundredths.map(Temperature::of_hundredths);
            if read == Some(None) {
                problems.note("helper_temperature", "must be a whole number from 0 to 200, which is 2.00");
            }
            read.flatten()
        });
        if matches!(self.helper_daily_token_cap, Some(Some(cap)) if cap > MAX_CAP) {
            problems.note("helper_daily_token_cap", format!("must be at most {MAX_CAP}"));
        }
        if self.helper_role_description.as_deref().is_some_and(|text| text.contains('\0')) {
            problems.note("helper_role_description", "must not contain the character U+0000");
        }
        problems.check()?;
        Ok(HelperEdits {
            enabled: self.helper_enabled,
            role_description: self.helper_role_description,
            temperature,
            daily_token_cap: self.helper_daily_token_cap,
            planner_enabled: self.planner_enabled,
            dispatcher_only: self.above_threshold_dispatcher_only,
        })
    }
}

/// The model of a helper, and its work; of a person, nothing.
fn work_of(who: Who) -> (String, HelperConfig) {
    match who {
        Who::Ai { model, helper, .. } => (model.to_string(), helper.unwrap_or_default()),
        Who::Human(_) => (String::new(), HelperConfig::default()),
    }
}

impl From<Participant> for Helper {
    fn from(participant: Participant) -> Self {
        let (model, config) = work_of(participant.who);
        Self {
            id: participant.id.to_string(),
            local_id: participant.local_id.to_string(),
            display_name: participant.display_name.into_string(),
            model,
            enabled: participant.enabled,
            helper_enabled: config.enabled,
            helper_role_description: config.role_description,
            helper_temperature: config.temperature.map(Temperature::hundredths),
            helper_daily_token_cap: config.daily_token_cap,
            planner_enabled: config.planner_enabled,
            above_threshold_dispatcher_only: config.dispatcher_only,
            created_at: participant.created_at,
            updated_at: participant.updated_at,
        }
    }
}

impl From<Participant> for RoomHelper {
    fn from(participant: Participant) -> Self {
        let (model, config) = work_of(participant.who);
        Self {
            id: participant.id.to_string(),
            local_id: participant.local_id.to_string(),
            display_name: participant.display_name.into_string(),
            model,
            helper_role_description: config.role_description,
        }
    }
}

impl From<Invocation> for HelperInvocation {
    fn from(invocation: Invocation) -> Self {
        Self {
            id: invocation.id.to_string(),
            asked_by: invocation.asked_by.to_string(),
            user_id: invocation.user_id.to_string(),
            question: invocation.question,
            status: invocation.status.as_str(),
            tokens: invocation.tokens,
            created_at: invocation.created_at,
            finished_at: invocation.finished_at,
        }
    }
}

impl From<Tried> for HelperAnswer {
    fn from(tried: Tried) -> Self {
        let Tried { text, model, input_tokens, output_tokens } = tried;
        let total_tokens = input_tokens.saturating_add(output_tokens);
        Self {
            text,
            model: model.to_string(),
            usage: HelperUsage { input_tokens, output_tokens, total_tokens },
        }
    }
}

/// List the tenant's helpers, those that are switched off too, the oldest participant first.
#[utoipa::path(
    tag = "workspace",
    operation_id = "list_helpers",
    params(PageParams),
    responses((status = 200, body = WorkspacePageOf<Helper>))
)]
#[get("/v1/admin/helpers")]
async fn list_helpers(
    caller: Allowed<perm::AdminAccess>,
    paging: Paging,
    app: web::Data<App>,
) -> Result<Listed<Helper>, Error> {
    let (page, seal) = paging.read("helpers", &caller.tenant().id.to_string(), &Bounds::LIST)?;
    Ok(Listed::workspace(app.helpers(&caller, &page).await?, &seal))
}

/// Have an AI work as a helper, or change how it does. Its entity tag is that of the participant.
#[utoipa::path(
    tag = "workspace",
    operation_id = "configure_helper",
    params(("participant_id" = kinds::ParticipantId, Path, example = "par_01JZ8QZ5T0000000000000000A")),
    request_body = HelperUpdate,
    responses((status = 200, body = DataOf<Helper>))
)]
#[put("/v1/admin/participants/{participant_id}/helper")]
async fn configure_helper(
    caller: Allowed<perm::AdminAccess>,
    id: PathId<ParticipantId>,
    condition: IfMatch,
    origin: Origin,
    body: Body<HelperUpdate>,
    app: web::Data<App>,
) -> Result<Reply<Helper>, Error> {
    // What is not there is told before what is wrong with the body.
    app.participant(&caller, id.0).await?;
    let edits = body.read().await?.read()?;
    let (request, expected) = (origin.context(), condition.revisions());
    let helper = app.configure_helper(&caller, &request, id.0, expected, edits).await?;
    let revision = helper.revision.unsigned_abs();
    Ok(Reply::ok(helper.into()).with_etag(revision))
}

/// List what a participant was asked as a helper, newest first.
#[utoipa::path(
    tag = "workspace",
    operation_id = "list_helper_invocations",
    params(("participant_id" = kinds::ParticipantId, Path, example = "par_01JZ8QZ5T0000000000000000A"), PageParams),
    responses((status = 200, body = WorkspacePageOf<HelperInvocation>))
)]
#[get("/v1/admin/participants/{participant_id}/helper/invocations")]
async fn list_helper_invocations(
    caller: Allowed<perm::AdminAccess>,
    id: PathId<ParticipantId>,
    paging: Paging,
    app: web::Data<App>,
) -> Result<Listed<HelperInvocation>, Error> {
    // What is not there is told before what is wrong with the page.
    app.participant(&caller, id.0).await?;
    let of = format!("{}/{}", caller.tenant().id, id.0);
    let (page, seal) = paging.read("helper-invocations", &of, &Bounds::LIST)?;
    Ok(Listed::workspace(app.helper_invocations(&caller, id.0, &page).await?, &seal))
}

/// Ask a helper on trial, also one that is switched off. Nothing is kept of it but the usage, and its daily cap does not count.
#[utoipa::path(
    tag = "workspace",
    operation_id = "try_helper",
    params(("participant_id" = kinds::ParticipantId, Path, example = "par_01JZ8QZ5T0000000000000000A")),
    request_body = HelperQuery,
    responses((status = 200, body = DataOf<HelperAnswer>))
)]
#[post("/v1/admin/participants/{participant_id}/helper/playground")]
async fn try_helper(
    caller: Allowed<perm::AdminAccess>,
    id: PathId<ParticipantId>,
    body: Body<HelperQuery>,
    client: HangUp,
    app: web::Data<App>,
) -> Result<Reply<HelperAnswer>, Error> {
    // What is not there is told before what is wrong with the body.
    app.require_helper(&caller, id.0).await?;
    let HelperQuery { query } = body.read().await?;
    Ok(Reply::ok(client.or(app.try_helper(&caller, id.0, &query)).await?.into()))
}

/// List the helpers that can be asked in a room of the caller's. A page can have fewer than `limit`, and another after it.
#[utoipa::path(
    tag = "workspace",
    operation_id = "list_room_helpers",
    params(("room_id" = kinds::RoomId, Path, example = "room_01JZ8QZ5T0000000000000000A"), PageParams),
    responses((status = 200, body = PageOf<RoomHelper>))
)]
#[get("/v1/rooms/{room_id}/helpers")]
async fn list_room_helpers(
    caller: Allowed<perm::ModelsUse>,
    room: PathId<RoomId>,
    paging: Paging,
    app: web::Data<App>,
) -> Result<Listed<RoomHelper>, Error> {
    // What is not there is told before what is wrong with the page.
    app.require_room(&caller, room.0).await?;
    let of = format!("{}/{}", caller.tenant().id, room.0);
    let (page, seal) = paging.read("room-helpers", &of, &Bounds::LIST)?;
    Ok(Listed::new(app.room_helpers(&caller, room.0, &page).await?, &seal))
}

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config
        .service(list_helpers)
        .service(configure_helper)
        .service(list_helper_invocations)
        .service(try_helper)
        .service(list_room_helpers);
}
