//! Where routes are declared: once, for the server and for the document.

use std::cell::OnceCell;
use std::collections::btree_map::Entry;
use std::rc::Rc;
use std::sync::Arc;

use actix_web::dev::{HttpServiceFactory, RequestHead};
use actix_web::guard::{Guard, fn_guard};
use actix_web::{HttpMessage as _, HttpRequest, Scope, web};
use utoipa::openapi::HttpMethod;
use utoipa::openapi::path::Paths;
use utoipa::openapi::schema::Schema;
use utoipa::openapi::{OpenApi, RefOr};
use utoipa_actix_web::OpenApiFactory;

use super::DocumentError;
use super::table::{Route, RouteTable, split};
use crate::routes::modules::call::PASSED_ON;

/// The routes of a part of the API, documented where they are declared.
pub type Routes = fn(&mut ServiceConfig<'_>);

/// Takes routes, and what the document says of them where one is made. An application that only serves describes nothing:
/// each worker has one, and a description takes some hundred times the memory of what it describes.
///
/// The framework compares a request with one route after the other, most of them regular expressions. Here the routes are
/// put in drawers by what a request shows at once, and it is compared as text with those of its drawer, once. The framework is
/// led to the one that fits ([`Place`]), whose regular expression says what the parameters are.
pub struct ServiceConfig<'a> {
    served: &'a mut web::ServiceConfig,
    described: Option<&'a mut Described>,
    listed: Option<&'a mut RouteTable>,
    families: Vec<Family>,
    /// The same for the guards, once they are handed over.
    handed_over: Rc<OnceCell<Vec<Drawers>>>,
}

/// The routes whose paths have the same second segment: `users` of `/v1/users/{user_id}`.
struct Family {
    name: String,
    drawers: Vec<(Drawer, Scope)>,
}

/// Routes of one method and one number of segments.
#[derive(Debug, Clone)]
struct Drawer {
    method: &'static str,
    segments: usize,
    routes: Vec<Route>,
}

/// The drawers of a family, as guards look into them.
struct Drawers {
    family: String,
    drawers: Vec<Drawer>,
}

/// Where a route lies, by numbers: of its family, of its drawer there, and its own within that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    family: usize,
    drawer: usize,
    route: usize,
}

impl Place {
    /// Of the first route that a request takes. Whoever is led to a drawer finds something there: the framework would not look
    /// for it elsewhere.
    fn of(families: &[Drawers], method: &str, path: &str) -> Option<Self> {
        let (name, segments) = (split(path).nth(1)?, split(path).count());
        // What is written with `%` may be the name of any.
        let encoded = path.contains('%');
        let mut likely = families.iter().enumerate().filter(|(_, of)| encoded || of.family == name);
        likely.find_map(|(family, of)| {
            let drawers = of.drawers.iter().enumerate();
            let mut drawers =
                drawers.filter(|(_, drawer)| drawer.method == method && drawer.segments == segments);
            drawers.find_map(|(drawer, of)| {
                let route = of.routes.iter().position(|route| route.fits(path))?;
                Some(Self { family, drawer, route })
            })
        })
    }
}

/// What was found for a request, so that of the many guards which ask only the first looks.
struct Found {
    /// Among which families, by where these lie in memory.
    among: usize,
    place: Option<Place>,
    pattern: Option<Arc<str>>,
}

impl Found {
    fn among(families: &Rc<OnceCell<Vec<Drawers>>>, request: &RequestHead) -> Self {
        let among = Rc::as_ptr(families).addr();
        let families = families.get().map_or(&[][..], Vec::as_slice);
        let place = Place::of(families, request.method.as_str(), request.uri.path());
        let route = place.map(|at| &families[at.family].drawers[at.drawer].routes[at.route]);
        Self { among, place, pattern: route.map(Route::pattern) }
    }
}

/// A guard that lets a request pass whose route lies where `is_here` says.
fn leads_to<F>(families: &Rc<OnceCell<Vec<Drawers>>>, is_here: F) -> impl Guard + use<F>
where
    F: Fn(Place) -> bool + 'static,
{
    let families = Rc::clone(families);
    fn_guard(move |context| {
        let among = Rc::as_ptr(&families).addr();
        let known = context.req_data().get::<Found>().filter(|it| it.among == among).map(|it| it.place);
        let place = known.unwrap_or_else(|| {
            let found = Found::among(&families, context.head());
            let place = found.place;
            context.req_data_mut().insert(found);
            place
        });
        place.is_some_and(&is_here)
    })
}

