//! Which methods a path has, read from the document.
//!
//! The framework matches a route by path and method at once, so a wrong method looks to it like a wrong path.
//! The fallback asks here, and tells 405 from 404.

use std::collections::BTreeMap;

use utoipa::openapi::OpenApi;

use crate::routes::modules::call::PASSED_ON;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Parameter,
}

#[derive(Debug)]
struct Route {
    segments: Vec<Segment>,
    methods: Vec<&'static str>,
}

/// The paths of the API with their methods.
#[derive(Debug)]
pub(crate) struct RouteTable {
    /// By the number of segments.
    routes: BTreeMap<usize, Vec<Route>>,
}

impl RouteTable {
    pub(crate) fn of(document: &OpenApi) -> Self {
        let mut routes: BTreeMap<usize, Vec<Route>> = BTreeMap::new();
        // What is passed on to modules is whatever is no route of ours.
        for (path, item) in document.paths.paths.clone().into_iter().filter(|(path, _)| path != PASSED_ON) {
            let mut item = item;
            let methods = super::operations_mut(&mut item).map(|(method, _)| upper(method)).collect();
            let segments: Vec<_> = split(&path).map(segment).collect();
            routes.entry(segments.len()).or_default().push(Route { segments, methods });
        }
        // The document does not describe itself.
        for path in ["/openapi.json", "/docs", "/docs/", "/docs/{file}"] {
            let segments: Vec<_> = split(path).map(segment).collect();
            routes.entry(segments.len()).or_default().push(Route { segments, methods: vec!["GET"] });
        }
        Self { routes }
    }

    /// The methods of a path, as the `Allow` header lists them; `None` when there is no such path.
    pub(crate) fn allowed(&self, path: &str) -> Option<String> {
        let given: Vec<_> = split(path).collect();
        let matches = |route: &&Route| {
            route.segments.iter().zip(&given).all(|(segment, given)| match segment {
                Segment::Literal(literal) => literal == given,
                Segment::Parameter => !given.is_empty(),
            })
        };
        // Of `/cores/{id}` and `/cores/parse-bundle` the path means the one with fewer parameters, but a
        // method of the other would reach it too.
        let mut methods: Vec<&str> = Vec::new();
        for route in self.routes.get(&given.len())?.iter().filter(matches) {
            methods.extend(&route.methods);
        }
        if methods.contains(&"GET") {
            methods.push("HEAD");
        }
        methods.sort_unstable();
        methods.dedup();
        (!methods.is_empty()).then(|| methods.join(", "))
    }
}

fn split(path: &str) -> impl Iterator<Item = &str> {
    path.strip_prefix('/').unwrap_or(path).split('/')
}

fn segment(text: &str) -> Segment {
    if text.starts_with('{') && text.ends_with('}') {
        Segment::Parameter
    } else {
        Segment::Literal(text.to_owned())
    }
}

fn upper(method: &str) -> &'static str {
    match method {
        "get" => "GET",
        "post" => "POST",
        "put" => "PUT",
        "patch" => "PATCH",
        _ => "DELETE",
    }
}
