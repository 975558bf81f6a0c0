//! Request bodies: received late, read strictly, refused field by field.
//!
//! [`Body`] is an extractor that reads nothing. The handler reads it once it knows that the caller may do what
//! is asked and sees what it is asked of; so missing rights are told before a mistake in the body is. Fields
//! that the type does not know are refused by name, and rules are checked with `validator`.

pub(crate) mod findings;
mod further;
mod object;
mod wording;

use std::fmt;
use std::future::{Ready, ready};
use std::marker::PhantomData;

use actix_web::dev::Payload;
use actix_web::http::header::{self, HeaderMap};
use actix_web::web::{Bytes, BytesMut};
use actix_web::{FromRequest, HttpRequest};
use futures_util::StreamExt as _;
use scaigrid_app as app;
use serde::de::DeserializeOwned;
use validator::Validate;

use crate::error::{Error, of_payload};

pub(crate) use object::AsObject;

/// The most bytes of a JSON body.
pub const JSON_LIMIT: usize = 1024 * 1024;

/// A body that has not been read yet.
pub struct Body<T> {
    headers: HeaderMap,
    payload: Payload,
    target: PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for Body<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Body")
    }
}

impl<T> FromRequest for Body<T> {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        ready(Ok(Self::unread(request, payload)))
    }
}

impl<T> Body<T> {
    pub(crate) fn unread(request: &HttpRequest, payload: &mut Payload) -> Self {
        Self { headers: request.headers().clone(), payload: payload.take(), target: PhantomData }
    }
}

impl<T: DeserializeOwned + Validate> Body<T> {
    /// Receives and checks the body: 415, 413, or 422 with a detail for every finding.
    pub async fn read(self) -> Result<T, Error> {
        let (headers, bytes) = self.receive().await?;
        require_json(&headers)?;
        parse(&bytes)
    }

    /// As [`Body::read`], but a body that is empty stands for the default.
    pub async fn read_or_default(self) -> Result<T, Error>
    where
        T: Default,
    {
        let (headers, bytes) = self.receive().await?;
        if bytes.is_empty() {
            return Ok(T::default());
        }
        require_json(&headers)?;
        parse(&bytes)
    }
}

impl<T> Body<T> {
    async fn receive(self) -> Result<(HeaderMap, Bytes), Error> {
        let bytes = receive(&self.headers, self.payload, JSON_LIMIT).await?;
        Ok((self.headers, bytes))
    }
}

impl Body<serde_json::Value> {
    /// Receives a body whose shape is for the use case to judge, such as a merge patch.
    pub async fn read_json(self) -> Result<serde_json::Value, Error> {
        let (headers, bytes) = self.receive().await?;
        require_json(&headers)?;
        serde_json::from_slice(&bytes).map_err(|error| findings::malformed(&error).into())
    }
}

/// Reads a JSON text that came in a part of a form, under the same rules as a body.
pub fn parse<T: DeserializeOwned + Validate>(bytes: &[u8]) -> Result<T, Error> {
    let value: T = findings::deserialize(bytes).map_err(app::Error::Invalid)?;
    value.validate().map_err(|errors| app::Error::Invalid(findings::of_rules(&errors)))?;
    Ok(value)
}

/// Receives a whole body of at most `limit` bytes. A length that is announced and too big is refused unread.
pub(crate) async fn receive(headers: &HeaderMap, mut payload: Payload, limit: usize) -> Result<Bytes, Error> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: usize| length > limit) {
        return Err(Error::PayloadTooLarge { limit });
    }
    let mut received = BytesMut::with_capacity(announced.unwrap_or(0).min(64 * 1024));
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| of_payload(&error, limit))?;
        if received.len() + chunk.len() > limit {
            return Err(Error::PayloadTooLarge { limit });
        }
        received.extend_from_slice(&chunk);
    }
    Ok(received.freeze())
}