/// The pattern of the route that a request has taken, or would have with another method.
pub(crate) fn pattern_of(request: &HttpRequest, path: &str) -> Option<Arc<str>> {
    let found = request.extensions().get::<Found>().and_then(|found| found.pattern.clone());
    found.or_else(|| {
        let table = request.app_data::<web::Data<RouteTable>>()?;
        table.pattern(request.method().as_str(), path)
    })
}

const fn method_name(method: &HttpMethod) -> &'static str {
    match method {
        HttpMethod::Get => "GET",
        HttpMethod::Post => "POST",
        HttpMethod::Put => "PUT",
        HttpMethod::Patch => "PATCH",
        HttpMethod::Delete => "DELETE",
        HttpMethod::Options => "OPTIONS",
        HttpMethod::Head => "HEAD",
        HttpMethod::Trace => "TRACE",
    }
}

/// The family of a route, its method and the number of its segments; none where that may be any number, or several methods.
fn place(path: &str, methods: &[HttpMethod]) -> Option<(String, &'static str, usize)> {
    let [method] = methods else { return None };
    let name = split(path).nth(1)?;
    let (method, plain) = (method_name(method), !path.contains([':', '*']) && !name.contains('{'));
    let plain = plain && !Route::new(method, path).is_open();
    plain.then(|| (name.to_owned(), method, split(path).count()))
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
    pub(crate) fn serving(served: &'a mut web::ServiceConfig) -> Self {
        Self { served, described: None, listed: None, families: Vec::new(), handed_over: Rc::default() }
    }

    /// Adds a handler.
    pub fn service<F>(&mut self, handler: F) -> &mut Self
    where
        F: HttpServiceFactory + OpenApiFactory + utoipa::Path + 'static,
    {
        if let Some(described) = &mut self.described {
            described.paths.merge(handler.paths());
            handler.schemas(&mut described.schemas);
        }
        // What is passed on to modules is whatever is no route of ours.
        let passed_on = F::path() == PASSED_ON;
        if let Some(listed) = self.listed.as_mut().filter(|_| !passed_on) {
            for method in &F::methods() {
                listed.add(method_name(method), &F::path());
            }
        }
        let place = if passed_on { None } else { place(&F::path(), &F::methods()) };
        let Some((name, method, segments)) = place else {
            // Behind those that came before it, as it was written.
            self.hand_over();
            self.served.service(handler);
            return self;
        };
        let known = self.families.iter().position(|family| family.name == name);
        let family = known.unwrap_or_else(|| {
            self.families.push(Family { name, drawers: Vec::new() });
            self.families.len() - 1
        });
        let drawers = &mut self.families[family].drawers;
        let same = |(drawer, _): &(Drawer, Scope)| drawer.method == method && drawer.segments == segments;
        let number = drawers.iter().position(same).unwrap_or_else(|| {
            drawers.push((Drawer { method, segments, routes: Vec::new() }, web::scope("")));
            drawers.len() - 1
        });
        let (drawer, scope) = &mut drawers[number];
        let place = Place { family, drawer: number, route: drawer.routes.len() };
        drawer.routes.push(Route::new(method, &F::path()));
        let own =
            web::scope("").guard(leads_to(&self.handed_over, move |found| found == place)).service(handler);
        *scope = std::mem::replace(scope, web::scope("")).service(own);
        self
    }

    /// Adds a route that the document does not tell of, behind those that came before it.
    pub(crate) fn route(&mut self, path: &str, route: actix_web::Route) -> &mut Self {
        self.hand_over();
        self.served.route(path, route);
        self
    }

    /// Gives the drawers to the framework.
    pub(crate) fn hand_over(&mut self) {
        let families = std::mem::take(&mut self.handed_over);
        let mut all = Vec::new();
        for (number, Family { name, drawers }) in self.families.drain(..).enumerate() {
            let (drawers, scopes): (Vec<_>, Vec<_>) = drawers.into_iter().unzip();
            let of_family = leads_to(&families, move |found| found.family == number);
            let family = web::scope("").guard(of_family);
            let scopes = scopes.into_iter().enumerate();
            let family = scopes.fold(family, |family, (drawer, scope)| {
                // Only what is the family's comes here.
                family.service(scope.guard(leads_to(&families, move |found| found.drawer == drawer)))
            });
            self.served.service(family);
            all.push(Drawers { family: name, drawers });
        }
        // Nobody else sets it.
        let _ = families.set(all);
    }

    /// Adds what handlers find as `web::Data`.
    pub fn app_data<T: 'static>(&mut self, data: T) -> &mut Self {
        self.served.app_data(data);
        self
    }
}

