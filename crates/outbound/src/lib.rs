//! The way out: everything that a tenant can name is reached through here.
//!
//! The [`Guard`] decides where a call may go. It reads the URL strictly, resolves the name, judges every address that
//! it has, and the [`Client`] connects to an address that was judged and to no other, so that a name which changes
//! its mind between the look and the call (DNS rebinding) gains nothing. No proxy of the environment is used, no
//! cookie is kept and no redirect is followed.
//!
//! What the operator names (databases, Redis, object stores) does not pass here; nor does [`mail`], whose server is the operator's too.

mod address;
mod allow;
mod client;
mod connect;
mod forward;
mod gate;
mod guard;
mod headers;
pub mod mail;
pub mod models;
pub mod plugins;
mod resolve;
mod stream;
mod target;
mod tls;

pub use address::{Class, classify};
pub use allow::{AllowList, InvalidEntry};
pub use client::{Answer, Client, Limits, SendError};
pub use forward::{
    BodyError, Forwarded, Passing, Patience, Pieces, Received, Tunnel, TunnelWriter, content_length,
    wants_websocket,
};
pub use gate::Gate;
pub use guard::{Guard, Refusal};
pub use headers::{for_caller, for_module};
pub use resolve::{Resolve, ResolveFuture, SystemResolver};
pub use target::{Scheme, Target};
