//! Vectors of texts, as OpenAI's `POST /embeddings` gives them.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::openai::{Ask, ModelError, WHOLE, endpoint, gather};
use crate::client::Client;
use crate::forward::Received;

/// Vectors, in the order of their texts.
#[derive(Debug, Clone, PartialEq)]
pub struct Vectors {
    /// A vector for each text; all of one length, which is not zero.
    pub vectors: Vec<Vec<f32>>,
    /// The tokens that the server says it has read.
    pub tokens: Option<u64>,
}

impl Client {
    /// The vectors of so many texts.
    ///
    /// # Errors
    /// Why there are none.
    pub async fn embed(&self, ask: &Ask<'_>, texts: usize) -> Result<Vectors, ModelError> {
        let url = endpoint(ask.base_url, "embeddings");
        let (body, _) = self.ask_model(ask, &url, "application/json").await?;
        whole(body, ask.timeout, texts).await
    }
}

async fn whole(body: Received, within: Duration, texts: usize) -> Result<Vectors, ModelError> {
    let read = tokio::time::timeout(within, gather(body, WHOLE)).await;
    let read = read.map_err(|_| ModelError::TimedOut)??;
    let value: Value = serde_json::from_slice(&read).map_err(|error| ModelError::Shape(error.to_string()))?;
    vectors(&value, texts).ok_or_else(|| ModelError::Shape("it has not one vector for each text".to_owned()))
}

/// What an answer holds; none where it is not one vector for each text, all of one length.
fn vectors(answer: &Value, texts: usize) -> Option<Vectors> {
    let data = answer["data"].as_array()?;
    let mut vectors = vec![Vec::new(); texts];
    for (place, entry) in data.iter().enumerate() {
        let index = match &entry["index"] {
            Value::Null => place,
            index => usize::try_from(index.as_u64()?).ok()?,
        };
        let slot = vectors.get_mut(index).filter(|slot| slot.is_empty())?;
        *slot = vector(&entry["embedding"])?;
    }
    let length = vectors.first().map_or(0, Vec::len);
    let good = length > 0 && vectors.iter().all(|vector| vector.len() == length);
    good.then(|| Vectors { vectors, tokens: answer["usage"]["prompt_tokens"].as_u64() })
}

/// Numbers, or what they are in Base64: 32-bit floats, the least byte first.
fn vector(value: &Value) -> Option<Vec<f32>> {
    let vector: Vec<f32> = match value {
        Value::Array(numbers) => {
            numbers.iter().map(|number| number.as_f64().map(narrow)).collect::<Option<_>>()?
        }
        Value::String(text) => {
            let bytes = STANDARD.decode(text).ok().filter(|bytes| bytes.len() % 4 == 0)?;
            bytes.chunks_exact(4).filter_map(|four| Some(f32::from_le_bytes(four.try_into().ok()?))).collect()
        }
        _ => return None,
    };
    vector.iter().all(|component| component.is_finite()).then_some(vector)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "vectors are of 32-bit floats; what is larger is refused as infinite"
)]
fn narrow(number: f64) -> f32 {
    number as f32
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_text_has_its_vector() {
        let answer = json!({"data": [{"index": 1, "embedding": [0.5, 1]}, {"index": 0, "embedding": "AACAPwAAAAA="}],
            "usage": {"prompt_tokens": 3}});
        let read = vectors(&answer, 2).unwrap();
        assert_eq!(read, Vectors { vectors: vec![vec![1.0, 0.0], vec![0.5, 1.0]], tokens: Some(3) });
        for wrong in [
            json!({"data": []}),
            json!({"data": [{"embedding": [1]}]}),
            json!({"data": [{"embedding": [1]}, {"embedding": [1, 2]}]}),
            json!({"data": [{"index": 0, "embedding": [1]}, {"index": 0, "embedding": [1]}]}),
            json!({"data": [{"embedding": [1]}, {"embedding": ["a"]}]}),
            json!({"data": [{"embedding": [1e300]}, {"embedding": [1]}]}),
            json!({"data": [{"embedding": "AAA="}, {"embedding": [1]}]}),
            json!({"data": [{"embedding": []}, {"embedding": []}]}),
        ] {
            assert_eq!(vectors(&wrong, 2), None, "{wrong}");
        }
    }
}
