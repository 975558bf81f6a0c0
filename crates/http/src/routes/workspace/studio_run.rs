//! Trying prompts out in rooms.

use actix_web::web;
use scaigrid_app::App;
use scaigrid_app::workspace::studio_run::{Trial, Tried};
use scaigrid_http_macros::post;
use scaigrid_scope::{RoomId, perm};
use scaigrid_workspace::Temperature;
use scaigrid_workspace::compose::{Composed, Part};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::Validate;

use crate::auth::Allowed;
use crate::body::Body;
use crate::envelope::{DataOf, Reply};
use crate::error::Error;
use crate::hang_up::HangUp;
use crate::openapi::{ServiceConfig, kinds};
use crate::path::PathId;
use crate::routes::given::Problems;

/// What is tried out; what is left out is as the AI has it.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({
    "participant_id": "par_01JZ8QZ5T0000000000000000A",
    "system_prompt_override": "You answer in rhymes.",
    "trigger_text": "What is on today?",
}))]
struct PromptTrial {
    /// The AI, which is in the room.
    #[schema(value_type = kinds::ParticipantId)]
    participant_id: String,
    /// What it is told before all else, up to 32 KiB, in place of its own prompt.
    #[schema(value_type = Option<kinds::Prompt>)]
    system_prompt_override: Option<String>,
    /// 0 to 2.
    #[schema(minimum = 0, maximum = 2)]
    temperature: Option<f64>,
    #[validate(range(min = 0.0, max = 1.0))]
    #[schema(minimum = 0, maximum = 1)]
    top_p: Option<f64>,
    /// The most tokens of the answer.
    #[validate(range(min = 1))]
    #[schema(minimum = 1)]
    max_tokens: Option<u32>,
    #[validate(range(min = -2.0, max = 2.0))]
    #[schema(minimum = -2, maximum = 2)]
    frequency_penalty: Option<f64>,
    #[validate(range(min = -2.0, max = 2.0))]
    #[schema(minimum = -2, maximum = 2)]
    presence_penalty: Option<f64>,
    /// `minimal`, `low`, `medium` or `high`.
    #[schema(value_type = Option<kinds::ReasoningEffort>)]
    reasoning_effort: Option<String>,
    /// `streaming` or `conversational`.
    #[schema(value_type = Option<kinds::ResponseMode>)]
    response_mode: Option<String>,
    /// The plugins that it may use, by id; of those that the tenant has enabled.
    #[validate(length(max = 64))]
    #[schema(max_items = 64)]
    plugins_enabled: Option<Vec<String>>,
    /// What it answers, as if the caller said it now: up to 64 KiB.
    #[schema(value_type = kinds::MessageText)]
    trigger_text: String,
}

impl PromptTrial {
    fn read(self) -> Result<Trial, Error> {
        let mut problems = Problems::default();
        let participant_id = problems.read("participant_id", &self.participant_id);
        let system_prompt = problems.maybe("system_prompt_override", self.system_prompt_override.as_deref());
        let temperature = self.temperature.and_then(|number| {
            let read = Temperature::of_number(number);
            if read.is_none() {
                problems.note("temperature", "must be a number from 0 to 2");
            }
            read
        });
        let reasoning_effort = problems.maybe("reasoning_effort", self.reasoning_effort.as_deref());
        let response_mode = problems.maybe("response_mode", self.response_mode.as_deref());
        let trigger = problems.read("trigger_text", &self.trigger_text);
        problems.check()?;
        let (Some(participant_id), Some(trigger)) = (participant_id, trigger) else {
            return Err(problems.refusal());
        };
        Ok(Trial {
            participant_id,
            system_prompt,
            temperature,
            top_p: self.top_p,
            max_tokens: self.max_tokens,
            frequency_penalty: self.frequency_penalty,
            presence_penalty: self.presence_penalty,
            reasoning_effort,
            response_mode,
            plugins: self.plugins_enabled,
            trigger,
        })
    }
}

