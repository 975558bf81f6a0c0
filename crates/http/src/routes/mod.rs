//! The routes of the platform: people, groups and roles, keys, partners and tenants, modules, the audit log.
//!
//! One file per family: what is sent, what is answered, and handlers that extract, call and wrap.

mod accounting;
mod audit;
mod backends;
mod custom_roles;
mod deliveries;
mod embeddings;
mod given;
mod groups;
mod hooks;
mod iam;
mod inference;
mod keys;
mod me;
mod model_groups;
mod models;
pub(crate) mod modules;
mod openai;
mod partners;
mod scaicore;
mod system;
mod tenants;
mod users;
mod webhooks;
mod well_known;
mod workspace;

use crate::openapi::ServiceConfig;

pub(crate) use audit::AuditRecord;
pub(crate) use given::Problems;

/// Adds every route of the product.
pub fn all(config: &mut ServiceConfig<'_>) {
    scaicore::routes(config);
    hooks::routes(config);
    platform(config);
}

/// Adds the routes of the platform.
pub fn platform(config: &mut ServiceConfig<'_>) {
    me::routes(config);
    keys::routes(config);
    users::routes(config);
    groups::routes(config);
    custom_roles::routes(config);
    iam::routes(config);
    partners::routes(config);
    tenants::routes(config);
    workspace::routes(config);
    modules::routes(config);
    audit::routes(config);
    webhooks::routes(config);
    deliveries::routes(config);
    models::routes(config);
    backends::routes(config);
    model_groups::routes(config);
    inference::routes(config);
    openai::routes(config);
    embeddings::routes(config);
    accounting::routes(config);
    system::routes(config);
    well_known::routes(config);
    // What none of the others takes.
    modules::call::routes(config);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::openapi::{document, operations_mut};

    #[test]
    fn every_operation_has_a_name_a_summary_a_tag_and_an_answer() {
        let mut document = document(all).unwrap();
        let mut tags = BTreeSet::new();
        for (path, item) in &mut document.paths.paths {
            for (method, operation) in operations_mut(item) {
                assert!(operation.summary.is_some(), "{method} {path}");
                assert!(
                    operation.responses.responses.keys().any(|status| status.starts_with('2')),
                    "{method} {path}"
                );
                tags.extend(operation.tags.clone().unwrap_or_default());
                assert!(operation.tags.is_some(), "{method} {path}");
            }
        }
        let platform = [
            "accounting",
            "api keys",
            "audit",
            "custom roles",
            "groups",
            "identity",
            "inference",
            "models",
            "modules",
            "operations",
            "tenancy",
            "users",
            "webhooks",
        ];
        assert!(platform.iter().all(|tag| tags.contains(*tag)), "{tags:?}");
    }
}
