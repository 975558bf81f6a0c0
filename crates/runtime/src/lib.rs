//! The interpreter as a value: a program's execution is a [`Machine`] that can be stored, moved and continued.
//!
//! [`Program`] is a loaded module with its blocks and statements numbered. A [`Machine`] is the whole state of
//! one execution of one of its flows. [`Machine::advance`] runs it until it wants something from the world, an
//! [`Effect`]; [`Machine::deliver`] gives it the [`Outcome`]. [`journal`] holds what happened in order, and
//! [`journal::replay`] makes the same machine of it again, bit for bit.
//!
//! Nothing here does what an effect asks for, reads a clock, draws a random number, or stores anything: that is
//! the driver's part. Nothing here checks programs: that is the verifier's, in the `ir` room. A program that the
//! verifier refuses still cannot make a machine panic or run without end; it fails.

pub mod effect;
pub mod failure;
pub mod journal;
pub mod limits;
pub mod machine;
pub mod program;
mod prompt;

pub use effect::{
    ActionRequest, CheckpointRequest, CoreCallRequest, Effect, EffectId, EffectKind, MemoryRequest, ModelAnswer,
    ModelCallRequest, Outcome, PluginCallRequest, TimerRequest, WaitEventRequest,
};
pub use failure::{Failure, NotWaiting, ReplayError, StateError};
pub use machine::{End, ExecutionContext, Machine, Start, Status, Step};
pub use program::Program;
