//! The plugins that run inside the platform: the calculator, what reads pages, and what remembers ([`super::memories`]).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue, LOCATION, USER_AGENT};
use http::{HeaderMap, Request};
use scaigrid_ir::Value as IrValue;
use scaigrid_ir::expr::{self, Limits, Stop};
use scaigrid_ir::types::Type;
use scaigrid_outbound::{Answer, Limits as Cost, SendError};
use scaigrid_workspace::plugin::{FactText, PluginManifest, text_of_html};
use serde_json::{Map, Value};
use url::Url;

use super::tools::Asker;
use crate::{App, Error};

/// The longest expression, in bytes.
const EXPRESSION: usize = 4 * 1024;
/// How much computing one expression may cost.
const COMPUTING: Limits = Limits { steps: 100_000, depth: 128, size: 256 * 1024 };
/// How much reading one page may cost.
const PAGE: Cost = Cost { time: Duration::from_secs(30), body: 1024 * 1024 };
/// How often a page may lead elsewhere.
const REDIRECTS: usize = 5;
/// What the platform calls itself.
const AGENT: &str = concat!("scaigrid/", env!("CARGO_PKG_VERSION"));

/// What a tool gives: what the model is told, or what went wrong.
pub(super) type Told = Result<String, String>;

/// What an expression sees beside what stands in it: nothing.
struct Nothing(BTreeMap<Arc<str>, Type>);

impl expr::Scope for Nothing {
    fn lookup(&self, _: &str) -> Option<IrValue> {
        None
    }

    fn types(&self) -> &BTreeMap<Arc<str>, Type> {
        &self.0
    }
}

/// The value of an expression, as JSON.
fn calculated(expression: &str) -> Told {
    if expression.len() > EXPRESSION {
        return Err(format!("the expression is longer than {EXPRESSION} bytes"));
    }
    let parsed = expr::parse(expression).map_err(|error| error.to_string())?;
    match expr::evaluate(&parsed, &Nothing(BTreeMap::new()), &[], &COMPUTING) {
        Ok(value) => Ok(value.to_json().to_string()),
        Err(Stop::Error(error)) => Err(error.to_string()),
        Err(Stop::Asks(_)) => Err("the expression asks for something that is not in it".to_owned()),
    }
}

fn text<'a>(arguments: &'a Map<String, Value>, name: &str) -> Result<&'a str, String> {
    let given = arguments.get(name).and_then(Value::as_str);
    given.ok_or_else(|| format!("the argument {name} must be a text"))
}

fn question() -> Request<Bytes> {
    let mut request = Request::new(Bytes::new());
    let accepted = "text/html, application/json, text/*;q=0.9";
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static(accepted));
    request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(AGENT));
    request
}

