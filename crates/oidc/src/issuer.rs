//! One issuer, and what is known of its keys.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use reqwest::Client;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use crate::TokenRefused;
use crate::fetch::{self, FetchError};
use crate::keys::{Key, Keys};
use crate::settings::IssuerSettings;

/// How often keys are read without anybody asking, and how soon after a failure.
const READ_EVERY: Duration = Duration::from_mins(5);
const READ_AGAIN: Duration = Duration::from_secs(15);
/// The shortest time between two reads that unknown keys cause.
const ASK_GAP: Duration = Duration::from_secs(10);
/// How long keys are believed whose issuer cannot be asked.
const BELIEVED: Duration = Duration::from_hours(24);

#[derive(Debug)]
pub(crate) struct Issuer {
    settings: IssuerSettings,
    client: Client,
    known: RwLock<Option<Known>>,
    asking: Mutex<Asked>,
}

#[derive(Debug, Clone)]
struct Known {
    keys: Arc<Keys>,
    since: Instant,
}

/// When the issuer was asked last, and whether it answered.
#[derive(Debug, Default)]
struct Asked {
    at: Option<Instant>,
    failing: bool,
}

impl Issuer {
    pub(crate) fn new(settings: IssuerSettings, client: Client) -> Self {
        Self { settings, client, known: RwLock::default(), asking: Mutex::default() }
    }

    pub(crate) fn settings(&self) -> &IssuerSettings {
        &self.settings
    }

    /// Reads the keys now and from time to time.
    pub(crate) async fn keep_reading(self: Arc<Self>) {
        loop {
            let read = self.read(&mut *self.asking.lock().await).await;
            sleep(if read { READ_EVERY } else { READ_AGAIN }).await;
        }
    }

    /// A key by its id. One that is not known is asked for; requests that miss one at the same time wait for one answer.
    pub(crate) async fn key(&self, kid: &str) -> Result<Arc<Key>, TokenRefused> {
        if let Some(key) = self.known().and_then(|known| known.keys.get(kid).cloned()) {
            return Ok(key);
        }
        let mut asked = self.asking.lock().await;
        // Whoever held the lock may have brought it.
        if let Some(key) = self.known().and_then(|known| known.keys.get(kid).cloned()) {
            return Ok(key);
        }
        if asked.at.is_none_or(|at| at.elapsed() >= ASK_GAP) {
            self.read(&mut asked).await;
        }
        let known = self.known().ok_or(TokenRefused::NoKeys)?;
        known.keys.get(kid).cloned().ok_or(TokenRefused::Invalid("the issuer has no such key"))
    }

    fn known(&self) -> Option<Known> {
        // The value is replaced as a whole, so a lock whose holder panicked is as good as any.
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).clone();
        known.filter(|known| known.since.elapsed() < BELIEVED)
    }

    /// Asks the issuer, and says whether it answered.
    async fn read(&self, asked: &mut Asked) -> bool {
        asked.at = Some(Instant::now());
        let issuer = &self.settings.issuer;
        match fetch::keys(&self.client, &self.settings).await {
            Ok(keys) => {
                if asked.failing || self.known().is_none() {
                    tracing::info!(%issuer, keys = keys.len(), "the keys of an issuer were read");
                }
                asked.failing = false;
                let known = Known { keys: Arc::new(keys), since: Instant::now() };
                *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(known);
                true
            }
            Err(error) => {
                self.tell(asked, &error);
                false
            }
        }
    }

    /// A failure is told once, until it is over.
    fn tell(&self, asked: &mut Asked, error: &FetchError) {
        let issuer = &self.settings.issuer;
        if asked.failing {
            tracing::debug!(%issuer, %error, "the keys of an issuer cannot be read");
        } else {
            tracing::warn!(%issuer, %error, "the keys of an issuer cannot be read; those that are known are kept");
        }
        asked.failing = true;
    }
}
