//! Trusted issuers of bearer tokens (`OpenID` Connect Discovery 1.0, RFC 7517, RFC 7519): their keys are fetched and kept,
//! and tokens are checked against them.
//!
//! Whom a token is about, and what they may do, is not decided here: a token that is found good is handed on as what it
//! says. Issuers are the operator's choice, so the guard over what tenants can name does not stand before them.
//!
//! A key that is asked for and not known makes the issuer's keys be read again, but not more often than once in ten
//! seconds, whoever presents what. Besides, keys are read every five minutes, so that one that was withdrawn is not
//! believed for long; while the issuer cannot be reached, those that are known are believed for a day.

mod claims;
mod fetch;
mod issuer;
mod keys;
mod settings;

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, Validation};
use scaigrid_scope::Instant;
use scaigrid_scope::token::{BearerToken, VerifiedToken};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::task::JoinHandle;

use claims::RawClaims;
use issuer::Issuer;

pub use fetch::FetchError;
pub use settings::{InvalidIssuers, IssuerSettings};

/// Why a token is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefused {
    /// It is not good; the text says why, for the log.
    #[error("{0}")]
    Invalid(&'static str),
    /// It was good once.
    #[error("the token has expired")]
    Expired,
    /// No keys of its issuer could be had so far.
    #[error("the keys of the issuer cannot be read")]
    NoKeys,
}

/// The issuers that tokens are believed of.
#[derive(Debug)]
pub struct Issuers {
    by_name: HashMap<Box<str>, Arc<Issuer>>,
    reading: Vec<JoinHandle<()>>,
}

impl Issuers {
    /// Trusts issuers, and begins to read their keys. An issuer need not be there: it is looked for until it is. Must be
    /// called inside a Tokio runtime.
    ///
    /// # Errors
    /// When the system's root certificates cannot be used.
    pub fn trust(settings: Vec<IssuerSettings>) -> Result<Self, FetchError> {
        let client = fetch::client()?;
        let mut by_name = HashMap::new();
        let mut reading = Vec::new();
        for settings in settings {
            let name = Box::from(settings.issuer.as_str());
            let issuer = Arc::new(Issuer::new(settings, client.clone()));
            reading.push(tokio::spawn(Arc::clone(&issuer).keep_reading()));
            by_name.insert(name, issuer);
        }
        Ok(Self { by_name, reading })
    }

    /// What a token says, if it is good at `now`: signed by a key of a trusted issuer, meant for us, and in time within a
    /// minute of difference between the clocks.
    ///
    /// # Errors
    /// [`TokenRefused`]. That it has expired is told only of tokens that are good otherwise.
    pub async fn verify(&self, token: BearerToken<'_>, now: Instant) -> Result<VerifiedToken, TokenRefused> {
        let text = token.as_str();
        let mut parts = text.split('.');
        let header: Header = part(parts.next()).ok_or(TokenRefused::Invalid("the header is malformed"))?;
        let (algorithm, kid) = header.judge()?;
        let said: RawClaims = part(parts.next()).ok_or(TokenRefused::Invalid("the claims are malformed"))?;
        let issuer = self.by_name.get(said.issuer());
        let issuer = issuer.ok_or(TokenRefused::Invalid("the issuer is not trusted"))?;
        let key = issuer.key(&kid).await?;
        if key.algorithm != algorithm {
            return Err(TokenRefused::Invalid("the algorithm is not that of the key"));
        }
        // Times and names are compared below, by our own clock.
        let mut validation = Validation::new(algorithm);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        jsonwebtoken::decode::<serde::de::IgnoredAny>(text, &key.key, &validation)
            .map_err(|_| TokenRefused::Invalid("the signature is not right"))?;
        let claims = said.judge(issuer.settings(), now)?;
        Ok(VerifiedToken { claims, trust: issuer.settings().trust.clone() })
    }
}

impl Drop for Issuers {
    fn drop(&mut self) {
        self.reading.iter().for_each(JoinHandle::abort);
    }
}

/// The header of a token (RFC 7515 section 4.1), as far as it is looked at. Keys and places of keys that it may bring are
/// not.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    #[serde(default)]
    crit: Critical,
}

/// Whether there are extensions that must be understood; none is.
#[derive(Default)]
struct Critical(bool);

impl<'de> Deserialize<'de> for Critical {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde::de::IgnoredAny::deserialize(deserializer).map(|_| Self(true))
    }
}

impl Header {
    const MAX_KID: usize = 256;

    fn judge(self) -> Result<(Algorithm, String), TokenRefused> {
        let algorithm = match self.alg.as_str() {
            "RS256" => Algorithm::RS256,
            "ES256" => Algorithm::ES256,
            _ => return Err(TokenRefused::Invalid("the algorithm is neither RS256 nor ES256")),
        };
        if self.crit.0 {
            return Err(TokenRefused::Invalid("the header asks for an extension"));
        }
        // A logout token or a proof of possession is signed by the same keys (RFC 8725 section 3.11).
        let plain = |typ: &str| {
            ["jwt", "at+jwt", "application/jwt", "application/at+jwt"]
                .iter()
                .any(|known| typ.eq_ignore_ascii_case(known))
        };
        if self.typ.is_some_and(|typ| !plain(&typ)) {
            return Err(TokenRefused::Invalid("the type is not that of an access token"));
        }
        match self.kid {
            Some(kid) if !kid.is_empty() && kid.len() <= Self::MAX_KID => Ok((algorithm, kid)),
            _ => Err(TokenRefused::Invalid("the header names no key")),
        }
    }
}

/// A part of a token as JSON. A member that is there twice makes it none.
fn part<T: DeserializeOwned>(part: Option<&str>) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part?).ok()?).ok()
}

#[cfg(test)]
mod tests;
