//! Conversations with published Cores: what is said becomes an execution of the Core's flow, and what that returns is the
//! answer.
//!
//! Everything that is said is written down before it is worked at, and every answer before it is told. So a conversation goes
//! on where it was, on any node, after whatever happened: who asks the same again gets the answer that is owed, and so does
//! who goes on talking after having been told that the Core waits for a person. Nobody who leaves tears an execution: it goes
//! on to its end or to the next person, as it would have. Only what a program has asked ends where the program waits no
//! longer, like everything else that it has called.

mod ask;
mod leave;
mod turn;
mod watch;

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rust_decimal::Decimal;
use scaigrid_cores::conversation::{Caller, TurnStatus};
use scaigrid_persistence::conversations::Told;
use scaigrid_runtime::EffectId;
use scaigrid_scope::{CheckpointId, ConversationId, CoreId, ExecutionId, Instant as Moment, TenantScope};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::Engine;
use crate::models::CallError;

/// How long a Core may take for an answer, where the call does not say.
pub(crate) const PATIENCE: Duration = Duration::from_mins(5);
/// Pieces of an answer that wait for whoever reads them.
const WAITING: usize = 64;
/// When a Core is worth asking again that could not take what was said on the platform's side.
const SOON: Duration = Duration::from_secs(5);

/// What is said to a published Core.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    /// The tenant of the Core.
    pub(crate) scope: TenantScope,
    /// The Core.
    pub(crate) core: CoreId,
    /// What it is called in the catalogue.
    pub(crate) model: Arc<str>,
    /// The tenant that the caller acts in.
    pub(crate) from: TenantScope,
    /// Who asks.
    pub(crate) caller: Caller,
    /// What they name the conversation by.
    pub(crate) key: Option<String>,
    /// Whom it is about.
    pub(crate) entity: Option<String>,
    /// The conversation so far.
    pub(crate) messages: Arc<Vec<Value>>,
    /// Whether a program may have said it before, on a node that died.
    pub(crate) in_doubt: bool,
    /// Whether the answer is wanted piece by piece.
    pub(crate) streamed: bool,
    /// Until when is waited.
    pub(crate) until: Instant,
}

impl Ask {
    /// Whether a person asks, or a program of somebody else's: they are told that a person is waited for. A Core that asks a
    /// model waits itself.
    const fn is_told_of_people(&self) -> bool {
        matches!(self.caller, Caller::User(_))
    }

    /// Whether the caller is of the Core's own tenant, and may hear what goes on in it.
    fn is_at_home(&self) -> bool {
        self.from.tenant_id() == self.scope.tenant_id()
    }
}

/// What is heard of a Core's answer.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A piece of its text.
    Text(Arc<str>),
    /// The rest. Nothing comes after it.
    Answer(Box<Answer>),
}

/// The end of an answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// What was not told in pieces.
    pub(crate) rest: String,
    /// All of it.
    pub(crate) whole: String,
    /// What was used for it.
    pub(crate) told: Told,
    /// How the conversation stands.
    pub(crate) state: CoreState,
}

/// Where what is heard comes from. The last thing is [`Heard::Answer`], or why there is none.
pub(crate) type Hearing = mpsc::Receiver<Result<Heard, CallError>>;

/// How a conversation with a published Core stands after an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoreState {
    /// The conversation.
    pub conversation: ConversationId,
    /// The execution that answers. Of the Core's own tenant.
    pub execution: ExecutionId,
    /// What it waits for; where that is nothing, the answer is the flow's.
    pub waits_for: Vec<WaitsFor>,
}

/// A checkpoint that a conversation waits at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitsFor {
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// What is to be decided; for callers of the Core's own tenant only.
    pub about: Option<Question>,
    /// When time is up for it.
    pub expires_at: Option<Moment>,
}

/// What is to be decided, and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Its kind, as the program calls it.
    pub checkpoint_type: String,
    /// The question.
    pub prompt: String,
    /// The answers to choose from; any where empty.
    pub options: Vec<String>,
    /// Who decides, as the program or whoever handed it on has put it; none where the tenant's admins look after it.
    pub assignee: Option<String>,
}

