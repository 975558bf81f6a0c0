//! Backends: what answers for models.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use scaigrid_scope::{BackendId, CoreId, Instant, Level, Name, text_enum};
use serde_json::{Map, Value, json};
use url::Url;

use crate::echo::Script;

/// What is shown in the place of a secret, and keeps it when it is written back.
pub const MASK: &str = "***";

text_enum! {
    /// How a backend is spoken to.
    pub enum ProviderType {
        /// As `OpenAI`'s chat completions are, at any base URL.
        OpenAi => "openai",
        /// Not at all: it is built in, and repeats what it is told, or follows a script.
        Echo => "echo",
        /// As a flow of a published Core. Made by publishing one, and in no other way.
        ScaiCore => "scaicore",
    }
}

/// A configuration that cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {message}")]
pub struct InvalidConfig {
    /// The field, from `connection_config` down.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

fn invalid(field: &str, message: impl Into<String>) -> InvalidConfig {
    let field =
        if field.is_empty() { "connection_config".into() } else { format!("connection_config.{field}") };
    InvalidConfig { field, message: message.into() }
}

/// What a model is called at its backend: 1 to 200 visible characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamName(Box<str>);

impl UpstreamName {
    /// The text.
    pub const fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UpstreamName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let good = (1..=200).contains(&text.chars().count())
            && !text.chars().any(|c| c.is_control() || c.is_whitespace());
        if good {
            Ok(Self(text.into()))
        } else {
            Err("must be 1 to 200 characters, none of them white space")
        }
    }
}

impl fmt::Display for UpstreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// How a server that speaks as `OpenAI`'s is reached.
#[derive(Clone, PartialEq, Eq)]
pub struct OpenAiConfig {
    /// Where its API is, e.g. `https://api.openai.com/v1`.
    pub base_url: Url,
    /// What it is shown as the bearer token. May be `${env.NAME}`: a secret of the environment of the Core that calls.
    pub api_key: Option<Box<str>>,
    /// Further headers, values as the key.
    pub headers: BTreeMap<Box<str>, Box<str>>,
    /// How long it may take to begin an answer, and for each further piece of one.
    pub timeout: Option<Duration>,
    /// What the bound of an answer is called there, where the call does not name it: `max_tokens`, or
    /// `max_completion_tokens`.
    pub max_tokens_param: Option<Box<str>>,
}

impl fmt::Debug for OpenAiConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAiConfig").field("base_url", &self.base_url.as_str()).finish_non_exhaustive()
    }
}

/// How a backend is reached.
#[derive(Debug, Clone, PartialEq)]
pub enum ConnectionConfig {
    /// A server.
    OpenAi(Box<OpenAiConfig>),
    /// Nothing.
    Echo(Script),
    /// A Core of the tenant that the backend belongs to.
    ScaiCore(CoreId),
}

/// The most bytes of a configuration, written as JSON.
const MAX_BYTES: usize = 64 * 1024;
/// The most headers.
const MAX_HEADERS: usize = 20;
/// Headers that are the platform's to set.
const OWN_HEADERS: [&str; 7] = [
    "host",
    "content-length",
    "content-type",
    "transfer-encoding",
    "connection",
    "accept",
    "accept-encoding",
];

impl ConnectionConfig {
    /// Reads what a client wrote, with what is kept as the source of the secrets that it did not write out.
    pub fn read(
        provider: ProviderType,
        written: &Map<String, Value>,
        kept: Option<&Self>,
    ) -> Result<Self, InvalidConfig> {
        if serde_json::to_string(written).map_or(usize::MAX, |text| text.len()) > MAX_BYTES {
            return Err(invalid("", format!("must be at most {MAX_BYTES} bytes of JSON")));
        }
        match provider {
            ProviderType::OpenAi => {
                let kept = match kept {
                    Some(Self::OpenAi(kept)) => Some(&**kept),
                    _ => None,
                };
                open_ai(written, kept).map(|config| Self::OpenAi(Box::new(config)))
            }
            ProviderType::Echo => {
                only(written, &["script", "chunk_chars", "delay_ms"])?;
                Script::read(written).map(Self::Echo).map_err(|(field, message)| invalid(field, message))
            }
            ProviderType::ScaiCore => {
                only(written, &["core_id"])?;
                let id = written.get("core_id").and_then(Value::as_str).and_then(|text| text.parse().ok());
                id.map(Self::ScaiCore).ok_or_else(|| invalid("core_id", "must be the id of a Core"))
            }
        }
    }

