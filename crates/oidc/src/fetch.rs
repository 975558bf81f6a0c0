//! Asking an issuer: small documents, in a bounded time, from exactly where it was said.

use std::time::Duration;

use reqwest::{Client, StatusCode, redirect};
use serde::Deserialize;
use url::Url;

use crate::keys::{self, Keys};
use crate::settings::{IssuerSettings, is_fit};

/// How long a connection, and a whole answer, may take.
const CONNECT: Duration = Duration::from_secs(3);
const ANSWER: Duration = Duration::from_secs(5);
/// The most bytes of a document.
const MAX_BYTES: usize = 256 * 1024;

/// Why an issuer's keys could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No answer.
    #[error("no answer: {0}")]
    Unreachable(String),
    /// Another answer than 200.
    #[error("{url} answers {status}")]
    Refused {
        /// What was asked for.
        url: Url,
        /// The answer.
        status: StatusCode,
    },
    /// More than can be taken.
    #[error("{0} is larger than {MAX_BYTES} bytes")]
    TooLarge(Url),
    /// No document of the kind that was asked for.
    #[error("{0} is not what it should be: {1}")]
    Malformed(Url, &'static str),
}

impl From<reqwest::Error> for FetchError {
    fn from(error: reqwest::Error) -> Self {
        // The innermost cause says what happened; the outer ones say that something did.
        let mut cause: &dyn std::error::Error = &error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        Self::Unreachable(cause.to_string())
    }
}

/// A client that follows no redirects: keys come from the place that was named, or not at all.
pub(crate) fn client() -> Result<Client, FetchError> {
    let client = Client::builder()
        .connect_timeout(CONNECT)
        .timeout(ANSWER)
        .redirect(redirect::Policy::none())
        .no_proxy()
        .user_agent(concat!("scaigrid/", env!("CARGO_PKG_VERSION")))
        .build()?;
    Ok(client)
}

#[derive(Deserialize)]
struct Discovered {
    issuer: String,
    jwks_uri: String,
}

/// The issuer's keys, from where the setting says, else from where its discovery document does.
pub(crate) async fn keys(client: &Client, settings: &IssuerSettings) -> Result<Keys, FetchError> {
    let place = match &settings.jwks {
        Some(url) => url.clone(),
        None => discover(client, settings).await?,
    };
    let text = document(client, &place).await?;
    let keys = keys::read(&text).ok_or_else(|| FetchError::Malformed(place.clone(), "no key set"))?;
    if keys.is_empty() {
        return Err(FetchError::Malformed(place, "no key for RS256 or ES256"));
    }
    Ok(keys)
}

/// Where the issuer says that its keys are (`OpenID` Connect Discovery 1.0, section 4).
async fn discover(client: &Client, settings: &IssuerSettings) -> Result<Url, FetchError> {
    let url = settings.discovery.clone();
    let text = document(client, &url).await?;
    let found: Discovered = serde_json::from_slice(&text)
        .map_err(|_| FetchError::Malformed(url.clone(), "no discovery document"))?;
    if found.issuer != settings.issuer {
        return Err(FetchError::Malformed(url, "it is of another issuer"));
    }
    let keys = Url::parse(&found.jwks_uri).ok().filter(is_fit);
    keys.ok_or(FetchError::Malformed(url, "its jwks_uri is neither https nor of this machine"))
}

async fn document(client: &Client, url: &Url) -> Result<Vec<u8>, FetchError> {
    let mut response = client.get(url.clone()).header("accept", "application/json").send().await?;
    if response.status() != StatusCode::OK {
        return Err(FetchError::Refused { url: url.clone(), status: response.status() });
    }
    let mut text = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if text.len() + chunk.len() > MAX_BYTES {
            return Err(FetchError::TooLarge(url.clone()));
        }
        text.extend_from_slice(&chunk);
    }
    Ok(text)
}
