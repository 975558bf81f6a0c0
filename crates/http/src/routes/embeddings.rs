//! Vectors of texts in OpenAI's own shapes, so that its official clients work unchanged.
use scaigrid_http_macros::post;

use crate::openapi::{ServiceConfig, kinds};
use actix_web::{HttpResponse, web};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use scaigrid_app::App;
use scaigrid_app::catalog::{Asking, EmbedCall, Embedded};
use scaigrid_scope::perm;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::auth::Allowed;
use crate::body::Body;
use crate::error::Error;
use crate::hang_up::HangUp;

/// The most texts of one call.
const TEXTS: usize = 2_048;
/// The most components of a vector.
const DIMENSIONS: u64 = 65_536;
/// What may be said.
const KNOWN: [&str; 5] = ["dimensions", "encoding_format", "input", "model", "user"];

/// Texts whose vectors are wanted, as OpenAI's clients ask for them.
#[derive(Debug, ToSchema)]
#[schema(example = json!({"model": "vendor/embedding", "input": ["Where is my order?"]}))]
#[expect(dead_code, reason = "for the document; what is read is any object with these")]
struct OpenAiEmbeddingRequest {
    /// The slug of a model whose modality is `embedding`.
    model: String,
    /// A text, or up to 2048. Tokens are not taken.
    #[schema(value_type = kinds::EmbeddingInput)]
    input: Value,
    /// `float`, where absent, or `base64`: 32-bit floats, the least byte first.
    #[schema(value_type = Option<kinds::VectorFormat>)]
    encoding_format: Option<String>,
    /// How many components the vectors are to have, where the model lets one choose.
    #[schema(minimum = 1, maximum = 65_536)]
    dimensions: Option<u64>,
    /// Whoever asks, in the caller's own terms; nobody else is told.
    user: Option<Value>,
}

/// A vector.
#[derive(Debug, Serialize, ToSchema)]
struct OpenAiEmbedding {
    #[schema(example = "embedding")]
    object: &'static str,
    /// Which of the texts it is of.
    index: usize,
    /// Its components, or what they are in Base64.
    #[schema(value_type = Vec<f32>)]
    embedding: Value,
}

/// What was read.
#[derive(Debug, Serialize, ToSchema)]
struct OpenAiEmbeddingUsage {
    prompt_tokens: u64,
    total_tokens: u64,
}

/// Vectors, as OpenAI's clients know them.
#[derive(Debug, Serialize, ToSchema)]
struct OpenAiEmbeddings {
    #[schema(example = "list")]
    object: &'static str,
    data: Vec<OpenAiEmbedding>,
    /// The slug of the model that has made them.
    model: String,
    usage: OpenAiEmbeddingUsage,
}

struct Asked {
    call: EmbedCall,
    in_base64: bool,
}

fn read(value: Value) -> Result<Asked, Error> {
    let Value::Object(mut fields) = value else {
        return Err(Error::invalid("body", "must be a JSON object"));
    };
    if let Some(name) = fields.keys().find(|name| !KNOWN.contains(&name.as_str())) {
        let shown: String = name.chars().take(100).collect();
        let message = format!("is not known: unrecognized request argument {shown}");
        return Err(Error::invalid(shown, message));
    }
    // What is null is as good as left out.
    fields.retain(|_, value| !value.is_null());
    let Some(Value::String(model)) = fields.remove("model") else {
        return Err(Error::invalid("model", "is required: you must provide a model parameter"));
    };
    let texts = texts(&fields)?;
    let in_base64 = match fields.get("encoding_format").map(Value::as_str) {
        None | Some(Some("float")) => false,
        Some(Some("base64")) => true,
        Some(_) => return Err(Error::invalid("encoding_format", "must be float or base64")),
    };
    let dimensions = match fields.get("dimensions") {
        None => None,
        Some(value) => {
            let number = value.as_u64().filter(|number| (1..=DIMENSIONS).contains(number));
            let wrong =
                || Error::invalid("dimensions", format!("must be a whole number from 1 to {DIMENSIONS}"));
            Some(number.ok_or_else(wrong)?)
        }
    };
    let model = model.parse().map_err(|_| Error::not_found(scaigrid_app::Resource::Model))?;
    Ok(Asked { call: EmbedCall { model, texts, dimensions, asking: Asking::default() }, in_base64 })
}

