//! Answers that come bit by bit.

use std::pin::Pin;

use futures_util::stream::unfold;
use futures_util::{Stream, StreamExt as _};
use scaigrid_catalog::ModelSlug;
use scaigrid_outbound::models::{Part, Parts};
use scaigrid_scope::BackendId;
use serde_json::Value;

use super::ask::broken_off;
use super::call::{CallError, Used};
use super::spend::Spend;
use crate::CoreState;

/// A piece of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    /// What is new of the choices, as OpenAI's chat completions have it in their chunks.
    Choices(Vec<Value>),
    /// The last that is new of the choices, and how the conversation stands, where the model is a Core.
    Core(Vec<Value>, Box<CoreState>),
    /// The end, and what was used.
    End(Used),
}

/// An answer that comes bit by bit. Dropped before its end, the connection is closed.
pub struct Streaming {
    /// The model that answers.
    pub model: ModelSlug,
    /// The backend that does.
    pub backend_id: BackendId,
    /// The pieces. The last one is [`Piece::End`], or why there are no more.
    pub pieces: Pin<Box<dyn Stream<Item = Result<Piece, CallError>> + Send>>,
}

impl std::fmt::Debug for Streaming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Streaming").field("model", &self.model).finish_non_exhaustive()
    }
}

/// The answer whose first piece is there.
pub(super) fn of(spend: Spend, first: Part, rest: Parts) -> Streaming {
    let (model, backend_id) = (spend.model().clone(), spend.backend());
    let state = Some((spend, Some(first), rest));
    let pieces = unfold(state, |state| async move {
        let (mut spend, mut waiting, mut rest) = state?;
        loop {
            let part = match waiting.take() {
                Some(part) => Some(Ok(part)),
                None => rest.next().await,
            };
            match part {
                Some(Ok(Part::Choices(choices))) => {
                    spend.saw(&choices);
                    return Some((Ok(Piece::Choices(choices)), Some((spend, None, rest))));
                }
                Some(Ok(Part::Tokens(tokens))) => spend.reported(tokens),
                Some(Ok(Part::End)) => {
                    return Some((Ok(Piece::End(spend.completed().await)), None));
                }
                Some(Err(error)) => {
                    let error = broken_off(error, spend.model().as_str());
                    spend.failed().await;
                    return Some((Err(error), None));
                }
                None => return None,
            }
        }
    });
    Streaming { model, backend_id, pieces: Box::pin(pieces) }
}