/// A part of what an AI is asked.
#[derive(Debug, Serialize, ToSchema)]
struct PromptPart {
    /// `system`, `user` or `assistant`.
    role: &'static str,
    /// `system:participant`, `plugin:<id>`, `system:room`, `history` or `trigger`.
    #[schema(example = "system:participant")]
    source: String,
    /// How much it counts, up to 100; what counts least is left out first.
    priority: u8,
    content: String,
}

impl From<Part> for PromptPart {
    fn from(part: Part) -> Self {
        let Part { role, source, priority, content } = part;
        Self { role: role.as_str(), source: source.into_owned(), priority, content }
    }
}

/// What an AI would be asked.
#[derive(Debug, Serialize, ToSchema)]
struct PromptPreview {
    /// What it is asked, in order.
    messages: Vec<PromptPart>,
    /// How many tokens that is, about: one for four bytes, and four for each message.
    estimated_tokens: u64,
    /// How many it may be.
    budget: u64,
    /// What is left out, because there would be too much of it.
    would_be_trimmed: Vec<PromptPart>,
}

impl From<Composed> for PromptPreview {
    fn from(composed: Composed) -> Self {
        let shown = |parts: Vec<Part>| parts.into_iter().map(PromptPart::from).collect();
        Self {
            messages: shown(composed.messages),
            estimated_tokens: composed.estimated_tokens,
            budget: composed.budget,
            would_be_trimmed: shown(composed.trimmed),
        }
    }
}

/// What was used.
#[derive(Debug, Serialize, ToSchema)]
struct PromptUsage {
    input_tokens: u64,
    output_tokens: u64,
}

/// What an AI has answered to a trial.
#[derive(Debug, Serialize, ToSchema)]
struct PromptRun {
    text: String,
    /// The messages that it would be in the room: one, or, where it answers conversationally, one for each paragraph.
    messages: Vec<String>,
    /// The slug of the model that has answered.
    model: String,
    usage: PromptUsage,
    /// How many tokens it was expected to read, about.
    estimated_tokens: u64,
}

impl From<Tried> for PromptRun {
    fn from(tried: Tried) -> Self {
        let Tried { text, messages, model, input_tokens, output_tokens, estimated_tokens } = tried;
        let usage = PromptUsage { input_tokens, output_tokens };
        Self { text, messages, model, usage, estimated_tokens }
    }
}

/// Show what an AI of a room would be asked. Nothing is asked.
#[utoipa::path(
    tag = "rooms",
    operation_id = "preview_prompt",
    params(("room_id" = kinds::RoomId, Path, example = "room_01JZ8QZ5T0000000000000000A")),
    request_body = PromptTrial,
    responses((status = 200, body = DataOf<PromptPreview>))
)]
#[post("/v1/rooms/{room_id}/prompt-studio/preview")]
async fn preview_prompt(
    caller: Allowed<perm::ModelsUse>,
    id: PathId<RoomId>,
    body: Body<PromptTrial>,
    app: web::Data<App>,
) -> Result<Reply<PromptPreview>, Error> {
    // What is not there is told before what is wrong with the body.
    app.require_room(&caller, id.0).await?;
    let trial = body.read().await?.read()?;
    Ok(Reply::ok(app.preview_prompt(&caller, id.0, &trial).await?.into()))
}

/// Ask an AI of a room, once, without tools and without a trace in the room. What is used counts against the tenant's tokens.
#[utoipa::path(
    tag = "rooms",
    operation_id = "run_prompt",
    params(("room_id" = kinds::RoomId, Path, example = "room_01JZ8QZ5T0000000000000000A")),
    request_body = PromptTrial,
    responses((status = 200, body = DataOf<PromptRun>))
)]
#[post("/v1/rooms/{room_id}/prompt-studio/run")]
async fn run_prompt(
    caller: Allowed<perm::ModelsUse>,
    id: PathId<RoomId>,
    body: Body<PromptTrial>,
    client: HangUp,
    app: web::Data<App>,
) -> Result<Reply<PromptRun>, Error> {
    // What is not there is told before what is wrong with the body.
    app.require_room(&caller, id.0).await?;
    let trial = body.read().await?.read()?;
    Ok(Reply::ok(client.or(app.run_prompt(&caller, id.0, &trial)).await?.into()))
}

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config.service(preview_prompt).service(run_prompt);
}
