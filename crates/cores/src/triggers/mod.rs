//! What starts the flows of a Core by itself.

pub mod schedule;
