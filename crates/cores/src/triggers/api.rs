//! Calls of a Core's own API: which method and path start a flow.

use serde_json::{Value, json};

use super::Fields;

/// The methods that there are.
pub const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];
/// The most characters of a path.
const PATH_AT_MOST: usize = 200;

/// What a path cannot be, to be read after its field's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEndpoint {
    /// There is no such method.
    #[error("must be one of GET, POST, PUT, PATCH, DELETE")]
    Method,
    /// The path is none.
    #[error(
        "must begin with / and have segments of letters, digits, -, ., _, ~ or of one {{name}} each, which differ, {PATH_AT_MOST} characters at most"
    )]
    Path,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(Box<str>),
    Parameter(Box<str>),
}

/// A method and a path, with parameters in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    method: &'static str,
    path: Box<str>,
    segments: Vec<Segment>,
    public: bool,
}

fn segment(text: &str) -> Option<Segment> {
    if let Some(name) = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
        let begins = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
        let good = begins && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        return good.then(|| Segment::Parameter(name.into()));
    }
    let good = !text.is_empty()
        && !matches!(text, "." | "..")
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte));
    good.then(|| Segment::Literal(text.into()))
}

impl Endpoint {
    /// A method, in either case, and a path.
    ///
    /// # Errors
    /// There is no such method, or the path is none.
    pub fn new(method: &str, path: &str, public: bool) -> Result<Self, InvalidEndpoint> {
        let method = METHODS.into_iter().find(|known| known.eq_ignore_ascii_case(method));
        let method = method.ok_or(InvalidEndpoint::Method)?;
        let inner = path.strip_prefix('/').filter(|_| path.len() <= PATH_AT_MOST);
        let inner = inner.ok_or(InvalidEndpoint::Path)?;
        let segments: Option<Vec<Segment>> =
            if inner.is_empty() { Some(Vec::new()) } else { inner.split('/').map(segment).collect() };
        let segments = segments.ok_or(InvalidEndpoint::Path)?;
        let endpoint = Self { method, path: path.into(), segments, public };
        let names: Vec<&str> = endpoint.parameters().collect();
        let differ = names.iter().enumerate().all(|(at, name)| !names[..at].contains(name));
        if differ { Ok(endpoint) } else { Err(InvalidEndpoint::Path) }
    }

    pub(super) fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let method = fields.text("method").unwrap_or("POST");
        let public = fields.flag("public");
        let path = fields.required("path")?;
        match Self::new(method, path, public) {
            Ok(endpoint) => Some(endpoint),
            Err(problem) => {
                let field = if problem == InvalidEndpoint::Method { "method" } else { "path" };
                fields.problem(field, problem.to_string());
                None
            }
        }
    }

    pub(super) fn config(&self) -> Value {
        json!({"method": self.method, "path": self.path, "public": self.public})
    }

    /// The method, in upper case.
    pub const fn method(&self) -> &'static str {
        self.method
    }

    /// The path as it was written.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether it answers without credentials.
    pub const fn is_public(&self) -> bool {
        self.public
    }

    /// The names of the parameters in the path.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Parameter(name) => Some(&**name),
            Segment::Literal(_) => None,
        })
    }

    /// The same for two that take the same calls.
    pub(super) fn place(&self) -> String {
        let segments = self.segments.iter().map(|segment| match segment {
            Segment::Literal(text) => text,
            Segment::Parameter(_) => "{}",
        });
        format!("{} /{}", self.method, segments.collect::<Vec<_>>().join("/"))
    }

    /// The parameters of a path, whose segments are decoded; none where it is another.
    fn parameters_of<'a>(&'a self, path: &[String]) -> Option<Vec<(&'a str, String)>> {
        if path.len() != self.segments.len() {
            return None;
        }
        let mut found = Vec::new();
        for (segment, given) in self.segments.iter().zip(path) {
            match segment {
                Segment::Literal(text) if **text == **given => {}
                Segment::Parameter(name) if !given.is_empty() => found.push((&**name, given.clone())),
                _ => return None,
            }
        }
        Some(found)
    }

    /// Literal segments go before parameters, the first ones first.
    fn precedence(&self) -> Vec<bool> {
        self.segments.iter().map(|segment| matches!(segment, Segment::Parameter(_))).collect()
    }
}

/// What the parameters of a path are, by their names.
pub type Parameters = Vec<(String, String)>;

/// What became of looking for an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found<T> {
    /// This one, with the parameters of the path.
    One(T, Parameters),
    /// The path has other methods: these.
    OtherMethods(Vec<&'static str>),
    /// There is no such path.
    Nothing,
}

