//! Servers that speak as OpenAI's chat completions do.
//!
//! The body is the caller's; what comes back is told in the same shapes. A connection is made for each call, behind the
//! guard, and closed when whoever waits for the answer goes away.

use std::pin::Pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use eventsource_stream::Eventsource as _;
use futures_util::{Stream, StreamExt as _};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use http::{Method, Request, StatusCode};
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use crate::client::{Client, SendError};
use crate::forward::{Received, received};
use crate::guard::Refusal;

/// The most bytes of an answer that comes whole, and of one that comes in pieces with all that is around them.
pub(super) const WHOLE: usize = 16 * 1024 * 1024;
const STREAMED: usize = 64 * 1024 * 1024;
/// The most bytes of what a server says of an error that are read.
const COMPLAINT: usize = 16 * 1024;
/// Where chat completions are below the base.
const CHAT: &str = "chat/completions";
/// The most characters of it that are told.
const TOLD: usize = 500;

/// What is asked.
#[derive(Debug)]
pub struct Ask<'a> {
    /// Where the API is.
    pub base_url: &'a Url,
    /// The bearer token.
    pub key: Option<&'a str>,
    /// Further headers.
    pub headers: &'a [(&'a str, String)],
    /// The body, with `stream` as it is to be.
    pub body: &'a Value,
    /// How long the answer may take to begin, and each further piece of it.
    pub timeout: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The guard does not let it through.
    #[error("the backend may not be called: {0}")]
    Refused(Refusal),
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// There was no connection, or it broke.
    #[error("the connection failed: {0}")]
    Connection(String),
    /// The server refuses.
    #[error("the backend answered {status}: {message}")]
    Status {
        /// Its status.
        status: u16,
        /// What it says of it.
        message: String,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// What it answers is no answer.
    #[error("what the backend answered is no answer: {0}")]
    Shape(String),
}

/// Tokens as a server counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tokens {
    /// Read.
    pub input: u64,
    /// Written.
    pub output: u64,
}

impl Tokens {
    fn of(usage: &Value) -> Option<Self> {
        Some(Self { input: usage["prompt_tokens"].as_u64()?, output: usage["completion_tokens"].as_u64()? })
    }
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The choices; never empty.
    pub choices: Vec<Value>,
    /// What the server says that was used.
    pub tokens: Option<Tokens>,
}

/// A piece of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// What is new of the choices.
    Choices(Vec<Value>),
    /// What the server says that was used.
    Tokens(Tokens),
    /// The end, as it should be.
    End,
}

impl Part {
    /// Whether a choice comes to its end.
    fn finishes(&self) -> bool {
        matches!(self, Self::Choices(choices) if choices.iter().any(|choice| choice["finish_reason"].is_string()))
    }
}

/// Pieces of an answer.
pub type Parts = Pin<Box<dyn Stream<Item = Result<Part, ModelError>> + Send>>;

impl From<SendError> for ModelError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Refused(refusal) => Self::Refused(refusal),
            SendError::TimedOut => Self::TimedOut,
            SendError::Failed(reason) => Self::Connection(reason),
            SendError::Body(error) => Self::Connection(error.to_string()),
        }
    }
}

/// The URL of a part of the API below its base.
pub(super) fn endpoint(base: &Url, part: &str) -> Url {
    let mut url = base.clone();
    let path = format!("{}/{part}", base.path().trim_end_matches('/'));
    url.set_path(&path);
    url
}

fn headers(ask: &Ask<'_>, accept: &'static str) -> Result<HeaderMap, ModelError> {
    let bad = |name: &str| ModelError::Connection(format!("{name} is no header that can be sent"));
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static(accept));
    headers.insert(USER_AGENT, HeaderValue::from_static("scaigrid"));
    if let Some(key) = ask.key {
        let mut value = HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| bad("Authorization"))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    for (name, value) in ask.headers {
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad(name))?;
        let mut value = HeaderValue::from_str(value).map_err(|_| bad(name))?;
        value.set_sensitive(true);
        headers.insert(key, value);
    }
    Ok(headers)
}

/// In milliseconds, as some servers say it, or as `Retry-After` does.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let millis = headers.get("retry-after-ms").and_then(|value| value.to_str().ok()?.parse().ok());
    millis.map(Duration::from_millis).or_else(|| crate::plugins::retry_after(headers))
}

/// What a server says of an error, without what does not belong into a line.
fn complaint(body: &[u8]) -> String {
    let json: Value = serde_json::from_slice(body).unwrap_or_default();
    let told = [&json["error"]["message"], &json["message"], &json["detail"], &json["error"]];
    let text = told
        .into_iter()
        .find_map(Value::as_str)
        .map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned);
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    let text: String = text.chars().map(visible).take(TOLD).collect();
    if text.trim().is_empty() { "it gives no reason".to_owned() } else { text.trim().to_owned() }
}