/// The table of routes, and nothing else.
pub(super) fn list(parts: &[Routes]) -> RouteTable {
    let mut table = RouteTable::of_reference();
    let _unused = actix_web::App::new().configure(|served| {
        for routes in parts {
            let listed = Some(&mut table);
            routes(&mut ServiceConfig { listed, ..ServiceConfig::serving(&mut *served) });
        }
    });
    table
}

/// What the document says of routes, and nothing else.
pub(super) fn describe(parts: &[Routes]) -> Result<OpenApi, DocumentError> {
    let mut described = Described::default();
    let _unused = actix_web::App::new().configure(|served| {
        for routes in parts {
            let described = Some(&mut described);
            routes(&mut ServiceConfig { described, ..ServiceConfig::serving(&mut *served) });
        }
    });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_lies_where_its_requests_are_looked_for() {
        let place = |path: &str| {
            place(path, &[HttpMethod::Get]).map(|(name, method, segments)| {
                assert_eq!(method, "GET");
                (name, segments)
            })
        };
        assert_eq!(place("/v1/modules"), Some(("modules".to_owned(), 2)));
        assert_eq!(place("/v1/users/{user_id}"), Some(("users".to_owned(), 3)));
        assert_eq!(place("/v1/modules/{module_id}/{rest:.*}"), None, "it may have any number of segments");
        assert_eq!(place("/v1/models/{slug}"), None, "slugs of models have any number of segments");
        assert_eq!(place("/v1/a/{id}/invoke/{path}"), None, "so have paths");
        assert_eq!(place("/v1/admin/models/{slug}/enable"), None, "in the middle, too");
        assert_eq!(place("/v1/{anything}/x"), None);
        assert_eq!(place("/health"), None);
        assert_eq!(super::place("/v1/users", &[HttpMethod::Get, HttpMethod::Post]), None);
    }

    #[test]
    fn a_request_is_led_to_the_first_route_that_it_fits() {
        let drawer = |method, paths: &[&str]| {
            let routes: Vec<_> = paths.iter().map(|path| Route::new(method, path)).collect();
            Drawer { method, segments: split(paths[0]).count(), routes }
        };
        let family = |name: &str, drawers| Drawers { family: name.to_owned(), drawers };
        let users = vec![
            drawer("GET", &["/v1/users"]),
            drawer("GET", &["/v1/users/me", "/v1/users/{user_id}"]),
            drawer("DELETE", &["/v1/users/{user_id}"]),
        ];
        let families = [family("keys", vec![drawer("GET", &["/v1/keys/{key_id}"])]), family("users", users)];
        let place = |method, path| {
            Place::of(&families, method, path).map(|found| (found.family, found.drawer, found.route))
        };
        assert_eq!(place("GET", "/v1/users"), Some((1, 0, 0)));
        assert_eq!(place("GET", "/v1/users/me"), Some((1, 1, 0)));
        assert_eq!(place("GET", "/v1/users/erin"), Some((1, 1, 1)));
        assert_eq!(place("DELETE", "/v1/users/me"), Some((1, 2, 0)));
        assert_eq!(place("GET", "/v1/keys/users"), Some((0, 0, 0)));
        assert_eq!(place("GET", "/v1/%75sers/me"), Some((1, 1, 0)), "`%75` is a `u`");
        for (method, path) in [
            ("POST", "/v1/users"),
            ("GET", "/v1/users/"),
            ("GET", "/v1/users/erin/keys"),
            ("GET", "/v1/%75/me"),
            ("GET", "/"),
            ("GET", ""),
        ] {
            assert_eq!(place(method, path), None, "{method} {path}");
        }
    }
}
