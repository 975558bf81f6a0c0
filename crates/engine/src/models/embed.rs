//! Vectors of texts: texts that mean alike have vectors of like directions, if they are of the same model.

use async_recursion::async_recursion as boxed;
use scaigrid_catalog::echo::{DIMENSIONS, MOST_DIMENSIONS};
use scaigrid_catalog::usage::estimate;
use scaigrid_catalog::{Backend, Model, ModelSlug, echo};
use scaigrid_outbound::models::{Tokens, Vectors};
use scaigrid_scope::{BackendId, TenantScope};
use serde_json::{Map, Value, json};

use super::Models;
use super::ask::{Answered, Manner};
use super::call::{Asking, CallError, ModelCall, Thread, Used};

/// Texts whose vectors are wanted.
#[derive(Debug, Clone)]
pub struct EmbedCall {
    /// The model, by its slug.
    pub model: ModelSlug,
    /// The texts; at least one.
    pub texts: Vec<String>,
    /// How many components the vectors are to have, where the model lets one choose.
    pub dimensions: Option<u64>,
    /// Who asks.
    pub asking: Asking,
}

/// Vectors of texts.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedded {
    /// The model that has made them.
    pub model: ModelSlug,
    /// The backend that has.
    pub backend_id: BackendId,
    /// A vector for each text, in their order.
    pub vectors: Vec<Vec<f32>>,
    /// What was used.
    pub used: Used,
}

impl Models {
    /// Has vectors made of texts, in one call.
    ///
    /// # Errors
    /// Why there are none.
    #[boxed]
    pub async fn embed(&self, scope: TenantScope, call: EmbedCall) -> Result<Embedded, CallError> {
        let mut params = Map::new();
        params.extend(call.dimensions.map(|dimensions| ("dimensions".to_owned(), json!(dimensions))));
        let call = ModelCall {
            models: vec![call.model],
            messages: call.texts.into_iter().map(Value::String).collect(),
            params,
            max_output_tokens: None,
            max_cost: None,
            timeout: None,
            asking: call.asking,
            thread: Thread::default(),
        };
        let (mut spend, answered) = self.first_that_answers(scope, &call, Manner::Vectors).await?;
        let Answered::Vectors(Vectors { vectors, tokens }) = answered else {
            return Err(CallError::rejected("it was asked for vectors"));
        };
        match tokens {
            Some(input) => spend.reported(Tokens { input, output: 0 }),
            None => spend.saw(&[]),
        }
        let (model, backend_id) = (spend.model().clone(), spend.backend());
        Ok(Embedded { model, backend_id, vectors, used: spend.completed().await })
    }

    /// What tells a model's vectors from those of others, and from its own of before it, or what answers for it, was changed;
    /// none where the tenant sees no such model.
    pub(crate) async fn space(
        &self,
        scope: TenantScope,
        model: &ModelSlug,
    ) -> Result<Option<String>, CallError> {
        let Some(routed) = self.routed(scope, model).await? else { return Ok(None) };
        let model = &routed.route.model;
        let mut backends: Vec<String> = routed
            .route
            .backends
            .iter()
            .map(|(_, backend)| format!("{}:{}", backend.id, backend.revision))
            .collect();
        backends.sort_unstable();
        let made_by = format!("{}:{} {}", model.id, model.revision, backends.join(" "));
        Ok(Some(scaigrid_ir::Value::from(made_by.as_str()).sha256()))
    }
}

/// What is sent to a server.
pub(super) fn body(call: &ModelCall, model: &Model, backend: &Backend) -> Value {
    let mut body: Map<String, Value> = model.default_params.as_map().clone();
    body.extend(call.params.clone());
    body.insert("model".into(), backend.model.as_str().into());
    body.insert("input".into(), Value::Array(call.messages.clone()));
    body.insert("encoding_format".into(), "float".into());
    Value::Object(body)
}

/// Vectors without any server.
pub(super) fn of_echo(texts: &[Value], params: &Map<String, Value>) -> Vectors {
    let dimensions = params.get("dimensions").and_then(Value::as_u64);
    let dimensions = dimensions.and_then(|dimensions| usize::try_from(dimensions).ok());
    let dimensions = dimensions.unwrap_or(DIMENSIONS).min(MOST_DIMENSIONS);
    let texts = texts.iter().map(|text| text.as_str().unwrap_or_default());
    let tokens = texts.clone().map(|text| estimate(text.len())).sum();
    Vectors { vectors: texts.map(|text| echo::embed(text, dimensions)).collect(), tokens: Some(tokens) }
}
