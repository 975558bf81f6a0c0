//! The log of conversations with published Cores.

use actix_web::web;
use scaigrid_app::App;
use scaigrid_app::conversations::{Caller, Conversation, ShownConversation, Turn};
use scaigrid_http_macros::{delete, get};
use scaigrid_scope::{ConversationId, CoreId, perm};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::wire::UsedView;
use crate::Error;
use crate::auth::Allowed;
use crate::envelope::{DataOf, Listed, NoContent, PageOf, Reply};
use crate::openapi::kinds;
use crate::paging::{Bounds, PageParams, Paging};
use crate::path::PathId;
use crate::request::Origin;
use crate::routes::given::Conflict;

/// A conversation with a published Core.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ConversationView {
    /// Its id.
    #[schema(example = "conv_01JZ8QZ5T0000000000000000A")]
    id: String,
    /// The Core.
    core_id: String,
    /// The user who chats; none where a Core does.
    #[schema(required = true)]
    user_id: Option<String>,
    /// The execution that asks the Core as its model; none where a user does.
    #[schema(required = true)]
    asking_execution_id: Option<String>,
    /// The tenant that they act in.
    caller_tenant_id: String,
    /// What the caller names it by.
    #[schema(required = true)]
    key: Option<String>,
    /// Whom it is about.
    #[schema(required = true)]
    entity_id: Option<String>,
    /// `running`, `waiting` for a person, `answered` or `failed`: how its last turn stands.
    status: String,
    /// How many requests it has had.
    turns: u32,
    /// When it began (RFC 3339, UTC).
    created_at: String,
    /// When its last turn began or ended (RFC 3339, UTC).
    updated_at: String,
}

impl From<Conversation> for ConversationView {
    fn from(conversation: Conversation) -> Self {
        let (user_id, asking_execution_id) = match conversation.caller {
            Caller::User(id) => (Some(id.to_string()), None),
            Caller::Execution(id) => (None, Some(id.to_string())),
        };
        Self {
            id: conversation.id.to_string(),
            core_id: conversation.core_id.to_string(),
            user_id,
            asking_execution_id,
            caller_tenant_id: conversation.caller_tenant.to_string(),
            key: conversation.key,
            entity_id: conversation.entity_id,
            status: conversation.status.to_string(),
            turns: conversation.turns,
            created_at: conversation.created_at.to_string(),
            updated_at: conversation.updated_at.to_string(),
        }
    }
}

/// A message of a conversation. Those that came from the caller may have more fields, as they came.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "for the document; what is written is what was said")]
struct MessageView {
    /// `system`, `user`, `assistant`, …
    role: String,
    /// The text, or its parts.
    content: Value,
    /// The number of the request that it belongs to.
    turn: u32,
    /// The execution that answers that request.
    execution_id: String,
    /// When it was said (RFC 3339, UTC).
    created_at: String,
}

/// A conversation with what was said in it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WholeConversationView {
    #[serde(flatten)]
    conversation: ConversationView,
    /// What was said, in its order; of more than 500 requests the last ones.
    #[schema(value_type = Vec<MessageView>)]
    messages: Vec<Value>,
    /// The executions that have answered, in their order.
    execution_ids: Vec<String>,
    /// What was used in all of it.
    usage: UsedView,
    /// How many requests are left out before the first message.
    omitted_turns: u32,
}

fn messages(turn: &Turn) -> Vec<Value> {
    let mut said = turn.asked.clone();
    said.extend(turn.answer.as_ref().map(|text| json!({"role": "assistant", "content": text})));
    let last = said.len();
    for (index, message) in said.iter_mut().enumerate() {
        let answers = turn.answer.is_some() && index + 1 == last;
        let at = turn.ended_at.filter(|_| answers).unwrap_or(turn.created_at);
        if let Value::Object(fields) = message {
            let told: Map<String, Value> = [
                ("turn".to_owned(), turn.turn.into()),
                ("execution_id".to_owned(), turn.execution_id.to_string().into()),
                ("created_at".to_owned(), at.to_string().into()),
            ]
            .into_iter()
            .collect();
            fields.extend(told);
        }
    }
    said
}

impl From<ShownConversation> for WholeConversationView {
    fn from(shown: ShownConversation) -> Self {
        let mut execution_ids: Vec<String> = Vec::new();
        for turn in &shown.turns {
            let id = turn.execution_id.to_string();
            if !execution_ids.contains(&id) {
                execution_ids.push(id);
            }
        }
        let omitted = shown.turns.first().map_or(0, |first| first.turn.saturating_sub(1));
        Self {
            messages: shown.turns.iter().flat_map(messages).collect(),
            conversation: shown.conversation.into(),
            execution_ids,
            usage: shown.told.into(),
            omitted_turns: omitted,
        }
    }
}

/// List the conversations with a Core
///
/// Newest first, without what was said in them.
#[utoipa::path(
    tag = "conversations",
    operation_id = "list_conversations",
    params(("core_id" = kinds::CoreId, Path, description = "The Core"), PageParams),
    responses((status = 200, description = "A page of conversations", body = PageOf<ConversationView>))
)]
#[get("/v1/modules/scaicore/cores/{core_id}/conversations")]
pub(super) async fn list(
    caller: Allowed<perm::CoresView>,
    id: PathId<CoreId>,
    paging: Paging,
    app: web::Data<App>,
) -> Result<Listed<ConversationView>, Error> {
    app.require_core(caller.tenant_scope(), id.0).await?;
    let (page, seal) = paging.read("conversations", &id.0.to_string(), &Bounds::LIST)?;
    Ok(Listed::new(app.conversations(&caller, id.0, &page).await?, &seal))
}

/// Get a conversation
///
/// With what was said, which executions have answered, and what was used.
#[utoipa::path(
    tag = "conversations",
    operation_id = "get_conversation",
    params(("conversation_id" = kinds::ConversationId, Path, description = "The conversation")),
    responses((status = 200, description = "The conversation", body = DataOf<WholeConversationView>))
)]
#[get("/v1/modules/scaicore/conversations/{conversation_id}")]
pub(super) async fn get(
    caller: Allowed<perm::CoresView>,
    id: PathId<ConversationId>,
    app: web::Data<App>,
) -> Result<Reply<WholeConversationView>, Error> {
    Ok(Reply::ok(app.conversation(&caller, id.0).await?.into()))
}

/// Erase a conversation
///
/// With all that is kept of the executions that have answered in it: input, output, journal, checkpoints, events. Refused with
/// 409 while one of them goes on.
#[utoipa::path(
    tag = "conversations",
    operation_id = "erase_conversation",
    params(("conversation_id" = kinds::ConversationId, Path, description = "The conversation")),
    responses((status = 204, description = "It is gone"), (status = 409, response = Conflict))
)]
#[delete("/v1/modules/scaicore/conversations/{conversation_id}")]
pub(super) async fn erase(
    caller: Allowed<perm::CoresManage>,
    id: PathId<ConversationId>,
    origin: Origin,
    app: web::Data<App>,
) -> Result<NoContent, Error> {
    app.erase_conversation(&caller, &origin.context(), id.0).await?;
    Ok(NoContent)
}
