//! An entry of a tenant's registry.

use std::fmt;
use std::str::FromStr;

use scaigrid_scope::{Instant, TenantId, text_enum};
use serde_json::{Map, Value, json};
use url::Url;

use super::credentials::Credentials;
use super::drift::Drift;
use super::manifest::Manifest;
use super::name::PluginName;

text_enum! {
    /// How a plugin is spoken to.
    pub enum PluginKind {
        /// `POST {endpoint}/{method}`, JSON in and out; its manifest is given with it.
        Http => "http",
        /// A service that an OpenAPI document describes; the endpoint is the document.
        OpenApi => "openapi",
        /// A server of the Model Context Protocol (streamable HTTP).
        Mcp => "mcp",
    }
}

impl PluginKind {
    /// Whether the manifest is read from the endpoint.
    pub const fn tells_its_manifest(self) -> bool {
        !matches!(self, Self::Http)
    }
}

/// Where a plugin is. Whether it may be called is not judged here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(Url);

/// Why a text is no endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEndpoint {
    /// No absolute URL.
    #[error("must be an absolute URL with a host, such as https://crm.example.org/plugin")]
    NotAUrl,
    /// More than [`Endpoint::MAX_CHARS`].
    #[error("must have at most {} characters", Endpoint::MAX_CHARS)]
    TooLong,
    /// Fragments are never sent.
    #[error("must not have a fragment")]
    Fragment,
}

impl Endpoint {
    /// The greatest number of characters.
    pub const MAX_CHARS: usize = 2048;

    /// The URL.
    pub const fn url(&self) -> &Url {
        &self.0
    }

    /// The URL as a text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        if text.len() > Self::MAX_CHARS {
            return Err(InvalidEndpoint::TooLong);
        }
        let url = Url::parse(text).map_err(|_| InvalidEndpoint::NotAUrl)?;
        if !url.has_host() {
            return Err(InvalidEndpoint::NotAUrl);
        }
        if url.fragment().is_some() {
            return Err(InvalidEndpoint::Fragment);
        }
        // Spelling it out can make it longer.
        if url.as_str().len() > Self::MAX_CHARS { Err(InvalidEndpoint::TooLong) } else { Ok(Self(url)) }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A plugin that a tenant has registered.
#[derive(Debug, Clone, PartialEq)]
pub struct Registration {
    /// Whose it is.
    pub tenant_id: TenantId,
    /// What Cores call it by.
    pub plugin: PluginName,
    /// How it is spoken to.
    pub kind: PluginKind,
    /// Where it is.
    pub endpoint: Endpoint,
    /// What it is shown.
    pub credentials: Option<Credentials>,
    /// What was accepted of what it offers.
    pub accepted: Manifest,
    /// What it was last found to offer, where that is not what was accepted.
    pub found: Option<Manifest>,
    /// When its manifest was last read from it.
    pub read_at: Option<Instant>,
    /// When it was registered.
    pub created_at: Instant,
    /// When anything about it changed last.
    pub updated_at: Instant,
}

impl Registration {
    /// How what it offers differs from what was accepted.
    pub fn drift(&self) -> Drift {
        self.found.as_ref().map_or_else(Drift::default, |found| Drift::between(&self.accepted, found))
    }

    /// The registration after what it offers was read at an instant. Where the methods are as they were accepted, the rest
    /// (version, hosts) is taken as it is; else what was found waits to be accepted.
    #[must_use]
    pub fn after_reading(mut self, found: Manifest, at: Instant) -> Self {
        if Drift::between(&self.accepted, &found).is_empty() {
            self.accepted = found;
            self.found = None;
        } else {
            self.found = Some(found);
        }
        self.read_at = Some(at);
        self
    }

    /// The registration once what was found is accepted; as it was where nothing waits for that.
    #[must_use]
    pub fn accepting(mut self) -> Self {
        if let Some(found) = self.found.take() {
            self.accepted = found;
        }
        self
    }

    /// What is written down of it when it changes: methods by their pins, credentials without their secrets.
    pub fn described(&self) -> Value {
        let pins = |manifest: &Manifest| -> Map<String, Value> {
            manifest.pins().map(|(name, pin)| (name.to_string(), pin.to_string().into())).collect()
        };
        json!({
            "plugin": self.plugin.as_str(),
            "kind": self.kind.as_str(),
            "endpoint": self.endpoint.as_str(),
            "credentials": self.credentials.as_ref().map(Credentials::shown),
            "version": self.accepted.version(),
            "methods": pins(&self.accepted),
            "found": self.found.as_ref().map(pins),
        })
    }

    /// Whether it says the same as another, whenever either was read or changed.
    pub fn says_the_same_as(&self, other: &Self) -> bool {
        self.endpoint == other.endpoint
            && self.credentials == other.credentials
            && self.accepted == other.accepted
            && self.found == other.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_micros(1);
    const LATER: Instant = Instant::from_micros(2);

    fn manifest(version: &str, text: &str) -> Manifest {
        let method = json!({"name": "a", "description": text, "effect": "unsafe", "input_schema": {}});
        Manifest::parse(json!({"version": version, "methods": [method]}), "manifest").unwrap()
    }

    fn registration() -> Registration {
        Registration {
            tenant_id: "ten_01J00000000000000000000000".parse().unwrap(),
            plugin: "crm".parse().unwrap(),
            kind: PluginKind::Mcp,
            endpoint: "https://crm.example/mcp".parse().unwrap(),
            credentials: None,
            accepted: manifest("1", "x"),
            found: None,
            read_at: Some(NOW),
            created_at: NOW,
            updated_at: NOW,
        }
    }

    #[test]
    fn what_is_otherwise_waits_until_it_is_accepted_or_gone() {
        let drifted = registration().after_reading(manifest("2", "y"), LATER);
        assert_eq!((drifted.accepted.version(), drifted.drift().changed.len()), ("1", 1));
        let accepted = drifted.clone().accepting();
        assert_eq!((accepted.accepted.version(), accepted.drift().is_empty()), ("2", true));
        assert_eq!(accepted.clone().accepting(), accepted);
        let back = drifted.after_reading(manifest("3", "x"), LATER);
        assert_eq!((back.accepted.version(), back.found.is_none(), back.read_at), ("3", true, Some(LATER)));
    }

    #[test]
    fn endpoints_are_urls() {
        assert!("https://a.example/x?y=1".parse::<Endpoint>().is_ok());
        for bad in
            ["", "a", "/x", "https://a.example/#x", "data:,x", &format!("https://a/{}", "x".repeat(2048))]
        {
            assert!(bad.parse::<Endpoint>().is_err(), "{bad}");
        }
    }
}
