//! The Core: a hosted program with its settings, and the life that it leads.
//!
//! The aggregate with the values that it is made of, what may be changed about it, and the one function that says
//! how its status moves. Whether a program is valid is for the verifier to say, what runs is for the engine, and
//! how secrets are encrypted is for whoever stores them.

mod change;
pub mod conversation;
mod core;
pub mod debugging;
mod environment;
pub mod execution;
pub mod instances;
mod lifecycle;
pub mod logs;
mod modes;
pub mod plugins;
pub mod publication;
pub mod subscription;
pub mod triggers;

pub use change::{CoreChanges, NewCore};
pub use core::{
    Core, CoreError, CoreIdentity, Delegation, EntityKeyField, FieldProblem, LastError, Source, SourceVersion,
};
pub use environment::{EnvValue, Environment, SecretText};
pub use lifecycle::{Action, FollowUp, InvalidTransition, Outcome, Status, Transition};
pub use modes::{CheckpointMode, Concurrency, ConcurrencyMode, IdentityMode, PrivilegeLevel, RuntimeMode};
