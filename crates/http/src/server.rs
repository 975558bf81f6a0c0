//! The assembly: middlewares, the routes of this crate and those of the domain, as one application.
//!
//! The binary makes one [`Router`], gives [`Router::app`] to a server for each of its workers, and stops the
//! server when it is told to. What the edge needs of the rest of the house comes in as [`Parts`].

use std::fmt;
use std::sync::Arc;

use actix_web::body::BoxBody;
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::middleware::from_fn;
use actix_web::web;
use actix_web::{App, HttpRequest, HttpResponse};
use scaigrid_app as app;
use scaigrid_scope::Clock;

use crate::auth::{self, Authenticator, ModuleGate};
use crate::error::Error;
use crate::hang_up;
use crate::health::{self, Readiness, RenderMetrics};
use crate::idempotency::{self, IdempotencyStore};
use crate::limits::{self, RateLimiter, RateLimits};
use crate::openapi::{self, Reference, RouteTable, Routes, ServiceConfig, docs};
use crate::paging::CursorKey;
use crate::request;

/// Whether a path is of the API, whose callers are authenticated and counted.
pub(crate) fn is_api(path: &str) -> bool {
    path.starts_with("/v1/") || path.starts_with("/oai/") || path == "/health/detailed"
}

/// What the edge needs of the rest of the house.
#[derive(Clone)]
pub struct Parts {
    /// Finds callers.
    pub authenticator: Arc<dyn Authenticator>,
    /// Knows which modules are active.
    pub gate: Arc<dyn ModuleGate>,
    /// Keeps idempotency keys.
    pub idempotency: Arc<dyn IdempotencyStore>,
    /// Counts requests.
    pub limiter: Arc<dyn RateLimiter>,
    /// How many requests there may be; `None` for any number.
    pub limits: Option<RateLimits>,
    /// Tells whether the server can work.
    pub readiness: Arc<dyn Readiness>,
    /// Renders the metrics; none where they are read elsewhere.
    pub metrics: Option<RenderMetrics>,
    /// Records traces.
    pub tracing: app::telemetry::Tracing,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Seals cursors; the same on every node.
    pub cursor_key: CursorKey,
    /// The most bytes of an uploaded file on any route.
    pub upload_limit: usize,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// The parts, where middlewares and extractors find them.
pub(crate) type Edge = Parts;

impl Edge {
    pub(crate) fn of(request: &HttpRequest) -> Result<Arc<Self>, Error> {
        let edge = request.app_data::<web::Data<Self>>().map(|edge| Arc::clone(edge));
        edge.ok_or_else(|| app::Error::internal("the application was not made by its router").into())
    }
}

/// The answer of a middleware that does not let a request in.
pub(crate) fn refuse(request: ServiceRequest, error: Error) -> ServiceResponse<BoxBody> {
    answer(request, HttpResponse::from_error(error))
}

/// An answer of a middleware, with the error that it carries, if it does.
pub(crate) fn answer(request: ServiceRequest, response: HttpResponse) -> ServiceResponse<BoxBody> {
    // Not `into_response`, which drops the error.
    ServiceResponse::new(request.into_parts().0, response)
}

/// Adds what the domain's handlers need to an application, e.g. `config.app_data(web::Data::new(…))`.
pub type State = Arc<dyn Fn(&mut web::ServiceConfig) + Send + Sync>;

/// Makes the application of each worker.
#[derive(Clone)]
pub struct Router {
    edge: web::Data<Edge>,
    routes: Routes,
    state: State,
    reference: Arc<Reference>,
    table: web::Data<RouteTable>,
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router").field("edge", &self.edge).finish_non_exhaustive()
    }
}

impl Router {
    /// A router of the domain's routes and the state that their handlers need.
    pub fn new(parts: Parts, routes: Routes, state: State) -> Self {
        let reference = Arc::new(Reference::of(routes));
        let table = web::Data::new(openapi::table(routes));
        Self { edge: web::Data::new(parts), routes, state, reference, table }
    }

    /// The application of one worker.
    pub fn app(
        &self,
    ) -> App<
        impl ServiceFactory<
            ServiceRequest,
            Config = (),
            Response = ServiceResponse<BoxBody>,
            Error = actix_web::Error,
            InitError = (),
        > + use<>,
    > {
        let Self { edge, routes, state, reference, table } = self.clone();
        let (listed, known) = (web::Data::clone(&table), web::Data::clone(&table));
        App::new()
            .configure(|config| {
                let mut config = ServiceConfig::serving(config);
                health::routes(&mut config);
                routes(&mut config);
                config.hand_over(known.into_inner());
            })
            .app_data(edge)
            .app_data(listed)
            .configure(|config| state(config))
            .configure(|config| docs::mount(config, reference))
            .default_service(web::to(move |request: HttpRequest| {
                let table = web::Data::clone(&table);
                async move { Err::<HttpResponse, Error>(no_route(&table, &request)) }
            }))
            // The last one is the outermost.
            .wrap(from_fn(idempotency::once))
            .wrap(from_fn(auth::gate))
            .wrap(from_fn(limits::limit))
            .wrap(from_fn(auth::identify))
            .wrap(from_fn(request::observe))
            .wrap(from_fn(hang_up::outlive))
    }
}

fn no_route(table: &RouteTable, request: &HttpRequest) -> Error {
    match table.allowed(request.path()) {
        Some(allow) => Error::MethodNotAllowed { allow },
        None => Error::not_found(app::Resource::Route),
    }
}
