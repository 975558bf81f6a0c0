//! Posting one delivery, and writing down what became of it.

use std::time::{Duration, Instant as Stopwatch};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER, USER_AGENT};
use http::{HeaderName, Method, Request};
use metrics::counter;
use scaigrid_audit::{AuditAction, AuditRecord, diff};
use scaigrid_outbound::{Answer, Limits, Refusal, SendError};
use scaigrid_persistence::webhook_deliveries::{self, Claimed};
use scaigrid_persistence::webhooks::{self, Addressee};
use scaigrid_persistence::{Transaction, audit, data_keys, tenants};
use scaigrid_scope::{Instant, TenantScope};
use scaigrid_webhooks::{Attempt, Next, Secret, Standing, Verdict, sign};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use super::{place, previous_place, state};
use crate::transaction::ended;
use crate::{App, Error};

/// What a receiver may cost: ten seconds in all, and the beginning of what it says.
pub(super) const LIMITS: Limits = Limits { time: Duration::from_secs(10), body: 4 * Attempt::MAX_RESPONSE };
/// What the platform calls itself.
const AGENT: &str = concat!("scaigrid/", env!("CARGO_PKG_VERSION"));

/// What came of posting a delivery.
#[derive(Debug)]
pub(super) struct Posted {
    pub(super) attempt: Attempt,
    /// When the receiver wants to be asked again, if it said so.
    pub(super) retry_after: Option<Duration>,
    /// Why the guard did not let it through, if so.
    pub(super) refused: Option<Refusal>,
}

impl App {
    /// Posts a delivery, once.
    pub(super) async fn post(&self, to: &Addressee, claimed: &Claimed) -> Posted {
        let (began, watch) = (self.now(), Stopwatch::now());
        let sent = match self.letter(to, claimed, began).await {
            Ok(letter) => self.0.outbound.send(to.webhook.url.url(), letter, LIMITS).await,
            Err(reason) => {
                tracing::error!(webhook = %to.webhook.id, reason, "a delivery cannot be signed");
                Err(SendError::Failed("the delivery cannot be signed".to_owned()))
            }
        };
        let duration_ms = u32::try_from(watch.elapsed().as_millis()).unwrap_or(u32::MAX);
        let attempt = Attempt { at: began, duration_ms, status_code: None, error: None, response: None };
        match sent {
            Ok(answer) => answered(attempt, &answer, self.now()),
            Err(error) => {
                let refused = match &error {
                    // A name without an address is a receiver that is away.
                    SendError::Refused(refusal) if *refusal != Refusal::Unresolvable => Some(*refusal),
                    _ => None,
                };
                let text = match refused {
                    Some(refusal) => format!("EGRESS_DENIED: {refusal}"),
                    None => error.to_string(),
                };
                let error = Some(text.chars().take(Attempt::MAX_ERROR).collect());
                Posted { attempt: Attempt { error, ..attempt }, retry_after: None, refused }
            }
        }
    }

