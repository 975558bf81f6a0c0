//! Conditional requests: entity tags, `If-Match` and `If-None-Match` (RFC 9110, sections 8.8.3 and 13).
//!
//! A tag is made of the revision of the stored object, so comparing tags is comparing revisions. The
//! comparison that guards a write happens in the use case, in the transaction of the write; this only reads
//! and writes the headers.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::{self, HeaderMap, HeaderName};
use actix_web::{FromRequest, HttpRequest};
use scaigrid_app as app;

use crate::error::Error;

/// The most tags that one header may list; what follows is not read.
const MAX_TAGS: usize = 32;

/// The entity tag of a revision.
pub fn etag(revision: u64) -> String {
    format!("\"r{revision}\"")
}

/// What a conditional header lists.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Tags {
    Absent,
    Any,
    /// The revisions of the tags that are ours. Other tags match nothing.
    Revisions(Vec<u64>),
}

impl Tags {
    fn of(headers: &HeaderMap, name: HeaderName, weak_too: bool) -> Self {
        let mut lines = headers.get_all(name).peekable();
        if lines.peek().is_none() {
            return Self::Absent;
        }
        let mut revisions = Vec::new();
        for line in lines {
            let Ok(line) = line.to_str() else { continue };
            if line.trim() == "*" {
                return Self::Any;
            }
            // Our tags hold no comma, so a tag that does is foreign, and its halves are foreign too.
            for tag in line.split(',').take(MAX_TAGS) {
                revisions.extend(revision_of(tag.trim(), weak_too));
            }
        }
        Self::Revisions(revisions)
    }
}

fn revision_of(tag: &str, weak_too: bool) -> Option<u64> {
    let tag = match tag.strip_prefix("W/") {
        Some(tag) if weak_too => tag,
        Some(_) => return None,
        None => tag,
    };
    let digits = tag.strip_prefix("\"r")?.strip_suffix('"')?;
    let revision = digits.parse().ok()?;
    (etag(revision) == tag).then_some(revision)
}

/// The condition of a write: the object must still be one of these revisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IfMatch(Tags);

impl IfMatch {
    /// Whether an object of this revision may be written, or [`app::Error::PreconditionFailed`].
    pub fn check(&self, revision: u64) -> Result<(), app::Error> {
        match &self.0 {
            Tags::Absent | Tags::Any => Ok(()),
            Tags::Revisions(revisions) if revisions.contains(&revision) => Ok(()),
            Tags::Revisions(_) => Err(app::Error::PreconditionFailed),
        }
    }

    /// The revisions that are acceptable; `None` when any is. An empty list is a condition that nothing meets.
    pub fn revisions(&self) -> Option<&[u64]> {
        match &self.0 {
            Tags::Absent | Tags::Any => None,
            Tags::Revisions(revisions) => Some(revisions),
        }
    }
}

/// Whether a line is `*`, or a list of entity tags: opaque texts in double quotes, `W/` before them where they are weak. What is no
/// list of tags is a mistake, not a condition that fails.
fn is_list_of_tags(line: &[u8]) -> bool {
    if line.trim_ascii() == b"*" {
        return true;
    }
    let mut rest = after_commas(line);
    loop {
        let Some(opaque) = rest.strip_prefix(b"W/").unwrap_or(rest).strip_prefix(b"\"") else { return false };
        let Some(end) = opaque.iter().position(|c| *c == b'"') else { return false };
        if !opaque[..end].iter().all(|c| matches!(c, 0x21 | 0x23..=0x7e | 0x80..)) {
            return false;
        }
        let behind = opaque[end + 1..].trim_ascii_start();
        rest = after_commas(behind);
        if rest.is_empty() || rest.len() == behind.len() {
            return rest.is_empty();
        }
    }
}

/// What follows the commas that a list begins with, or goes on with: empty members are to be borne (5.6.1.2).
fn after_commas(line: &[u8]) -> &[u8] {
    let is_between = |c: &u8| *c == b',' || c.is_ascii_whitespace();
    let begin = line.iter().position(|c| !is_between(c)).unwrap_or(line.len());
    &line[begin..]
}

impl FromRequest for IfMatch {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        if !request.headers().get_all(header::IF_MATCH).all(|line| is_list_of_tags(line.as_bytes())) {
            let rule = "must be *, or entity tags in double quotes, such as \"r3\"";
            return ready(Err(Error::invalid("If-Match", rule)));
        }
        // Strong comparison (13.1.1): a weak tag never matches.
        ready(Ok(Self(Tags::of(request.headers(), header::IF_MATCH, false))))
    }
}

/// The condition of a read: the client has these revisions already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IfNoneMatch(Tags);

impl IfNoneMatch {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        Self(Tags::of(headers, header::IF_NONE_MATCH, true))
    }

    pub(crate) fn names(&self, revision: u64) -> bool {
        match &self.0 {
            Tags::Absent => false,
            Tags::Any => true,
            Tags::Revisions(revisions) => revisions.contains(&revision),
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    async fn if_match(values: &[&str]) -> IfMatch {
        let mut request = TestRequest::default();
        for value in values {
            request = request.append_header((header::IF_MATCH, *value));
        }
        IfMatch::extract(&request.to_http_request()).await.unwrap()
    }

    #[actix_web::test]
    async fn a_write_is_conditional_on_its_revision() {
        assert!(if_match(&[]).await.check(3).is_ok());
        assert!(if_match(&["*"]).await.check(3).is_ok());
        assert!(if_match(&["\"x\", \"r3\""]).await.check(3).is_ok());
        assert!(if_match(&[" ,, \"r3\" ,"]).await.check(3).is_ok());
        assert!(if_match(&["\"r2\"", "\"r3\""]).await.check(3).is_ok());
        for refused in ["\"r2\"", "W/\"r3\"", "\"r03\"", "\"r+3\"", "\"a,b\" ,, \"\","] {
            assert!(if_match(&[refused]).await.check(3).is_err(), "{refused}");
        }
        for malformed in
            ["r3", "", "\"r3", "r3\"", "\"r3\" \"r4\"", "*, \"r3\"", "\"r3\", r4", "w/\"r3\"", "\"r 3\""]
        {
            let request =
                TestRequest::default().insert_header((header::IF_MATCH, malformed)).to_http_request();
            let refused = IfMatch::extract(&request).await.unwrap_err();
            assert!(
                matches!(&refused, Error::App(app::Error::Invalid(found)) if found[0].field == "If-Match"),
                "{refused:?}"
            );
        }
        assert_eq!(if_match(&["\"r7\""]).await.revisions(), Some(&[7][..]));
    }

    #[test]
    fn a_read_compares_weakly() {
        let request =
            TestRequest::default().insert_header((header::IF_NONE_MATCH, "W/\"r3\"")).to_http_request();
        assert!(IfNoneMatch::of(request.headers()).names(3));
        assert!(!IfNoneMatch::of(request.headers()).names(4));
    }
}
