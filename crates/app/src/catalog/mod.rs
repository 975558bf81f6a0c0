//! The catalogue: models, what answers for them, who sees them; and calling them.
//!
//! Models, backends and groups are made and changed at a level, by whoever holds `models:manage` there. A tenant enables of
//! what it sees what its people shall use.

mod access;
mod backends;
mod call;
mod echo;
mod groups;
mod models;
mod usage;

use scaigrid_catalog::{Mapping, Model};

pub use backends::NewBackend;
pub use groups::{GroupEdits, ModelGroupView, NewModelGroup};
pub use models::{ModelEdits, NewModel};
pub use scaigrid_engine::{
    Asking, Completion, CoreState, EmbedCall, Embedded, ModelCall, Piece, Question, Streaming, Thread, Used,
    WaitsFor,
};
pub use scaigrid_persistence::model_usage::UsageFilter;
pub use scaigrid_persistence::models::{ModelFilter, ModelRef};

pub use call::ModelPieces;
pub(crate) use models::seen;

/// A model as a level sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct ListedModel {
    /// The model.
    pub model: Model,
    /// Whether the tenant has enabled it; above the tenants, whether it is enabled where one has not said otherwise.
    pub enabled: bool,
    /// Its backends.
    pub backends: Vec<Mapping>,
    /// How many of them are asked at present, as far as this node has found.
    pub active_backends: usize,
    /// Whether the caller may change it where they act.
    pub own: bool,
}
