//! The address that a request to a remote module is passed on to: below its endpoint, and nowhere else.

use url::Url;

/// A path that would lead out of the module's endpoint, or that no URL can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the path leads out of the module's own")]
pub struct OutsideEndpoint;

/// How often a text is decoded to see what it could be taken for.
const ROUNDS: usize = 3;

/// The URL below an endpoint that a path and a query name, both as they stand in the request, without the `/` and the `?`
/// before them. Not a byte of them is changed: what is percent-encoded stays so (RFC 3986 section 2.4).
///
/// # Errors
/// When a segment means `.` or `..` (RFC 3986 section 5.2.4), also to a reader that decodes it several times, takes `\` or an
/// encoded `/` for a `/`, or cuts it at `;`; when the path begins with another `/`, which could be taken for the name of a
/// host; and when there is anything in it that no URL can hold.
pub fn below(endpoint: &Url, path: &str, query: Option<&str>) -> Result<String, OutsideEndpoint> {
    let in_url =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\\"<>^`{|}#".contains(&byte));
    // Query parsers are lenient, and so are those who write queries.
    let in_query = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    if path.starts_with('/') || path.contains('?') || !in_url(path) || !query.is_none_or(in_query) {
        return Err(OutsideEndpoint);
    }
    let mut meant = path.to_owned();
    for _ in 0..=ROUNDS {
        if climbs(&meant) {
            return Err(OutsideEndpoint);
        }
        meant = decoded(&meant);
    }
    let base = endpoint.as_str();
    let base = base.strip_suffix('/').unwrap_or(base);
    let mut url = format!("{base}/{path}");
    if let Some(query) = query {
        url.push('?');
        url.push_str(query);
    }
    Ok(url)
}

fn climbs(path: &str) -> bool {
    let name = |segment: &str| matches!(segment.split(';').next(), Some("." | ".."));
    path.split(['/', '\\']).any(name) || path.starts_with(['/', '\\'])
}

/// The text with every `%2e`, `%2f`, `%5c`, `%3b` and `%25` decoded once.
fn decoded(text: &str) -> String {
    let mut rest = text;
    let mut plain = String::with_capacity(text.len());
    while let Some((before, after)) = rest.split_once('%') {
        plain.push_str(before);
        let letter = after.get(..2).and_then(|digits| match digits.to_ascii_lowercase().as_str() {
            "2e" => Some('.'),
            "2f" => Some('/'),
            "5c" => Some('\\'),
            "3b" => Some(';'),
            "25" => Some('%'),
            _ => None,
        });
        plain.push(letter.unwrap_or('%'));
        rest = if letter.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn endpoint(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn the_path_is_kept_to_the_byte() {
        let base = endpoint("https://weather.example/api");
        for (path, query, url) in [
            ("", None, "https://weather.example/api/"),
            ("a/b", None, "https://weather.example/api/a/b"),
            ("a//b/", Some(""), "https://weather.example/api/a//b/?"),
            (
                "a%2Fb%20c/%C3%A9",
                Some("q=%zz&r={}|/../"),
                "https://weather.example/api/a%2Fb%20c/%C3%A9?q=%zz&r={}|/../",
            ),
            ("...", None, "https://weather.example/api/..."),
            ("a..b/.well-known/x;v=1", None, "https://weather.example/api/a..b/.well-known/x;v=1"),
            ("http://elsewhere.example/", None, "https://weather.example/api/http://elsewhere.example/"),
            ("@elsewhere.example/", None, "https://weather.example/api/@elsewhere.example/"),
        ] {
            assert_eq!(below(&base, path, query).as_deref(), Ok(url));
        }
        assert_eq!(below(&endpoint("http://x:81"), "a", None).as_deref(), Ok("http://x:81/a"));
        assert_eq!(below(&endpoint("http://x/b/"), "", None).as_deref(), Ok("http://x/b/"));
    }

    #[test]
    fn no_spelling_climbs() {
        for path in [
            "..",
            ".",
            "../x",
            "a/../../x",
            "a/..",
            "%2e%2e/x",
            "%2E./x",
            "a/.%2e",
            "..%2fx",
            "a%2f..%2fx",
            "..\\x",
            "..%5cx",
            "%252e%252e/x",
            "%25252e%25252e/x",
            "..;/x",
            "..;a=b/x",
            "..%3b/x",
            "/elsewhere.example/x",
            "%2felsewhere.example",
            "%5celsewhere.example",
            "a b",
            "a\tb",
            "é",
            "a#b",
            "a?b",
        ] {
            assert_eq!(below(&endpoint("https://x/base"), path, None), Err(OutsideEndpoint), "{path}");
        }
        assert_eq!(below(&endpoint("https://x/base"), "a", Some("b#c")), Err(OutsideEndpoint));
        assert_eq!(below(&endpoint("https://x/base"), "a", Some("b c")), Err(OutsideEndpoint));
    }

    proptest! {
        #[test]
        fn no_path_escapes(
            base in prop::sample::select(vec!["https://x.example", "http://x.example:81/base", "https://x.example/a/b/"]),
            pieces in prop::collection::vec(
                prop::sample::select(vec![
                    "..", ".", "/", "\\", "%2e", "%2E", "%2f", "%5c", "%25", "2e", "2f", ";", "%3b", "a", "@", ":", "//", "?", "#",
                    "%00", " ",
                ]),
                0..9,
            ),
        ) {
            let base = endpoint(base);
            let path = pieces.concat();
            if let Ok(url) = below(&base, &path, None) {
                prop_assert!(url.ends_with(&path));
                // As the strictest reader, and as ones that decode before they look.
                for reading in [url.clone(), decoded(&url), decoded(&decoded(&url)), decoded(&url).replace(';', "/")] {
                    let read = Url::parse(&reading).unwrap();
                    prop_assert_eq!(read.origin(), base.origin());
                    let inside = base.path().trim_end_matches('/');
                    prop_assert!(read.path() == inside || read.path().starts_with(&format!("{inside}/")), "{} {}", url, read);
                }
            }
        }
    }
}
