//! A webhook: where a tenant's events are told, and how that goes.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use scaigrid_scope::{Instant, TenantId, WebhookId, text_enum};
use url::Url;

use crate::delivery::Verdict;
use crate::subscription::Subscriptions;

/// A URL that deliveries are posted to, as the URL standard spells it. Whether it may be called is not judged here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookUrl(Url);

/// Why a text is not such a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    /// No absolute URL.
    #[error("must be an absolute URL with a host, such as https://example.org/hook")]
    NotAUrl,
    /// More than [`WebhookUrl::MAX_CHARS`].
    #[error("must have at most {} characters", WebhookUrl::MAX_CHARS)]
    TooLong,
    /// Fragments are never sent.
    #[error("must not have a fragment")]
    Fragment,
}

impl WebhookUrl {
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

impl FromStr for WebhookUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        if text.len() > Self::MAX_CHARS {
            return Err(InvalidUrl::TooLong);
        }
        let url = Url::parse(text).map_err(|_| InvalidUrl::NotAUrl)?;
        if !url.has_host() {
            return Err(InvalidUrl::NotAUrl);
        }
        if url.fragment().is_some() {
            return Err(InvalidUrl::Fragment);
        }
        // Spelling it out can make it longer.
        if url.as_str().len() > Self::MAX_CHARS { Err(InvalidUrl::TooLong) } else { Ok(Self(url)) }
    }
}

impl fmt::Display for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How often a delivery that failed is tried again, on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retries(u8);

/// A number of retries that the timetable does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a whole number from 0 to {}", Retries::MAX.get())]
pub struct InvalidRetries;

impl Retries {
    /// The whole timetable.
    pub const MAX: Self = Self(8);

    /// A number of retries.
    ///
    /// # Errors
    /// The timetable is shorter.
    pub fn new(number: i64) -> Result<Self, InvalidRetries> {
        u8::try_from(number).ok().filter(|number| *number <= Self::MAX.0).map(Self).ok_or(InvalidRetries)
    }

    /// The number.
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl Default for Retries {
    fn default() -> Self {
        Self::MAX
    }
}

text_enum! {
    /// Why the platform switched a webhook off.
    pub enum DisabledReason {
        /// Nothing got through for days.
        Failing => "failing",
        /// The receiver said that it is gone for good (410).
        Gone => "gone",
    }
}

text_enum! {
    /// Whether a webhook is told anything.
    pub enum WebhookStatus {
        /// It is.
        Active => "active",
        /// It is not; what was to be told waits.
        Inactive => "inactive",
    }
}

/// How a webhook stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is told what it wants.
    Active {
        /// Since when nothing has got through, if so.
        failing_since: Option<Instant>,
    },
    /// Somebody switched it off.
    Inactive,
    /// The platform switched it off.
    Disabled {
        /// Why.
        reason: DisabledReason,
        /// When.
        at: Instant,
    },
}

impl Standing {
    /// How long nothing may get through before a webhook is switched off.
    pub const PATIENCE: Duration = Duration::from_hours(5 * 24);

    /// The status as clients see it.
    pub const fn status(self) -> WebhookStatus {
        match self {
            Self::Active { .. } => WebhookStatus::Active,
            Self::Inactive | Self::Disabled { .. } => WebhookStatus::Inactive,
        }
    }

    /// The standing after somebody asked for a status. What it has already it keeps, so that asking twice is asking once.
    #[must_use]
    pub const fn set(self, status: WebhookStatus) -> Self {
        match (self, status) {
            (Self::Active { .. }, WebhookStatus::Active)
            | (Self::Inactive | Self::Disabled { .. }, WebhookStatus::Inactive) => self,
            (_, WebhookStatus::Active) => Self::Active { failing_since: None },
            (_, WebhookStatus::Inactive) => Self::Inactive,
        }
    }

    /// The standing after an attempt to tell it something.
    #[must_use]
    pub fn after(self, verdict: Verdict, now: Instant) -> Self {
        let Self::Active { failing_since } = self else { return self };
        match verdict {
            Verdict::Delivered => Self::Active { failing_since: None },
            Verdict::Gone => Self::Disabled { reason: DisabledReason::Gone, at: now },
            Verdict::Failed => match failing_since {
                Some(since) if now.since(since) >= Self::PATIENCE => {
                    Self::Disabled { reason: DisabledReason::Failing, at: now }
                }
                since => Self::Active { failing_since: Some(since.unwrap_or(now)) },
            },
        }
    }
}

