//! Calling models.

use std::pin::Pin;

use async_recursion::async_recursion as boxed;
use futures_util::{Stream, StreamExt as _};
use scaigrid_catalog::ModelSlug;
use scaigrid_engine::{Asking, CallError, Completion, EmbedCall, Embedded, ModelCall, Piece};
use scaigrid_scope::{Authorized, perm};

use crate::{App, Error, Resource};

impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        match error {
            CallError::NotFound { .. } => Self::NotFound(Resource::Model),
            CallError::Unavailable { model, retry_after } => Self::ModelUnavailable { model, retry_after },
            CallError::Busy { model, retry_after } => Self::BackendRateLimited { model, retry_after },
            CallError::Timeout { model } => Self::BackendTimeout { model },
            CallError::TooDeep { model } => {
                Self::BackendFailed { model, reason: "too many Cores ask each other, or in a circle".into() }
            }
            CallError::Failed { model, reason, .. } => Self::BackendFailed { model, reason },
            CallError::Rejected { reason } => {
                Self::invalid("body", format!("is not taken by the model: {reason}"))
            }
            CallError::BudgetExceeded { of } => Self::BudgetExceeded { of },
            CallError::Database(error) => error.into(),
        }
    }
}

/// An answer that comes bit by bit. Dropped before its end, the connection to the model is closed.
pub struct ModelPieces {
    /// The model that answers.
    pub model: ModelSlug,
    /// The pieces. The last one is [`Piece::End`], or why there are no more.
    pub pieces: Pin<Box<dyn Stream<Item = Result<Piece, Error>> + Send>>,
}

impl std::fmt::Debug for ModelPieces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ModelPieces").field("model", &self.model).finish_non_exhaustive()
    }
}

fn of_caller(caller: &Authorized<perm::ModelsUse>, call: ModelCall) -> ModelCall {
    let asking = Asking { user_id: Some(caller.user_id()), ..Asking::default() };
    ModelCall { asking, ..call }
}

impl App {
    /// Asks a model for a whole answer. What is asked is in nobody's name but the caller's.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a model that the tenant's callers do not see, and why it does not answer.
    #[boxed]
    pub async fn chat(
        &self,
        caller: &Authorized<perm::ModelsUse>,
        call: ModelCall,
    ) -> Result<Completion, Error> {
        Ok(self.0.engine.models().chat(caller.tenant_scope(), of_caller(caller, call)).await?)
    }

    /// Has vectors made of texts.
    ///
    /// # Errors
    /// As [`App::chat`]; and where the model makes no vectors.
    #[boxed]
    pub async fn embed(
        &self,
        caller: &Authorized<perm::ModelsUse>,
        call: EmbedCall,
    ) -> Result<Embedded, Error> {
        let asking = Asking { user_id: Some(caller.user_id()), ..Asking::default() };
        let call = EmbedCall { asking, ..call };
        Ok(self.0.engine.models().embed(caller.tenant_scope(), call).await?)
    }

    /// Asks a model for an answer bit by bit.
    ///
    /// # Errors
    /// As [`App::chat`], until it begins.
    #[boxed]
    pub async fn chat_in_pieces(
        &self,
        caller: &Authorized<perm::ModelsUse>,
        call: ModelCall,
    ) -> Result<ModelPieces, Error> {
        let scope = caller.tenant_scope();
        let begun = self.0.engine.models().stream(scope, of_caller(caller, call)).await?;
        let pieces = begun.pieces.map(|piece| piece.map_err(Error::from));
        Ok(ModelPieces { model: begun.model, pieces: Box::pin(pieces) })
    }
}
