//! Paged lists: `limit` and `cursor`.
//!
//! A cursor on the wire is sealed: base64url of a short HMAC and the JSON of its parts. It opens only for the
//! list and the tenant that it was made for, on any node that has the same key; anything else is a
//! validation error. The seal keeps cursors honest, not secret: parts are sort keys that the client has seen.

use std::fmt;
use std::future::{Ready, ready};
use std::ops::RangeInclusive;
use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, web};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use scaigrid_app::{Cursor, CursorPart, PageRequest};
use serde_json::Value;
use sha2::Sha256;
use utoipa::IntoParams;

use crate::error::Error;
use crate::openapi::kinds;
use crate::server::Edge;

/// The bytes of the seal. Eight are plenty: guessing is online, and finds at most one's own sort keys.
const SEAL: usize = 8;
/// The most characters of a cursor.
const MAX_CURSOR: usize = 2048;

/// How many items a page may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// The limits that may be asked for.
    pub limit: RangeInclusive<u32>,
    /// The limit when none is asked for.
    pub default: u32,
}

impl Bounds {
    /// Most lists.
    pub const LIST: Self = Self { limit: 1..=100, default: 20 };
    /// The audit log.
    pub const AUDIT: Self = Self { limit: 1..=1000, default: 100 };
}

/// The parameters of a paged list, as the document names them: `params(PageParams)`.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageParams {
    /// How many items at most.
    #[param(minimum = 1, maximum = 100, default = 20)]
    pub limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[param(value_type = Option<kinds::Cursor>)]
    pub cursor: Option<String>,
}

/// The key that seals cursors; the same on every node.
#[derive(Clone)]
pub struct CursorKey(Arc<Hmac<Sha256>>);

impl fmt::Debug for CursorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CursorKey")
    }
}

impl CursorKey {
    /// A key of 32 bytes that nobody else has.
    pub fn new(key: &[u8; 32]) -> Self {
        // HMAC fills a short key up with zeros (RFC 2104).
        let mut block = hmac::digest::Key::<Hmac<Sha256>>::default();
        block.iter_mut().zip(key).for_each(|(slot, byte)| *slot = *byte);
        Self(Arc::new(Hmac::new(&block)))
    }

    /// The seal of one list, as one tenant sees it.
    pub fn seal(&self, list: &'static str, scope: &str) -> Seal {
        let mut mac = Hmac::clone(&self.0);
        for part in [list, scope] {
            // Lengths first, so that no two pairs of texts read the same.
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        Seal(mac)
    }
}

/// Seals and opens the cursors of one list of one tenant.
#[derive(Clone)]
pub struct Seal(Hmac<Sha256>);

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal")
    }
}

impl Seal {
    /// A cursor as the client gets it.
    pub fn close(&self, cursor: &Cursor) -> String {
        let parts = cursor.parts().iter().map(|part| match part {
            CursorPart::Text(text) => Value::from(text.as_str()),
            CursorPart::Int(number) => Value::from(*number),
        });
        let json = Value::Array(parts.collect()).to_string();
        let mac = self.0.clone().chain_update(&json).finalize().into_bytes();
        let mut sealed = mac.get(..SEAL).unwrap_or_default().to_vec();
        sealed.extend_from_slice(json.as_bytes());
        URL_SAFE_NO_PAD.encode(sealed)
    }

    /// The cursor that a client gave back; `None` when it was not made here for this list.
    pub fn open(&self, text: &str) -> Option<Cursor> {
        if text.len() > MAX_CURSOR {
            return None;
        }
        let sealed = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (mac, json) = sealed.split_at_checked(SEAL)?;
        self.0.clone().chain_update(json).verify_truncated_left(mac).ok()?;
        let Value::Array(parts) = serde_json::from_slice(json).ok()? else { return None };
        let parts: Option<Vec<_>> = parts
            .into_iter()
            .map(|part| match part {
                Value::String(text) => Some(CursorPart::Text(text)),
                Value::Number(number) => number.as_i64().map(CursorPart::Int),
                _ => None,
            })
            .collect();
        Some(Cursor::new(parts?))
    }
}

