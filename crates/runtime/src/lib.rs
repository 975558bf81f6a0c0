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
//!
//! ```
//! use scaigrid_ir::{Value, check};
//! use scaigrid_runtime::{EffectKind, ExecutionContext, Machine, Outcome, Program, Start, Step};
//! use serde_json::json;
//!
//! let (module, _) = check(&json!({"schema_version": "0.2", "name": "Clock", "version": "1.0.0", "flows": [
//!     {"name": "main", "body": [{"kind": "rigid", "statements": [{"kind": "return", "value": "now().year"}]}]}]}));
//! let program = Program::new(module.ok_or("no module")?);
//! let nothing = Value::from_json(&json!({}));
//! let (execution_id, core_id) = ("exec_1".into(), "core_1".into());
//! let context = ExecutionContext { execution_id, core_id, trigger: Value::Null, started_at: 0 };
//! let start = Start { flow: "main".into(), input: nothing.clone(), config: nothing.clone(), context, env: nothing, debug: false };
//! let mut machine = Machine::start(&program, start).map_err(|failure| failure.message.to_string())?;
//!
//! // It has no clock: it asks for the time, and its bytes are all that there is of it meanwhile.
//! let Step::Effects(effects) = machine.advance(&program, &mut 1_000) else { panic!() };
//! assert_eq!(effects[0].kind, EffectKind::Now);
//! let mut elsewhere = Machine::decode(&machine.encode())?;
//! elsewhere.deliver(effects[0].id, Outcome::Value(Value::Datetime(0)))?;
//! assert_eq!(elsewhere.advance(&program, &mut 1_000), Step::Completed(Value::Int(1970)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod effect;
pub mod failure;
pub mod journal;
pub mod limits;
pub mod machine;
pub mod program;
mod prompt;

pub use effect::{
    ActionRequest, CheckpointRequest, CoreCallRequest, Effect, EffectId, EffectKind, MemoryRequest,
    ModelAnswer, ModelCallRequest, Outcome, PluginCallRequest, TimerRequest, WaitEventRequest,
};
pub use failure::{Cause, Expense, Failure, NotWaiting, ReplayError, StateError};
pub use machine::{End, ExecutionContext, Machine, Start, Status, Step};
pub use program::Program;
