//! What models are called.

use std::fmt;
use std::str::FromStr;

use scaigrid_scope::{ModelId, Slug};

/// Why a text is not the slug of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSlug {
    /// It is not written as one.
    #[error(
        "must be 1 to 200 of A-Z, a-z, 0-9, ., _, :, @, + and -, in parts that / separates and that begin with a letter \
         or digit"
    )]
    Form,
    /// It would be mistaken for an identifier.
    #[error("must not look like an identifier")]
    LooksLikeAnId,
    /// It begins as those of another level do.
    #[error("must begin with {0}/ here")]
    OtherPrefix(&'static str),
    /// It begins as those of another level do, and the caller's own begin so.
    #[error("must not begin with partner/, tenant/ or scaicore/ at the platform's level")]
    Reserved,
    /// It names another partner or tenant.
    #[error("must go on with the slug of the own {0}")]
    OtherOwner(&'static str),
}

/// The slug of a model, such as `openai/gpt-4o`. No two models have the same.
///
/// The parts of those that are made at a partner's level begin with `partner/{slug}/`, and in a tenant with
/// `tenant/{slug}/`, so that no tenant takes, or finds out about, the names of another one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelSlug(Box<str>);

/// What the slugs of published Cores begin with.
const OF_CORES: &str = "scaicore";

impl ModelSlug {
    /// The most bytes.
    pub const MAX: usize = 200;

    /// Checks a slug.
    pub fn parse(text: &str) -> Result<Self, InvalidSlug> {
        let part = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_alphanumeric())
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:@+-".contains(&byte))
        };
        if text.is_empty() || text.len() > Self::MAX || !text.split('/').all(part) {
            return Err(InvalidSlug::Form);
        }
        if text.parse::<ModelId>().is_ok() {
            return Err(InvalidSlug::LooksLikeAnId);
        }
        Ok(Self(text.into()))
    }

    /// The slug of a model that a program names by its provider: `scaigrid` is the platform's own catalogue.
    pub fn of_provider(provider: &str, model: &str) -> Result<Self, InvalidSlug> {
        if provider == "scaigrid" { Self::parse(model) } else { Self::parse(&format!("{provider}/{model}")) }
    }

    /// The slug of the model that a published Core is: `scaicore/{tenant}/{core}`. Slugs are short enough that it always is one.
    pub fn of_core(tenant: &Slug, core: &Slug) -> Self {
        Self(format!("{OF_CORES}/{tenant}/{core}").into())
    }

    /// Whether it is that of a published Core. No other model is given such a one.
    pub fn is_of_core(&self) -> bool {
        self.0.strip_prefix(OF_CORES).is_some_and(|rest| rest.starts_with('/'))
    }

    /// The text.
    pub const fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it can be given to a model of the platform.
    pub fn fits_platform(&self) -> Result<(), InvalidSlug> {
        let first = self.0.split_once('/').map_or("", |(first, _)| first);
        if ["partner", "tenant", OF_CORES].contains(&first) { Err(InvalidSlug::Reserved) } else { Ok(()) }
    }

    /// Whether it can be given to a model of a partner.
    pub fn fits_partner(&self, partner: &Slug) -> Result<(), InvalidSlug> {
        self.fits("partner", partner)
    }

    /// Whether it can be given to a model of a tenant.
    pub fn fits_tenant(&self, tenant: &Slug) -> Result<(), InvalidSlug> {
        self.fits("tenant", tenant)
    }

    fn fits(&self, kind: &'static str, owner: &Slug) -> Result<(), InvalidSlug> {
        let rest = self.0.strip_prefix(kind).and_then(|rest| rest.strip_prefix('/'));
        let (first, _) = rest.and_then(|rest| rest.split_once('/')).ok_or(InvalidSlug::OtherPrefix(kind))?;
        if first == owner.as_str() { Ok(()) } else { Err(InvalidSlug::OtherOwner(kind)) }
    }
}

impl fmt::Display for ModelSlug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for ModelSlug {
    type Err = InvalidSlug;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_the_names_that_models_have_in_the_world() {
        for good in ["echo", "openai/gpt-4o", "meta-llama/Llama-3.1-8B", "ollama/llama3:8b", "a/b/c@2024"] {
            assert!(ModelSlug::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "/", "a/", "/a", "a//b", "a/../b", "a b", "ä", "a%2Fb", "-a", &"a".repeat(201)] {
            assert_eq!(ModelSlug::parse(bad), Err(InvalidSlug::Form), "{bad}");
        }
        let id = "mdl_01J00000000000000000000000";
        assert_eq!(ModelSlug::parse(id), Err(InvalidSlug::LooksLikeAnId));
        assert_eq!(ModelSlug::of_provider("scaigrid", "echo").unwrap().as_str(), "echo");
        assert_eq!(ModelSlug::of_provider("openai", "gpt-4o").unwrap().as_str(), "openai/gpt-4o");
    }

    #[test]
    fn each_level_has_names_of_its_own() {
        let slug = |text: &str| ModelSlug::parse(text).unwrap();
        let acme = Slug::parse("acme").unwrap();
        assert_eq!(slug("openai/gpt-4o").fits_platform(), Ok(()));
        assert_eq!(slug("tenant").fits_platform(), Ok(()));
        assert_eq!(slug("tenant/acme/x").fits_platform(), Err(InvalidSlug::Reserved));
        assert_eq!(slug("tenant/acme/x").fits_tenant(&acme), Ok(()));
        assert_eq!(slug("tenant/acme").fits_tenant(&acme), Err(InvalidSlug::OtherPrefix("tenant")));
        assert_eq!(slug("tenant/other/x").fits_tenant(&acme), Err(InvalidSlug::OtherOwner("tenant")));
        assert_eq!(slug("partner/acme/x").fits_tenant(&acme), Err(InvalidSlug::OtherPrefix("tenant")));
        assert_eq!(slug("partner/acme/x/y").fits_partner(&acme), Ok(()));
    }

    #[test]
    fn the_slug_of_a_published_core_is_one_that_nobody_else_gets() {
        let longest = Slug::parse(&"a".repeat(Slug::MAX_CHARS)).unwrap();
        let of_core = ModelSlug::of_core(&longest, &longest);
        assert_eq!(ModelSlug::parse(of_core.as_str()), Ok(of_core.clone()));
        assert!(of_core.is_of_core() && of_core.fits_platform().is_err());
        assert!(of_core.fits_tenant(&longest).is_err() && of_core.fits_partner(&longest).is_err());
        assert!(!ModelSlug::parse("scaicores/a").unwrap().is_of_core());
        assert!(!ModelSlug::parse("scaicore").unwrap().is_of_core());
    }
}
