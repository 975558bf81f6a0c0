//! Which endpoint answers a request.
//!
//! The table of all routes is asked once for each request that there is an endpoint for ([`RouteTable::find`]); the framework is told that there is one service, which
//! takes whatever the table knows and hands it to the endpoint of that number.

use std::collections::HashMap;
use std::sync::Arc;

use actix_web::dev::{
    AppService, HttpServiceFactory, ResourceDef, Service, ServiceFactory, ServiceRequest, ServiceResponse,
    always_ready,
};
use actix_web::guard::{Guard, GuardContext};
use actix_web::{Error, HttpMessage as _, HttpRequest, Route, web};
use futures_util::future::{LocalBoxFuture, OptionFuture, try_join_all};
use futures_util::{FutureExt as _, TryFutureExt as _};

use crate::openapi::RouteTable;

/// An operation of the API: what `#[get("…")]` and the like make of a handler.
pub trait Endpoint {
    /// Its method, in capitals.
    const METHOD: &'static str;
    /// Its path; parameters stand in braces, each for one segment but for those that the table of routes knows to be open.
    const PATH: &'static str;

    /// Its handler.
    fn route() -> Route;
}

/// What the table has found for a request.
pub(crate) struct Found {
    number: usize,
    pattern: Arc<str>,
    /// By their names, decoded (RFC 3986, 2.1).
    parameters: Vec<(&'static str, String)>,
}

impl Found {
    fn of(table: &RouteTable, method: &str, path: &str) -> Option<Self> {
        let (number, route) = table.find(method, path)?;
        let parameters = route.parameters(path).into_iter();
        let parameters = parameters.map(|(name, value)| (name, decoded(value))).collect();
        Some(Self { number, pattern: route.pattern(), parameters })
    }

    /// A parameter of the path.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// The parameters in their order.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = &str> {
        self.parameters.iter().map(|(_, value)| value.as_str())
    }
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// The pattern of the route that a request has taken, or would have with another method.
pub(crate) fn pattern_of(request: &HttpRequest, path: &str) -> Option<Arc<str>> {
    let found = request.extensions().get::<Found>().map(|found| Arc::clone(&found.pattern));
    found.or_else(|| {
        let table = request.app_data::<web::Data<RouteTable>>()?;
        table.pattern(request.method().as_str(), path)
    })
}

/// What an endpoint is made of: its method, its path and its handler.
pub(crate) type Made = (&'static str, &'static str, Route);

/// The endpoints, each where the table has its number.
pub(crate) struct Endpoints {
    table: Arc<RouteTable>,
    routes: Vec<Option<Route>>,
}

impl Endpoints {
    /// Puts endpoints to their numbers. The table may have more than there are endpoints.
    pub(crate) fn new(table: Arc<RouteTable>, endpoints: Vec<Made>) -> Self {
        let named = endpoints.into_iter().map(|(method, path, route)| ((method, path), route));
        let mut named: HashMap<_, _> = named.collect();
        let routes = table.names().map(|name| named.remove(&name)).collect();
        Self { table, routes }
    }
}

/// Adds an endpoint to an application that has no table of all.
#[doc(hidden)]
pub fn register_alone<E: Endpoint>(config: &mut AppService) {
    let mut table = RouteTable::default();
    table.add(E::METHOD, E::PATH);
    Endpoints::new(Arc::new(table), vec![(E::METHOD, E::PATH, E::route())]).register(config);
}

/// Lets a request pass that is for an endpoint, and notes which.
struct IsKnown {
    table: Arc<RouteTable>,
    /// Whether there is an endpoint of a number.
    there: Box<[bool]>,
}

impl Guard for IsKnown {
    fn check(&self, context: &GuardContext<'_>) -> bool {
        let head = context.head();
        let found = Found::of(&self.table, head.method.as_str(), head.uri.path());
        let Some(found) = found.filter(|found| self.there[found.number]) else { return false };
        context.req_data_mut().insert(found);
        true
    }
}

impl HttpServiceFactory for Endpoints {
    fn register(self, config: &mut AppService) {
        let there = self.routes.iter().map(Option::is_some).collect();
        let guard = IsKnown { table: Arc::clone(&self.table), there };
        config.register_service(ResourceDef::root_prefix(""), Some(vec![Box::new(guard)]), self, None);
    }
}

impl ServiceFactory<ServiceRequest> for Endpoints {
    type Response = ServiceResponse;
    type Error = Error;
    type Config = ();
    type Service = Dispatch;
    type InitError = ();
    type Future = LocalBoxFuture<'static, Result<Dispatch, ()>>;

    fn new_service(&self, (): ()) -> Self::Future {
        let services = self.routes.iter().map(|route| {
            let service = OptionFuture::from(route.as_ref().map(|route| route.new_service(())));
            service.map(Option::transpose)
        });
        Box::pin(try_join_all(services.collect::<Vec<_>>()).map_ok(Dispatch))
    }
}

/// The endpoints of one worker.
pub(crate) struct Dispatch(Vec<Option<<Route as ServiceFactory<ServiceRequest>>::Service>>);

impl Service<ServiceRequest> for Dispatch {
    type Response = ServiceResponse;
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<ServiceResponse, Error>>;

    always_ready!();

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let number = request.extensions().get::<Found>().map(|found| found.number);
        match number.and_then(|number| self.0.get(number)?.as_ref()) {
            Some(endpoint) => endpoint.call(request),
            // Its guard has let nothing else pass.
            None => Box::pin(async move { Ok(request.into_response(actix_web::HttpResponse::NotFound())) }),
        }
    }
}