/// A webhook. Its secret is kept elsewhere.
#[derive(Debug, Clone, PartialEq)]
pub struct Webhook {
    /// Its id.
    pub id: WebhookId,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// Where it is told.
    pub url: WebhookUrl,
    /// What it is told.
    pub events: Subscriptions,
    /// How it stands.
    pub standing: Standing,
    /// How often a delivery is tried again.
    pub max_retries: Retries,
    /// Counts the changes that people made.
    pub revision: i64,
    /// When it was made.
    pub created_at: Instant,
    /// When it was last changed.
    pub updated_at: Instant,
}

/// What shall be different about a webhook.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WebhookChanges {
    /// Where it is told.
    pub url: Option<WebhookUrl>,
    /// What it is told.
    pub events: Option<Subscriptions>,
    /// Whether it is told anything.
    pub status: Option<WebhookStatus>,
    /// How often a delivery is tried again.
    pub max_retries: Option<Retries>,
}

impl Webhook {
    /// The webhook with what shall be different. Nothing but that changes.
    #[must_use]
    pub fn changed(self, changes: WebhookChanges) -> Self {
        Self {
            url: changes.url.unwrap_or(self.url),
            events: changes.events.unwrap_or(self.events),
            standing: changes.status.map_or(self.standing, |status| self.standing.set(status)),
            max_retries: changes.max_retries.unwrap_or(self.max_retries),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn a_webhook_that_fails_for_days_is_switched_off() {
        let day = 86_400;
        let fresh = Standing::Active { failing_since: None };
        let failing = fresh.after(Verdict::Failed, at(0));
        assert_eq!(failing, Standing::Active { failing_since: Some(at(0)) });
        assert_eq!(failing.after(Verdict::Failed, at(5 * day - 1)), failing);
        let off = Standing::Disabled { reason: DisabledReason::Failing, at: at(5 * day) };
        assert_eq!(failing.after(Verdict::Failed, at(5 * day)), off);
        assert_eq!(failing.after(Verdict::Delivered, at(5 * day)), fresh);
        assert_eq!(
            fresh.after(Verdict::Gone, at(1)),
            Standing::Disabled { reason: DisabledReason::Gone, at: at(1) }
        );
        // What somebody switched off stays as they left it.
        assert_eq!(Standing::Inactive.after(Verdict::Gone, at(1)), Standing::Inactive);
        assert_eq!(off.after(Verdict::Delivered, at(9 * day)), off);
        assert_eq!(off.set(WebhookStatus::Active), fresh);
        assert_eq!(off.set(WebhookStatus::Inactive), off);
        assert_eq!(failing.set(WebhookStatus::Active), failing);
        assert_eq!(failing.set(WebhookStatus::Inactive), Standing::Inactive);
    }

    #[test]
    fn a_url_has_one_spelling() {
        let url: WebhookUrl = "HTTPS://Example.ORG:443/a b?q=1".parse().unwrap();
        assert_eq!(url.as_str(), "https://example.org/a%20b?q=1");
        assert_eq!("/hook".parse::<WebhookUrl>(), Err(InvalidUrl::NotAUrl));
        assert_eq!("mailto:a@example.org".parse::<WebhookUrl>(), Err(InvalidUrl::NotAUrl));
        assert_eq!("https://example.org/#a".parse::<WebhookUrl>(), Err(InvalidUrl::Fragment));
        let long = format!("https://example.org/{}", " ".repeat(800) + "x");
        assert_eq!(long.parse::<WebhookUrl>(), Err(InvalidUrl::TooLong));
        assert_eq!(Retries::new(8), Ok(Retries::MAX));
        assert_eq!((Retries::new(9), Retries::new(-1)), (Err(InvalidRetries), Err(InvalidRetries)));
    }

    proptest! {
        #[test]
        fn a_url_that_was_read_reads_the_same_again(text in "https?://[a-z0-9.]{1,20}(:[0-9]{1,5})?/[ -~]{0,40}") {
            if let Ok(url) = text.parse::<WebhookUrl>() {
                prop_assert_eq!(url.as_str().parse::<WebhookUrl>(), Ok(url));
            }
        }

        #[test]
        fn nothing_but_a_person_switches_on(verdicts in prop::collection::vec(0..3_u8, 0..20)) {
            let mut standing = Standing::Inactive;
            for (step, verdict) in verdicts.into_iter().enumerate() {
                let verdict = [Verdict::Delivered, Verdict::Failed, Verdict::Gone][usize::from(verdict)];
                standing = standing.after(verdict, at(i64::try_from(step).unwrap() * 1_000_000));
                prop_assert_eq!(standing.status(), WebhookStatus::Inactive);
            }
        }
    }
}
