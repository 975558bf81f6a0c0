//! What a tenant has set of its AI as a whole.
//!
//! Which models are enabled is not kept here: that is what the tenant has enabled of the catalogue, and rules that name both
//! are asked with it.

use std::collections::BTreeSet;
use std::fmt;

use scaigrid_catalog::ModelSlug;
use scaigrid_scope::{Name, PlaintextKey};

use crate::Prompt;

scaigrid_scope::text_enum! {
    /// In whose name AIs call their models.
    pub enum AuthMode {
        /// In that of the user who asks.
        PerUserExchange => "per_user_exchange",
        /// In the tenant's own: that of the service whose key was given, or else nobody's.
        ServiceToken => "service_token",
    }
}

/// A prompt to begin with, to choose when an AI is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// What people call it; no two of a tenant have the same.
    pub name: Name,
    /// The prompt.
    pub prompt: Prompt,
}

/// What a tenant has set of its AI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AiConfig {
    /// The model that answers where nobody else does.
    pub default_model: Option<ModelSlug>,
    /// Prompts to begin with.
    pub templates: Vec<Template>,
    /// In whose name models are called.
    pub auth_mode: AuthMode,
    /// The key of the service in whose name they are, where nobody's is.
    pub api_key: Option<PlaintextKey>,
}

impl Default for AiConfig {
    fn default() -> Self {
        Self {
            default_model: None,
            templates: Vec::new(),
            auth_mode: AuthMode::PerUserExchange,
            api_key: None,
        }
    }
}

/// What is to become of the key.
#[derive(Clone, PartialEq, Eq)]
pub enum KeyChange {
    /// It is replaced by this one.
    Set(PlaintextKey),
    /// It is removed.
    Remove,
    /// What is there stays, if this is how it is shown.
    Keep(Box<str>),
}

impl fmt::Debug for KeyChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Set(_) => "Set",
            Self::Remove => "Remove",
            Self::Keep(_) => "Keep",
        })
    }
}

/// What stands between the two ends of a key that is shown.
const ELLIPSIS: &str = "sgk_…";
/// How many characters of a key's end are shown.
const SHOWN: usize = 4;

/// A key as it is shown: `sgk_…` and its last four characters.
pub fn masked(key: &PlaintextKey) -> String {
    let text = key.reveal();
    let end = text.get(text.len().saturating_sub(SHOWN)..).unwrap_or_default();
    format!("{ELLIPSIS}{end}")
}

/// Why what is said of the key cannot be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// It is no key, and not how one is shown.
    #[error("must be sgk_ and 32 to 128 letters and digits, or the mask of the stored key, which keeps it")]
    Form,
    /// It is how another key is shown, or there is none.
    #[error("must be the mask of the stored key, if it is one")]
    AnotherMask,
}

impl KeyChange {
    /// What a text says: a key, or how the stored one is shown.
    ///
    /// # Errors
    /// [`InvalidKey::Form`].
    pub fn of_text(text: &str) -> Result<Self, InvalidKey> {
        match text.strip_prefix(ELLIPSIS) {
            Some(end) if end.chars().count() <= SHOWN => Ok(Self::Keep(text.into())),
            _ => PlaintextKey::parse(text).map(Self::Set).map_err(|_| InvalidKey::Form),
        }
    }

    fn applied_to(&self, stored: Option<&PlaintextKey>) -> Result<Option<PlaintextKey>, InvalidKey> {
        match (self, stored) {
            (Self::Set(key), _) => Ok(Some(key.clone())),
            (Self::Remove, _) => Ok(None),
            (Self::Keep(mask), Some(key)) if **mask == masked(key) => Ok(Some(key.clone())),
            (Self::Keep(_), _) => Err(InvalidKey::AnotherMask),
        }
    }
}

/// What is to be changed; what is left out stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AiConfigChanges {
    /// The new default, or none from now on.
    pub default_model: Option<Option<ModelSlug>>,
    /// The new templates, all of them.
    pub templates: Option<Vec<Template>>,
    /// In whose name models are called.
    pub auth_mode: Option<AuthMode>,
    /// What becomes of the key.
    pub api_key: Option<KeyChange>,
}

impl AiConfigChanges {
    /// A configuration with these changes.
    ///
    /// # Errors
    /// [`InvalidKey::AnotherMask`].
    pub fn applied_to(&self, config: AiConfig) -> Result<AiConfig, InvalidKey> {
        let Self { default_model, templates, auth_mode, api_key } = self.clone();
        let key = match api_key {
            Some(change) => change.applied_to(config.api_key.as_ref())?,
            None => config.api_key,
        };
        Ok(AiConfig {
            default_model: default_model.unwrap_or(config.default_model),
            templates: templates.unwrap_or(config.templates),
            auth_mode: auth_mode.unwrap_or(config.auth_mode),
            api_key: key,
        })
    }
}

