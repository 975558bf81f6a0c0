//! The claims of a token.

use std::time::Duration;

use scaigrid_scope::token::{NamedGroups, TokenClaims, scopes};
use scaigrid_scope::{Email, Instant, Name, UserKind};
use serde::Deserialize;

use crate::TokenRefused;
use crate::settings::IssuerSettings;

/// How far the clocks may be apart.
const SKEW: Duration = Duration::from_mins(1);

/// Claims as they are written. A claim that we use and that has another type than it must have makes the token malformed;
/// the others are not looked at.
#[derive(Debug, Deserialize)]
pub(crate) struct RawClaims {
    iss: String,
    sub: String,
    aud: OneOrMany,
    exp: f64,
    iat: f64,
    nbf: Option<f64>,
    tenant_id: Option<String>,
    partner_id: Option<String>,
    role: Option<OneOrMany>,
    scope: Option<OneOrMany>,
    groups: Option<Groups>,
    email: Option<String>,
    email_verified: Option<Flag>,
    name: Option<String>,
    client_id: Option<String>,
    token_type: Option<String>,
    act: Option<Act>,
}

/// A text, or several.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn iter(&self) -> impl Iterator<Item = &str> {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(texts) => texts,
        }
        .iter()
        .map(String::as_str)
    }
}

/// Names of groups, or one. What else stands in a list, such as the objects of SCIM (RFC 7643), is no name, but does not
/// make the token malformed.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Groups {
    One(String),
    Many(Vec<GroupName>),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum GroupName {
    Name(String),
    Other(serde::de::IgnoredAny),
}

impl Groups {
    fn read(&self) -> NamedGroups {
        match self {
            Self::One(name) => NamedGroups::read([Some(name.as_str())]),
            Self::Many(names) => NamedGroups::read(names.iter().map(|name| match name {
                GroupName::Name(name) => Some(name.as_str()),
                GroupName::Other(_) => None,
            })),
        }
    }
}

/// A truth value; some issuers write it as a text.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Flag {
    Bool(bool),
    Text(String),
}

/// Who acts for the subject (RFC 8693 section 4.1). Those before them in the chain are not looked at.
#[derive(Debug, Deserialize)]
struct Act {
    sub: String,
}

impl RawClaims {
    pub(crate) fn issuer(&self) -> &str {
        &self.iss
    }

    /// The claims, if the token is meant for us and in time. Its signature must have been found good.
    pub(crate) fn judge(self, settings: &IssuerSettings, now: Instant) -> Result<TokenClaims, TokenRefused> {
        use TokenRefused::Invalid;

        if !self.aud.iter().any(|audience| settings.audiences.iter().any(|own| own == audience)) {
            return Err(Invalid("the token is meant for another audience"));
        }
        let moment = |seconds| instant(seconds).ok_or(Invalid("a time is out of range"));
        let (issued_at, expires_at) = (moment(self.iat)?, moment(self.exp)?);
        let later = now.plus(SKEW);
        if issued_at > later || self.nbf.map(moment).transpose()?.is_some_and(|begin| begin > later) {
            return Err(Invalid("the token is not valid yet"));
        }
        if expires_at.plus(SKEW) <= now {
            return Err(TokenRefused::Expired);
        }
        let text = |text: String| {
            let good = (1..=255).contains(&text.chars().count()) && !text.chars().any(char::is_control);
            if good {
                Ok(Box::<str>::from(text))
            } else {
                Err(Invalid("a name is empty, too long or no name"))
            }
        };
        let by_itself = self.client_id.as_ref() == Some(&self.sub)
            || self.token_type.as_deref() == Some("client_credentials");
        let verified = self.email_verified.as_ref().map(|flag| match flag {
            Flag::Bool(verified) => *verified,
            Flag::Text(text) => text == "true",
        });
        Ok(TokenClaims {
            tenant: self.tenant_id.map(text).transpose()?,
            partner: self.partner_id.map(text).transpose()?,
            roles: self
                .role
                .as_ref()
                .map(|roles| roles.iter().filter_map(|role| role.parse().ok()).collect()),
            scopes: self
                .scope
                .as_ref()
                .and_then(|scope| scopes(scope.iter().flat_map(str::split_ascii_whitespace))),
            email: self.email.filter(|_| verified != Some(false)).and_then(|email| Email::parse(&email).ok()),
            email_verified: verified == Some(true),
            groups: self.groups.as_ref().map(Groups::read),
            name: self.name.and_then(|name| Name::parse(&name).ok()),
            kind: if by_itself { UserKind::Service } else { UserKind::Human },
            actor: self.act.map(|act| text(act.sub)).transpose()?,
            subject: text(self.sub)?,
            issuer: self.iss.into(),
            issued_at,
            expires_at,
        })
    }
}

/// A `NumericDate` (RFC 7519 section 2): seconds since 1970, possibly with a fraction.
#[expect(clippy::cast_possible_truncation, reason = "the range has been checked")]
fn instant(seconds: f64) -> Option<Instant> {
    let in_range = seconds.is_finite() && (0.0..253_402_300_799.0).contains(&seconds);
    in_range.then(|| Instant::from_micros((seconds * 1e6) as i64))
}
