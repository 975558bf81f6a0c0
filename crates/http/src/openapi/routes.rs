//! Where routes are declared: once, for the server and for the document.

use std::collections::btree_map::Entry;

use actix_web::dev::HttpServiceFactory;
use actix_web::guard::{GuardContext, fn_guard};
use actix_web::{Scope, web};
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
/// put in drawers by what a request shows at once, and it is compared as text with those of its drawer, in their order: one
/// regular expression says what the parameters are.
pub struct ServiceConfig<'a> {
    served: &'a mut web::ServiceConfig,
    described: Option<&'a mut Described>,
    listed: Option<&'a mut RouteTable>,
    families: Vec<Family>,
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

impl Drawer {
    /// Whether a request takes one of the routes. Whoever looks into a drawer finds something: the framework would not look
    /// for it elsewhere.
    fn holds(&self, context: &GuardContext<'_>) -> bool {
        let (method, path) = (context.head().method.as_str(), context.head().uri.path());
        method == self.method
            && split(path).count() == self.segments
            && self.routes.iter().any(|route| route.fits(path))
    }
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
    pub(crate) const fn serving(served: &'a mut web::ServiceConfig) -> Self {
        Self { served, described: None, listed: None, families: Vec::new() }
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
        let same = |drawer: &Drawer| drawer.method == method && drawer.segments == segments;
        let (mut drawer, scope) = match drawers.iter().position(|(drawer, _)| same(drawer)) {
            Some(known) => drawers.swap_remove(known),
            None => (Drawer { method, segments, routes: Vec::new() }, web::scope("")),
        };
        let route = Route::new(method, &F::path());
        drawer.routes.push(route.clone());
        let fits = fn_guard(move |context| route.fits(context.head().uri.path()));
        drawers.push((drawer, scope.service(web::scope("").guard(fits).service(handler))));
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
        for Family { name, drawers } in self.families.drain(..) {
            let all: Vec<Drawer> = drawers.iter().map(|(drawer, _)| drawer.clone()).collect();
            let of_family = fn_guard(move |context| {
                let path = context.head().uri.path();
                (split(path).nth(1) == Some(&name) || path.contains('%'))
                    && all.iter().any(|drawer| drawer.holds(context))
            });
            let family =
                drawers.into_iter().fold(web::scope("").guard(of_family), |family, (drawer, scope)| {
                    family.service(scope.guard(fn_guard(move |context| drawer.holds(context))))
                });
            self.served.service(family);
        }
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
            let families = Vec::new();
            routes(&mut ServiceConfig { served: &mut *served, described: None, listed, families });
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
            let families = Vec::new();
            routes(&mut ServiceConfig { served: &mut *served, described, listed: None, families });
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
}