/// A turn that was begun: what an execution's answer belongs to.
#[derive(Debug, Clone)]
struct Begun {
    conversation: ConversationId,
    turn: u32,
    execution: ExecutionId,
    /// What was told before in the same matter, and must not be told in pieces again.
    since: Option<Moment>,
    /// Whether it was told before that a person is waited for.
    waited: bool,
    /// What was told before in this turn of what was used.
    before: Told,
}

impl Engine {
    /// Says something to a published Core. Where it takes it, what is said is durable, and the answer comes.
    ///
    /// In a box: an execution that asks a Core is within what drives executions.
    ///
    /// # Errors
    /// The Core takes no work, what is said does not fit its flow, or the database.
    pub(crate) fn chat(
        &self,
        ask: Ask,
    ) -> Pin<Box<dyn Future<Output = Result<Hearing, CallError>> + Send + '_>> {
        Box::pin(async move {
            let begun = self.begin_chat(&ask).await?;
            let (tell, hearing) = mpsc::channel(WAITING);
            let engine = self.clone();
            // By a task of its own: who hangs up does not keep the answer from being written down.
            self.0.runtime.spawn(async move { engine.watch(ask, begun, tell).await });
            Ok(hearing)
        })
    }
}

/// What a program's call of a published Core is named by: the same for each attempt, and for none but this call.
pub(crate) fn key_of(asking: ExecutionId, effect: EffectId) -> String {
    format!("{asking}:{}", effect.0)
}

/// What an execution has used, together with those that it has started or asked.
const fn told_of((input_tokens, output_tokens, cost): (u64, u64, Decimal)) -> Told {
    Told { input_tokens, output_tokens, cost }
}

/// Whether a turn that ends so has been answered.
const fn status_of(state: &CoreState) -> TurnStatus {
    if state.waits_for.is_empty() { TurnStatus::Answered } else { TurnStatus::Waiting }
}

/// What a program's execution that has failed means for whoever asked.
fn failed(model: &str, code: &str, message: Option<&str>) -> CallError {
    let model = model.to_owned();
    match code {
        "CALL_DEPTH_EXCEEDED" => CallError::TooDeep { model },
        "BUDGET_EXCEEDED" => CallError::BudgetExceeded { of: "the Core, or its tenant," },
        "MODEL_UNAVAILABLE" => CallError::Unavailable { model, retry_after: None },
        _ => {
            let reason = match message {
                Some(message) => format!("its program failed with {code}: {message}"),
                None => format!("its program failed with {code}"),
            };
            CallError::Failed { model, reason, status: None }
        }
    }
}

/// What keeps a Core from taking what is said, for whoever asked.
fn refused(model: &str, error: crate::Error) -> CallError {
    use crate::Error as E;
    let name = model.to_owned();
    match error {
        E::Database(error) => CallError::Database(error),
        E::NoCore | E::NotRunning(_) | E::Contended | E::ShuttingDown => {
            CallError::Unavailable { model: name, retry_after: None }
        }
        E::InstancesFull(_) => CallError::Busy { model: name, retry_after: Some(Duration::from_secs(1)) },
        E::QueueFull { .. } => CallError::Busy { model: name, retry_after: Some(SOON) },
        E::Storage(reason) => {
            tracing::warn!(
                reason,
                model,
                "a published Core cannot be asked: the object store does not take it"
            );
            CallError::Unavailable { model: name, retry_after: Some(SOON) }
        }
        E::EntityKey(problem) => CallError::rejected(format!(
            "metadata.entity_id, or user, {problem}: it is the {} of the Core's instances",
            problem.field()
        )),
        E::Start(failure) => CallError::rejected(format!("{}: {}", failure.code, failure.message)),
        other => {
            tracing::info!(error = %other, model, "a published Core cannot answer");
            CallError::Failed { model: name, reason: "its program cannot be run".to_owned(), status: None }
        }
    }
}