    /// Which kind of backend it is of.
    pub const fn provider_type(&self) -> ProviderType {
        match self {
            Self::OpenAi(_) => ProviderType::OpenAi,
            Self::Echo(_) => ProviderType::Echo,
            Self::ScaiCore(_) => ProviderType::ScaiCore,
        }
    }

    /// Whether it answers without any server, and at nobody's cost.
    pub const fn is_built_in(&self) -> bool {
        matches!(self, Self::Echo(_))
    }

    /// The configuration with its secrets in the clear, to be sealed.
    pub fn to_json(&self) -> Map<String, Value> {
        self.write(&|secret| secret.to_owned())
    }

    /// The configuration as people see it.
    pub fn shown(&self) -> Map<String, Value> {
        // Which secret of the environment is meant is none itself.
        self.write(&|secret| if named(secret).is_some() { secret.to_owned() } else { MASK.to_owned() })
    }

    fn write(&self, secret: &dyn Fn(&str) -> String) -> Map<String, Value> {
        let mut written = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                written.insert(name.to_owned(), value);
            }
        };
        match self {
            Self::OpenAi(config) => {
                put("base_url", Some(config.base_url.as_str().into()));
                put("api_key", config.api_key.as_deref().map(|key| secret(key).into()));
                let headers: Map<String, Value> = config
                    .headers
                    .iter()
                    .map(|(name, value)| (name.to_string(), secret(value).into()))
                    .collect();
                put("headers", (!headers.is_empty()).then_some(Value::Object(headers)));
                let millis =
                    |timeout: Duration| json!(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
                put("timeout_ms", config.timeout.map(millis));
                put("max_tokens_param", config.max_tokens_param.as_deref().map(Value::from));
            }
            Self::Echo(script) => written = script.to_json(),
            Self::ScaiCore(core) => put("core_id", Some(core.to_string().into())),
        }
        written
    }
}

fn only(written: &Map<String, Value>, known: &[&str]) -> Result<(), InvalidConfig> {
    match written.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(invalid(name, format!("is not known; known are {}", known.join(", ")))),
        None => Ok(()),
    }
}

fn open_ai(written: &Map<String, Value>, kept: Option<&OpenAiConfig>) -> Result<OpenAiConfig, InvalidConfig> {
    only(written, &["base_url", "api_key", "headers", "timeout_ms", "max_tokens_param"])?;
    let text = |name: &str| match written.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(invalid(name, "must be a text")),
    };
    let base_url = text("base_url")?.ok_or_else(|| invalid("base_url", "is required"))?;
    let base_url = base_url_of(base_url).map_err(|message| invalid("base_url", message))?;
    // A secret goes to where it was given for. Whoever may change the place, but does not know the secret, must not have
    // it sent elsewhere.
    let same_place = kept.is_some_and(|kept| kept.base_url.origin() == base_url.origin());
    let secret = |field: &str, text: &str, kept: Option<&Box<str>>| {
        if text != MASK {
            return good_secret(text).map_err(|message| invalid(field, message));
        }
        match kept {
            Some(kept) if same_place => Ok(kept.clone()),
            Some(_) => Err(invalid(field, "must be given again for another server")),
            None => Err(invalid(field, "there is no stored secret to keep")),
        }
    };
    let api_key = match text("api_key")? {
        None => None,
        Some(key) => Some(secret("api_key", key, kept.and_then(|kept| kept.api_key.as_ref()))?),
    };
    let mut headers = BTreeMap::new();
    match written.get("headers") {
        None | Some(Value::Null) => {}
        Some(Value::Object(given)) if given.len() <= MAX_HEADERS => {
            for (name, value) in given {
                let field = format!("headers.{name}");
                let lower = name.to_ascii_lowercase();
                let good = !name.is_empty()
                    && name.len() <= 100
                    && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
                if !good || OWN_HEADERS.contains(&lower.as_str()) {
                    return Err(invalid(&field, "is no header that can be set"));
                }
                let text = value.as_str().ok_or_else(|| invalid(&field, "must be a text"))?;
                let before = kept.and_then(|kept| kept.headers.get(lower.as_str()));
                let value = secret(&field, text, before)?;
                headers.insert(lower.into_boxed_str(), value);
            }
        }
        Some(_) => {
            return Err(invalid("headers", format!("must be an object of at most {MAX_HEADERS} texts")));
        }
    }
    let timeout = match written.get("timeout_ms") {
        None | Some(Value::Null) => None,
        Some(value) => {
            let millis = value.as_u64().filter(|millis| (100..=600_000).contains(millis));
            let millis =
                millis.ok_or_else(|| invalid("timeout_ms", "must be a whole number from 100 to 600000"))?;
            Some(Duration::from_millis(millis))
        }
    };
    let max_tokens_param = match text("max_tokens_param")? {
        None => None,
        Some(name @ ("max_tokens" | "max_completion_tokens")) => Some(name.into()),
        Some(_) => {
            return Err(invalid("max_tokens_param", "must be max_tokens or max_completion_tokens"));
        }
    };
    Ok(OpenAiConfig { base_url, api_key, headers, timeout, max_tokens_param })
}

