//! A delivery: one event for one webhook, until it has got through or was given up.

use std::time::Duration;

use scaigrid_scope::{DeliveryId, EventId, Instant, TenantId, WebhookId, text_enum};
use sha2::{Digest as _, Sha256};
use ulid::Ulid;

use crate::event::EventType;
use crate::webhook::Retries;

/// How long after a failure the next attempt is made: after the first, the second, and so on.
pub const BACKOFF: [Duration; 8] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_mins(5),
    Duration::from_mins(30),
    Duration::from_hours(2),
    Duration::from_hours(6),
    Duration::from_hours(12),
];

/// How many attempts a delivery remembers: the last ones.
pub const MAX_LOG: usize = 20;

text_enum! {
    /// What became of a delivery.
    pub enum DeliveryStatus {
        /// It is still to be tried.
        Pending => "pending",
        /// It got through.
        Success => "success",
        /// It was given up.
        Failed => "failed",
    }
}

/// How a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryState {
    /// It is still to be tried.
    Pending {
        /// When. While it is being tried: when somebody else may take it up.
        next_at: Instant,
    },
    /// It is over.
    Ended {
        /// Whether it got through.
        success: bool,
        /// When.
        at: Instant,
    },
}

impl DeliveryState {
    /// The status.
    pub const fn status(self) -> DeliveryStatus {
        match self {
            Self::Pending { .. } => DeliveryStatus::Pending,
            Self::Ended { success: true, .. } => DeliveryStatus::Success,
            Self::Ended { success: false, .. } => DeliveryStatus::Failed,
        }
    }
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// When it began.
    pub at: Instant,
    /// How long it took, in milliseconds.
    pub duration_ms: u32,
    /// The status of the answer, if one came.
    pub status_code: Option<u16>,
    /// What went wrong, if something did.
    pub error: Option<String>,
    /// The beginning of the answer's body.
    pub response: Option<String>,
}

/// What an attempt amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The receiver has it (2xx).
    Delivered,
    /// It has to be tried again.
    Failed,
    /// The receiver wants nothing more, ever (410).
    Gone,
}

impl Attempt {
    /// The most characters of an answer's body that are kept.
    pub const MAX_RESPONSE: usize = 1024;
    /// The most characters of what went wrong that are kept.
    pub const MAX_ERROR: usize = 300;

    /// What it amounts to. A redirect is no delivery.
    pub const fn verdict(&self) -> Verdict {
        match self.status_code {
            Some(200..=299) => Verdict::Delivered,
            Some(410) => Verdict::Gone,
            _ => Verdict::Failed,
        }
    }
}

/// What follows from an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It got through.
    Delivered,
    /// It is tried again.
    Retry {
        /// When.
        at: Instant,
    },
    /// That was the last attempt.
    GivenUp,
}

/// What follows from the `number`th attempt (from 1) of a delivery that may be tried `retries` times again.
///
/// A receiver that says when to come back (`Retry-After`) is listened to as far as it asks for more time than the
/// timetable gives, and for no more than the timetable's last step.
pub fn next(
    verdict: Verdict,
    number: u32,
    retries: Retries,
    retry_after: Option<Duration>,
    now: Instant,
) -> Next {
    match verdict {
        Verdict::Delivered => Next::Delivered,
        Verdict::Gone => Next::GivenUp,
        Verdict::Failed => {
            let step = usize::try_from(number.max(1) - 1).unwrap_or(usize::MAX);
            match BACKOFF.get(step).filter(|_| step < usize::from(retries.get())) {
                None => Next::GivenUp,
                Some(wait) => {
                    let longest = BACKOFF[BACKOFF.len() - 1];
                    let asked = retry_after.unwrap_or_default().min(longest);
                    Next::Retry { at: now.plus(asked.max(*wait)) }
                }
            }
        }
    }
}

/// The id of the delivery of an event to a webhook: of the event's time, and the same however often it is made.
pub fn delivery_id(event: EventId, webhook: WebhookId) -> DeliveryId {
    let digest = Sha256::new().chain_update(event.to_string()).chain_update(webhook.to_string()).finalize();
    let random = digest.iter().take(10).fold(0_u128, |bits, byte| bits << 8 | u128::from(*byte));
    DeliveryId::from_ulid(Ulid::from_parts(event.ulid().timestamp_ms(), random))
}