/// The bytes of a body, as far as they come and there is room.
pub(super) async fn gather(mut body: Received, most: usize) -> Result<Bytes, ModelError> {
    let mut read = BytesMut::new();
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|error| broken(&error))?;
        if read.len() + piece.len() > most {
            return Err(ModelError::Shape(format!("it is longer than {most} bytes")));
        }
        read.extend_from_slice(&piece);
    }
    Ok(read.freeze())
}

fn broken(error: &std::io::Error) -> ModelError {
    if error.kind() == std::io::ErrorKind::TimedOut {
        ModelError::TimedOut
    } else {
        ModelError::Connection(error.to_string())
    }
}

impl Client {
    /// The answer of a server that is to answer whole.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn chat(&self, ask: &Ask<'_>) -> Result<Reply, ModelError> {
        let (body, _) = self.ask_model(ask, &endpoint(ask.base_url, CHAT), "application/json").await?;
        whole(body, ask.timeout).await
    }

    /// The answer of a server that is to answer bit by bit. One that answers whole all the same is taken at its word. Dropped,
    /// the connection is closed.
    ///
    /// # Errors
    /// Why it does not begin. Why it does not go on is told by its last piece.
    pub async fn chat_in_parts(&self, ask: &Ask<'_>) -> Result<Parts, ModelError> {
        let url = endpoint(ask.base_url, CHAT);
        let (body, media_type) = self.ask_model(ask, &url, "text/event-stream").await?;
        if media_type.starts_with("application/json") {
            let parts = whole(body, ask.timeout).await?.into_parts();
            return Ok(Box::pin(futures_util::stream::iter(parts.into_iter().map(Ok))));
        }
        let mut total = 0;
        let bounded = body.map(move |piece| {
            let piece = piece.map_err(|error| broken(&error))?;
            total += piece.len();
            if total > STREAMED {
                return Err(ModelError::Shape(format!("it is longer than {STREAMED} bytes")));
            }
            Ok(piece)
        });
        let begin = (Box::pin(bounded.eventsource()), Vec::new(), false);
        Ok(Box::pin(futures_util::stream::unfold(Some(begin), |state| async {
            let (mut events, mut waiting, mut finished) = state?;
            loop {
                if !waiting.is_empty() {
                    let part: Part = waiting.remove(0);
                    let rest = (part != Part::End).then_some((events, waiting, finished));
                    return Some((Ok(part), rest));
                }
                let data = match events.next().await {
                    // Some servers just close where others say that they are done.
                    None if finished => return Some((Ok(Part::End), None)),
                    None => {
                        let error = ModelError::Connection("the answer broke off".to_owned());
                        return Some((Err(error), None));
                    }
                    Some(Err(eventsource_stream::EventStreamError::Transport(error))) => {
                        return Some((Err(error), None));
                    }
                    Some(Err(error)) => {
                        return Some((Err(ModelError::Shape(error.to_string())), None));
                    }
                    Some(Ok(event)) => event.data,
                };
                match read(&data) {
                    Ok(parts) => {
                        finished |= parts.iter().any(Part::finishes);
                        waiting = parts;
                    }
                    Err(error) => return Some((Err(error), None)),
                }
            }
        })))
    }

    /// The body of an answer, and its media type in lower case.
    pub(super) async fn ask_model(
        &self,
        ask: &Ask<'_>,
        url: &Url,
        accept: &'static str,
    ) -> Result<(Received, String), ModelError> {
        let mut request = Request::new(Bytes::from(ask.body.to_string()));
        *request.method_mut() = Method::POST;
        *request.headers_mut() = headers(ask, accept)?;
        let until = Instant::now() + ask.timeout;
        let answer = self.open(url, request, until).await.map_err(|error| error.why)?;
        let body = received(answer.body, ask.timeout);
        if answer.status == StatusCode::OK {
            let media_type = answer.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
            return Ok((body, media_type.unwrap_or_default().trim().to_ascii_lowercase()));
        }
        let retry_after = retry_after(&answer.headers);
        let said = gather(body, COMPLAINT).await.unwrap_or_default();
        Err(ModelError::Status { status: answer.status.as_u16(), message: complaint(&said), retry_after })
    }
}

/// A body that is a whole answer. A server that drips may take as long for all of it as for its beginning.
async fn whole(body: Received, within: Duration) -> Result<Reply, ModelError> {
    let read = tokio::time::timeout(within, gather(body, WHOLE)).await;
    let read = read.map_err(|_| ModelError::TimedOut)??;
    let value: Value = serde_json::from_slice(&read).map_err(|error| ModelError::Shape(error.to_string()))?;
    let Some(choices) = value["choices"].as_array().filter(|choices| !choices.is_empty()) else {
        return Err(ModelError::Shape("it has no choices".to_owned()));
    };
    if choices.iter().any(|choice| !choice["message"].is_object()) {
        return Err(ModelError::Shape("a choice has no message".to_owned()));
    }
    Ok(Reply { choices: choices.clone(), tokens: Tokens::of(&value["usage"]) })
}

