//! Outgoing webhooks: who is told what, how it is signed, and when it is tried again.
//!
//! An [`Event`] says what has happened in a tenant. Each [`Webhook`] that wants its type gets a [`Delivery`], a letter
//! that is written in the transaction of what it tells of and posted afterwards, at least once. Nothing is posted here:
//! this room knows the letter, its seal and the timetable.

mod delivery;
mod event;
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