/// `application/json`, or a type with the `+json` suffix (RFC 6839). JSON is UTF-8 (RFC 8259), so another
/// charset is another kind of body.
pub(crate) fn require_json(headers: &HeaderMap) -> Result<(), Error> {
    let refused = Error::UnsupportedMediaType { expected: "application/json" };
    let Some(kind) = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()) else {
        return Err(refused);
    };
    let mut parts = kind.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
    let json = essence == "application/json"
        || essence.strip_prefix("application/").is_some_and(|rest| rest.ends_with("+json"));
    let charset = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"').to_owned())
    });
    if json && charset.is_none_or(|charset| charset.eq_ignore_ascii_case("utf-8")) {
        Ok(())
    } else {
        Err(refused)
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, Deserialize, Validate)]
    struct Line {
        #[validate(range(min = 1, max = 9))]
        count: i64,
    }

    #[derive(Debug, Default, Deserialize, Validate)]
    struct Order {
        #[validate(length(min = 1, max = 5))]
        name: String,
        #[serde(default)]
        #[validate(nested)]
        lines: Vec<AsObject<Line>>,
        note: Option<AsObject<Line>>,
    }

    async fn read(kind: Option<&'static str>, body: impl Into<Bytes>) -> Result<Order, Error> {
        let mut request = TestRequest::post().set_payload(body);
        if let Some(kind) = kind {
            request = request.insert_header((header::CONTENT_TYPE, kind));
        }
        let (request, mut payload) = request.to_http_parts();
        Body::<Order>::from_request(&request, &mut payload).await?.read().await
    }

    async fn findings(body: &'static str) -> Vec<(String, String)> {
        match read(Some("application/json"), body).await {
            Err(Error::App(app::Error::Invalid(found))) => {
                found.into_iter().map(|found| (found.field, found.message)).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    #[actix_web::test]
    async fn a_good_body_is_read() {
        let order =
            read(Some("application/json; charset=UTF-8"), r#"{"name":"a","lines":[{"count":2}]}"#).await;
        let order = order.unwrap();
        assert_eq!((order.name.as_str(), order.lines[0].count, order.note.is_none()), ("a", 2, true));
        assert!(read(Some("application/merge-patch+json"), r#"{"name":"a"}"#).await.is_ok());
    }

    #[actix_web::test]
    async fn every_finding_names_its_field() {
        let unknown = r#"{"name":"a","nmae":1,"lines":[{"count":1,"x":2}],"note":{"count":1,"y":3}}"#;
        let fields: Vec<_> = findings(unknown).await.into_iter().map(|found| found.0).collect();
        assert_eq!(fields, ["nmae", "lines[0].x", "note.y"]);

        let rules = findings(r#"{"name":"","lines":[{"count":1},{"count":10}]}"#).await;
        insta::assert_debug_snapshot!(rules);

        let types = findings(r#"{"name":"a","lines":[{"count":"many"}]}"#).await;
        assert_eq!(types[0].0, "lines[0].count");
        assert_eq!(types[0].1, "must be a whole number, not a string");

        for array in [r#"{"name":"a","lines":[[1]]}"#, r#"{"name":"a","note":[1]}"#] {
            let types = findings(array).await;
            assert!(types[0].1.contains("must be an object, not an array"), "{types:?}");
        }

        let twice = findings(r#"{"name":"a","name":"b","nmae":1}"#).await;
        assert_eq!(
            twice.iter().map(|found| found.0.as_str()).collect::<Vec<_>>(),
            ["body", "nmae"],
            "{twice:?}"
        );
        assert_eq!(findings(r#"{"lines":[]}"#).await, [("name".to_owned(), "is required".to_owned())]);
        // All that is missing or of another type is told at once, with what is unknown.
        let several = findings(r#"{"lines":[{},{"count":"x"},{"count":2}],"note":7,"nmae":1}"#).await;
        let fields: Vec<_> = several.iter().map(|found| found.0.as_str()).collect();
        assert_eq!(fields, ["lines[0].count", "lines[1].count", "note", "name", "nmae"], "{several:?}");
        for malformed in ["", "{", "[1,]", "[\"a\"]", "null", "{\"name\":\"a\"} x"] {
            assert_eq!(findings(malformed).await[0].0, "body", "{malformed}");
        }
    }

    #[actix_web::test]
    async fn other_kinds_and_big_bodies_are_refused() {
        for kind in [None, Some("text/plain"), Some("application/json; charset=latin1"), Some("text/x+json")]
        {
            let refused = read(kind, "{}").await;
            assert!(matches!(refused, Err(Error::UnsupportedMediaType { .. })), "{kind:?}");
        }
        let refused = read(Some("application/json"), vec![b' '; JSON_LIMIT + 1]).await;
        assert!(matches!(refused, Err(Error::PayloadTooLarge { limit: JSON_LIMIT })));
    }

    #[actix_web::test]
    async fn an_empty_body_may_stand_for_the_default() {
        let (request, mut payload) = TestRequest::post().to_http_parts();
        let body = Body::<Order>::from_request(&request, &mut payload).await.unwrap();
        assert_eq!(body.read_or_default().await.unwrap().name, "");
    }
}
