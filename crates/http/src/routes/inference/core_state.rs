//! How a conversation with a published Core stands, beside what was answered.

use scaigrid_app::catalog::{CoreState, WaitsFor};
use serde::Serialize;
use utoipa::ToSchema;

/// A checkpoint that a conversation waits at.
#[derive(Debug, Serialize, ToSchema)]
pub(in super::super) struct WaitsForView {
    /// The checkpoint.
    id: String,
    /// Where it is read, and decided with `/resolve` behind it, by those who may.
    #[schema(example = "/v1/modules/scaicore/checkpoints/0197d17f-9740-0000-0000-00000000000a")]
    url: String,
    /// Its kind, as the program calls it. This, the question, the options and the assignee are told to callers of the Core's
    /// own tenant only.
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint_type: Option<String>,
    /// The question.
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt: Option<String>,
    /// The answers to choose from.
    #[serde(skip_serializing_if = "Option::is_none")]
    options: Option<Vec<String>>,
    /// Who decides; left out where the tenant's admins look after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    assignee: Option<String>,
    /// When time is up for it (RFC 3339, UTC).
    #[schema(required = true)]
    expires_at: Option<String>,
}

/// How a conversation with a published Core stands.
#[derive(Debug, Serialize, ToSchema)]
pub(in super::super) struct CoreStateView {
    /// The conversation. Named in `metadata.conversation_id`, it goes on.
    #[schema(example = "conv_01JZ8QZ5T0000000000000000A")]
    conversation_id: String,
    /// The execution that answers.
    execution_id: String,
    /// `completed`, or `waiting` for people.
    status: &'static str,
    /// What it waits for.
    checkpoints: Vec<WaitsForView>,
}

impl From<WaitsFor> for WaitsForView {
    fn from(waits: WaitsFor) -> Self {
        let (mut checkpoint_type, mut prompt, mut options, mut assignee) = (None, None, None, None);
        if let Some(about) = waits.about {
            checkpoint_type = Some(about.checkpoint_type);
            prompt = Some(about.prompt);
            options = Some(about.options);
            assignee = about.assignee;
        }
        Self {
            id: waits.checkpoint.to_string(),
            url: format!("/v1/modules/scaicore/checkpoints/{}", waits.checkpoint),
            checkpoint_type,
            prompt,
            options,
            assignee,
            expires_at: waits.expires_at.map(|at| at.to_string()),
        }
    }
}

impl From<CoreState> for CoreStateView {
    fn from(state: CoreState) -> Self {
        Self {
            conversation_id: state.conversation.to_string(),
            execution_id: state.execution.to_string(),
            status: if state.waits_for.is_empty() { "completed" } else { "waiting" },
            checkpoints: state.waits_for.into_iter().map(Into::into).collect(),
        }
    }
}