/// A base URL: of the web, without query and fragment. No secret of an environment can stand in it, for then whoever writes
/// the environment would say where the other secrets go.
fn base_url_of(text: &str) -> Result<Url, String> {
    if text.len() > 2_000 || text.contains("${") {
        return Err("must be a URL of at most 2000 characters without ${…}".to_owned());
    }
    let url = Url::parse(text).map_err(|error| format!("must be a URL: {error}"))?;
    if !matches!(url.scheme(), "https" | "http") || url.host().is_none() {
        return Err("must be an http or https URL".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must have neither query nor fragment".to_owned());
    }
    Ok(url)
}

fn good_secret(text: &str) -> Result<Box<str>, &'static str> {
    let good = (1..=8_000).contains(&text.len()) && text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    if !good {
        return Err("must be 1 to 8000 visible ASCII characters");
    }
    if text.contains("${") && named(text).is_none() {
        return Err("must be a secret, or ${env.NAME} alone");
    }
    Ok(text.into())
}

/// The value of an environment that a text stands for, if it is `${env.NAME}`.
pub(crate) fn named(text: &str) -> Option<&str> {
    let name = text.strip_prefix("${env.")?.strip_suffix('}')?;
    (!name.is_empty() && !name.contains(['{', '}', '$'])).then_some(name)
}

/// The key of a server, and its further headers by name.
pub type Secrets<'a> = (Option<String>, Vec<(&'a str, String)>);

impl OpenAiConfig {
    /// Whether anything that it is shown is of the environment of the Core that calls.
    pub fn is_shown_the_callers_own(&self) -> bool {
        self.api_key.iter().chain(self.headers.values()).any(|text| named(text).is_some())
    }

    /// The secrets as they go out: each as it is, or from the environment of the Core that calls. The key, then the
    /// headers.
    ///
    /// # Errors
    /// The name that no environment has.
    pub fn secrets(&self, environment: impl Fn(&str) -> Option<String>) -> Result<Secrets<'_>, String> {
        let resolved = |text: &str| match named(text) {
            Some(name) => environment(name).ok_or_else(|| name.to_owned()),
            None => Ok(text.to_owned()),
        };
        let key = self.api_key.as_deref().map(resolved).transpose()?;
        let headers = self.headers.iter().map(|(name, value)| Ok((&**name, resolved(value)?)));
        Ok((key, headers.collect::<Result<Vec<_>, String>>()?))
    }
}

/// A backend.
#[derive(Debug, Clone, PartialEq)]
pub struct Backend {
    /// Its identifier.
    pub id: BackendId,
    /// At which level it was made, and is changed.
    pub owner: Level,
    /// What people call it.
    pub name: Name,
    /// What the model is called there.
    pub model: UpstreamName,
    /// How it is reached.
    pub config: ConnectionConfig,
    /// Counts the changes, from 1.
    pub revision: i64,
    /// When it was made.
    pub created_at: Instant,
    /// When it was last changed.
    pub updated_at: Instant,
}

/// What is to be changed of a backend; what is left out stays.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BackendChanges {
    /// What people call it.
    pub name: Option<Name>,
    /// What the model is called there.
    pub model: Option<UpstreamName>,
    /// How it is reached, as it was written.
    pub config: Option<Map<String, Value>>,
}