    async fn letter(
        &self,
        to: &Addressee,
        claimed: &Claimed,
        now: Instant,
    ) -> Result<Request<Bytes>, String> {
        let (secret, previous) = self.secrets(to, now).await.map_err(|error| error.to_string())?;
        let delivery = &claimed.delivery;
        let id = delivery.event_id.to_string();
        let seconds = now.micros().div_euclid(1_000_000);
        let mut signed = sign(&secret, &id, seconds, claimed.body.as_bytes());
        if let Some(previous) = previous {
            signed = signed.and_by(&previous, &id, claimed.body.as_bytes());
        }
        Request::builder()
            .method(Method::POST)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, AGENT)
            .header(HeaderName::from_static("webhook-id"), id)
            .header(HeaderName::from_static("webhook-timestamp"), signed.timestamp)
            .header(HeaderName::from_static("webhook-signature"), signed.standard)
            .header(HeaderName::from_static("x-scaigrid-signature"), signed.own)
            .header(HeaderName::from_static("x-scaigrid-event"), delivery.event_type.as_str())
            .header(HeaderName::from_static("x-scaigrid-delivery"), delivery.id.to_string())
            .body(Bytes::from(claimed.body.clone()))
            .map_err(|error| error.to_string())
    }

    /// The secret of a webhook, and the one before it, if that counts still.
    async fn secrets(&self, to: &Addressee, now: Instant) -> Result<(Secret, Option<Secret>), Error> {
        let scope = self.0.system.tenant(to.tenant_id);
        let mut connection = self.0.database.read().await?;
        let previous = to.previous.as_ref().filter(|previous| previous.until > now);
        let texts = [Some(to.sealed.as_str()), previous.map(|previous| previous.sealed.as_str())];
        let texts = texts.into_iter().flatten();
        let opener = data_keys::opener(&mut connection, scope, &self.0.vault, texts).await?;
        let open = |place: &str, sealed: &str| {
            let text = opener.open(place, sealed).map_err(Error::internal)?;
            Secret::parse(&text).map_err(Error::internal)
        };
        let id = to.webhook.id;
        let previous = previous.map(|previous| open(&previous_place(id), &previous.sealed)).transpose()?;
        Ok((open(&place(id), &to.sealed)?, previous))
    }

    /// Writes down what became of a delivery, and what follows for its webhook.
    ///
    /// # Errors
    /// The database's. The delivery is posted again then, once its claim has run out.
    pub(super) async fn settle(
        &self,
        scope: TenantScope,
        to: &Addressee,
        claimed: &Claimed,
        posted: &Posted,
        next: Next,
    ) -> Result<(), Error> {
        let result = match next {
            Next::Delivered => "delivered",
            Next::Retry { .. } => "retried",
            Next::GivenUp => "given_up",
        };
        counter!("scaigrid_webhook_attempts_total", "result" => result).increment(1);
        let mut tx = self.0.database.begin().await?;
        let settled = self.write_down(&mut tx, scope, to, claimed, posted, next).await;
        if ended(tx, settled).await? {
            self.webhooks_changed();
        }
        Ok(())
    }

    /// Says whether the webhook was switched off.
    async fn write_down(
        &self,
        tx: &mut Transaction,
        scope: TenantScope,
        to: &Addressee,
        claimed: &Claimed,
        posted: &Posted,
        next: Next,
    ) -> Result<bool, Error> {
        let (now, id, verdict) = (self.now(), claimed.delivery.webhook_id, posted.attempt.verdict());
        let seen = webhooks::lookup(tx, scope, id).await?;
        // What a receiver says is said of the place that was called, and the webhook may have moved meanwhile.
        let moved = seen.as_ref().is_some_and(|webhook| webhook.url != to.webhook.url);
        let next = if moved && verdict == Verdict::Gone { Next::Retry { at: now } } else { next };
        if !webhook_deliveries::report(tx, scope, claimed, &posted.attempt, next).await? {
            tracing::debug!(delivery = %claimed.delivery.id, "somebody else has taken the delivery up");
            return Ok(false);
        }
        // Most attempts change nothing about the webhook, and need not wait for its row.
        if moved || seen.is_none_or(|webhook| webhook.standing.after(verdict, now) == webhook.standing) {
            return Ok(false);
        }
        let Some(before) = webhooks::lock(tx, scope, id).await? else { return Ok(false) };
        if before.url != to.webhook.url {
            return Ok(false);
        }
        let mut after = before.clone();
        after.standing = before.standing.after(verdict, now);
        let disabled =
            matches!(after.standing, Standing::Disabled { .. }) && after.standing != before.standing;
        if disabled {
            (after.revision, after.updated_at) = (before.revision + 1, now);
            let tenant = tenants::reference(tx, &self.0.system, scope.tenant_id()).await?;
            let partner = tenant.map(|tenant| tenant.partner_id);
            let record = AuditRecord::by_the_system(
                self.audit_stamp(now),
                (scope.tenant_id(), partner),
                AuditAction::WebhookDisable,
                id.to_string(),
                diff(&state(&before), &state(&after), &[]),
            );
            audit::add(tx, &record).await?;
        }
        webhooks::save(tx, scope, &after, None).await?;
        Ok(disabled)
    }
}

fn answered(attempt: Attempt, answer: &Answer, now: Instant) -> Posted {
    let code = answer.status.as_u16();
    let text = String::from_utf8_lossy(&answer.body);
    let excerpt: String = text.chars().take(Attempt::MAX_RESPONSE).collect();
    let attempt =
        Attempt { status_code: Some(code), response: (!excerpt.is_empty()).then_some(excerpt), ..attempt };
    let error = (attempt.verdict() != Verdict::Delivered).then(|| format!("the receiver answered {code}"));
    Posted {
        attempt: Attempt { error, ..attempt },
        retry_after: retry_after(&answer.headers, now),
        refused: None,
    }
}

/// How long a receiver wants not to be asked (RFC 9110, 10.2.3): seconds, or until a date.
fn retry_after(headers: &HeaderMap, now: Instant) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = OffsetDateTime::parse(text, &Rfc2822).ok()?;
    Some(Instant::from_datetime(date).since(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_says_when_to_come_back() {
        let now = Instant::parse("1994-11-06T08:49:00Z").unwrap();
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers, now).map(|wait| wait.as_secs())
        };
        assert_eq!(read("120"), Some(120));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT"), Some(37));
        assert_eq!(read("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0));
        assert_eq!(read("soon"), None);
        assert_eq!(read("-5"), None);
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
