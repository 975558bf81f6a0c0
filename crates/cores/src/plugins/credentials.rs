//! What a registration shows to its endpoint.

use serde_json::{Value, json};

use super::fields::{Fields, Problems};
use super::template::{MissingVariable, Template};
use crate::core::FieldProblem;
use crate::environment::{Environment, SecretText};

const MASK: &str = "***";
/// The greatest number of characters of one part.
const MAX_CHARS: usize = 8192;

/// What a registration shows to its endpoint. Each part may hold `${env.NAME}`, which is taken from the environment of the
/// Core that calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// `Authorization: Bearer …` (RFC 6750).
    Bearer {
        /// The token.
        token: Template,
    },
    /// `Authorization: Basic …` (RFC 7617).
    Basic {
        /// The name.
        username: String,
        /// The password.
        password: Template,
    },
    /// A header of its own, such as `X-Api-Key`.
    Header {
        /// The header's name, in lower case.
        name: Box<str>,
        /// Its value.
        value: Template,
    },
}

/// What is shown in one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResolvedCredentials {
    /// `Authorization: Bearer …`.
    Bearer(SecretText),
    /// `Authorization: Basic …`.
    Basic(String, SecretText),
    /// A header of its own.
    Header(Box<str>, SecretText),
}

impl ResolvedCredentials {
    /// What must not be told on.
    pub const fn secret(&self) -> &SecretText {
        match self {
            Self::Bearer(secret) | Self::Basic(_, secret) | Self::Header(_, secret) => secret,
        }
    }
}

/// Whether a header is the platform's own affair, so that no registration sets it.
fn is_reserved(name: &str) -> bool {
    const NAMES: [&str; 15] = [
        "accept",
        "connection",
        "content-length",
        "content-type",
        "cookie",
        "expect",
        "host",
        "idempotency-key",
        "keep-alive",
        "last-event-id",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "via",
    ];
    NAMES.contains(&name) || ["x-scaigrid-", "mcp-", "proxy-"].iter().any(|family| name.starts_with(family))
}

fn is_header_name(name: &str) -> bool {
    (1..=100).contains(&name.len())
        && name.bytes().all(|c| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c))
}

impl Credentials {
    /// Reads `{"type":"bearer","token"}`, `{"type":"basic","username","password"}` or `{"type":"header","name","value"}`.
    /// `"***"` in the place of a secret keeps the stored one, if that is of the same type.
    ///
    /// # Errors
    /// Everything that is wrong with it, by field.
    pub fn parse(written: Value, at: &str, stored: Option<&Self>) -> Result<Self, Vec<FieldProblem>> {
        let mut problems = Problems::default();
        let read = Self::read(written, at, stored, &mut problems);
        read.filter(|_| problems.is_empty()).ok_or_else(|| problems.into_inner())
    }

    fn read(written: Value, at: &str, stored: Option<&Self>, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(written, at, problems)?;
        let kind = fields.required_text("type", 20)?;
        let read = match kind.as_str() {
            "bearer" => {
                let kept = stored.and_then(|stored| match stored {
                    Self::Bearer { token } => Some(token),
                    _ => None,
                });
                secret(&mut fields, "token", kept).map(|token| Self::Bearer { token })
            }
            "basic" => {
                let username = fields.required_text("username", 256);
                let username = username.filter(|name| {
                    let good = !name.contains(':') && !name.contains(char::is_control);
                    if !good {
                        fields.note("username", "must hold neither a colon nor control characters");
                    }
                    good
                });
                let kept = stored.and_then(|stored| match stored {
                    Self::Basic { password, .. } => Some(password),
                    _ => None,
                });
                let password = secret(&mut fields, "password", kept);
                username.zip(password).map(|(username, password)| Self::Basic { username, password })
            }
            "header" => {
                let name = fields.required_text("name", 100).map(|name| name.to_ascii_lowercase());
                let name = name.filter(|name| {
                    let good = is_header_name(name) && !is_reserved(name);
                    if !good {
                        fields.note(
                            "name",
                            "must be the name of a header that the platform does not set itself",
                        );
                    }
                    good
                });
                let kept = stored.and_then(|stored| match stored {
                    Self::Header { value, .. } => Some(value),
                    _ => None,
                });
                let value = secret(&mut fields, "value", kept);
                name.zip(value).map(|(name, value)| Self::Header { name: name.into(), value })
            }
            _ => {
                fields.note("type", "must be one of bearer, basic, header");
                return None;
            }
        };
        fields.done();
        read
    }

