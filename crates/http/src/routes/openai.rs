//! Asking models in OpenAI's own shapes, so that its official clients work unchanged.
use scaigrid_http_macros::{get, post};

use crate::openapi::{ServiceConfig, kinds};
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::StreamExt as _;
use scaigrid_app::App;
use scaigrid_app::catalog::{ListedModel, ModelPieces, Piece, Used};
use scaigrid_scope::{Level, perm};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::inference::{CoreStateView, Last, Question, answer_id, read, respond};
use crate::auth::Allowed;
use crate::body::Body;
use crate::error::{Error, Family, body_of};
use crate::hang_up::HangUp;
use crate::path::PathModel;
use crate::server::Edge;

/// Parameters that are sent to the model as they are.
const SENT: [&str; 25] = [
    "frequency_penalty",
    "function_call",
    "functions",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "modalities",
    "n",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "prompt_cache_key",
    "reasoning_effort",
    "response_format",
    "safety_identifier",
    "seed",
    "service_tier",
    "stop",
    "temperature",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "verbosity",
];
/// Parameters that are ours to understand, or mean nothing here.
const OWN: [&str; 7] = ["messages", "metadata", "model", "store", "stream", "stream_options", "user"];

/// A model, as OpenAI's clients know it.
#[derive(Debug, Serialize, ToSchema)]
struct OpenAiModel {
    /// The slug.
    #[schema(example = "openai/gpt-4o")]
    id: String,
    #[schema(example = "model")]
    object: &'static str,
    /// Seconds since 1970.
    created: i64,
    /// `platform`, `partner` or `tenant`.
    owned_by: &'static str,
}

/// The models, as OpenAI's clients know them.
#[derive(Debug, Serialize, ToSchema)]
struct OpenAiModels {
    #[schema(example = "list")]
    object: &'static str,
    data: Vec<OpenAiModel>,
}

/// What a model is asked, as OpenAI's clients do. What has no description here is as theirs say, and sent to the model.
#[derive(Debug, ToSchema)]
#[schema(example = json!({"model": "echo", "messages": [{"role": "user", "content": "Hello"}]}))]
#[expect(dead_code, reason = "for the document; what is read is an object with some of these")]
struct OpenAiChatRequest {
    /// The model's slug.
    model: String,
    #[schema(value_type = Vec<kinds::QuestionMessage>, min_items = 1, max_items = 2000)]
    messages: Vec<Value>,
    /// Whether the answer comes bit by bit, as server-sent events.
    stream: Option<bool>,
    /// For streamed answers only.
    stream_options: Option<OpenAiStreamOptions>,
    /// For the caller's own use; not sent to the model. Published Cores know `conversation_id`, which names the conversation, and
    /// `entity_id`, whom it is about.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
    /// Whoever asks, in the caller's own terms. Not sent to the model; published Cores take it for whom the conversation is about.
    user: Option<String>,
    /// Means nothing here.
    store: Option<Value>,
    #[schema(minimum = -2, maximum = 2)]
    frequency_penalty: Option<f64>,
    function_call: Option<Value>,
    functions: Option<Value>,
    #[schema(value_type = Option<Object>)]
    logit_bias: Option<Value>,
    logprobs: Option<bool>,
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    max_completion_tokens: Option<u64>,
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    max_tokens: Option<u64>,
    modalities: Option<Value>,
    /// An answer has one choice: whoever wants another asks again.
    #[schema(minimum = 1, maximum = 1)]
    n: Option<u64>,
    parallel_tool_calls: Option<bool>,
    #[schema(value_type = Option<Object>)]
    prediction: Option<Value>,
    #[schema(minimum = -2, maximum = 2)]
    presence_penalty: Option<f64>,
    prompt_cache_key: Option<String>,
    reasoning_effort: Option<String>,
    #[schema(value_type = Option<kinds::ResponseFormat>)]
    response_format: Option<Value>,
    safety_identifier: Option<String>,
    seed: Option<i64>,
    service_tier: Option<String>,
    #[schema(value_type = Option<kinds::StopTexts>)]
    stop: Option<Value>,
    #[schema(minimum = 0, maximum = 2)]
    temperature: Option<f64>,
    #[schema(value_type = Option<kinds::ToolChoice>)]
    tool_choice: Option<Value>,
    #[schema(value_type = Option<Vec<kinds::QuestionTool>>, min_items = 1, max_items = 128)]
    tools: Option<Value>,
    #[schema(minimum = 0, maximum = 20)]
    top_logprobs: Option<u64>,
    #[schema(minimum = 0, maximum = 1)]
    top_p: Option<f64>,
    verbosity: Option<String>,
}

