//! Asking models, in the platform's own shapes.

mod core_state;
mod events;
mod question;
use scaigrid_http_macros::post;

use crate::openapi::{ServiceConfig, kinds};
use actix_web::{HttpRequest, HttpResponse, Responder as _, web};
use futures_util::StreamExt as _;
use scaigrid_app::App;
use scaigrid_app::catalog::{ModelPieces, Piece, Used};
use scaigrid_scope::perm;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use validator::Validate;

use crate::auth::Allowed;
use crate::body::Body;
use crate::envelope::{DataOf, Reply};
use crate::error::{Error, Family};
use crate::hang_up::HangUp;
use crate::request::RequestId;

pub(super) use core_state::CoreStateView;
pub(super) use events::{Last, respond};
pub(super) use question::{Question, read};

/// What a model is asked.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({"model": "echo", "messages": [{"role": "user", "content": "Hello"}]}))]
struct ChatRequest {
    /// The model's slug.
    model: String,
    /// The conversation: `{role, content}` each, as OpenAI's chat completions have it.
    #[schema(value_type = Vec<kinds::QuestionMessage>, min_items = 1, max_items = 2000)]
    messages: Vec<Value>,
    /// The most tokens of the answer.
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    max_tokens: Option<u64>,
    #[schema(minimum = 0, maximum = 2)]
    temperature: Option<f64>,
    #[schema(minimum = 0, maximum = 1)]
    top_p: Option<f64>,
    /// A text, or up to four, at which the answer ends.
    #[schema(value_type = Option<kinds::StopTexts>)]
    stop: Option<Value>,
    seed: Option<i64>,
    /// Whether the answer comes bit by bit, as server-sent events.
    #[serde(default)]
    stream: bool,
    /// The tools that the model may call.
    #[schema(value_type = Option<Vec<kinds::QuestionTool>>, min_items = 1, max_items = 128)]
    tools: Option<Value>,
    #[schema(value_type = Option<kinds::ToolChoice>)]
    tool_choice: Option<Value>,
    /// How the answer must look, e.g. `{"type": "json_schema", "json_schema": {"name": "…", "schema": {…}}}`.
    #[schema(value_type = Option<kinds::ResponseFormat>)]
    response_format: Option<Value>,
    /// For the caller's own use; not sent to the model. Published Cores know `conversation_id`, which names the conversation, and
    /// `entity_id`, whom it is about.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Map<String, Value>>,
}

/// What was used.
#[derive(Debug, Serialize, ToSchema)]
struct ChatUsage {
    input_tokens: u64,
    output_tokens: u64,
    total_tokens: u64,
    /// In the currency of the catalogue's prices.
    #[schema(example = "0.007275")]
    cost: String,
}

/// The message of a choice.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "for the document; what is written is what the model has said")]
struct ChatMessage {
    role: String,
    content: Option<String>,
    /// The tools that are to be called.
    #[schema(value_type = Option<Vec<Object>>)]
    tool_calls: Option<Value>,
}

/// A choice.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "for the document; what is written is what the model has said")]
struct ChatChoice {
    index: u32,
    message: ChatMessage,
    /// `stop`, `length`, `tool_calls`, `content_filter`, …; `checkpoint` where a published Core waits for a person.
    finish_reason: String,
}

/// What a model has answered.
#[derive(Debug, Serialize, ToSchema)]
struct ChatAnswer {
    #[schema(example = "chat_01JZ8QZ5T0000000000000000A")]
    id: String,
    /// The slug of the model that has answered.
    model: String,
    #[schema(value_type = Vec<ChatChoice>)]
    choices: Vec<Value>,
    usage: ChatUsage,
    /// How the conversation stands, where the model is a published Core.
    #[serde(skip_serializing_if = "Option::is_none")]
    scaicore: Option<CoreStateView>,
}

impl From<Used> for ChatUsage {
    fn from(used: Used) -> Self {
        Self {
            input_tokens: used.input_tokens,
            output_tokens: used.output_tokens,
            total_tokens: used.input_tokens.saturating_add(used.output_tokens),
            cost: used.cost.normalize().to_string(),
        }
    }
}

impl ChatRequest {
    fn read(self) -> Result<Question, Error> {
        let mut params = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value.filter(|value| !value.is_null()) {
                params.insert(name.to_owned(), value);
            }
        };
        put("max_tokens", self.max_tokens.map(Value::from));
        put("temperature", self.temperature.map(Value::from));
        put("top_p", self.top_p.map(Value::from));
        put("stop", self.stop);
        put("seed", self.seed.map(Value::from));
        put("tools", self.tools);
        put("tool_choice", self.tool_choice);
        put("response_format", self.response_format);
        read(&self.model, self.messages, params)?.within(self.metadata.as_ref(), None)
    }
}

/// What an answer is called: after its request.
pub(super) fn answer_id(prefix: &str, request: &HttpRequest) -> String {
    let id = RequestId::of_request(request);
    format!("{prefix}{}", id.as_str().trim_start_matches("req_"))
}

fn pieces(begun: ModelPieces, id: String) -> HttpResponse {
    let model = begun.model.to_string();
    let events = begun.pieces.map(move |piece| match piece {
        Ok(Piece::Choices(choices)) => Ok(vec![json!({"id": id, "model": model, "choices": choices})]),
        Ok(Piece::Core(choices, state)) => {
            let state = CoreStateView::from(*state);
            Ok(vec![json!({"id": id, "model": model, "choices": choices, "scaicore": state})])
        }
        Ok(Piece::End(used)) => {
            Ok(vec![json!({"id": id, "model": model, "choices": [], "usage": ChatUsage::from(used)})])
        }
        Err(error) => Err(Error::from(error)),
    });
    respond(events, |error, request_id| {
        let told = crate::error::body_of(error, Family::Grid, request_id)["error"].take();
        Last { event: Some("error"), data: json!({"code": told["code"], "message": told["message"]}) }
    })
}

/// Ask a model. With `stream` the answer comes as server-sent events: `data: {"choices": [{"delta": {…}}]}` each, then one
/// with `usage`, then `data: [DONE]`; should it break off, `event: error` with `{"code", "message"}` before that.
#[utoipa::path(
    tag = "inference",
    operation_id = "chat",
    request_body = ChatRequest,
    responses((
        status = 200,
        content((DataOf<ChatAnswer> = "application/json"), (String = "text/event-stream"))
    ))
)]
#[post("/v1/inference/chat")]
async fn chat(
    caller: Allowed<perm::ModelsUse>,
    request: HttpRequest,
    body: Body<ChatRequest>,
    client: HangUp,
    app: web::Data<App>,
) -> Result<HttpResponse, Error> {
    let asked = body.read().await?;
    let (streamed, id) = (asked.stream, answer_id("chat_", &request));
    let call = asked.read()?.into_call();
    if streamed {
        return Ok(pieces(client.or(app.chat_in_pieces(&caller, call)).await?, id));
    }
    let answer = client.or(app.chat(&caller, call)).await?;
    let answer = ChatAnswer {
        id,
        model: answer.model.to_string(),
        choices: answer.choices,
        usage: answer.used.into(),
        scaicore: answer.core.map(Into::into),
    };
    Ok(Reply::ok(answer).respond_to(&request))
}

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config.service(chat);
}
