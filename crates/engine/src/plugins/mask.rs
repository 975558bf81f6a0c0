//! Secrets in what comes back.

use serde_json::Value;

const MASK: &str = "***";
/// What is shorter is found by accident everywhere, and is no secret worth the name.
const SHORTEST: usize = 4;

/// Secrets that went out with a call, or could have: wherever they surface, something else stands.
#[derive(Default)]
pub(crate) struct Masked(Vec<String>);

impl std::fmt::Debug for Masked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Masked").field("secrets", &self.0.len()).finish()
    }
}

impl Masked {
    pub(crate) fn new<'a>(secrets: impl Iterator<Item = &'a str>) -> Self {
        let mut all: Vec<String> =
            secrets.filter(|secret| secret.len() >= SHORTEST).map(str::to_owned).collect();
        // A longer one first: it may hold a shorter one.
        all.sort_unstable_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        all.dedup();
        Self(all)
    }

    pub(crate) fn text(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| {
            if text.contains(secret.as_str()) { text.replace(secret.as_str(), MASK) } else { text }
        })
    }

    pub(crate) fn value(&self, value: Value) -> Value {
        if self.0.is_empty() {
            return value;
        }
        match value {
            Value::String(text) => self.text(&text).into(),
            Value::Array(items) => items.into_iter().map(|item| self.value(item)).collect(),
            Value::Object(fields) => {
                fields.into_iter().map(|(name, field)| (self.text(&name), self.value(field))).collect()
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_secret_is_seen_nowhere() {
        let masked = Masked::new(["hush", "hush-hush", "ab"].into_iter());
        assert_eq!(masked.text("a hush-hush, b hush, ab"), "a ***, b ***, ab");
        let value = json!({"hush": ["x hush y", 1, {"a": "hush-hush"}], "b": "ab"});
        assert_eq!(masked.value(value), json!({"***": ["x *** y", 1, {"a": "***"}], "b": "ab"}));
    }
}
