//! Filters of lists: the query parameters beside `limit` and `cursor`.
//!
//! The target is a struct of optional texts, and of types that are read from one: enums, identifiers, instants.
//! A parameter that cannot be read is refused by its name. Parameters that the struct does not know are left
//! alone, since several readers share one query.

use std::future::{Ready, ready};
use std::marker::PhantomData;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, web};
use scaigrid_app as app;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::body::findings;
use crate::error::Error;

/// The filters of a request, not judged yet.
#[derive(Debug, Clone)]
pub struct Filters<T> {
    given: Map<String, Value>,
    target: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Filters<T> {
    /// Reads the filters, or tells which one cannot be read. Of a parameter that is given twice the last counts.
    pub fn read(self) -> Result<T, Error> {
        // No name of ours holds a NUL, and PostgreSQL takes no text with one, not even to compare with.
        let nul = self.given.iter().find(|(_, value)| value.as_str().is_some_and(|text| text.contains('\0')));
        if let Some((name, _)) = nul {
            return Err(Error::invalid(name, "must not contain U+0000"));
        }
        findings::of_value(Value::Object(self.given)).map_err(|found| app::Error::Invalid(vec![found]).into())
    }
}

impl<T> FromRequest for Filters<T> {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let pairs = web::Query::<Vec<(String, String)>>::from_query(request.query_string());
        ready(match pairs {
            Ok(pairs) => {
                let given = pairs.into_inner().into_iter().map(|(name, value)| (name, Value::String(value)));
                Ok(Self { given: given.collect(), target: PhantomData })
            }
            Err(error) => Err(Error::invalid("query", error.to_string())),
        })
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use scaigrid_scope::{CoreId, Instant};
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Wanted {
        q: Option<String>,
        core_id: Option<CoreId>,
        since: Option<Instant>,
    }

    async fn read(query: &str) -> Result<Wanted, Error> {
        let request = TestRequest::with_uri(&format!("/?{query}")).to_http_request();
        Filters::<Wanted>::extract(&request).await?.read()
    }

    #[actix_web::test]
    async fn a_filter_that_cannot_be_read_is_named() {
        let wanted = read("q=a%20b&since=2026-01-01T00:00:00Z&limit=5").await.unwrap();
        assert_eq!((wanted.q.as_deref(), wanted.core_id), (Some("a b"), None));
        assert_eq!(wanted.since, Instant::parse("2026-01-01T00:00:00Z"));
        for (query, field) in [("core_id=x", "core_id"), ("q=a&since=yesterday", "since")] {
            let Err(Error::App(app::Error::Invalid(found))) = read(query).await else { panic!("{query}") };
            assert_eq!(found[0].field, field);
        }
    }
}
