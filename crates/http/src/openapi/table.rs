//! Which route a path is of, and which methods it has.
//!
//! The framework compares a request with one route after the other, most of them regular expressions, and matches a route by path
//! and method at once, so that a wrong method looks to it like a wrong path. Here the routes lie in drawers by what a path shows at
//! once, and it is compared as text with those of its drawer. What is found says where a request goes and what its parameters
//! are, the metrics ask here for the pattern, and the fallback tells 405 from 404.

use std::collections::HashMap;
use std::sync::Arc;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(&'static str),
    /// One segment, by the name of the parameter.
    Parameter(&'static str),
    /// One segment or more; a sole one is empty only where it is a path below.
    Rest(&'static str),
}

impl Segment {
    /// Whether a segment of a path may stand here. Literals are spelt out: the chain before the handlers goes by the path as it
    /// stands, so one that is spelt otherwise must not lead past it.
    fn fits(&self, given: &str) -> bool {
        match self {
            Self::Literal(literal) => *literal == given,
            Self::Parameter(_) => !given.is_empty(),
            Self::Rest(_) => true,
        }
    }
}

/// A path of the API, with a method.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    method: &'static str,
    segments: Vec<Segment>,
    pattern: Arc<str>,
}

impl Route {
    fn new(method: &'static str, path: &'static str) -> Self {
        Self { method, segments: split(path).map(segment).collect(), pattern: path.into() }
    }

    pub(crate) fn pattern(&self) -> Arc<str> {
        Arc::clone(&self.pattern)
    }

    /// Whether a path is one of this route, whatever the method.
    fn fits(&self, path: &str) -> bool {
        let mut given = split(path);
        let rest = self.segments.iter().position(|segment| matches!(segment, Segment::Rest(_)));
        let (before, after) = self.segments.split_at(rest.unwrap_or(self.segments.len()));
        if !before.iter().all(|segment| given.next().is_some_and(|given| segment.fits(given))) {
            return false;
        }
        let Some((Segment::Rest(name), after)) = after.split_first() else { return given.next().is_none() };
        after.iter().rev().all(|segment| given.next_back().is_some_and(|given| segment.fits(given)))
            && given.next().is_some_and(|first| !first.is_empty() || *name == BELOW || given.next().is_some())
    }

    /// The parameters of a path of this route by their names, as they are spelt there.
    pub(crate) fn parameters<'a>(&self, path: &'a str) -> Vec<(&'static str, &'a str)> {
        let path = path.strip_prefix('/').unwrap_or(path);
        let behind = self.segments.iter().rev().take_while(|segment| !matches!(segment, Segment::Rest(_)));
        let behind = behind.count();
        let mut found = Vec::new();
        let mut left = path;
        for segment in &self.segments {
            let end = match segment {
                Segment::Literal(_) | Segment::Parameter(_) => left.find('/'),
                Segment::Rest(_) => {
                    let from_the_end = behind.checked_sub(1);
                    from_the_end.and_then(|nth| left.rmatch_indices('/').nth(nth)).map(|(at, _)| at)
                }
            };
            let (given, rest) = end.map_or((left, ""), |at| (&left[..at], &left[at + 1..]));
            if let Segment::Parameter(name) | Segment::Rest(name) = segment {
                found.push((*name, given));
            }
            left = rest;
        }
        found
    }

    /// Whether its paths have any number of segments.
    fn is_open(&self) -> bool {
        self.segments.iter().any(|segment| matches!(segment, Segment::Rest(_)))
    }

    /// The drawer of its paths.
    fn drawer(&self) -> (usize, &'static str) {
        let second = match self.segments.get(1) {
            Some(Segment::Literal(literal)) => literal,
            _ => "",
        };
        (self.segments.len(), second)
    }
}

/// The paths of the API with their methods.
#[derive(Debug, Default)]
pub(crate) struct RouteTable {
    routes: Vec<Route>,
    /// Those of a number of segments whose second one is `users`, of `/v1/users/{user_id}`; nothing where that is a parameter or missing.
    drawers: HashMap<(usize, &'static str), Vec<usize>>,
    /// Those of any number of segments.
    open: Vec<usize>,
}

impl RouteTable {
    /// Adds a route behind those that there are.
    pub(crate) fn add(&mut self, method: &'static str, path: &'static str) {
        let (number, route) = (self.routes.len(), Route::new(method, path));
        let place =
            if route.is_open() { &mut self.open } else { self.drawers.entry(route.drawer()).or_default() };
        place.push(number);
        self.routes.push(route);
    }

    /// Those of a certain number of segments that a path may be of, by their numbers: in two drawers, each in order.
    fn likely<'a>(&'a self, path: &'a str) -> [&'a [usize]; 2] {
        let (count, second) = (split(path).count(), split(path).nth(1).unwrap_or_default());
        let drawer = |second| self.drawers.get(&(count, second)).map_or(&[][..], Vec::as_slice);
        [drawer(second), if second.is_empty() { &[] } else { drawer("") }]
    }

    /// The route that a path means among those that are wanted: what has a certain number of segments before what has any, and then
    /// as they were added.
    fn first(&self, path: &str, is_wanted: impl Fn(&Route) -> bool) -> Option<(usize, &Route)> {
        let first = |numbers: &[usize]| {
            let mut numbers = numbers.iter().copied();
            numbers.find(|number| is_wanted(&self.routes[*number]) && self.routes[*number].fits(path))
        };
        let closed = self.likely(path).into_iter().filter_map(first).min();
        let number = closed.or_else(|| first(&self.open))?;
        Some((number, &self.routes[number]))
    }