/// How an answer is streamed.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "for the document")]
struct OpenAiStreamOptions {
    /// Whether the stream ends with what was used.
    include_usage: Option<bool>,
}

/// What was used, as OpenAI's clients know it.
#[derive(Debug, Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "the names are OpenAI's")]
struct OpenAiUsage {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
}

/// What a model has answered, as OpenAI's clients know it.
#[derive(Debug, Serialize, ToSchema)]
struct OpenAiCompletion {
    #[schema(example = "chatcmpl-01JZ8QZ5T0000000000000000A")]
    id: String,
    #[schema(example = "chat.completion")]
    object: &'static str,
    /// Seconds since 1970.
    created: i64,
    model: String,
    #[schema(value_type = Vec<Object>)]
    choices: Vec<Value>,
    usage: OpenAiUsage,
    #[schema(required = true)]
    system_fingerprint: Option<String>,
    /// How the conversation stands, where the model is a published Core. Not OpenAI's; their clients keep it.
    #[serde(skip_serializing_if = "Option::is_none")]
    scaicore: Option<CoreStateView>,
}

impl From<Used> for OpenAiUsage {
    fn from(used: Used) -> Self {
        Self {
            prompt_tokens: used.input_tokens,
            completion_tokens: used.output_tokens,
            total_tokens: used.input_tokens.saturating_add(used.output_tokens),
        }
    }
}

impl From<ListedModel> for OpenAiModel {
    fn from(listed: ListedModel) -> Self {
        Self {
            id: listed.model.slug.to_string(),
            object: "model",
            created: listed.model.created_at.micros() / 1_000_000,
            owned_by: match listed.model.owner {
                Level::Platform => "platform",
                Level::Partner(_) => "partner",
                Level::Tenant(_) => "tenant",
            },
        }
    }
}

/// What was asked, and how it is to be answered.
struct Asked {
    question: Question,
    streamed: bool,
    /// Whether a stream ends with what was used.
    with_usage: bool,
}

fn read_request(value: Value) -> Result<Asked, Error> {
    let Value::Object(mut fields) = value else {
        return Err(Error::invalid("body", "must be a JSON object"));
    };
    let known = |name: &String| SENT.contains(&name.as_str()) || OWN.contains(&name.as_str());
    if let Some(name) = fields.keys().find(|name| !known(name)) {
        let shown: String = name.chars().take(100).collect();
        return Err(Error::invalid(
            shown.clone(),
            format!("is not known: unrecognized request argument {shown}"),
        ));
    }
    // What is null is as good as left out.
    fields.retain(|_, value| !value.is_null());
    let flag = |fields: &Map<String, Value>, name: &str| match fields.get(name) {
        None => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => Err(Error::invalid(name, "must be true or false")),
    };
    let streamed = flag(&fields, "stream")?;
    let with_usage = match fields.get("stream_options") {
        None => false,
        Some(Value::Object(options)) if streamed => flag(options, "include_usage")?,
        Some(_) => {
            return Err(Error::invalid(
                "stream_options",
                "must be an object, and is for streamed answers only",
            ));
        }
    };
    let Some(Value::String(model)) = fields.remove("model") else {
        return Err(Error::invalid("model", "is required: you must provide a model parameter"));
    };
    let Some(Value::Array(messages)) = fields.remove("messages") else {
        return Err(Error::invalid("messages", "is required, and must be an array"));
    };
    let metadata = match fields.remove("metadata") {
        None => None,
        Some(Value::Object(metadata)) => Some(metadata),
        Some(_) => return Err(Error::invalid("metadata", "must be an object")),
    };
    let user = match fields.remove("user") {
        None => None,
        Some(Value::String(user)) => Some(user),
        Some(_) => return Err(Error::invalid("user", "must be a text")),
    };
    fields.retain(|name, _| SENT.contains(&name.as_str()));
    let question = read(&model, messages, fields)?.within(metadata.as_ref(), user.as_deref())?;
    Ok(Asked { question, streamed, with_usage })
}

