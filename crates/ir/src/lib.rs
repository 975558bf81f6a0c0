//! Programs as data: the module tree, its two encodings, its expressions, and the rules it must obey.
//!
//! A program arrives as a bundle ([`bundle`]) or as JSON, both of which are the same map. [`load`] turns the
//! map into a typed [`Module`] and reports what it cannot accept; [`verify`] checks what a well-formed module
//! must also obey. [`expr`] parses and evaluates expressions over [`Value`]s; [`types`] checks values against
//! declared types; [`search`] finds values by their words.
//!
//! Nothing here runs a program: that is the `runtime` room. Nothing here knows tenants, storage or time.

pub mod block;
pub mod bundle;
pub mod diagnostic;
pub mod expr;
mod graph;
pub mod load;
pub mod module;
pub mod search;
pub mod types;
pub mod value;
pub mod verify;

pub use diagnostic::{Diagnostic, Severity};
pub use load::check;
pub use module::{Flow, Module};
pub use types::Type;
pub use value::Value;