    /// The methods and patterns of all routes, in the order of their numbers.
    pub(crate) fn names(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.routes.iter().map(|route| (route.method, &*route.pattern))
    }

    /// The route that a request takes, and its number among all.
    pub(crate) fn find(&self, method: &str, path: &str) -> Option<(usize, &Route)> {
        self.first(path, |route| route.method == method)
    }

    /// The pattern of the route that a request takes, or would take with another method.
    pub(crate) fn pattern(&self, method: &str, path: &str) -> Option<Arc<str>> {
        let route = self.find(method, path).or_else(|| self.first(path, |_| true));
        route.map(|(_, route)| route.pattern())
    }

    /// The methods of a path, as the `Allow` header lists them; `None` when there is no such path.
    pub(crate) fn allowed(&self, path: &str) -> Option<String> {
        // Of `/cores/{id}` and `/cores/parse-bundle` the path means the one with fewer parameters, but a
        // method of the other would reach it too.
        let [named, unnamed] = self.likely(path);
        let routes = named.iter().chain(unnamed).chain(&self.open).map(|number| &self.routes[*number]);
        let mut methods: Vec<&str> =
            routes.filter(|route| route.fits(path)).map(|route| route.method).collect();
        if methods.contains(&"GET") {
            methods.push("HEAD");
        }
        methods.sort_unstable();
        methods.dedup();
        (!methods.is_empty()).then(|| methods.join(", "))
    }
}

fn split(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.strip_prefix('/').unwrap_or(path).split('/')
}

/// The parameter that is a path below.
const BELOW: &str = "path";
/// The parameters that are any number of segments: the slug of a model, a plugin's name, and a path below.
const OPEN: [&str; 3] = ["slug", "plugin_id", BELOW];

/// A segment as it was declared.
fn segment(text: &'static str) -> Segment {
    match text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
        Some(name) if OPEN.contains(&name) => Segment::Rest(name),
        Some(name) => Segment::Parameter(name),
        None => Segment::Literal(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_what_stands_in_their_places() {
        let of = |pattern, path| Route::new("GET", pattern).parameters(path);
        assert_eq!(of("/v1/users", "/v1/users"), []);
        assert_eq!(of("/v1/users/{user_id}", "/v1/users/a%20b"), [("user_id", "a%20b")]);
        assert_eq!(of("/v1/a/{a}/b/{b}", "/v1/a/1/b/2"), [("a", "1"), ("b", "2")]);
        assert_eq!(of("/v1/models/{slug}", "/v1/models/a/b/c"), [("slug", "a/b/c")]);
        assert_eq!(of("/v1/admin/models/{slug}/enable", "/v1/admin/models/a/b/enable"), [("slug", "a/b")]);
        assert_eq!(of("/v1/a/{id}/invoke/{path}", "/v1/a/1/invoke/"), [("id", "1"), ("path", "")]);
        assert_eq!(of("/v1/a/{slug}/b/{id}/c", "/v1/a/x/y/b/1/c"), [("slug", "x/y"), ("id", "1")]);
    }

    #[test]
    fn the_first_route_that_fits_is_the_one() {
        let mut table = RouteTable::default();
        for (method, path) in [
            ("GET", "/v1/cores/parse"),
            ("GET", "/v1/cores/{id}"),
            ("PUT", "/v1/cores/{id}"),
            ("GET", "/v1/modules/{id}/{path}"),
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
        assert_eq!(pattern("GET", "/v1/modules/a/b/c/d").as_deref(), Some("/v1/modules/{id}/{path}"));
        assert_eq!(pattern("DELETE", "/v1/cores/x").as_deref(), Some("/v1/cores/{id}"));
        assert_eq!(pattern("GET", "/v1/cores/"), None);
        for path in ["/v1/names/a/on", "/v1/names/a/b/c/on", "/v1/names/on/on"] {
            assert_eq!(pattern("POST", path).as_deref(), Some("/v1/names/{slug}/on"), "{path}");
        }
        assert_eq!(pattern("POST", "/v1/names/on").as_deref(), Some("/v1/names/{slug}"));
        assert_eq!(pattern("GET", "/v1/names/all").as_deref(), Some("/v1/names/all"));
        assert_eq!(table.allowed("/v1/names/a/b/on").as_deref(), Some("POST, PUT"));
        assert_eq!(table.allowed("/v1/cores/x").as_deref(), Some("GET, HEAD, PUT"));
        assert_eq!(pattern("GET", "/v1/names/"), None, "a slug has a letter");
        assert_eq!(pattern("POST", "/v1/names//on").as_deref(), Some("/v1/names/{slug}"));
        assert_eq!(pattern("GET", "/v1/modules/a/").as_deref(), Some("/v1/modules/{id}/{path}"));
        assert_eq!(
            pattern("GET", "/v1/c%6Fres/x"),
            None,
            "the chain before the handlers does not know it as such"
        );
        assert_eq!(pattern("GET", "/v1/cores%2Fx"), None);
        assert_eq!(table.allowed("/v1/nothing"), None);
        assert_eq!(table.allowed(&"/x".repeat(1000)), None);
    }
}
