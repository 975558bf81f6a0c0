//! Programs as data: the module tree, its two encodings, its expressions, and the rules it must obey.
//!
//! A program arrives as a bundle ([`bundle`]) or as JSON, both of which are the same map. [`load`] turns the
//! map into a typed [`Module`] and reports what it cannot accept; [`verify`] checks what a well-formed module
//! must also obey. [`expr`] parses and evaluates expressions over [`Value`]s; [`types`] checks values against
//! declared types; [`search`] finds values by their words.
//!
//! Nothing here runs a program: that is the `runtime` room. Nothing here knows storage or time, and of tenants only that an address
//! may name one ([`core_uri`]).
//!
//! ```
//! use scaigrid_ir::expr::{Limits, Scope, evaluate, parse};
//! use scaigrid_ir::{Type, Value, bundle, check};
//!
//! // A document from anybody: its findings, each with a code and a place.
//! let document = bundle::decode(br#"{"schema_version": "0.2", "name": "Hello", "version": "1.0.0", "flows": [
//!     {"name": "main", "body": [{"kind": "rigid", "statements": [{"kind": "return", "value": "missing + 1"}]}]}]}"#)?;
//! let (module, findings) = check(&document);
//! assert!(module.is_some());
//! assert!(findings[0].pointer.starts_with("/flows/0/body/0/statements/0"), "{findings:?}");
//!
//! // An expression over values that a host names.
//! struct Order;
//! impl Scope for Order {
//!     fn lookup(&self, name: &str) -> Option<Value> {
//!         (name == "amounts").then(|| Value::array(vec![Value::Int(40), Value::Int(2)]))
//!     }
//!     fn types(&self) -> &std::collections::BTreeMap<std::sync::Arc<str>, Type> {
//!         static NONE: std::collections::BTreeMap<std::sync::Arc<str>, Type> = std::collections::BTreeMap::new();
//!         &NONE
//!     }
//! }
//! let sum = parse("amounts.sum(n => n)")?;
//! assert_eq!(evaluate(&sum, &Order, &[], &Limits::default()).ok(), Some(Value::Int(42)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod block;
pub mod bundle;
pub mod core_uri;
pub mod diagnostic;
pub mod expr;
mod graph;
pub mod load;
pub mod module;
pub mod near;
pub mod search;
pub mod types;
pub mod value;
pub mod verify;

pub use diagnostic::{Diagnostic, Severity};
pub use load::check;
pub use module::{Flow, Module};
pub use types::Type;
pub use value::Value;
