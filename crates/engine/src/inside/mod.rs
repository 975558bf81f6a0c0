//! The inside view: what is said of executions while they run, where they stop, and what can be seen of them afterwards.
//!
//! Nothing in here makes an execution slower that nobody looks at: entries of the log travel in the commit that they tell
//! of, breakpoints are known with the Core, and the rest is told from the journal when somebody asks.

mod audience;
mod branch;
mod debug;
mod events;
mod follow;
mod inspect;
mod kept;
mod logs;
mod progress;

use std::sync::Arc;

use scaigrid_cores::debugging::Breakpoint;
use scaigrid_cores::{Core, EnvValue, SecretText};
use scaigrid_ir::expr::{self, Expr};
use scaigrid_scope::BreakpointId;

use crate::plugins::Masked;

pub use branch::Forked;
pub use events::{RuntimeEvent, RuntimePage, RuntimePlace};
pub use follow::{Followed, LogFollower};
pub use inspect::{Inspected, Inspection};
pub use logs::LogQuery;
pub use progress::{ExecutionFollower, Happening, Reported, StatusReport};

pub(crate) use audience::Audiences;
pub(crate) use follow::Watched;
pub(crate) use kept::{Bound, Kept, followers};
pub(crate) use logs::{Said, ended, of_program, said};

/// What the inside view knows of a Core.
#[derive(Debug, Clone, Default)]
pub struct Inside {
    /// Its secrets, to be seen nowhere.
    pub(crate) masked: Arc<Masked>,
    /// Where its executions stop: those that count.
    pub(crate) stops: Arc<[Stop]>,
}

/// A breakpoint, ready to be asked.
#[derive(Debug, Clone)]
pub(crate) struct Stop {
    pub(crate) id: BreakpointId,
    flow: String,
    block: String,
    condition: Option<Expr>,
}

impl Inside {
    pub(crate) fn of(core: &Core, breakpoints: Vec<Breakpoint>) -> Self {
        let secrets = core.environment.iter().filter_map(|(_, value)| match value {
            EnvValue::Secret(secret) => Some(SecretText::reveal(secret)),
            EnvValue::Plain(_) => None,
        });
        let stops =
            breakpoints.into_iter().filter(|breakpoint| breakpoint.enabled).filter_map(|breakpoint| {
                let condition = match breakpoint.condition.as_deref().map(expr::parse) {
                    None => None,
                    Some(Ok(condition)) => Some(condition),
                    // It was checked when it was stored.
                    Some(Err(_)) => return None,
                };
                Some(Stop { id: breakpoint.id, flow: breakpoint.flow, block: breakpoint.block, condition })
            });
        Self { masked: Arc::new(Masked::new(secrets)), stops: stops.collect() }
    }
}
