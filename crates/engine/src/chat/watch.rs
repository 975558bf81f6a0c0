//! Waiting for an execution on behalf of whoever has said something, and telling them what it says.

use std::sync::Arc;
use std::time::{Duration, Instant};

use scaigrid_bus::{Heard as Signalled, Listener, Signal};
use scaigrid_cores::conversation::TurnStatus;
use scaigrid_cores::execution::{ExecutionStatus, Standing};
use scaigrid_cores::publication::{TOKEN_EVENT, reply, rest_of, token};
use scaigrid_persistence::conversations::Told;
use scaigrid_persistence::{self as persistence, checkpoints, events};
use scaigrid_scope::{EventId, ExecutionId, Instant as Moment};
use tokio::sync::mpsc;

use super::ask::is_program;
use super::{Answer, Ask, Begun, CoreState, Heard, Question, WaitsFor, failed, status_of};
use crate::models::CallError;
use crate::{Engine, Error};

/// Without a signal, an execution is looked at this often.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Pieces that are read at once.
const PIECES: i64 = 200;

type Tell = mpsc::Sender<Result<Heard, CallError>>;

/// What was told in pieces.
#[derive(Default)]
struct Pieces {
    text: String,
    last: Option<EventId>,
}

impl Engine {
    /// Waits for what an execution says, writes it down, and tells it.
    pub(super) async fn watch(self, ask: Ask, begun: Begun, tell: Tell) {
        let mut pieces = Pieces::default();
        let (status, outcome) = match self.outcome(&ask, &begun, &tell, &mut pieces).await {
            Ok(Some((text, state))) => (status_of(&state), Ok((text, state))),
            // A program goes on without it, and so it ends. Who has taken the program over waits, or leaves, by themselves.
            Ok(None) if is_program(ask.caller) && !tell.is_closed() => {
                self.leave(vec![(ask.scope, begun.execution)]);
                (TurnStatus::Failed, Err(CallError::Timeout { model: ask.model.to_string() }))
            }
            // Nobody waits any more, and the execution goes on.
            Ok(None) => (TurnStatus::Running, Err(CallError::Timeout { model: ask.model.to_string() })),
            Err(error @ (CallError::Database(_) | CallError::Unavailable { .. })) => {
                (TurnStatus::Running, Err(error))
            }
            Err(error) => (TurnStatus::Failed, Err(error)),
        };
        let told = match self.used(ask.scope, begun.execution).await {
            Ok(told) => told,
            Err(error) => {
                tracing::warn!(%error, execution = %begun.execution, "what an execution has used cannot be read");
                Told::default()
            }
        };
        let (whole, state) = match outcome {
            Ok(outcome) => outcome,
            Err(error) => {
                if status == TurnStatus::Failed {
                    self.end_turn(&ask, &begun, status, None, told).await;
                }
                // An error is a caller who is gone.
                let _ = tell.send(Err(error)).await;
                return;
            }
        };
        let rest = rest_of(&pieces.text, &whole);
        let whole = if pieces.text.is_empty() { whole } else { format!("{}{rest}", pieces.text) };
        self.end_turn(&ask, &begun, status, Some(&whole), told).await;
        let answer = Answer { rest, whole, told, state };
        if tell.send(Ok(Heard::Answer(Box::new(answer)))).await.is_err() && status == TurnStatus::Answered {
            // Nobody took it: it is owed still.
            self.end_turn(&ask, &begun, TurnStatus::Running, None, Told::default()).await;
        }
    }

    /// What an execution says, or what it waits for; none when it has said nothing in time.
    async fn outcome(
        &self,
        ask: &Ask,
        begun: &Begun,
        tell: &Tell,
        pieces: &mut Pieces,
    ) -> Result<Option<(String, CoreState)>, CallError> {
        let mut listener = self.0.bus.listen();
        loop {
            let mut standing = self.glance(ask.scope, begun.execution).await;
            if standing.as_ref().is_ok_and(|standing| standing.execution.status.is_final()) {
                // What is large is read once, when it is told.
                standing = self.standing(ask.scope, begun.execution).await;
            }
            // What was said until then is told before the end is.
            self.tell_pieces(ask, begun, tell, pieces).await?;
            match standing {
                Ok(standing) => {
                    if let Some(outcome) = self.outcome_of(ask, begun, standing).await? {
                        return Ok(Some(outcome));
                    }
                }
                Err(Error::Database(error)) if error.is_passing() && Instant::now() < ask.until => {
                    tracing::debug!(%error, "an execution cannot be looked at just now");
                }
                Err(Error::Database(error)) => return Err(error.into()),
                Err(error) => {
                    return Err(CallError::Failed {
                        model: ask.model.to_string(),
                        reason: error.to_string(),
                        status: None,
                    });
                }
            }
            let left = ask.until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            // Whether a signal came or the time is up, one looks.
            let _ = tokio::time::timeout(left.min(LOOK_EVERY), moved(&mut listener, begun.execution)).await;
        }
    }