impl Reply {
    /// As it would have come bit by bit, in one piece.
    fn into_parts(self) -> Vec<Part> {
        let piece = |mut choice: Value| {
            let mut message = choice["message"].take();
            for (index, call) in message["tool_calls"].as_array_mut().into_iter().flatten().enumerate() {
                call["index"] = index.into();
            }
            if let Some(fields) = choice.as_object_mut() {
                fields.remove("message");
                fields.insert("delta".into(), message);
            }
            choice
        };
        let choices = Part::Choices(self.choices.into_iter().map(piece).collect());
        let tokens = self.tokens.map(Part::Tokens);
        std::iter::once(choices).chain(tokens).chain([Part::End]).collect()
    }
}

/// What an event of a stream says.
fn read(data: &str) -> Result<Vec<Part>, ModelError> {
    let data = data.trim();
    if data == "[DONE]" {
        return Ok(vec![Part::End]);
    }
    if data.is_empty() {
        return Ok(Vec::new());
    }
    let value: Value = serde_json::from_str(data).map_err(|error| ModelError::Shape(error.to_string()))?;
    if !value["error"].is_null() {
        let status = value["error"]["code"].as_u64().and_then(|code| u16::try_from(code).ok());
        let message = complaint(data.as_bytes());
        return Err(ModelError::Status { status: status.unwrap_or(500), message, retry_after: None });
    }
    let mut parts = Vec::new();
    if let Some(choices) = value["choices"].as_array().filter(|choices| !choices.is_empty()) {
        parts.push(Part::Choices(choices.clone()));
    }
    parts.extend(Tokens::of(&value["usage"]).map(Part::Tokens));
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_endpoint_is_below_the_base() {
        for (base, url) in [
            ("https://a.example/v1", "https://a.example/v1/chat/completions"),
            ("https://a.example/v1/", "https://a.example/v1/chat/completions"),
            ("https://a.example", "https://a.example/chat/completions"),
        ] {
            assert_eq!(endpoint(&Url::parse(base).unwrap(), CHAT).as_str(), url);
        }
    }

    #[test]
    fn events_are_read() {
        assert_eq!(read("[DONE]").unwrap(), [Part::End]);
        let delta = json!({"choices": [{"index": 0, "delta": {"content": "a"}}], "usage": null});
        assert_eq!(read(&delta.to_string()).unwrap().len(), 1);
        let usage = json!({"choices": [], "usage": {"prompt_tokens": 2, "completion_tokens": 3}});
        assert_eq!(read(&usage.to_string()).unwrap(), [Part::Tokens(Tokens { input: 2, output: 3 })]);
        assert!(matches!(read("{"), Err(ModelError::Shape(_))));
        let error = json!({"error": {"message": "over\nloaded", "code": 503}});
        let Err(ModelError::Status { status, message, .. }) = read(&error.to_string()) else {
            panic!("no error")
        };
        assert_eq!((status, message.as_str()), (503, "over loaded"));
    }

    #[test]
    fn a_whole_answer_is_one_piece() {
        let choice = |content: &str| json!({"index": 0, "message": {"content": content, "tool_calls": [{"id": "a"}]}, "finish_reason": "stop"});
        let tokens = Tokens { input: 1, output: 2 };
        let parts = Reply { choices: vec![choice("x")], tokens: Some(tokens) }.into_parts();
        let delta = json!({"content": "x", "tool_calls": [{"id": "a", "index": 0}]});
        let piece = json!({"index": 0, "delta": delta, "finish_reason": "stop"});
        assert_eq!(parts, [Part::Choices(vec![piece]), Part::Tokens(tokens), Part::End]);
    }

    #[test]
    fn what_is_said_of_an_error_is_one_line() {
        assert_eq!(complaint(br#"{"error":{"message":"no such model"}}"#), "no such model");
        assert_eq!(complaint(br#"{"detail":"x"}"#), "x");
        assert_eq!(complaint(b""), "it gives no reason");
        assert_eq!(complaint("ü".repeat(9_000).as_bytes()).chars().count(), TOLD);
    }

    #[test]
    fn a_pause_is_read_in_seconds_and_milliseconds() {
        let of = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            retry_after(&headers)
        };
        assert_eq!(of("retry-after", "2"), Some(Duration::from_secs(2)));
        assert_eq!(of("retry-after-ms", "20"), Some(Duration::from_millis(20)));
        assert_eq!(of("retry-after", "soon"), None);
        let mut headers = HeaderMap::new();
        headers.insert("date", HeaderValue::from_static("Sat, 21 Nov 2026 10:00:00 GMT"));
        headers.insert("retry-after", HeaderValue::from_static("Sat, 21 Nov 2026 10:00:07 GMT"));
        assert_eq!(retry_after(&headers), Some(Duration::from_secs(7)));
    }
}
