//! Where routes are declared: once, for the server and for the document.

use std::collections::btree_map::Entry;
use std::sync::Arc;

use actix_web::dev::HttpServiceFactory;
use actix_web::web;
use utoipa::openapi::path::Paths;
use utoipa::openapi::schema::Schema;
use utoipa::openapi::{OpenApi, RefOr};
use utoipa_actix_web::OpenApiFactory;

use super::DocumentError;
use super::table::RouteTable;
use crate::dispatch::{Endpoint, Endpoints, Made};

/// The routes of a part of the API, documented where they are declared.
pub type Routes = fn(&mut ServiceConfig<'_>);

/// Takes routes, and does with them what one is made for: serves them, lists them, or takes what the document says of them. A
/// description takes some hundred times the memory of what it describes, so an application that only serves describes nothing.
pub struct ServiceConfig<'a> {
    purpose: Purpose<'a>,
}

enum Purpose<'a> {
    Serve { config: &'a mut web::ServiceConfig, endpoints: Vec<Made>, guarded: Guarded },
    List(&'a mut RouteTable),
    Describe(&'a mut Described),
}

/// What is the framework's to match, behind all endpoints.
type Guarded = Vec<Box<dyn FnOnce(&mut web::ServiceConfig)>>;

/// What the document says of routes.
#[derive(Default)]
struct Described {
    paths: Paths,
    schemas: Vec<(String, RefOr<Schema>)>,
}

impl Described {
    fn add(&mut self, handler: &impl OpenApiFactory) {
        self.paths.merge(handler.paths());
        handler.schemas(&mut self.schemas);
    }
}

impl std::fmt::Debug for ServiceConfig<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let purpose = match self.purpose {
            Purpose::Serve { .. } => "serve",
            Purpose::List(_) => "list",
            Purpose::Describe(_) => "describe",
        };
        f.debug_struct("ServiceConfig").field("purpose", &purpose).finish_non_exhaustive()
    }
}

impl<'a> ServiceConfig<'a> {
    /// Takes routes to serve them.
    pub(crate) fn serving(config: &'a mut web::ServiceConfig) -> Self {
        Self { purpose: Purpose::Serve { config, endpoints: Vec::new(), guarded: Vec::new() } }
    }

    /// Adds an endpoint.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a type that says all, and looks like the framework's own"
    )]
    pub fn service<E: Endpoint + OpenApiFactory>(&mut self, endpoint: E) -> &mut Self {
        match &mut self.purpose {
            Purpose::Serve { endpoints, .. } => endpoints.push((E::METHOD, E::PATH, E::route())),
            Purpose::List(table) => table.add(E::METHOD, E::PATH),
            Purpose::Describe(described) => described.add(&endpoint),
        }
        self
    }

    /// Adds what answers requests for which there is no endpoint, where its guards let them pass.
    pub(crate) fn guarded<F>(&mut self, handler: F) -> &mut Self
    where
        F: HttpServiceFactory + OpenApiFactory + 'static,
    {
        match &mut self.purpose {
            Purpose::Serve { guarded, .. } => guarded.push(Box::new(|config| {
                config.service(handler);
            })),
            Purpose::List(_) => {}
            Purpose::Describe(described) => described.add(&handler),
        }
        self
    }

    /// The same, of which the document does not tell.
    pub(crate) fn route(&mut self, path: &'static str, route: actix_web::Route) -> &mut Self {
        if let Purpose::Serve { guarded, .. } = &mut self.purpose {
            guarded.push(Box::new(move |config| {
                config.route(path, route);
            }));
        }
        self
    }

    /// Adds what handlers find as `web::Data`.
    pub fn app_data<T: 'static>(&mut self, data: T) -> &mut Self {
        if let Purpose::Serve { config, .. } = &mut self.purpose {
            config.app_data(data);
        }
        self
    }

    /// Gives all to the framework, with the table in which the endpoints stand.
    pub(crate) fn hand_over(self, table: Arc<RouteTable>) {
        if let Purpose::Serve { config, endpoints, guarded } = self.purpose {
            config.service(Endpoints::new(table, endpoints));
            for add in guarded {
                add(config);
            }
        }
    }
}

/// The table of routes.
pub(super) fn list(parts: &[Routes]) -> RouteTable {
    let mut table = RouteTable::default();
    for routes in parts {
        routes(&mut ServiceConfig { purpose: Purpose::List(&mut table) });
    }
    // What describes itself nowhere.
    for path in ["/", "/openapi.json", "/docs", "/docs/", "/docs/{file}"] {
        table.add("GET", path);
    }
    table
}

/// What the document says of routes.
pub(super) fn describe(parts: &[Routes]) -> Result<OpenApi, DocumentError> {
    let mut described = Described::default();
    for routes in parts {
        routes(&mut ServiceConfig { purpose: Purpose::Describe(&mut described) });
    }
    let mut document = OpenApi::default();
    document.paths = described.paths;
    let schemas = &mut document.components.get_or_insert_default().schemas;
    for (name, schema) in described.schemas {
        // What many refer to is told by each of them; what only has the same name is something else.
        match schemas.entry(name) {
            Entry::Vacant(vacant) => {
                vacant.insert(schema);
            }
            Entry::Occupied(known) if *known.get() == schema => {}
            Entry::Occupied(known) => {
                return Err(DocumentError::DuplicateSchema { name: known.key().clone() });
            }
        }
    }
    Ok(document)
}