/// The `limit` and `cursor` of a request, not judged yet: that is done by [`Paging::read`], once the handler
/// knows that the caller may see the list.
#[derive(Debug, Clone)]
pub struct Paging {
    limit: Option<String>,
    cursor: Option<String>,
    key: CursorKey,
}

impl Paging {
    /// What part of the list is asked for, and the seal for the answer's cursor. `scope` is the tenant, and
    /// whatever else tells apart two lists of the same name.
    pub fn read(
        self,
        list: &'static str,
        scope: &str,
        bounds: &Bounds,
    ) -> Result<(PageRequest, Seal), Error> {
        let seal = self.key.seal(list, scope);
        let limit = match self.limit {
            None => bounds.default,
            Some(text) => {
                text.parse().ok().filter(|limit| bounds.limit.contains(limit)).ok_or_else(|| {
                    let (least, most) = (bounds.limit.start(), bounds.limit.end());
                    Error::invalid("limit", format!("must be a whole number from {least} to {most}"))
                })?
            }
        };
        let cursor = match self.cursor {
            None => None,
            Some(text) => Some(seal.open(&text).ok_or_else(|| {
                Error::invalid("cursor", "must be the next_cursor of an earlier page of this list")
            })?),
        };
        Ok((PageRequest { limit, cursor }, seal))
    }
}

impl FromRequest for Paging {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Edge::of(request).and_then(|edge| {
            let pairs = web::Query::<Vec<(String, String)>>::from_query(request.query_string())
                .map_err(|error| Error::invalid("query", error.to_string()))?;
            let mut paging = Self { limit: None, cursor: None, key: edge.cursor_key.clone() };
            for (name, value) in pairs.into_inner() {
                match name.as_str() {
                    "limit" => paging.limit = Some(value),
                    "cursor" => paging.cursor = Some(value),
                    _ => {}
                }
            }
            Ok(paging)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paging(limit: Option<&str>, cursor: Option<String>) -> Paging {
        Paging { limit: limit.map(str::to_owned), cursor, key: CursorKey::new(&[7; 32]) }
    }

    #[test]
    fn a_cursor_opens_only_where_it_was_made() {
        let key = CursorKey::new(&[7; 32]);
        let cursor = Cursor::new([CursorPart::Int(-5), CursorPart::Text("core_1".to_owned())]);
        let sealed = key.seal("cores", "ten_1").close(&cursor);
        assert_eq!(key.seal("cores", "ten_1").open(&sealed), Some(cursor.clone()));
        assert_eq!(key.seal("cores", "ten_2").open(&sealed), None);
        assert_eq!(key.seal("users", "ten_1").open(&sealed), None);
        assert_eq!(key.seal("coresten", "_1").open(&sealed), None);
        assert_eq!(CursorKey::new(&[8; 32]).seal("cores", "ten_1").open(&sealed), None);
        for index in 0..sealed.len() {
            let mut broken = sealed.clone().into_bytes();
            broken[index] = if broken[index] == b'A' { b'B' } else { b'A' };
            let broken = String::from_utf8(broken).unwrap();
            assert_eq!(key.seal("cores", "ten_1").open(&broken), None, "{index}");
        }
        for nonsense in ["", "!", "AAAA", &"A".repeat(MAX_CURSOR + 1)] {
            assert_eq!(key.seal("cores", "ten_1").open(nonsense), None);
        }
    }

    #[test]
    fn limits_are_bounded() {
        let limit = |text| paging(text, None).read("cores", "", &Bounds::LIST).map(|read| read.0.limit);
        assert_eq!(limit(None).unwrap(), 20);
        assert_eq!(limit(Some("100")).unwrap(), 100);
        for refused in ["0", "101", "-1", "ten", "", "1e1"] {
            assert!(limit(Some(refused)).is_err(), "{refused}");
        }
        assert!(paging(None, Some("x".to_owned())).read("cores", "", &Bounds::LIST).is_err());
    }
}