/// The endpoint that a call means, of those that there are. `path` is what follows the slash, as it was sent.
pub fn find<T: Copy>(
    endpoints: impl IntoIterator<Item = (T, Endpoint)>,
    method: &str,
    path: &str,
) -> Found<T> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let segments: Option<Vec<String>> =
        if path.is_empty() { Some(Vec::new()) } else { path.split('/').map(decoded).collect() };
    let Some(segments) = segments else { return Found::Nothing };
    let mut best = None::<(T, Endpoint, Parameters)>;
    let mut others: Vec<&'static str> = Vec::new();
    for (which, endpoint) in endpoints {
        let Some(parameters) = endpoint.parameters_of(&segments) else { continue };
        if endpoint.method != method {
            if !others.contains(&endpoint.method) {
                others.push(endpoint.method);
            }
            continue;
        }
        if best.as_ref().is_none_or(|(_, best, _)| endpoint.precedence() < best.precedence()) {
            let parameters = parameters.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            best = Some((which, endpoint, parameters));
        }
    }
    match best {
        Some((which, _, parameters)) => Found::One(which, parameters),
        None if others.is_empty() => Found::Nothing,
        None => {
            others.sort_unstable();
            Found::OtherMethods(others)
        }
    }
}

/// A segment with its percent-encoding undone (RFC 3986, section 2.1); none where that is broken, or no UTF-8.
fn decoded(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut given = segment.bytes();
    while let Some(byte) = given.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(given.next()?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let (high, low) = (digit()?, digit()?);
        bytes.push(high << 4 | low);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn endpoints() -> Vec<(usize, Endpoint)> {
        [
            ("GET", "/orders/{id}"),
            ("GET", "/orders/mine"),
            ("POST", "/orders"),
            ("DELETE", "/orders/{id}"),
            ("GET", "/{a}/mine"),
            ("GET", "/"),
        ]
        .into_iter()
        .map(|(method, path)| Endpoint::new(method, path, false).unwrap())
        .enumerate()
        .collect()
    }

    #[test]
    fn the_most_literal_one_is_meant() {
        let find = |method: &str, path: &str| find(endpoints(), method, path);
        let one = |at: usize, parameters: &[(&str, &str)]| {
            let parameters =
                parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            Found::One(at, parameters)
        };
        assert_eq!(find("GET", "orders/7"), one(0, &[("id", "7")]));
        assert_eq!(find("GET", "/orders/a%2Fb%20c"), one(0, &[("id", "a/b c")]));
        assert_eq!(find("GET", "orders/mine"), one(1, &[]));
        assert_eq!(find("GET", "others/mine"), one(4, &[("a", "others")]));
        assert_eq!(find("GET", ""), one(5, &[]));
        assert_eq!(find("PUT", "orders/7"), Found::OtherMethods(vec!["DELETE", "GET"]));
        for nothing in ["orders/7/lines", "orders/", "x", "orders/%zz", "orders/%ff", "%"] {
            assert_eq!(find("GET", nothing), Found::Nothing, "{nothing}");
        }
    }

    #[test]
    fn a_path_is_plain() {
        for good in ["/", "/a", "/a/{b}/c-d_e.f~1", "/{_x1}"] {
            assert!(Endpoint::new("get", good, false).is_ok(), "{good}");
        }
        for bad in ["", "a", "//", "/a/", "/a b", "/{}", "/{1a}", "/{a}{b}", "/{a}/{a}", "/..", "/a%20", "/é"]
        {
            assert_eq!(Endpoint::new("GET", bad, false), Err(InvalidEndpoint::Path), "{bad}");
        }
        assert!(Endpoint::new("GET", &format!("/{}", "a".repeat(200)), false).is_err());
        assert_eq!(Endpoint::new("TRACE", "/", false), Err(InvalidEndpoint::Method));
    }

    proptest! {
        #[test]
        fn no_path_is_too_strange_to_be_looked_for(path in ".{0,60}") {
            find(endpoints(), "GET", &path);
        }

        #[test]
        fn whatever_is_encoded_comes_back(value in "\\PC{1,20}") {
            let encoded: String = value.bytes().fold(String::new(), |text, byte| format!("{text}%{byte:02X}"));
            let found = find(endpoints(), "GET", &format!("orders/{encoded}"));
            if value != "mine" {
                prop_assert_eq!(found, Found::One(0, vec![("id".to_owned(), value)]));
            }
        }
    }
}
