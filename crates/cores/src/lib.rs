//! The Core: a hosted program with its settings, and the life that it leads.
//!
//! The aggregate with the values that it is made of, what may be changed about it, and the one function that says
//! how its status moves. Whether a program is valid is for the verifier to say, what runs is for the engine, and
//! how secrets are encrypted is for whoever stores them.
//!
//! ```
//! use scaigrid_cores::triggers::schedule::Schedule;
//! use scaigrid_cores::{Action, Outcome, Status};
//! use scaigrid_ir::module::CatchUp;
//! use scaigrid_scope::Instant;
//!
//! // How a status moves, and what follows from it; or what would be legal.
//! let moved = Status::Running.apply(Action::Pause).map_err(|refused| refused.to_string())?;
//! assert_eq!(moved.to, Outcome::Status(Status::Paused));
//! assert!(Status::Created.apply(Action::Pause).is_err());
//!
//! // When a schedule fires next, where clocks are put forward in between.
//! let every_morning = Schedule::parse("30 8 * * *", "Europe/Berlin", CatchUp::Latest).map_err(|(_, why)| why)?;
//! let evening_before = Instant::from_micros(1_774_728_000_000_000); // 2026-03-28T20:00:00Z
//! let next = every_morning.next_after(evening_before).ok_or("never")?;
//! assert_eq!(next.to_string(), "2026-03-29T06:30:00Z");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod avatar;
mod change;
pub mod conversation;
mod core;
pub mod debugging;
pub mod delegation;
mod environment;
pub mod execution;
pub mod instances;
mod lifecycle;
pub mod logs;
mod modes;
pub mod plugins;
pub mod progress;
pub mod publication;
mod resource_limits;
pub mod triggers;

pub use avatar::{Avatar, AvatarProblem, AvatarType};
pub use change::{CoreChanges, NewCore};
pub use core::{
    Core, CoreError, CoreIdentity, EntityKeyField, FieldProblem, LastError, Source, SourceVersion,
};
pub use delegation::{Delegation, Lapse};
pub use environment::{EnvValue, Environment, SecretText};
pub use lifecycle::{Action, FollowUp, InvalidTransition, Outcome, Status, Transition};
pub use modes::{CheckpointMode, Concurrency, ConcurrencyMode, IdentityMode, PrivilegeLevel, RuntimeMode};
