//! Audit: who did what to which resource, and what was different afterwards.
//!
//! The record, the vocabulary of its actions, the comparison of two states with secrets hidden and sizes bounded, and the
//! hash chain that makes tampering visible ([`chain`]).
//! A record is written by whoever makes the change, in the same transaction; it is never written here.
//!
//! ```
//! use scaigrid_audit::diff;
//! use serde_json::json;
//!
//! let before = json!({"name": "a", "api_key": "sk-1", "limit": 3});
//! let after = json!({"name": "b", "api_key": "sk-2", "limit": 3});
//! let changes = diff(&before, &after, &[]);
//! assert_eq!(changes.to_json()["name"], json!({"before": "a", "after": "b"}));
//! // That a secret has changed is told, and not from what to what.
//! assert!(!changes.to_json().to_string().contains("sk-"));
//! assert!(diff(&before, &before, &[]).is_empty());
//! ```

mod action;
pub mod chain;
mod diff;
mod mask;
mod record;

pub use action::AuditAction;
pub use diff::{Changes, FieldChange, diff};
pub use mask::is_secret_name;
pub use record::{Actor, ActorKind, AuditRecord, Outcome, RequestContext};
