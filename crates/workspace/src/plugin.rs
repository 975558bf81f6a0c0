//! The plugins of a workspace: what AIs can do beside talking.
//!
//! Those that ship have manifests of their own ([`shipped`]); some of them run inside the platform, the others where the
//! tenant has registered a plugin of the same name. What else a tenant has registered is a plugin of its workspace, too.

mod page;
mod shipped;

use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde_json::Value;

pub use page::text_of_html;

scaigrid_scope::text_enum! {
    /// Whose data a plugin works on, where that is not the whole tenant's.
    pub enum PluginScope {
        /// That of the user who asks.
        Private => "private",
    }
}

/// Something that a plugin does when it is called.
#[derive(Debug, Clone, PartialEq)]
pub struct PluginTool {
    /// What the plugin calls it.
    pub name: String,
    /// What it is good for, in words for models.
    pub description: String,
    /// What it takes: a JSON Schema of an object.
    pub parameters: Value,
}

/// What is told of a plugin.
#[derive(Debug, Clone, PartialEq)]
pub struct PluginManifest {
    /// Its id, `<owner>.<name>`; `scaiwave.*` are those that ship.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it is good for.
    pub description: String,
    /// What it does.
    pub tools: Vec<PluginTool>,
    /// What it touches, for those who decide whether to enable it.
    pub permissions: Vec<String>,
    /// Whether an AI is told something by it before it answers.
    pub injects_context: bool,
    /// Whose data it works on.
    pub scope: Option<PluginScope>,
    /// Whether it is enabled where a tenant has said nothing of it.
    pub default_enabled: bool,
    /// Whether it runs inside the platform.
    pub built_in: bool,
}

impl PluginManifest {
    /// The calculator.
    pub const CALCULATOR: &'static str = "scaiwave.calculator";
    /// What remembers facts of users.
    pub const MEMORY: &'static str = "scaiwave.memory";
    /// What fetches a page.
    pub const WEB: &'static str = "scaiwave.web";
}

static SHIPPED: LazyLock<Vec<PluginManifest>> = LazyLock::new(shipped::manifests);

/// The plugins that ship, by id.
pub fn shipped() -> &'static [PluginManifest] {
    &SHIPPED
}

/// One of the plugins that ship.
pub fn shipped_as(id: &str) -> Option<&'static PluginManifest> {
    SHIPPED
        .binary_search_by(|manifest| manifest.id.as_str().cmp(id))
        .ok()
        .and_then(|index| SHIPPED.get(index))
}

/// Names of tools as models know them: at most [`ToolNames::MAX_CHARS`] of `A-Z a-z 0-9 _ -`, each given once.
#[derive(Debug, Default)]
pub struct ToolNames(BTreeSet<String>);

impl ToolNames {
    /// The most characters of a name.
    pub const MAX_CHARS: usize = 64;

    /// The name of a tool of a plugin.
    pub fn of_plugin(&mut self, plugin: &str, tool: &str) -> String {
        self.name(&format!("{plugin}_{tool}"))
    }

    /// The name that a text suggests, with a number behind it where that is taken.
    pub fn name(&mut self, text: &str) -> String {
        let fit = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' };
        let fit: String = text.chars().map(fit).take(Self::MAX_CHARS).collect();
        let mut name = if fit.is_empty() { "tool".to_owned() } else { fit.clone() };
        let mut number = 2_usize;
        while self.0.contains(&name) {
            let behind = format!("_{number}");
            let kept: String = fit.chars().take(Self::MAX_CHARS - behind.len()).collect();
            name = kept + &behind;
            number += 1;
        }
        self.0.insert(name.clone());
        name
    }
}

/// Something to remember of a user, as an AI was told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactText(String);

/// Why a text is nothing to remember.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to {} bytes, without the character U+0000", FactText::MAX_BYTES)]
pub struct InvalidFact;

impl FactText {
    /// The most bytes.
    pub const MAX_BYTES: usize = 2 * 1024;
    /// How many facts of one user are remembered.
    pub const AT_MOST: i64 = 1_000;

    /// Checks a text; white space around it is left out.
    ///
    /// # Errors
    /// [`InvalidFact`].
    pub fn parse(text: &str) -> Result<Self, InvalidFact> {
        let text = text.trim();
        let good = (1..=Self::MAX_BYTES).contains(&text.len()) && !text.contains('\0');
        if good { Ok(Self(text.to_owned())) } else { Err(InvalidFact) }
    }

    /// The text.
    pub fn into_text(self) -> String {
        self.0
    }

    /// Whether a fact has each word of a question in it, whatever the case.
    pub fn answers(fact: &str, question: &str) -> bool {
        let fact = fact.to_lowercase();
        question.split_whitespace().all(|word| fact.contains(&word.to_lowercase()))
    }
}

/// A text of at most so many bytes, whole characters, which says so where it was cut.
pub fn shortened(mut text: String, most: usize) -> String {
    if text.len() > most {
        let end = (0..=most).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
        text.truncate(end);
        text.push_str("\n[The rest is left out.]");
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_plugins_that_ship_are_found_by_their_ids() {
        assert_eq!(shipped().len(), 14);
        for manifest in shipped() {
            assert_eq!(shipped_as(&manifest.id), Some(manifest), "in the order of their ids");
            assert!(manifest.id.starts_with("scaiwave."));
            assert!(!manifest.tools.is_empty() && !manifest.description.is_empty());
            for tool in &manifest.tools {
                assert_eq!(tool.parameters["type"], "object", "{} {}", manifest.id, tool.name);
                assert_eq!(tool.parameters["additionalProperties"], false);
            }
            assert!(!manifest.default_enabled || manifest.built_in, "what is enabled unasked must run");
        }
        assert_eq!(shipped_as("scaiwave.nothing"), None);
        for id in [PluginManifest::CALCULATOR, PluginManifest::MEMORY, PluginManifest::WEB] {
            assert!(shipped_as(id).is_some_and(|manifest| manifest.built_in), "{id}");
        }
    }

    #[test]
    fn facts_are_bounded_and_found_by_their_words() {
        assert_eq!(FactText::parse("  likes tea ").map(FactText::into_text), Ok("likes tea".to_owned()));
        for bad in ["", "  ", "a\0b", &"a".repeat(FactText::MAX_BYTES + 1)] {
            assert_eq!(FactText::parse(bad), Err(InvalidFact));
        }
        assert!(FactText::answers("Ada likes Tea", "TEA ada"));
        assert!(!FactText::answers("Ada likes tea", "coffee"));
    }

    proptest! {
        #[test]
        fn names_are_fit_for_models_and_each_given_once(texts in prop::collection::vec("[a-b./é]{0,70}", 0..40)) {
            let mut names = ToolNames::default();
            let given: Vec<String> = texts.iter().map(|text| names.name(text)).collect();
            let different: BTreeSet<&String> = given.iter().collect();
            prop_assert_eq!(different.len(), given.len());
            for name in &given {
                prop_assert!((1..=ToolNames::MAX_CHARS).contains(&name.len()));
                prop_assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')));
            }
        }

        #[test]
        fn what_is_shortened_is_short(text: String, most in 0_usize..40) {
            let short = shortened(text.clone(), most);
            prop_assert!(short.len() <= most + 32);
            prop_assert_eq!(short == text, text.len() <= most);
        }
    }
}
