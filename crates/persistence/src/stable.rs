//! Statements that are prepared once, though diesel's own of their kind are prepared, or planned, each time they run.

mod among;
mod page;
mod update;

pub(crate) use among::among;
pub(crate) use page::page;
pub(crate) use update::update;