impl BackendChanges {
    /// The backend with the changes.
    pub fn applied_to(self, mut backend: Backend) -> Result<Backend, InvalidConfig> {
        if let Some(written) = self.config {
            let kept = &backend.config;
            backend.config = ConnectionConfig::read(kept.provider_type(), &written, Some(kept))?;
        }
        backend.name = self.name.unwrap_or(backend.name);
        backend.model = self.model.unwrap_or(backend.model);
        Ok(backend)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: Value, kept: Option<&ConnectionConfig>) -> Result<ConnectionConfig, InvalidConfig> {
        let Value::Object(written) = value else { panic!("an object") };
        ConnectionConfig::read(ProviderType::OpenAi, &written, kept)
    }

    #[test]
    fn secrets_are_masked_and_kept_when_the_mask_is_written_back() {
        let written = json!({"base_url": "https://a.example/v1", "api_key": "sk-1", "headers": {"X-Org": "o"},
            "timeout_ms": 5000, "max_tokens_param": "max_completion_tokens"});
        let config = read(written, None).unwrap();
        let shown = Value::Object(config.shown());
        assert_eq!(
            shown,
            json!({"base_url": "https://a.example/v1", "api_key": "***", "headers": {"x-org": "***"},
                "timeout_ms": 5000, "max_tokens_param": "max_completion_tokens"})
        );
        assert_eq!(read(shown.clone(), Some(&config)), Ok(config.clone()));
        assert_eq!(read(Value::Object(config.to_json()), None), Ok(config.clone()));
        assert!(!format!("{config:?}").contains("sk-1"));
        assert_eq!(read(shown.clone(), None).unwrap_err().field, "connection_config.api_key");
        // Nobody has a secret sent elsewhere that they do not know.
        let mut elsewhere = shown;
        elsewhere["base_url"] = "https://b.example/v1".into();
        assert_eq!(read(elsewhere, Some(&config)).unwrap_err().field, "connection_config.api_key");
    }

    #[test]
    fn a_secret_may_be_one_of_the_environment() {
        let config = read(json!({"base_url": "https://a.example", "api_key": "${env.KEY}"}), None).unwrap();
        assert_eq!(config.shown()["api_key"], "${env.KEY}");
        let ConnectionConfig::OpenAi(config) = config else { panic!("another kind") };
        let secrets = config.secrets(|name| (name == "KEY").then(|| "hush".to_owned()));
        assert_eq!(secrets, Ok((Some("hush".to_owned()), vec![])));
        assert_eq!(config.secrets(|_| None), Err("KEY".to_owned()));
    }

    #[test]
    fn a_core_is_named_by_its_id() {
        let core = "core_01J00000000000000000000000";
        let read = |written: Value| {
            let Value::Object(written) = written else { panic!("an object") };
            ConnectionConfig::read(ProviderType::ScaiCore, &written, None)
        };
        let config = read(json!({"core_id": core})).unwrap();
        assert_eq!(config.provider_type(), ProviderType::ScaiCore);
        assert_eq!(Value::Object(config.shown()), json!({"core_id": core}));
        for (wrong, field) in [(json!({}), "core_id"), (json!({"core_id": "x"}), "core_id")] {
            assert_eq!(read(wrong).unwrap_err().field, format!("connection_config.{field}"));
        }
        assert_eq!(read(json!({"core_id": core, "x": 1})).unwrap_err().field, "connection_config.x");
    }

    #[test]
    fn what_cannot_be_is_named() {
        for (written, field) in [
            (json!({}), "base_url"),
            (json!({"base_url": 1}), "base_url"),
            (json!({"base_url": "ftp://a"}), "base_url"),
            (json!({"base_url": "https://a/?b"}), "base_url"),
            (json!({"base_url": "https://${env.HOST}/"}), "base_url"),
            (json!({"base_url": "https://a", "api_key": "a\nb"}), "api_key"),
            (json!({"base_url": "https://a", "api_key": "x${env.KEY}"}), "api_key"),
            (json!({"base_url": "https://a", "headers": {"Host": "b"}}), "headers.Host"),
            (json!({"base_url": "https://a", "timeout_ms": 1}), "timeout_ms"),
            (json!({"base_url": "https://a", "max_tokens_param": "n"}), "max_tokens_param"),
            (json!({"base_url": "https://a", "key": "n"}), "key"),
        ] {
            let found = read(written, None).unwrap_err();
            assert_eq!(found.field, format!("connection_config.{field}"), "{found}");
        }
    }
}
