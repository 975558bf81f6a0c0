//! What is asked of a model, what it answers, and why it does not.

use std::sync::Arc;
use std::time::Duration;

use rust_decimal::Decimal;
use scaigrid_catalog::{InvalidSlug, ModelSlug};
use scaigrid_ir::Module;
use scaigrid_persistence as persistence;
use scaigrid_runtime::{EffectId, Expense, Failure, ModelAnswer, ModelCallRequest};
use scaigrid_scope::{BackendId, ExecutionId, UserId};
use serde_json::{Map, Value, json};

use crate::{CoreState, HostedCore};

/// Who asks.
#[derive(Debug, Clone, Default)]
pub struct Asking {
    /// The user; none for a Core that acts for its tenant.
    pub user_id: Option<UserId>,
    /// The Core. Its limits bound the call, and its environment has the secrets that backends name.
    pub core: Option<Arc<HostedCore>>,
    /// The Core's execution.
    pub execution_id: Option<ExecutionId>,
    /// Which of the execution's calls it is, by its effect.
    pub effect: Option<EffectId>,
    /// Whether the call may have been made before, by a node that died, and be answered already.
    pub in_doubt: bool,
    /// Whether the program has a budget for it, so that all attempts together keep within the call's bounds.
    pub budgeted: bool,
}

/// What a call says of the conversation that it belongs to, for models that are Cores.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Thread {
    /// What the caller names the conversation by: its id, or a name of their own.
    pub conversation: Option<String>,
    /// Whom it is about: the key of the instance of Cores that have one for each entity.
    pub entity: Option<String>,
}

/// What is asked of a model.
#[derive(Debug, Clone)]
pub struct ModelCall {
    /// The model, by its slug. Others are asked where those before them do not answer.
    pub models: Vec<ModelSlug>,
    /// The messages, as OpenAI's chat completions have them.
    pub messages: Vec<Value>,
    /// The other parameters, by the names that OpenAI's chat completions have for them; without `model`, `messages`,
    /// `stream` and `stream_options`.
    pub params: Map<String, Value>,
    /// The most tokens that the answer may have.
    pub max_output_tokens: Option<u64>,
    /// The most that the call may cost, in the currency of the catalogue's prices.
    pub max_cost: Option<Decimal>,
    /// How long one attempt may take to begin its answer, and for each further piece of it; where absent, what the backend
    /// says, or a minute.
    pub timeout: Option<Duration>,
    /// Who asks.
    pub asking: Asking,
    /// The conversation that it belongs to.
    pub thread: Thread,
}

impl ModelCall {
    /// The call that an effect of a Core's program asks for.
    ///
    /// # Errors
    /// [`CallError::NotFound`] when the module has no such role, or a model of it has a name that none can have;
    /// [`CallError::Rejected`] when the messages are none.
    pub fn of_core(request: &ModelCallRequest, module: &Module, asking: Asking) -> Result<Self, CallError> {
        let declared = module.models.iter().find(|model| model.role == request.role);
        let declared = declared.ok_or_else(|| CallError::NotFound { model: request.role.to_string() })?;
        let named = |provider: &str, model: &str| {
            let slug: Result<_, InvalidSlug> = ModelSlug::of_provider(provider, model);
            slug.map_err(|_| CallError::NotFound { model: model.to_owned() })
        };
        let mut models = vec![named(&declared.provider, &declared.model)?];
        for (provider, model) in &declared.fallback {
            models.push(named(provider, model)?);
        }
        // With what the role says before them: the machine has put it there.
        let Value::Array(messages) = request.messages.to_json() else {
            return Err(CallError::rejected("the messages are no array"));
        };
        let mut params = match request.params.to_json() {
            Value::Object(params) => params,
            _ => Map::new(),
        };
        for reserved in ["model", "messages", "stream", "stream_options"] {
            params.remove(reserved);
        }
        if let Some(temperature) = declared.temperature {
            params.entry("temperature").or_insert_with(|| json!(temperature));
        }
        if let Some(schema) = &request.schema {
            let schema = json!({"name": "answer", "schema": schema.to_json()});
            params.insert("response_format".into(), json!({"type": "json_schema", "json_schema": schema}));
        }
        let max_cost = request.max_cost.as_ref().and_then(|cost| match cost {
            scaigrid_ir::Value::Money(cost) => Some(*cost),
            scaigrid_ir::Value::Int(cost) => Some(Decimal::from(*cost)),
            other => match other.to_json() {
                Value::String(text) => scaigrid_catalog::price::decimal(&text),
                Value::Number(number) => scaigrid_catalog::price::decimal(&number.to_string()),
                _ => None,
            },
        });
        Ok(Self {
            models,
            messages,
            params,
            max_output_tokens: request.max_output_tokens,
            max_cost,
            timeout: request.timeout,
            asking,
            thread: Thread::default(),
        })
    }
}

/// What was used by a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Used {
    /// Tokens read.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// What it cost, in the currency of the catalogue's prices.
    pub cost: Decimal,
}

