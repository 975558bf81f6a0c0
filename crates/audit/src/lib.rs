//! Audit: who did what to which resource, and what was different afterwards.
//!
//! The record, the vocabulary of its actions, and the comparison of two states with secrets hidden and sizes bounded.
//! A record is written by whoever makes the change, in the same transaction; it is never written here.

mod action;
mod diff;
mod mask;
mod record;

pub use action::AuditAction;
pub use diff::{Changes, FieldChange, diff};
pub use mask::is_secret_name;
pub use record::{Actor, ActorKind, AuditRecord, Outcome, RequestContext};