fn pieces(begun: ModelPieces, id: String, created: i64, with_usage: bool) -> HttpResponse {
    let model = begun.model.to_string();
    let events = begun.pieces.map(move |piece| {
        let chunk = |choices: Vec<Value>| {
            let mut chunk = json!({"id": id, "object": "chat.completion.chunk", "created": created, "model": model,
                "system_fingerprint": null, "choices": choices});
            if with_usage {
                chunk["usage"] = Value::Null;
            }
            chunk
        };
        match piece {
            Ok(Piece::Choices(choices)) => Ok(vec![chunk(choices)]),
            Ok(Piece::Core(choices, state)) => {
                let mut chunk = chunk(choices);
                chunk["scaicore"] = serde_json::to_value(CoreStateView::from(*state)).unwrap_or_default();
                Ok(vec![chunk])
            }
            Ok(Piece::End(used)) if with_usage => {
                let mut last = chunk(Vec::new());
                last["usage"] = serde_json::to_value(OpenAiUsage::from(used)).unwrap_or_default();
                Ok(vec![last])
            }
            Ok(Piece::End(_)) => Ok(Vec::new()),
            Err(error) => Err(Error::from(error)),
        }
    });
    respond(events, |error, request_id| Last {
        event: None,
        data: body_of(error, Family::OpenAi, request_id),
    })
}

/// Ask a model as OpenAI's clients do.
#[utoipa::path(
    tag = "inference",
    operation_id = "create_chat_completion",
    request_body = OpenAiChatRequest,
    responses((
        status = 200,
        content((OpenAiCompletion = "application/json"), (String = "text/event-stream"))
    ))
)]
#[post("/oai/v1/chat/completions")]
async fn create_chat_completion(
    caller: Allowed<perm::ModelsUse>,
    request: HttpRequest,
    body: Body<Value>,
    client: HangUp,
    app: web::Data<App>,
) -> Result<HttpResponse, Error> {
    let asked = read_request(body.read_json().await?)?;
    let created = Edge::of(&request)?.clock.now().micros() / 1_000_000;
    let (id, call) = (answer_id("chatcmpl-", &request), asked.question.into_call());
    if asked.streamed {
        let begun = client.or(app.chat_in_pieces(&caller, call)).await?;
        return Ok(pieces(begun, id, created, asked.with_usage));
    }
    let answer = client.or(app.chat(&caller, call)).await?;
    Ok(HttpResponse::Ok().json(OpenAiCompletion {
        id,
        object: "chat.completion",
        created,
        model: answer.model.to_string(),
        choices: answer.choices,
        usage: answer.used.into(),
        system_fingerprint: None,
        scaicore: answer.core.map(Into::into),
    }))
}

/// List the models that answer the caller, as OpenAI's clients do.
#[utoipa::path(
    tag = "inference",
    operation_id = "list_openai_models",
    responses((status = 200, body = OpenAiModels))
)]
#[get("/oai/v1/models")]
async fn list_openai_models(
    caller: Allowed<perm::ModelsList>,
    app: web::Data<App>,
) -> Result<HttpResponse, Error> {
    let data = app.answering_models(&caller).await?.into_iter().map(Into::into).collect();
    Ok(HttpResponse::Ok().json(OpenAiModels { object: "list", data }))
}

/// Get a model that answers the caller, as OpenAI's clients do.
#[utoipa::path(
    tag = "inference",
    operation_id = "get_openai_model",
    params(("slug" = String, Path, example = "openai/gpt-4o")),
    responses((status = 200, body = OpenAiModel))
)]
#[get("/oai/v1/models/{slug}")]
async fn get_openai_model(
    caller: Allowed<perm::ModelsList>,
    which: PathModel,
    app: web::Data<App>,
) -> Result<HttpResponse, Error> {
    let listed = app.answering_model(&caller, &which.0).await?;
    Ok(HttpResponse::Ok().json(OpenAiModel::from(listed)))
}

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config.service(create_chat_completion).service(list_openai_models).service(get_openai_model);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use utoipa::PartialSchema as _;

    use super::*;

    #[test]
    fn the_document_names_what_is_known() {
        let schema = serde_json::to_value(OpenAiChatRequest::schema()).unwrap();
        let named: BTreeSet<&str> =
            schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(named, SENT.into_iter().chain(OWN).collect());
    }
}
