//! Plugins: what a tenant has registered for its Cores to call, what of it is accepted, and what a Core means by an alias.
//!
//! A [`Registration`] names an endpoint and says, by a [`Manifest`], which methods are there, what they take and give, and
//! what a repetition of a call costs. Each method that was accepted is pinned by a [`Pin`]: one that is found otherwise
//! later is a [`Drift`], and is not called until somebody accepts it. Nothing here calls anybody.

mod credentials;
mod drift;
mod fields;
mod installed;
mod manifest;
mod method;
mod name;
pub mod openapi;
mod pin;
mod registration;
mod template;

pub use credentials::{Credentials, ResolvedCredentials};
pub use drift::{Drift, Standing};
pub use installed::{Declared, InstalledPlugin, Resolution, Unresolved, resolve};
pub use manifest::Manifest;
pub use method::{Argument, Binding, EffectClass, Method, Place};
pub use name::{InvalidName, MethodName, PluginName};
pub use pin::{Pin, canonical};
pub use registration::{Endpoint, InvalidEndpoint, PluginKind, Registration};
pub use template::{MissingVariable, Template, resolve_value};