fn texts(fields: &Map<String, Value>) -> Result<Vec<String>, Error> {
    let good = |text: &Value| text.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let texts: Option<Vec<String>> = match fields.get("input") {
        Some(Value::Array(texts)) if texts.len() <= TEXTS => texts.iter().map(good).collect(),
        Some(text) => good(text).map(|text| vec![text]),
        None => None,
    };
    let wrong = || {
        Error::invalid(
            "input",
            format!("must be a text, or up to {TEXTS}, none of them empty; tokens are not taken"),
        )
    };
    texts.filter(|texts| !texts.is_empty()).ok_or_else(wrong)
}

fn written(made: Embedded, in_base64: bool) -> OpenAiEmbeddings {
    let shown = |vector: Vec<f32>| {
        if !in_base64 {
            return json!(vector);
        }
        let bytes: Vec<u8> = vector.into_iter().flat_map(f32::to_le_bytes).collect();
        STANDARD.encode(bytes).into()
    };
    let data = made.vectors.into_iter().enumerate();
    let data =
        data.map(|(index, vector)| OpenAiEmbedding { object: "embedding", index, embedding: shown(vector) });
    OpenAiEmbeddings {
        object: "list",
        data: data.collect(),
        model: made.model.to_string(),
        usage: OpenAiEmbeddingUsage {
            prompt_tokens: made.used.input_tokens,
            total_tokens: made.used.input_tokens.saturating_add(made.used.output_tokens),
        },
    }
}

/// Get vectors of texts as OpenAI's clients do.
#[utoipa::path(
    tag = "inference",
    operation_id = "create_embeddings",
    request_body = OpenAiEmbeddingRequest,
    responses((status = 200, body = OpenAiEmbeddings))
)]
#[post("/oai/v1/embeddings")]
async fn create_embeddings(
    caller: Allowed<perm::ModelsUse>,
    body: Body<Value>,
    client: HangUp,
    app: web::Data<App>,
) -> Result<HttpResponse, Error> {
    let Asked { call, in_base64 } = read(body.read_json().await?)?;
    let made = client.or(app.embed(&caller, call)).await?;
    Ok(HttpResponse::Ok().json(written(made, in_base64)))
}

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config.service(create_embeddings);
}

#[cfg(test)]
mod tests {
    use scaigrid_app as app;

    use super::*;

    #[test]
    fn what_is_wrong_is_named() {
        let field = |body: Value| match read(body) {
            Ok(asked) => format!("{} texts, {:?}", asked.call.texts.len(), asked.call.dimensions),
            Err(Error::App(app::Error::Invalid(found))) => found[0].field.clone(),
            Err(other) => panic!("{other}"),
        };
        for (body, expected) in [
            (json!({"model": "m", "input": "a", "dimensions": 3, "user": "u"}), "1 texts, Some(3)"),
            (json!({"model": "m", "input": ["a", "b"], "encoding_format": "base64"}), "2 texts, None"),
            (json!([]), "body"),
            (json!({"input": "a"}), "model"),
            (json!({"model": "m"}), "input"),
            (json!({"model": "m", "input": []}), "input"),
            (json!({"model": "m", "input": [1, 2]}), "input"),
            (json!({"model": "m", "input": ["a", ""]}), "input"),
            (json!({"model": "m", "input": "a", "encoding_format": "hex"}), "encoding_format"),
            (json!({"model": "m", "input": "a", "dimensions": 0}), "dimensions"),
            (json!({"model": "m", "input": "a", "magic": 1}), "magic"),
        ] {
            assert_eq!(field(body.clone()), expected, "{body}");
        }
    }
}
