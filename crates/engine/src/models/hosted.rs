//! Published Cores as what answers for models.

use std::sync::Arc;
use std::time::Instant;

use futures_util::stream::unfold;
use scaigrid_catalog::{Backend, Model};
use scaigrid_cores::conversation::Caller;
use scaigrid_scope::{CoreId, Level, TenantScope};
use serde_json::{Value, json};

use super::Models;
use super::call::{CallError, Completion, ModelCall, Unanswered};
use super::spend::Spend;
use super::streaming::{Piece, Streaming};
use crate::Engine;
use crate::chat::{Answer, Ask, CoreState, Heard, Hearing, PATIENCE, key_of};

/// Why an answer ends that is one.
const STOP: &str = "stop";
/// Why an answer ends that says that a person is waited for.
const CHECKPOINT: &str = "checkpoint";

impl Models {
    /// Says something to a Core.
    pub(super) async fn ask_core(
        &self,
        scope: TenantScope,
        call: &ModelCall,
        model: &Model,
        (backend, core): (&Backend, CoreId),
        streamed: bool,
    ) -> Result<Hearing, CallError> {
        let unavailable = || CallError::Unavailable { model: model.slug.to_string(), retry_after: None };
        let Level::Tenant(tenant) = backend.owner else { return Err(unavailable()) };
        let engine = Engine(self.0.engine.upgrade().ok_or_else(unavailable)?);
        let asking = &call.asking;
        let (caller, key) = match (asking.execution_id, asking.effect, asking.user_id) {
            // Made once more after a crash, it is the same call, and has the same answer. It is the execution that asks, also
            // where that acts for a user.
            (Some(id), Some(effect), _) => (Caller::Execution(id), Some(key_of(id, effect))),
            (_, _, Some(user)) => (Caller::User(user), call.thread.conversation.clone()),
            _ => return Err(CallError::rejected("nobody asks")),
        };
        let ask = Ask {
            scope: engine.0.system.tenant(tenant),
            core,
            model: model.slug.as_str().into(),
            from: scope,
            caller,
            key,
            entity: call.thread.entity.clone(),
            messages: Arc::new(call.messages.clone()),
            in_doubt: asking.in_doubt,
            streamed,
            until: Instant::now() + call.timeout.unwrap_or(PATIENCE),
        };
        engine.chat(ask).await
    }
}

fn broken_off(spend: &Spend) -> CallError {
    let model = spend.model().to_string();
    CallError::Failed { model, reason: "the answer broke off".to_owned(), status: None }
}

fn reason(answer: &Answer) -> &'static str {
    if answer.state.waits_for.is_empty() { STOP } else { CHECKPOINT }
}

/// Waits for the whole of a Core's answer: its one choice, and how the conversation stands.
pub(super) async fn whole(
    mut spend: Spend,
    mut hearing: Hearing,
) -> Result<(Spend, Value, CoreState), Unanswered> {
    let error = loop {
        match hearing.recv().await {
            Some(Ok(Heard::Text(_))) => {}
            Some(Ok(Heard::Answer(answer))) => {
                let message = json!({"role": "assistant", "content": answer.whole});
                let choice = json!({"index": 0, "message": message, "logprobs": null, "finish_reason": reason(&answer)});
                spend.told(answer.told);
                return Ok((spend, choice, answer.state));
            }
            Some(Err(error)) => break error,
            None => break broken_off(&spend),
        }
    };
    let used = spend.failed().await;
    Err(Unanswered { error, used })
}

/// The whole of a Core's answer, settled.
pub(super) async fn completion(spend: Spend, hearing: Hearing) -> Result<Completion, CallError> {
    let (spend, choice, state) = whole(spend, hearing).await?;
    let (model, backend_id) = (spend.model().clone(), spend.backend());
    let used = spend.completed().await;
    Ok(Completion { model, backend_id, choices: vec![choice], used, core: Some(state) })
}

fn delta(delta: &Value, reason: Option<&str>) -> Vec<Value> {
    vec![json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": reason})]
}

/// How far a streamed answer has come.
enum Stage {
    Begins(Spend, Hearing),
    GoesOn(Spend, Hearing),
    Ends(Spend),
}

/// A Core's answer, while it comes.
pub(super) fn streaming(spend: Spend, hearing: Hearing) -> Streaming {
    let (model, backend_id) = (spend.model().clone(), spend.backend());
    let pieces = unfold(Some(Stage::Begins(spend, hearing)), |stage| async move {
        match stage? {
            Stage::Begins(spend, hearing) => {
                let first = delta(&json!({"role": "assistant", "content": ""}), None);
                Some((Ok(Piece::Choices(first)), Some(Stage::GoesOn(spend, hearing))))
            }
            Stage::GoesOn(mut spend, mut hearing) => match hearing.recv().await {
                Some(Ok(Heard::Text(text))) => {
                    let piece = delta(&json!({"content": &*text}), None);
                    spend.saw(&piece);
                    Some((Ok(Piece::Choices(piece)), Some(Stage::GoesOn(spend, hearing))))
                }
                Some(Ok(Heard::Answer(answer))) => {
                    spend.told(answer.told);
                    let rest =
                        if answer.rest.is_empty() { json!({}) } else { json!({"content": answer.rest}) };
                    let last = delta(&rest, Some(reason(&answer)));
                    Some((Ok(Piece::Core(last, Box::new(answer.state))), Some(Stage::Ends(spend))))
                }
                Some(Err(error)) => {
                    spend.failed().await;
                    Some((Err(error), None))
                }
                None => {
                    let error = broken_off(&spend);
                    spend.failed().await;
                    Some((Err(error), None))
                }
            },
            Stage::Ends(spend) => Some((Ok(Piece::End(spend.completed().await)), None)),
        }
    });
    Streaming { model, backend_id, pieces: Box::pin(pieces) }
}
