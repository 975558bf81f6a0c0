//! Which route a path is of, and which methods it has.
//!
//! The framework knows too, but asks one regular expression after the other, and matches a route by path and method at once,
//! so that a wrong method looks to it like a wrong path. The metrics ask here for the pattern, and the fallback tells 405 from
//! 404.

use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(Box<str>),
    Parameter,
    /// One segment or more.
    Rest,
}

impl Segment {
    fn fits(&self, given: &str) -> bool {
        match self {
            Self::Literal(literal) => **literal == *given || given.contains('%') && decodes(given, literal),
            Self::Parameter => !given.is_empty(),
            Self::Rest => true,
        }
    }
}

/// Whether a text is another one, with some characters written as `%` and two digits (RFC 3986, 2.1).
fn decodes(given: &str, literal: &str) -> bool {
    let mut given = given.bytes();
    let mut literal = literal.bytes();
    loop {
        let byte = match given.next() {
            Some(b'%') => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (Some(high), Some(low)) = (digit(given.next()), digit(given.next())) else {
                    return false;
                };
                u8::try_from(high << 4 | low).ok()
            }
            other => other,
        };
        if byte != literal.next() {
            return false;
        }
        if byte.is_none() {
            return true;
        }
    }
}

/// A path of the API, with a method.
#[derive(Debug, Clone)]
pub(super) struct Route {
    method: &'static str,
    segments: Vec<Segment>,
    pattern: Arc<str>,
}

impl Route {
    pub(super) fn new(method: &'static str, path: &str) -> Self {
        Self { method, segments: split(path).map(segment).collect(), pattern: path.into() }
    }

    pub(super) fn pattern(&self) -> Arc<str> {
        Arc::clone(&self.pattern)
    }

    /// Whether a path is one of this route, whatever the method.
    pub(super) fn fits(&self, path: &str) -> bool {
        let mut given = split(path);
        let mut parts = self.segments.split(|segment| *segment == Segment::Rest);
        let before = parts.next().unwrap_or_default();
        if !before.iter().all(|segment| given.next().is_some_and(|given| segment.fits(given))) {
            return false;
        }
        let Some(after) = parts.next() else { return given.next().is_none() };
        after.iter().rev().all(|segment| given.next_back().is_some_and(|given| segment.fits(given)))
            && given.next().is_some()
    }

    /// Whether its paths have any number of segments.
    pub(super) fn is_open(&self) -> bool {
        self.segments.contains(&Segment::Rest)
    }
}

/// The paths of the API with their methods.
#[derive(Debug, Default)]
pub(crate) struct RouteTable {
    /// By the number of segments.
    routes: BTreeMap<usize, Vec<Route>>,
    /// Those of any number of segments.
    open: Vec<Route>,
}

impl RouteTable {
    /// A table of what describes itself nowhere.
    pub(crate) fn of_reference() -> Self {
        let mut table = Self::default();
        for path in ["/openapi.json", "/docs", "/docs/", "/docs/{file}"] {
            table.add("GET", path);
        }
        table
    }

    /// Adds a route behind those that there are.
    pub(super) fn add(&mut self, method: &'static str, path: &str) {
        let route = Route::new(method, path);
        if route.is_open() {
            self.open.push(route);
        } else {
            self.routes.entry(route.segments.len()).or_default().push(route);
        }
    }

    fn matching(&self, path: &str) -> impl Iterator<Item = &Route> {
        let closed = self.routes.get(&split(path).count()).into_iter().flatten();
        closed.chain(&self.open).filter(move |route| route.fits(path))
    }

    /// The pattern of the route that a request takes, or would take with another method.
    pub(crate) fn pattern(&self, method: &str, path: &str) -> Option<Arc<str>> {
        let route = self.matching(path).find(|route| route.method == method);
        route.or_else(|| self.matching(path).next()).map(Route::pattern)
    }

    /// The methods of a path, as the `Allow` header lists them; `None` when there is no such path.
    pub(crate) fn allowed(&self, path: &str) -> Option<String> {
        // Of `/cores/{id}` and `/cores/parse-bundle` the path means the one with fewer parameters, but a
        // method of the other would reach it too.
        let mut methods: Vec<&str> = self.matching(path).map(|route| route.method).collect();
        if methods.contains(&"GET") {
            methods.push("HEAD");
        }
        methods.sort_unstable();
        methods.dedup();
        (!methods.is_empty()).then(|| methods.join(", "))
    }
}

pub(super) fn split(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.strip_prefix('/').unwrap_or(path).split('/')
}

/// The parameters that are any number of segments: the slug of a model, a plugin's name, and a path below.
const OPEN: [&str; 3] = ["slug", "plugin_id", "path"];

/// A segment as it was declared.
fn segment(text: &str) -> Segment {
    match text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
        Some(name) if name.ends_with('*') || OPEN.contains(&name) => Segment::Rest,
        Some(_) => Segment::Parameter,
        None => Segment::Literal(text.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_route_that_fits_is_the_one() {
        let mut table = RouteTable::of_reference();
        for (method, path) in [
            ("GET", "/v1/cores/parse"),
            ("GET", "/v1/cores/{id}"),
            ("PUT", "/v1/cores/{id}"),
            ("GET", "/v1/modules/{id}/{rest:.*}"),
            ("GET", "/v1/modules/{id}/config"),
            ("GET", "/v1/names/all"),
            ("POST", "/v1/names/{slug}/on"),
            ("PUT", "/v1/names/{slug}"),
        ] {
            table.add(method, path);
        }
        let pattern = |method: &str, path: &str| table.pattern(method, path).map(|found| found.to_string());
        assert_eq!(pattern("GET", "/v1/cores/parse").as_deref(), Some("/v1/cores/parse"));
        assert_eq!(pattern("PUT", "/v1/cores/parse").as_deref(), Some("/v1/cores/{id}"));
        assert_eq!(pattern("GET", "/v1/modules/a/config").as_deref(), Some("/v1/modules/{id}/config"));
        assert_eq!(pattern("GET", "/v1/modules/a/b/c/d").as_deref(), Some("/v1/modules/{id}/{rest:.*}"));
        assert_eq!(pattern("DELETE", "/v1/cores/x").as_deref(), Some("/v1/cores/{id}"));
        assert_eq!(pattern("GET", "/v1/cores/"), None);
        for path in ["/v1/names/a/on", "/v1/names/a/b/c/on", "/v1/names/on/on"] {
            assert_eq!(pattern("POST", path).as_deref(), Some("/v1/names/{slug}/on"), "{path}");
        }
        assert_eq!(pattern("POST", "/v1/names/on").as_deref(), Some("/v1/names/{slug}"));
        assert_eq!(pattern("GET", "/v1/names/all").as_deref(), Some("/v1/names/all"));
        assert_eq!(table.allowed("/v1/names/a/b/on").as_deref(), Some("POST, PUT"));
        assert_eq!(table.allowed("/v1/cores/x").as_deref(), Some("GET, HEAD, PUT"));
        assert_eq!(pattern("GET", "/v1/c%6Fres/x").as_deref(), Some("/v1/cores/{id}"));
        assert_eq!(pattern("GET", "/v1/c%6res/x"), None);
        assert_eq!(pattern("GET", "/v1/cores%2Fx"), None);
        assert_eq!(table.allowed("/v1/nothing"), None);
        assert_eq!(table.allowed(&"/x".repeat(1000)), None);
    }
}