/// What is wrong with a list of templates, and with which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTemplates {
    /// There are too many.
    #[error("must be at most {} templates", AiConfig::MAX_TEMPLATES)]
    TooMany,
    /// The one at this place has the name of an earlier one.
    #[error("is the name of another template already")]
    NameTwice(usize),
}

/// Why a model cannot be the default, or cannot stop being enabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DefaultRefused {
    /// The one that is asked for is not enabled.
    #[error("must be one of the enabled models")]
    NotEnabled,
    /// The one that is the default would not be enabled any more.
    #[error("The model is the tenant's default; choose another default first")]
    WouldBeDisabled,
}

impl AiConfig {
    /// The most templates that a tenant has.
    pub const MAX_TEMPLATES: usize = 50;

    /// Whether templates can stand beside each other.
    ///
    /// # Errors
    /// [`InvalidTemplates`].
    pub fn check_templates(templates: &[Template]) -> Result<(), InvalidTemplates> {
        if templates.len() > Self::MAX_TEMPLATES {
            return Err(InvalidTemplates::TooMany);
        }
        let mut names = BTreeSet::new();
        match templates.iter().position(|template| !names.insert(template.name.as_str())) {
            Some(index) => Err(InvalidTemplates::NameTwice(index)),
            None => Ok(()),
        }
    }

    /// Whether a model may be disabled as far as this configuration goes: the default may not.
    ///
    /// # Errors
    /// [`DefaultRefused::WouldBeDisabled`].
    pub fn check_disabling(&self, model: &ModelSlug) -> Result<(), DefaultRefused> {
        if self.default_model.as_ref() == Some(model) { Err(DefaultRefused::WouldBeDisabled) } else { Ok(()) }
    }