    async fn outcome_of(
        &self,
        ask: &Ask,
        begun: &Begun,
        Standing { execution, checkpoints }: Standing,
    ) -> Result<Option<(String, CoreState)>, CallError> {
        let state =
            |waits_for| CoreState { conversation: begun.conversation, execution: begun.execution, waits_for };
        match execution.status {
            ExecutionStatus::Completed => {
                let text = execution.output.as_ref().map(reply).unwrap_or_default();
                Ok(Some((text, state(Vec::new()))))
            }
            ExecutionStatus::Failed => {
                let error = execution.error.map(|error| error.to_json()).unwrap_or_default();
                let text = |name: &str| error[name].as_str().filter(|_| ask.is_at_home());
                let code = error["code"].as_str().unwrap_or("INTERNAL_ERROR");
                Err(failed(&ask.model, code, text("message")))
            }
            ExecutionStatus::Cancelled => Err(CallError::Failed {
                model: ask.model.to_string(),
                reason: "its execution was cancelled".to_owned(),
                status: None,
            }),
            _ if !checkpoints.is_empty() && ask.is_told_of_people() => {
                let waits_for = self.waits_for(ask, begun.execution, &checkpoints).await?;
                // Somebody has decided in this moment: one looks again.
                if waits_for.is_empty() {
                    return Ok(None);
                }
                Ok(Some((waiting(begun.waited, &waits_for), state(waits_for))))
            }
            _ => {
                let hosted = self.hosted(ask.scope, ask.core).await;
                let runs = hosted.is_ok_and(|hosted| hosted.core.status.can_run());
                // What cannot go on is not waited for.
                if runs {
                    Ok(None)
                } else {
                    Err(CallError::Unavailable { model: ask.model.to_string(), retry_after: None })
                }
            }
        }
    }

    async fn waits_for(
        &self,
        ask: &Ask,
        execution: ExecutionId,
        pending: &[scaigrid_scope::CheckpointId],
    ) -> Result<Vec<WaitsFor>, persistence::Error> {
        let mut connection = self.0.database.read().await?;
        let mut found = Vec::new();
        for id in pending.iter().take(20) {
            let Some(stored) = checkpoints::lookup(&mut connection, ask.scope, *id).await? else { continue };
            let question = stored.checkpoint.question;
            let about = ask.is_at_home().then_some(Question {
                checkpoint_type: question.checkpoint_type,
                prompt: question.prompt,
                options: question.options,
                assignee: question.routing.raw,
            });
            let expires_at = question.expiry.map(|expiry| expiry.at);
            found.push(WaitsFor { checkpoint: *id, about, expires_at });
        }
        tracing::debug!(%execution, checkpoints = found.len(), "a conversation waits for people");
        Ok(found)
    }

    /// Tells the pieces of the answer that the flow has emitted since.
    async fn tell_pieces(
        &self,
        ask: &Ask,
        begun: &Begun,
        tell: &Tell,
        pieces: &mut Pieces,
    ) -> Result<(), CallError> {
        if !ask.streamed {
            return Ok(());
        }
        loop {
            let mut connection = self.0.database.read().await?;
            let of = (ask.core, begun.execution, TOKEN_EVENT);
            let after = pieces.last.unwrap_or_else(|| events::before(begun.execution));
            let found = events::of_execution(&mut connection, ask.scope, of, after, PIECES).await?;
            drop(connection);
            let more = i64::try_from(found.len()) == Ok(PIECES);
            for event in found {
                pieces.last = Some(event.id);
                if begun.since.is_some_and(|since: Moment| event.at <= since) {
                    continue;
                }
                let Some(text) = token(&event.data).filter(|text| !text.is_empty()) else { continue };
                pieces.text.push_str(&text);
                // An error is a caller who is gone; the answer is written down all the same.
                let _ = tell.send(Ok(Heard::Text(Arc::clone(&text)))).await;
            }
            if !more {
                return Ok(());
            }
        }
    }
}

/// Waits until an execution may have moved.
async fn moved(listener: &mut Listener, id: ExecutionId) {
    loop {
        match listener.next().await {
            Signalled::Signal(Signal::ExecutionMoved(moved)) if moved == id => break,
            Signalled::Missed => break,
            Signalled::Signal(_) => {}
            Signalled::Closed => std::future::pending().await,
        }
    }
}

/// What is said while people are waited for.
fn waiting(still: bool, waits_for: &[WaitsFor]) -> String {
    let mut text = String::from(if still {
        "This still waits for a decision."
    } else {
        "This needs a decision before it can go on."
    });
    for WaitsFor { checkpoint, about, .. } in waits_for {
        let prompt = about.as_ref().map(|about| about.prompt.trim()).unwrap_or_default();
        let by = about.as_ref().map(|about| about.assignee.as_deref().unwrap_or("the tenant's admins"));
        if !prompt.is_empty() {
            text.push_str("\n\n");
            text.push_str(prompt);
        }
        text.push_str("\n\nCheckpoint ");
        text.push_str(&checkpoint.to_string());
        if let Some(by) = by {
            text.push_str(", to be decided by ");
            text.push_str(by);
        }
        text.push('.');
    }
    text.push_str("\n\nOnce it is decided, ask again in this conversation to get the answer.");
    text
}
