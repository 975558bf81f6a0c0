//! Checkpoints: durable waits for a person's decision.
//!
//! Who is asked, who may answer, what an answer must look like, what happens when none comes, and that there is only
//! ever one. Telling people about it, storing it and waking the flow are the business of others; when several
//! answers race, the one whose write finds the checkpoint still pending has won.

mod assignee;
mod checkpoint;
mod decide;
mod expiry;
mod history;

pub use assignee::{Assignee, AssigneeKind, GroupRef, InvalidAssignee, Routing, UserRef};
pub use checkpoint::{
    By, Checkpoint, CheckpointError, CheckpointStatus, Decision, NewCheckpoint, Priority, Resolution, State,
};
pub use decide::{Access, access, assignees_of};
pub use expiry::{Expiry, ExpiryAction, ExpiryKind};
pub use history::{Change, EventKind, HistoryEvent};