/// One event for one webhook.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// Its id.
    pub id: DeliveryId,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// For which webhook.
    pub webhook_id: WebhookId,
    /// Which event. What `webhook-id` says, in every attempt.
    pub event_id: EventId,
    /// Of what type.
    pub event_type: EventType,
    /// How it stands.
    pub state: DeliveryState,
    /// How many attempts were begun since it was last asked for.
    pub attempts: u32,
    /// The last attempts, oldest first.
    pub log: Vec<Attempt>,
    /// When it was written.
    pub created_at: Instant,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Instant = Instant::from_micros(1_000_000_000);

    fn attempt(status_code: Option<u16>) -> Verdict {
        Attempt { at: NOW, duration_ms: 1, status_code, error: None, response: None }.verdict()
    }

    #[test]
    fn the_timetable_is_kept() {
        let waits: Vec<u64> = (1..)
            .map_while(|number| match next(Verdict::Failed, number, Retries::MAX, None, NOW) {
                Next::Retry { at } => Some(at.since(NOW).as_secs()),
                _ => None,
            })
            .collect();
        assert_eq!(waits, [1, 5, 30, 300, 1800, 7200, 21600, 43200]);
        assert_eq!(BACKOFF.len(), usize::from(Retries::MAX.get()));
        let two = Retries::new(2).unwrap();
        assert!(matches!(next(Verdict::Failed, 2, two, None, NOW), Next::Retry { .. }));
        assert_eq!(next(Verdict::Failed, 3, two, None, NOW), Next::GivenUp);
        assert_eq!(next(Verdict::Failed, 1, Retries::new(0).unwrap(), None, NOW), Next::GivenUp);
        assert_eq!(next(Verdict::Gone, 1, Retries::MAX, None, NOW), Next::GivenUp);
    }

    #[test]
    fn the_receiver_may_ask_for_more_time_within_bounds() {
        let after =
            |seconds| match next(Verdict::Failed, 2, Retries::MAX, Some(Duration::from_secs(seconds)), NOW) {
                Next::Retry { at } => at.since(NOW).as_secs(),
                other => panic!("{other:?}"),
            };
        assert_eq!((after(0), after(3), after(90), after(9_999_999)), (5, 5, 90, 43_200));
    }

    #[test]
    fn only_two_hundreds_are_deliveries() {
        assert_eq!(attempt(Some(204)), Verdict::Delivered);
        assert_eq!(attempt(Some(410)), Verdict::Gone);
        for code in [None, Some(199), Some(301), Some(307), Some(400), Some(404), Some(500)] {
            assert_eq!(attempt(code), Verdict::Failed, "{code:?}");
        }
    }

    proptest! {
        #[test]
        fn a_delivery_has_one_id_of_its_events_time(event: u128, webhook: u128, other: u128) {
            let (event, hook) = (EventId::from_ulid(Ulid(event)), WebhookId::from_ulid(Ulid(webhook)));
            let id = delivery_id(event, hook);
            prop_assert_eq!(id, delivery_id(event, hook));
            prop_assert_eq!(id.ulid().timestamp_ms(), event.ulid().timestamp_ms());
            let elsewhere = delivery_id(event, WebhookId::from_ulid(Ulid(other)));
            prop_assert_eq!(elsewhere == id, other == webhook);
        }

        #[test]
        fn retries_end_and_never_come_early(number in 1..1000_u32, retries in 0..=8_i64, asked in 0..1_000_000_u64) {
            let retries = Retries::new(retries).unwrap();
            match next(Verdict::Failed, number, retries, Some(Duration::from_secs(asked)), NOW) {
                Next::Retry { at } => {
                    prop_assert!(number <= u32::from(retries.get()));
                    prop_assert!(at.since(NOW) >= BACKOFF[number as usize - 1]);
                    prop_assert!(at.since(NOW) <= BACKOFF[7]);
                }
                next => prop_assert!(next == Next::GivenUp && number > u32::from(retries.get())),
            }
        }
    }
}