    /// Whether the default of this configuration goes with the models that are to be enabled and those that were. One that is
    /// chosen with this change must be enabled; one that stays must not be disabled by it, but may be gone for other reasons.
    ///
    /// # Errors
    /// [`DefaultRefused`].
    pub fn check_default(&self, chosen: bool, was: bool, is: bool) -> Result<(), DefaultRefused> {
        match (&self.default_model, chosen) {
            (Some(_), true) if !is => Err(DefaultRefused::NotEnabled),
            (Some(_), false) if was && !is => Err(DefaultRefused::WouldBeDisabled),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    fn key(end: char) -> PlaintextKey {
        PlaintextKey::parse(&format!("sgk_{}", end.to_string().repeat(40))).unwrap()
    }

    fn template(name: &str) -> Template {
        Template { name: Name::parse(name).unwrap(), prompt: Prompt::parse("Be kind.").unwrap() }
    }

    #[test]
    fn a_key_that_is_shown_and_written_back_stays() {
        let stored = AiConfig { api_key: Some(key('a')), ..AiConfig::default() };
        let apply = |change: KeyChange, config: &AiConfig| {
            let changes = AiConfigChanges { api_key: Some(change), ..AiConfigChanges::default() };
            changes.applied_to(config.clone()).map(|config| config.api_key)
        };
        let text = |text: &str| KeyChange::of_text(text).unwrap();
        assert_eq!(masked(&key('a')), "sgk_…aaaa");
        assert_eq!(apply(text("sgk_…aaaa"), &stored), Ok(Some(key('a'))));
        assert_eq!(apply(text("sgk_…bbbb"), &stored), Err(InvalidKey::AnotherMask));
        assert_eq!(apply(text("sgk_…aaaa"), &AiConfig::default()), Err(InvalidKey::AnotherMask));
        assert_eq!(apply(text(key('b').reveal()), &stored), Ok(Some(key('b'))));
        assert_eq!(apply(KeyChange::Remove, &stored), Ok(None));
        for bad in
            ["", "sgk_", "sgk_short", "***", "sgk_…aaaaa", "sk-0123456789012345678901234567890123456789"]
        {
            assert_eq!(KeyChange::of_text(bad), Err(InvalidKey::Form), "{bad}");
        }
        let told = format!("{:?} {stored:?}", text(key('a').reveal()));
        assert!(!told.contains(key('a').reveal()), "{told}");
    }

    #[test]
    fn no_two_templates_have_the_same_name() {
        assert_eq!(AiConfig::check_templates(&[template("a"), template("b")]), Ok(()));
        let twice = [template("a"), template("b"), template(" a ")];
        assert_eq!(AiConfig::check_templates(&twice), Err(InvalidTemplates::NameTwice(2)));
        let many: Vec<Template> = (0..51).map(|n| template(&n.to_string())).collect();
        assert_eq!(AiConfig::check_templates(&many), Err(InvalidTemplates::TooMany));
        assert_eq!(AiConfig::check_templates(&many[..50]), Ok(()));
    }

    #[test]
    fn the_default_is_enabled_and_stays_so() {
        let model = ModelSlug::parse("a/b").unwrap();
        let with = AiConfig { default_model: Some(model.clone()), ..AiConfig::default() };
        assert_eq!(with.check_disabling(&model), Err(DefaultRefused::WouldBeDisabled));
        assert_eq!(with.check_disabling(&ModelSlug::parse("a/c").unwrap()), Ok(()));
        assert_eq!(AiConfig::default().check_disabling(&model), Ok(()));
        for was in [false, true] {
            assert_eq!(with.check_default(true, was, true), Ok(()));
            assert_eq!(with.check_default(true, was, false), Err(DefaultRefused::NotEnabled));
            assert_eq!(AiConfig::default().check_default(true, was, false), Ok(()));
        }
        assert_eq!(with.check_default(false, true, false), Err(DefaultRefused::WouldBeDisabled));
        assert_eq!(with.check_default(false, false, false), Ok(()), "it was gone before");
        assert_eq!(with.check_default(false, true, true), Ok(()));
    }

    fn slugs() -> impl Strategy<Value = ModelSlug> {
        "[a-c]/[a-c]".prop_map(|text| ModelSlug::parse(&text).unwrap())
    }

    fn all_templates() -> impl Strategy<Value = Vec<Template>> {
        proptest::collection::vec("[a-d]{1,2}".prop_map(|name| template(&name)), 0..4)
    }

    fn modes() -> impl Strategy<Value = AuthMode> {
        prop_oneof![Just(AuthMode::PerUserExchange), Just(AuthMode::ServiceToken)]
    }

    fn keys() -> impl Strategy<Value = PlaintextKey> {
        prop_oneof![Just(key('a')), Just(key('b'))]
    }

    fn configs() -> impl Strategy<Value = AiConfig> {
        (option::of(slugs()), all_templates(), modes(), option::of(keys())).prop_map(
            |(default_model, templates, auth_mode, api_key)| AiConfig {
                default_model,
                templates,
                auth_mode,
                api_key,
            },
        )
    }

    fn changes() -> impl Strategy<Value = AiConfigChanges> {
        let of_key = prop_oneof![keys().prop_map(KeyChange::Set), Just(KeyChange::Remove)];
        (
            option::of(option::of(slugs())),
            option::of(all_templates()),
            option::of(modes()),
            option::of(of_key),
        )
            .prop_map(|(default_model, templates, auth_mode, api_key)| AiConfigChanges {
                default_model,
                templates,
                auth_mode,
                api_key,
            })
    }

    proptest! {
        #[test]
        fn what_is_named_is_replaced_and_the_rest_stays(before in configs(), changes in changes()) {
            let after = changes.applied_to(before.clone()).unwrap();
            prop_assert_eq!(&after.default_model, changes.default_model.as_ref().unwrap_or(&before.default_model));
            prop_assert_eq!(&after.templates, changes.templates.as_ref().unwrap_or(&before.templates));
            prop_assert_eq!(after.auth_mode, changes.auth_mode.unwrap_or(before.auth_mode));
            match &changes.api_key {
                None => prop_assert_eq!(&after.api_key, &before.api_key),
                Some(KeyChange::Set(key)) => prop_assert_eq!(after.api_key.as_ref(), Some(key)),
                Some(_) => prop_assert_eq!(&after.api_key, &None),
            }
        }

        #[test]
        fn a_change_made_twice_is_made_once(before in configs(), changes in changes()) {
            let once = changes.applied_to(before).unwrap();
            prop_assert_eq!(changes.applied_to(once.clone()).unwrap(), once);
        }

        #[test]
        fn what_is_shown_and_written_back_changes_nothing(before in configs()) {
            let changes = AiConfigChanges {
                default_model: Some(before.default_model.clone()),
                templates: Some(before.templates.clone()),
                auth_mode: Some(before.auth_mode),
                api_key: Some(before.api_key.as_ref().map_or(KeyChange::Remove, |key| {
                    KeyChange::of_text(&masked(key)).unwrap()
                })),
            };
            prop_assert_eq!(changes.applied_to(before.clone()).unwrap(), before);
        }
    }
}
