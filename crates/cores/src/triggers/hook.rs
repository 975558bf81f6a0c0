//! Messages from other systems: how they are verified, and where the secret for that is.

use scaigrid_webhooks::incoming::Scheme;
use serde_json::{Value, json};

use super::Fields;

/// Where the secret is that messages are verified with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookSecret {
    /// Kept with the trigger.
    Own,
    /// In the Core's environment, under this name: one, or several with white space between them.
    Environment(Box<str>),
}

/// How messages are verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// What they must carry.
    pub scheme: Scheme,
    /// Where the secret is.
    pub secret: HookSecret,
}

/// The name in `${env.NAME}`.
fn of_environment(text: &str) -> Option<&str> {
    let name = text.strip_prefix("${env.")?.strip_suffix('}')?;
    let good =
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    good.then_some(name)
}

impl Hook {
    /// Reads the scheme, and the secret as far as it names one of the environment: any other is kept elsewhere.
    pub(super) fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let scheme = match fields.get("scheme").map_or(Ok(Scheme::default()), Scheme::parse) {
            Ok(scheme) => scheme,
            Err(problem) => {
                let below =
                    if problem.field.is_empty() { String::new() } else { format!(".{}", problem.field) };
                fields.problem(&format!("scheme{below}"), problem.message);
                return None;
            }
        };
        let secret = match fields.text("secret") {
            Some(text) if text.starts_with("${") => {
                let Some(name) = of_environment(text) else {
                    fields.problem("secret", "must be a secret, or ${env.NAME}");
                    return None;
                };
                HookSecret::Environment(name.into())
            }
            _ => HookSecret::Own,
        };
        Some(Self { scheme, secret })
    }

    /// What a program declares. Secrets do not stand in programs, which more people may read.
    pub(super) fn declared(secret: Option<&str>, scheme: Option<&Value>) -> Result<Self, String> {
        let scheme = scheme.map_or(Ok(Scheme::default()), Scheme::parse).map_err(|problem| {
            let below = if problem.field.is_empty() { String::new() } else { format!(".{}", problem.field) };
            format!("its scheme{below} {}", problem.message)
        })?;
        let name = secret.and_then(of_environment);
        let name = name.ok_or(
            "it names no secret of the environment (secret: ${env.NAME}), so that no message can be verified",
        )?;
        Ok(Self { scheme, secret: HookSecret::Environment(name.into()) })
    }

    pub(super) fn config(&self) -> Value {
        match &self.secret {
            HookSecret::Own => json!({"scheme": self.scheme.to_json()}),
            HookSecret::Environment(name) => {
                json!({"scheme": self.scheme.to_json(), "secret": format!("${{env.{name}}}")})
            }
        }
    }
}
