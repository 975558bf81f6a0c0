//! The catalogue: models, the backends that answer for them, who sees what, what a call costs, and who may still pay.
//!
//! A [`Model`] is what callers name; a [`Backend`] is a server that answers, and a model there. A model has backends, by
//! priority and weight. [`visibility`] says to whom a model is shown. [`price`] and [`budget`] count in exact decimals.
//! [`breaker`] and [`retry`] say when a backend is asked, and when again. [`echo`] is a backend that needs no server.
//!
//! Nothing is called and nothing is kept here.
//!
//! ```
//! use std::time::Duration;
//!
//! use scaigrid_catalog::price::Price;
//! use scaigrid_catalog::retry;
//!
//! let price: Price = "2.50".parse()?;
//! assert_eq!(price.of(400_000).to_string(), "1");
//! // After the first failure there is a pause, drawn from a lot that the host throws; after the last one there is none.
//! let first = retry::pause(1, None, 0.5).unwrap_or_default();
//! assert!(first > Duration::ZERO && retry::pause(99, None, 0.5).is_none());
//! # Ok::<(), scaigrid_catalog::price::InvalidPrice>(())
//! ```

mod backend;
pub mod breaker;
pub mod budget;
pub mod echo;
mod group;
mod model;
pub mod price;
pub mod retry;
mod select;
mod slug;
pub mod usage;
pub mod visibility;

pub use backend::{
    Backend, BackendChanges, ConnectionConfig, InvalidConfig, MASK, OpenAiConfig, ProviderType, Secrets,
    UpstreamName,
};
pub use group::{GroupScope, ModelGroup};
pub use model::{
    Capabilities, InvalidObject, Mapping, Modality, Model, ModelChanges, ModelStatus, Parameters, Priority,
    Weight,
};
pub use price::{InvalidPrice, Price};
pub use select::order;
pub use slug::{InvalidSlug, ModelSlug};