/// Where an answer leads on.
fn further(from: &Url, answer: &Answer) -> Option<Result<Url, String>> {
    if !matches!(answer.status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let place = answer.headers.get(LOCATION).and_then(|place| place.to_str().ok());
    let place = place.ok_or_else(|| "it leads elsewhere without saying where".to_owned());
    Some(place.and_then(|place| from.join(place).map_err(|_| "it leads to what is no URL".to_owned())))
}

fn kind(headers: &HeaderMap) -> String {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("text/plain");
    kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// What an answer says, as text.
fn read(answer: &Answer) -> Told {
    if !answer.status.is_success() {
        return Err(format!("it answers with HTTP {}", answer.status.as_u16()));
    }
    let kind = kind(&answer.headers);
    let body = String::from_utf8_lossy(&answer.body).replace('\0', " ");
    let short = answer.body.len() >= PAGE.body;
    let text = match kind.as_str() {
        "text/html" | "application/xhtml+xml" => text_of_html(&body),
        "application/json" | "application/xml" | "application/yaml" => body,
        kind if kind.starts_with("text/") || kind.ends_with("+json") || kind.ends_with("+xml") => body,
        _ => return Err(format!("it is {}, which is no text", kind.chars().take(100).collect::<String>())),
    };
    Ok(if short { text + "\n[The page is longer than what was read of it.]" } else { text })
}

fn unsent(error: &SendError) -> String {
    match error {
        SendError::Refused(refusal) => format!("EGRESS_DENIED: {refusal}"),
        other => other.to_string(),
    }
}

impl App {
    /// Calls a tool of a plugin that runs here.
    pub(super) async fn call_built_in(
        &self,
        asker: &Asker,
        plugin: &str,
        tool: &str,
        arguments: &Map<String, Value>,
    ) -> Told {
        let inside = |error: Error| {
            tracing::warn!(%error, plugin, tool, "a plugin of the platform failed");
            "the platform could not do that just now".to_owned()
        };
        match (plugin, tool) {
            (PluginManifest::CALCULATOR, "calculate") => calculated(text(arguments, "expression")?),
            (PluginManifest::WEB, "fetch") => self.fetch_page(text(arguments, "url")?).await,
            (PluginManifest::MEMORY, "remember") => {
                let fact =
                    FactText::parse(text(arguments, "fact")?).map_err(|error| format!("the fact {error}"))?;
                self.remember(asker, fact).await.map_err(inside)?
            }
            (PluginManifest::MEMORY, "recall") => {
                let question = arguments.get("query").and_then(Value::as_str).unwrap_or_default();
                self.recall(asker, question).await.map_err(inside)
            }
            (PluginManifest::MEMORY, "forget") => {
                let id =
                    text(arguments, "fact_id")?.parse().map_err(|_| "there is no such fact".to_owned())?;
                self.forget_fact(asker, id).await.map_err(inside)?
            }
            _ => Err("there is no such tool".to_owned()),
        }
    }

    /// Reads the text behind a URL. Where that leads elsewhere it is followed, by the guard like the first one.
    async fn fetch_page(&self, url: &str) -> Told {
        let mut url = Url::parse(url).map_err(|_| "that is no URL".to_owned())?;
        for _ in 0..=REDIRECTS {
            url.set_fragment(None);
            let answer = self.0.outbound.send(&url, question(), PAGE).await;
            let answer = answer.map_err(|error| unsent(&error))?;
            match further(&url, &answer) {
                Some(next) => url = next?,
                None => return read(&answer),
            }
        }
        Err(format!("it leads elsewhere more than {REDIRECTS} times"))
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[test]
    fn expressions_are_computed_and_bounded() {
        assert_eq!(calculated("(17.5 + 3) * 12").as_deref(), Ok("246.0"));
        assert_eq!(calculated("2 + 3 * 4").as_deref(), Ok("14"));
        assert_eq!(calculated("[3, 1, 2].sum()").as_deref(), Ok("6"));
        for wrong in ["", "1 +", "1 / 0", "x", "now()", "random()", "memory.x"] {
            assert!(calculated(wrong).is_err(), "{wrong}");
        }
        assert!(calculated(&"(".repeat(2000)).is_err());
        assert!(calculated(&format!("1{}", "+1".repeat(EXPRESSION))).is_err());
    }

    fn answer(status: u16, kind: &'static str, body: &'static str) -> Answer {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers,
            body: Bytes::from_static(body.as_bytes()),
        }
    }

    #[test]
    fn pages_are_read_as_text() {
        let page = answer(200, "text/html; charset=utf-8", "<p>Hello</p><p>World");
        assert_eq!(read(&page).as_deref(), Ok("Hello\nWorld"));
        assert_eq!(read(&answer(200, "application/problem+json", "{}")).as_deref(), Ok("{}"));
        assert!(read(&answer(200, "image/png", "x")).is_err());
        assert!(read(&answer(404, "text/plain", "x")).unwrap_err().contains("404"));
    }

    #[test]
    fn where_a_page_leads_is_seen_from_where_it_is() {
        let from = Url::parse("https://example.org/a/b").unwrap();
        let mut moved = answer(302, "text/plain", "");
        assert!(further(&from, &moved).unwrap().is_err());
        moved.headers.insert(LOCATION, HeaderValue::from_static("../c"));
        assert_eq!(further(&from, &moved).unwrap().unwrap().as_str(), "https://example.org/c");
        assert!(further(&from, &answer(200, "text/plain", "")).is_none());
    }
}
