//! The hash chain: what makes a changed, removed, moved or added record visible.
//!
//! There is a chain for each tenant, one for what each partner does at its own level, and one for the platform. A record's
//! link is the SHA-256 (FIPS 180-4) of its chain, its position, the link before it and all of its fields
//! ([`Entry`], [`link`]). Where a chain ends is written down in a [`Head`] under a key that the database does not hold
//! ([`Keys`]), and a [`Root`] under the same key covers all heads, so that neither the end of a chain nor a
//! whole one can be taken away unseen. [`Walk`] reads a chain and tells what is wrong with it.
//!
//! Nothing here is stored, read or drawn at random; that is done by whoever calls.

mod encode;
mod head;
mod name;
mod walk;

pub use encode::{Digest, Entry, RecordFields, link};
pub use head::{Head, Keys, Root, Seal, combined};
pub use name::Chain;
pub use walk::{Fault, Finding, Findings, Link, Walk};