impl Used {
    /// Both together.
    #[must_use]
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.saturating_add(other.input_tokens),
            output_tokens: self.output_tokens.saturating_add(other.output_tokens),
            cost: self.cost.saturating_add(other.cost),
        }
    }

    /// As the machine counts it against a program's budgets; none where nothing was used.
    fn to_expense(self) -> Option<Box<Expense>> {
        let tokens = self.input_tokens.saturating_add(self.output_tokens);
        (self != Self::default()).then(|| Box::new(Expense { tokens, cost: self.cost }))
    }
}

/// Why there is no answer, and what was used all the same: by models that were asked in vain, and answers that broke off.
#[derive(Debug)]
pub(crate) struct Unanswered {
    pub(crate) error: CallError,
    pub(crate) used: Used,
}

impl Unanswered {
    /// As [`CallError::to_failure`], with what was used.
    pub(crate) fn to_failure(&self) -> Option<Failure> {
        let failure = self.error.to_failure()?;
        Some(Failure { spent: self.used.to_expense(), ..failure })
    }
}

impl From<CallError> for Unanswered {
    fn from(error: CallError) -> Self {
        Self { error, used: Used::default() }
    }
}

impl From<persistence::Error> for Unanswered {
    fn from(error: persistence::Error) -> Self {
        CallError::from(error).into()
    }
}

impl From<Unanswered> for CallError {
    fn from(unanswered: Unanswered) -> Self {
        unanswered.error
    }
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// The model that has answered.
    pub model: ModelSlug,
    /// The backend that has.
    pub backend_id: BackendId,
    /// The choices, as OpenAI's chat completions have them. Never empty.
    pub choices: Vec<Value>,
    /// What was used.
    pub used: Used,
    /// How the conversation stands, where the model is a Core.
    pub core: Option<CoreState>,
}

impl Completion {
    /// The answer as programs get it.
    pub fn into_answer(self) -> ModelAnswer {
        let first = self.choices.first().cloned().unwrap_or_default();
        let content = match &first["message"]["content"] {
            Value::String(text) => text.clone(),
            _ => String::new(),
        };
        ModelAnswer {
            content: content.into(),
            model: self.model.as_str().into(),
            finish_reason: first["finish_reason"].as_str().unwrap_or("stop").into(),
            input_tokens: self.used.input_tokens,
            output_tokens: self.used.output_tokens,
            cost: self.used.cost,
        }
    }
}

/// Why a model does not answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// There is no such model, or none that the tenant sees.
    #[error("there is no model {model}")]
    NotFound {
        /// What it was asked for by.
        model: String,
    },
    /// No backend of it can be asked now, or none is left that has not failed.
    #[error("the model {model} cannot be reached just now")]
    Unavailable {
        /// The model.
        model: String,
        /// When it is worth trying again.
        retry_after: Option<Duration>,
    },
    /// Its backends ask for fewer calls.
    #[error("the model {model} is asked too often just now")]
    Busy {
        /// The model.
        model: String,
        /// When it is worth trying again.
        retry_after: Option<Duration>,
    },
    /// No answer in time.
    #[error("the model {model} does not answer in time")]
    Timeout {
        /// The model.
        model: String,
    },
    /// A backend has failed, or what it says is no answer.
    #[error("the model {model} failed: {reason}")]
    Failed {
        /// The model.
        model: String,
        /// In which way. Says nothing of where the backend is.
        reason: String,
        /// The status that it answered with, if it did.
        status: Option<u16>,
    },
    /// The call itself is wrong: the model says so, or it cannot be made.
    #[error("the model does not take the call: {reason}")]
    Rejected {
        /// What is wrong.
        reason: String,
    },
    /// What the tenant, the Core or the call may spend does not reach for it.
    #[error("the budget of {of} is used up")]
    BudgetExceeded {
        /// Whose budget.
        of: &'static str,
    },
    /// The model is a Core, and too many Cores have asked each other already; or it would have to wait for itself.
    #[error("the model {model} cannot be asked: too many Cores ask each other, or in a circle")]
    TooDeep {
        /// The model.
        model: String,
    },
    /// The database.
    #[error(transparent)]
    Database(#[from] persistence::Error),
}

impl CallError {
    pub(crate) fn rejected(reason: impl Into<String>) -> Self {
        Self::Rejected { reason: reason.into() }
    }

    /// The failure that a program can catch; none where it is the platform that has failed, and the call is to be made
    /// again.
    pub fn to_failure(&self) -> Option<Failure> {
        let code = match self {
            Self::NotFound { .. } => "MODEL_NOT_FOUND",
            Self::Unavailable { .. } | Self::Busy { .. } => "MODEL_UNAVAILABLE",
            Self::Timeout { .. } => "MODEL_TIMEOUT",
            Self::Failed { .. } | Self::Rejected { .. } => "MODEL_ERROR",
            Self::BudgetExceeded { .. } => "BUDGET_EXCEEDED",
            Self::TooDeep { .. } => "CALL_DEPTH_EXCEEDED",
            Self::Database(_) => return None,
        };
        Some(Failure::new(code, self.to_string()))
    }

    /// Whether another model may do better.
    pub(crate) const fn is_of_the_model(&self) -> bool {
        !matches!(
            self,
            Self::Rejected { .. } | Self::BudgetExceeded { .. } | Self::TooDeep { .. } | Self::Database(_)
        )
    }
}
