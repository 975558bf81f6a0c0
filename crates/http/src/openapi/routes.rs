//! Where routes are declared: once, for the server and for the document.

use actix_web::dev::HttpServiceFactory;
use actix_web::web;
use utoipa::openapi::path::Paths;
use utoipa::openapi::schema::Schema;
use utoipa::openapi::{OpenApi, RefOr};
use utoipa_actix_web::OpenApiFactory;

/// The routes of a part of the API, documented where they are declared.
pub type Routes = fn(&mut ServiceConfig<'_>);

/// Takes routes, and what the document says of them where one is made. An application that only serves describes nothing:
/// each worker has one, and a description takes some hundred times the memory of what it describes.
pub struct ServiceConfig<'a> {
    served: &'a mut web::ServiceConfig,
    described: Option<&'a mut Described>,
}

/// What the document says of routes.
#[derive(Default)]
struct Described {
    paths: Paths,
    schemas: Vec<(String, RefOr<Schema>)>,
}

impl std::fmt::Debug for ServiceConfig<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceConfig").field("describes", &self.described.is_some()).finish_non_exhaustive()
    }
}

impl<'a> ServiceConfig<'a> {
    /// Takes routes to serve them.
    pub(crate) const fn serving(served: &'a mut web::ServiceConfig) -> Self {
        Self { served, described: None }
    }

    /// Adds a handler.
    pub fn service<F: HttpServiceFactory + OpenApiFactory + 'static>(&mut self, handler: F) -> &mut Self {
        if let Some(described) = &mut self.described {
            described.paths.merge(handler.paths());
            handler.schemas(&mut described.schemas);
        }
        self.served.service(handler);
        self
    }

    /// Adds what handlers find as `web::Data`.
    pub fn app_data<T: 'static>(&mut self, data: T) -> &mut Self {
        self.served.app_data(data);
        self
    }
}

/// What the document says of routes, and nothing else.
pub(super) fn describe(parts: &[Routes]) -> OpenApi {
    let mut described = Described::default();
    let _unused = actix_web::App::new().configure(|served| {
        for routes in parts {
            routes(&mut ServiceConfig { served: &mut *served, described: Some(&mut described) });
        }
    });
    let mut document = OpenApi::default();
    document.paths = described.paths;
    document.components.get_or_insert_default().schemas.extend(described.schemas);
    document
}