    /// Reads what [`Credentials::reveal`] wrote; none for what is no such text.
    pub fn from_stored(text: &str) -> Option<Self> {
        let stored: Value = serde_json::from_str(text).ok()?;
        // What looks like a mask was given as a secret once, and is none any more.
        Self::parse(stored, "credentials", None).ok()
    }

    /// All of it as a text, for encryption.
    pub fn reveal(&self) -> String {
        self.json(Template::reveal).to_string()
    }

    /// What people see of it.
    pub fn shown(&self) -> Value {
        self.json(|_| MASK)
    }

    fn json<'a>(&'a self, secret: impl Fn(&'a Template) -> &'a str) -> Value {
        match self {
            Self::Bearer { token } => json!({"type": "bearer", "token": secret(token)}),
            Self::Basic { username, password } => {
                json!({"type": "basic", "username": username, "password": secret(password)})
            }
            Self::Header { name, value } => {
                json!({"type": "header", "name": &**name, "value": secret(value)})
            }
        }
    }

    const fn template(&self) -> &Template {
        match self {
            Self::Bearer { token: template }
            | Self::Basic { password: template, .. }
            | Self::Header { value: template, .. } => template,
        }
    }

    /// Whether they can be shown by nobody but a Core.
    pub fn refers(&self) -> bool {
        self.template().refers()
    }

    /// What is shown by a Core with this environment.
    ///
    /// # Errors
    /// The environment lacks a value.
    pub fn resolve(&self, environment: &Environment) -> Result<ResolvedCredentials, MissingVariable> {
        let secret = self.template().resolve(environment)?;
        Ok(match self {
            Self::Bearer { .. } => ResolvedCredentials::Bearer(secret),
            Self::Basic { username, .. } => ResolvedCredentials::Basic(username.clone(), secret),
            Self::Header { name, .. } => ResolvedCredentials::Header(name.clone(), secret),
        })
    }
}

fn secret(fields: &mut Fields<'_>, name: &str, kept: Option<&Template>) -> Option<Template> {
    let text = fields.required_text(name, MAX_CHARS)?;
    if text == MASK {
        if kept.is_none() {
            fields.note(name, "there is no stored secret to keep");
        }
        return kept.cloned();
    }
    if text.is_empty() || text.chars().any(char::is_control) {
        fields.note(name, "must not be empty, and must hold no control characters");
        return None;
    }
    Some(Template::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(written: Value, stored: Option<&Credentials>) -> Result<Credentials, Vec<String>> {
        let problems =
            |problems: Vec<FieldProblem>| problems.into_iter().map(|problem| problem.field).collect();
        Credentials::parse(written, "credentials", stored).map_err(problems)
    }

    #[test]
    fn what_is_shown_can_be_written_back() {
        for written in [
            json!({"type": "bearer", "token": "hush ${env.KEY}"}),
            json!({"type": "basic", "username": "me", "password": "hush"}),
            json!({"type": "header", "name": "x-api-key", "value": "hush"}),
        ] {
            let credentials = parse(written.clone(), None).unwrap();
            assert!(!credentials.shown().to_string().contains("hush"));
            assert!(!format!("{credentials:?}").contains("hush"));
            assert_eq!(parse(credentials.shown(), Some(&credentials)).unwrap(), credentials);
            assert_eq!(Credentials::from_stored(&credentials.reveal()), Some(credentials.clone()));
            assert_eq!(serde_json::from_str::<Value>(&credentials.reveal()).unwrap(), written);
            assert!(parse(credentials.shown(), None).is_err(), "a mask is no secret");
            assert_eq!(credentials.refers(), written.to_string().contains("env"));
        }
    }

    #[test]
    fn what_cannot_be_shown_is_refused() {
        let wrong = |written: Value| parse(written, None).unwrap_err();
        assert_eq!(wrong(json!(1)), ["credentials"]);
        assert_eq!(wrong(json!({"type": "magic"})), ["credentials.type"]);
        assert_eq!(
            wrong(json!({"type": "bearer", "token": "a\nb", "more": 1})),
            ["credentials.token", "credentials.more"]
        );
        assert_eq!(
            wrong(json!({"type": "basic", "username": "a:b", "password": ""})),
            ["credentials.username", "credentials.password"]
        );
        for name in ["Host", "X-Scaigrid-Identity", "Mcp-Session-Id", "a b", ""] {
            assert_eq!(
                wrong(json!({"type": "header", "name": name, "value": "v"})),
                ["credentials.name"],
                "{name}"
            );
        }
    }
}
