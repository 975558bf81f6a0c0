//! Which values are secret, by what they are called and by how they look.

use serde_json::{Map, Value};

/// What stands for a secret.
pub(crate) const MASK: &str = "***";

const WORDS: &[&str] = &[
    "secret",
    "secrets",
    "password",
    "passwd",
    "passphrase",
    "token",
    "credential",
    "credentials",
    "authorization",
];
const PAIRS: &[(&str, &str)] = &[
    ("api", "key"),
    ("private", "key"),
    ("access", "key"),
    ("signing", "key"),
    ("master", "key"),
    ("encryption", "key"),
    ("key", "hash"),
];
const JOINED: &[&str] = &["apikey", "privatekey", "accesskey"];

/// Whether a field of this name holds a secret.
///
/// The name is taken apart into words (`scaigrid_api_key`, `clientSecret`, `X-Auth-Token`), so that `max_tokens` and
/// `entity_key_field` are not mistaken for secrets.
pub fn is_secret_name(name: &str) -> bool {
    let words = words(name);
    words.iter().any(|word| WORDS.contains(&word.as_str()) || JOINED.contains(&word.as_str()))
        || words.windows(2).any(|pair| match pair {
            [first, second] => PAIRS.contains(&(first.as_str(), second.as_str())),
            _ => false,
        })
}

/// Whether an object declares itself secret, as values of an environment do.
pub(crate) fn is_secret_object(fields: &Map<String, Value>) -> bool {
    fields.get("type").is_some_and(|kind| kind == "secret") && fields.contains_key("value")
}

fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut after_small = false;
    for c in name.chars() {
        let begins = !c.is_alphanumeric() || c.is_uppercase() && after_small;
        if begins {
            words.push(String::new());
        }
        if c.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(c.to_lowercase());
        }
        after_small = c.is_lowercase() || c.is_numeric();
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_their_names() {
        for name in [
            "secret",
            "clientSecret",
            "X-Auth-Token",
            "scaigrid_api_key",
            "APIKEY",
            "apiKey",
            "DB_PASSWORD",
            "key_hash",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in [
            "",
            "max_tokens",
            "monthly_ai_tokens",
            "entity_key_field",
            "key",
            "secretary",
            "api",
            "passwordless",
        ] {
            assert!(!is_secret_name(name), "{name}");
        }
    }
}
