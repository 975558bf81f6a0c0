//! Modules: what they declare of themselves, and whether they are at work for a tenant.
//!
//! A manifest says what a module is; settings at three levels, its health and its dependencies decide its state.
//! What is made of probes and where requests are passed on to are decided here; probing, proxying and storing settings
//! are done elsewhere; configuration has no part in the state.
//!
//! ```
//! use scaigrid_modules::config::merge_patch;
//! use serde_json::json;
//!
//! let mut config = json!({"limit": 3, "model": {"name": "a", "temperature": 0.5}});
//! merge_patch(&mut config, &json!({"model": {"temperature": null}, "limit": 5}));
//! assert_eq!(config, json!({"limit": 5, "model": {"name": "a"}}));
//! ```

mod below;
mod catalogue;
pub mod config;
mod manifest;
mod shipped;
mod state;
mod watch;

pub use below::{OutsideEndpoint, below};
pub use catalogue::{Catalogue, InvalidCatalogue};
pub use manifest::{
    AdminPage, DeclaredPermission, InvalidManifest, InvalidModuleId, Manifest, ModuleId, ModuleKind,
};
pub use shipped::{CannotInstall, install, shipped};
pub use state::{
    CannotEnable, Effective, Enablement, Failure, Health, ModuleStatus, Reason, SettingLevel, Settings,
    effective_state,
};
pub use watch::{FAILURES, Watch};
