//! Uploads: the parts of a `multipart/form-data` body (RFC 7578), each within its own limit.
//!
//! Like [`crate::body::Body`], an [`Upload`] reads nothing before the handler asks. Files are held in memory;
//! their limits are those of the routes, a few megabytes.

use std::fmt;
use std::future::{Ready, ready};

use actix_multipart::{Multipart, MultipartError};
use actix_web::dev::Payload;
use actix_web::http::header::{self, HeaderMap};
use actix_web::web::Bytes;
use actix_web::{FromRequest, HttpRequest};
use futures_util::StreamExt as _;
use scaigrid_app as app;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use validator::Validate;

use crate::body::{self, Body, JSON_LIMIT};
use crate::error::Error;

/// The most parts of one form.
const MAX_PARTS: usize = 32;

/// A file that came in a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// The name that the client gave it, if any. Never a path to be trusted.
    pub name: Option<String>,
    /// The media type that the client says it has.
    pub content_type: Option<String>,
    /// The content.
    pub content: Bytes,
}

/// What a form held: one file, and text fields beside it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Form {
    /// The part named `file`.
    pub file: Option<File>,
    /// The other parts, in order.
    pub fields: Vec<(String, Bytes)>,
}

impl Form {
    /// The file, or the finding that it is missing.
    pub fn require_file(self) -> Result<File, Error> {
        self.file.ok_or_else(|| Error::invalid("file", "is required"))
    }

    /// The file of a form that holds nothing else.
    pub fn only_file(self) -> Result<File, Error> {
        match self.fields.first() {
            Some((name, _)) => Err(Error::invalid(name, "is not a field of this request")),
            None => self.require_file(),
        }
    }

    /// The other parts as the value that the same fields of a JSON body would make, under the same rules. A part
    /// that is a JSON object or array is taken as one, any other as a text.
    pub fn fields<T: DeserializeOwned + Validate>(&self) -> Result<T, Error> {
        let mut object = Map::new();
        for (name, content) in &self.fields {
            let text = std::str::from_utf8(content).map_err(|_| Error::invalid(name, "is not UTF-8"))?;
            let value = match text.trim_start().chars().next() {
                Some('{' | '[') => serde_json::from_str(text)
                    .map_err(|error| Error::invalid(name, format!("is not JSON: {error}")))?,
                _ => Value::from(text),
            };
            if object.insert(name.clone(), value).is_some() {
                return Err(Error::invalid(name, "is given twice"));
            }
        }
        let json = serde_json::to_vec(&Value::Object(object)).map_err(app::Error::internal)?;
        body::parse(&json)
    }
}

/// A body of either kind, not read yet. For routes that take a file, or the JSON fields without one.
#[derive(Debug)]
pub enum JsonOrForm<T> {
    /// Anything that is no form; what it must be, [`Body::read`] says.
    Json(Body<T>),
    /// A form.
    Form(Upload),
}

impl<T: 'static> FromRequest for JsonOrForm<T> {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        ready(Ok(if Upload::is_form(request.headers()) {
            Self::Form(Upload { headers: request.headers().clone(), payload: payload.take() })
        } else {
            Self::Json(Body::unread(request, payload))
        }))
    }
}

/// A form that has not been read yet.
pub struct Upload {
    headers: HeaderMap,
    payload: Payload,
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Upload")
    }
}

impl FromRequest for Upload {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        ready(Ok(Self { headers: request.headers().clone(), payload: payload.take() }))
    }
}

