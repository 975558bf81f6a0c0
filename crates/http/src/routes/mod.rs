//! The routes of the platform: people, keys, partners and tenants, modules, the audit log.
//!
//! One file per family: what is sent, what is answered, and handlers that extract, call and wrap.

mod audit;
mod given;
mod keys;
mod me;
mod modules;
mod partners;
mod scaicore;
mod system;
mod tenants;
mod users;

use utoipa_actix_web::service_config::ServiceConfig;

pub(crate) use given::Problems;

/// Adds every route of the product.
pub fn all(config: &mut ServiceConfig<'_>) {
    platform(config);
    scaicore::routes(config);
}

/// Adds the routes of the platform.
pub fn platform(config: &mut ServiceConfig<'_>) {
    me::routes(config);
    keys::routes(config);
    users::routes(config);
    partners::routes(config);
    tenants::routes(config);
    modules::routes(config);
    audit::routes(config);
    system::routes(config);
}
