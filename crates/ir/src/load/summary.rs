//! What a host shows of a document before it takes it in. Reads what it can, whatever else is wrong.

use serde::Serialize;
use serde_json::Value as Json;

use crate::diagnostic::Diagnostic;

/// A document at a glance.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// The program's name.
    pub name: Option<String>,
    /// The program's own version.
    pub version: Option<String>,
    /// The schema that the document follows.
    pub schema_version: Option<String>,
    /// The names of the flows, in order.
    pub flows: Vec<String>,
    /// The models' names, in order.
    pub models: Vec<String>,
    /// Who the program is when it speaks.
    pub identity: Identity,
    /// Whether anything from outside starts a flow.
    pub has_triggers: bool,
    /// Whether the program declares plugins.
    pub has_plugins: bool,
    /// The embedded picture.
    pub avatar: Option<Avatar>,
    /// What loading and verifying found.
    pub diagnostics: Vec<Diagnostic>,
}

/// Who a program is when it speaks; nulls where the document does not say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// The name it goes by.
    pub name: Option<String>,
    /// How it behaves.
    pub persona: Option<String>,
}

/// An embedded picture, still in base64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Avatar {
    /// The declared media type.
    pub content_type: String,
    /// The picture in base64 (RFC 4648, section 4).
    pub data_b64: String,
}

/// Sums a document up, with what was found in it: by [`super::check`], and by whoever demands more of it.
pub fn summary(document: &Json, diagnostics: Vec<Diagnostic>) -> Summary {
    let text = |value: &Json, key: &str| value.get(key).and_then(Json::as_str).map(str::to_owned);
    let names = |list: &str, key: &str| -> Vec<String> {
        let items = document.get(list).and_then(Json::as_array);
        items.into_iter().flatten().filter_map(|item| text(item, key)).collect()
    };
    let filled =
        |key: &str| document.get(key).and_then(Json::as_array).is_some_and(|items| !items.is_empty());
    let identity = document.get("identity").unwrap_or(&Json::Null);
    let avatar = document.get("avatar").unwrap_or(&Json::Null);
    Summary {
        name: text(document, "name"),
        version: text(document, "version"),
        schema_version: text(document, "schema_version"),
        flows: names("flows", "name"),
        models: names("models", "model"),
        identity: Identity { name: text(identity, "name"), persona: text(identity, "persona") },
        has_triggers: filled("triggers"),
        has_plugins: filled("plugins"),
        avatar: text(avatar, "content_type")
            .zip(text(avatar, "data_b64"))
            .map(|(content_type, data_b64)| Avatar { content_type, data_b64 }),
        diagnostics,
    }
}
