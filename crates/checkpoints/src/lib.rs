//! Checkpoints: durable waits for a person's decision.
//!
//! Who is asked, who may answer, what an answer must look like, what happens when none comes, and that there is only
//! ever one. Telling people about it, storing it and waking the flow are the business of others; when several
//! answers race, the one whose write finds the checkpoint still pending has won.
//!
//! ```
//! use scaigrid_checkpoints::{Assignee, Checkpoint, CheckpointStatus, NewCheckpoint, Priority, Routing, Rules};
//! use scaigrid_scope::{CheckpointId, CoreId, ExecutionId, Instant, TenantId};
//! use std::sync::Arc;
//! use ulid::Ulid;
//!
//! // Ids and time come from the host.
//! let id = Ulid::from_parts(1_700_000_000_000, 1);
//! let question = NewCheckpoint {
//!     id: CheckpointId::from_ulid(id),
//!     tenant_id: TenantId::from_ulid(id),
//!     core_id: CoreId::from_ulid(id),
//!     execution_id: ExecutionId::from_ulid(id),
//!     flow_name: "submit".to_owned(),
//!     block_id: "approve".to_owned(),
//!     instance_key: None,
//!     checkpoint_type: "approval".to_owned(),
//!     prompt: "Approve 5040 for Kim?".to_owned(),
//!     options: vec!["approve".to_owned(), "reject".to_owned()],
//!     routing: Routing::of_program(Some("role:tenant_admin"), None),
//!     context: Arc::new(serde_json::Value::Null),
//!     priority: Priority::High,
//!     expiry: None,
//!     rules: Rules::default(),
//! };
//! let now = Instant::from_micros(1_700_000_000_000_000);
//! let opened = Checkpoint::open(question, now).checkpoint;
//! assert!(matches!(opened.routing.assignee, Assignee::Role(_)));
//! // Nobody waits any more; a second end is refused.
//! let ended = opened.withdraw(now)?.checkpoint;
//! assert_eq!(ended.state.status(), CheckpointStatus::Cancelled);
//! assert!(ended.withdraw(now).is_err());
//! # Ok::<(), scaigrid_checkpoints::CheckpointError>(())
//! ```

mod assignee;
mod checkpoint;
mod decide;
mod error;
mod expiry;
mod history;
mod rules;
mod warning;

pub use assignee::{Assignee, AssigneeKind, GroupRef, InvalidAssignee, Routing, UserRef};
pub use checkpoint::{
    By, Checkpoint, CheckpointStatus, Decision, NewCheckpoint, Priority, Resolution, State,
};
pub use decide::{Access, assignees_of};
pub use error::CheckpointError;
pub use expiry::{Expiry, ExpiryAction, ExpiryKind};
pub use history::{Change, EventKind, HistoryEvent};
pub use rules::{AllowedCall, Claim, FormCheck, FormFinding, Rules, Vote};
pub use warning::{Turn, Unreachable, Warning, WarningCode};