impl Upload {
    /// Whether the body says that it is a form. A route that takes JSON as well asks this first.
    pub fn is_form(headers: &HeaderMap) -> bool {
        headers
            .get(header::CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok())
            .and_then(|kind| kind.split(';').next())
            .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("multipart/form-data"))
    }

    /// Receives the form: 415 for another kind of body, [`app::Error::FileTooLarge`] for a file of more than
    /// `limit` bytes, 413 for other fields that are too big together, 422 for a form that is broken.
    pub async fn read(self, limit: usize) -> Result<Form, Error> {
        if !Self::is_form(&self.headers) {
            return Err(Error::UnsupportedMediaType { expected: "multipart/form-data" });
        }
        let mut form = Form::default();
        let mut left_for_fields = JSON_LIMIT;
        let mut parts = Multipart::new(&self.headers, self.payload);
        let mut count = 0;
        while let Some(part) = parts.next().await {
            let mut part = part.map_err(|error| broken(&error))?;
            count += 1;
            if count > MAX_PARTS {
                return Err(Error::invalid("body", format!("has more than {MAX_PARTS} parts")));
            }
            let name = part.name().unwrap_or_default().to_owned();
            let is_file = name == "file";
            let allowed = if is_file { limit } else { left_for_fields };
            let content = match part.bytes(allowed).await {
                Ok(content) => content.map_err(|error| broken(&error))?,
                Err(_) if is_file => return Err(app::Error::FileTooLarge { limit }.into()),
                Err(_) => return Err(Error::PayloadTooLarge { limit: JSON_LIMIT }),
            };
            if !is_file {
                left_for_fields -= content.len().min(left_for_fields);
                form.fields.push((name, content));
                continue;
            }
            let disposition = part.content_disposition();
            let file = File {
                name: disposition.and_then(|disposition| disposition.get_filename()).map(str::to_owned),
                content_type: part.content_type().map(ToString::to_string),
                content,
            };
            if form.file.replace(file).is_some() {
                return Err(Error::invalid("file", "is given twice"));
            }
        }
        Ok(form)
    }
}

fn broken(error: &MultipartError) -> Error {
    match error {
        MultipartError::Payload(error) => crate::error::of_payload(error, JSON_LIMIT),
        error => Error::invalid("body", format!("is not a form: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    async fn read(kind: &str, body: String, limit: usize) -> Result<Form, Error> {
        let request = TestRequest::post().insert_header((header::CONTENT_TYPE, kind)).set_payload(body);
        let (request, mut payload) = request.to_http_parts();
        Upload::from_request(&request, &mut payload).await?.read(limit).await
    }

    fn part(disposition: &str, content: &str) -> String {
        format!("--x\r\nContent-Disposition: form-data; {disposition}\r\n\r\n{content}\r\n")
    }

    #[derive(serde::Deserialize, Validate)]
    struct Fields {
        #[validate(length(min = 1))]
        name: String,
        #[serde(default)]
        metadata: Value,
    }

    const KIND: &str = "multipart/form-data; boundary=x";

    #[actix_web::test]
    async fn a_file_comes_with_its_fields() {
        let body = part("name=\"file\"; filename=\"a.scir\"", "SCIR")
            + &part("name=\"name\"", "Approval")
            + &part("name=\"metadata\"", "{\"a\":1}")
            + "--x--\r\n";
        let form = read(KIND, body, 4).await.unwrap();
        let file = form.file.clone().unwrap();
        assert_eq!((file.name.as_deref(), &file.content[..]), (Some("a.scir"), &b"SCIR"[..]));
        let fields: Fields = form.fields().unwrap();
        assert_eq!((fields.name.as_str(), &fields.metadata), ("Approval", &serde_json::json!({ "a": 1 })));
        for bad in [part("name=\"nmae\"", "a"), part("name=\"name\"", ""), part("name=\"metadata\"", "{")] {
            let form = read(KIND, bad + "--x--\r\n", 4).await.unwrap();
            assert!(matches!(form.fields::<Fields>(), Err(Error::App(app::Error::Invalid(_)))));
        }
    }

    #[actix_web::test]
    async fn what_is_too_big_broken_or_missing_is_refused() {
        let file = || part("name=\"file\"; filename=\"a\"", "SCIR!");
        let refused = read(KIND, file() + "--x--\r\n", 4).await;
        assert!(matches!(refused, Err(Error::App(app::Error::FileTooLarge { limit: 4 }))), "{refused:?}");
        let refused = read(KIND, part("name=\"n\"", &"a".repeat(JSON_LIMIT + 1)) + "--x--\r\n", 4).await;
        assert!(matches!(refused, Err(Error::PayloadTooLarge { .. })), "{refused:?}");
        assert!(matches!(
            read("application/json", String::new(), 4).await,
            Err(Error::UnsupportedMediaType { .. })
        ));
        for broken in [file() + &file() + "--x--\r\n", "--x\r\nnonsense".to_owned(), file()] {
            let refused = read(KIND, broken, 9).await;
            assert!(matches!(refused, Err(Error::App(app::Error::Invalid(_)))), "{refused:?}");
        }
        assert!(read(KIND, "--x--\r\n".to_owned(), 4).await.unwrap().require_file().is_err());
    }
}
