//! The `OpenAPI` document (3.1), made of the same list as the routes.
//!
//! What is true of every operation of a kind is added here and not repeated beside each handler: security, the
//! errors that it can answer, the headers that it takes. An operation that says something itself keeps it.

mod bodies;
mod common;
pub(crate) mod docs;
pub(crate) mod kinds;
mod parameters;
mod routes;
mod table;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use actix_web::web::Bytes;
use scaigrid_app as app;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Info, License, OpenApi, PathItem};

pub use routes::{Routes, ServiceConfig};

use crate::error::Error;
pub(crate) use parameters::without_null;
pub(crate) use table::RouteTable;

/// The document as it is served. It is made when somebody first asks, which may never be.
#[derive(Debug)]
pub(crate) struct Reference {
    routes: Routes,
    written: OnceLock<Result<Bytes, DocumentError>>,
}

impl Reference {
    pub(crate) const fn of(routes: Routes) -> Self {
        Self { routes, written: OnceLock::new() }
    }

    /// The document as JSON.
    pub(crate) fn written(&self) -> Result<Bytes, Error> {
        let written = self.written.get_or_init(|| {
            let document = document(self.routes)?;
            Ok(Bytes::from(document.to_json().unwrap_or_default()))
        });
        written.clone().map_err(|error| app::Error::internal(error.to_string()).into())
    }
}

/// The table of all routes: the given ones and those of this crate.
pub(crate) fn table(routes: Routes) -> RouteTable {
    routes::list(&[crate::health::routes, routes])
}

/// Why the routes make no document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Two operations have the same name.
    #[error("the operation id {id} is used by {first} and by {second}")]
    DuplicateOperationId {
        /// The name.
        id: String,
        /// The method and path of the one.
        first: String,
        /// The method and path of the other.
        second: String,
    },
    /// Two schemas have the same name.
    #[error("two schemas have the name {name}")]
    DuplicateSchema {
        /// The name.
        name: String,
    },
    /// An operation has no name.
    #[error("{operation} has no operation id")]
    NoOperationId {
        /// Its method and path.
        operation: String,
    },
}

/// The document of all routes: the given ones and those of this crate.
pub fn document(routes: Routes) -> Result<OpenApi, DocumentError> {
    let mut document = routes::describe(&[crate::health::routes, routes])?;
    let mut info = Info::new("scaigrid", env!("CARGO_PKG_VERSION"));
    info.description =
        Some("A self-hosted, multi-tenant platform that hosts agent programs durably.".to_owned());
    let mut license = License::new("Apache-2.0 OR MIT");
    license.identifier = Some("Apache-2.0 OR MIT".to_owned());
    info.license = Some(license);
    document.info = info;

    let components = document.components.get_or_insert_default();
    let bearer = SecurityScheme::Http(
        Http::builder().scheme(HttpAuthScheme::Bearer).description(Some("An API key (`sgk_…`)")).build(),
    );
    components.add_security_scheme("bearer", bearer);
    common::add_components(components);
    kinds::add_components(components);
    document.security = Some(vec![SecurityRequirement::new::<_, [&str; 0], &str>("bearer", [])]);

    let mut names: BTreeMap<String, String> = BTreeMap::new();
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations_mut(item) {
            let place = format!("{} {path}", method.to_uppercase());
            let Some(id) = operation.operation_id.clone().filter(|id| !id.is_empty()) else {
                return Err(DocumentError::NoOperationId { operation: place });
            };
            if let Some(first) = names.insert(id.clone(), place.clone()) {
                return Err(DocumentError::DuplicateOperationId { id, first, second: place });
            }
            let public = operation
                .security
                .as_ref()
                .is_some_and(|needs| needs.is_empty() || needs.contains(&SecurityRequirement::default()));
            if public {
                operation.security = Some(Vec::new());
            }
            common::add_to(operation, method, path, public);
            parameters::restrict(operation);
        }
    }
    bodies::restrict(&mut document);
    Ok(document)
}

/// The operations of a path, by their methods in lower case.
pub(crate) fn operations_mut(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    [
        ("get", item.get.as_mut()),
        ("post", item.post.as_mut()),
        ("put", item.put.as_mut()),
        ("patch", item.patch.as_mut()),
        ("delete", item.delete.as_mut()),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((method, operation?)))
}
