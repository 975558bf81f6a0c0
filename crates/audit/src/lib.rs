//! Audit: who did what to which resource, and what was different afterwards.
//!
//! The record, the vocabulary of its actions, the comparison of two states with secrets hidden and sizes bounded, and the
//! hash chain that makes tampering visible ([`chain`]).
//! A record is written by whoever makes the change, in the same transaction; it is never written here.

mod action;
pub mod chain;
mod diff;
mod mask;
mod record;

pub use action::AuditAction;
pub use diff::{Changes, FieldChange, diff};
pub use mask::is_secret_name;
pub use record::{Actor, ActorKind, AuditRecord, Outcome, RequestContext};
