//! Outgoing webhooks: who is told what, how it is signed, and when it is tried again; and what an incoming one must
//! carry to be believed ([`incoming`]).
//!
//! An [`Event`] says what has happened in a tenant. Each [`Webhook`] that wants its type gets a [`Delivery`], a letter
//! that is written in the transaction of what it tells of and posted afterwards, at least once. Nothing is posted here:
//! this room knows the letter, its seal and the timetable.
//!
//! ```
//! use scaigrid_webhooks::{Secret, sign};
//!
//! let secret = Secret::of_bytes(&[7; 32]);
//! let signed = sign(&secret, "evt_1", 1_700_000_000, br#"{"hello":1}"#);
//! assert!(signed.standard.starts_with("v1,") && signed.own.starts_with("sha256="));
//! // The time is part of what is signed.
//! assert_ne!(sign(&secret, "evt_1", 1_700_000_001, br#"{"hello":1}"#).standard, signed.standard);
//! ```

mod delivery;
mod event;
pub mod incoming;
mod secret;
mod signature;
mod subscription;
mod webhook;

pub use delivery::{
    Attempt, BACKOFF, Delivery, DeliveryState, DeliveryStatus, MAX_LOG, Next, Verdict, delivery_id, next,
};
pub use event::{Event, EventType};
pub use secret::{InvalidSecret, Secret};
pub use signature::{Signed, sign};
pub use subscription::{InvalidSubscription, Subscription, Subscriptions};
pub use webhook::{
    DisabledReason, InvalidRetries, InvalidUrl, Retries, Standing, Webhook, WebhookChanges, WebhookStatus,
    WebhookUrl,
};
