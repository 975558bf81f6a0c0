//! Modules: what they declare of themselves, and whether they are at work for a tenant.
//!
//! A manifest says what a module is; settings at three levels, its health and its dependencies decide its state.
//! Probing, proxying and storing settings are done elsewhere; configuration has no part in the state.

mod catalogue;
pub mod config;
mod manifest;
mod shipped;
mod state;

pub use catalogue::{Catalogue, InvalidCatalogue};
pub use manifest::{
    AdminPage, DeclaredPermission, InvalidManifest, InvalidModuleId, Manifest, ModuleId, ModuleKind,
};
pub use shipped::{CannotInstall, install, shipped};
pub use state::{
    CannotEnable, Effective, Enablement, Failure, Health, ModuleStatus, Reason, SettingLevel, Settings,
    effective_state,
};
