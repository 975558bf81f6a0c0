//! Webhooks that come in: what a message must carry to be believed, and what tells it from the others.
//!
//! [Standard Webhooks](https://www.standardwebhooks.com) sign id, time and body. Schemes of one header, as GitHub's, sign
//! the body alone: what is sent again under another id, or later, cannot be told from a new message there.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use hmac::{Hmac, KeyInit as _, Mac as _};
use scaigrid_scope::Instant;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::Secret;

/// How far the time that a message names may be from ours, either way.
pub const TOLERANCE: Duration = Duration::from_mins(5);
/// The most characters of a message's id.
const ID_AT_MOST: usize = 255;
/// The most signatures of one message that are looked at: each costs a comparison.
const SIGNATURES_AT_MOST: usize = 16;

/// How a signature is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Hexadecimal digits, in either case.
    Hex,
    /// Base64 (RFC 4648, section 4).
    Base64,
}

/// What a message must carry to be believed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Scheme {
    /// Standard Webhooks: `webhook-id`, `webhook-timestamp`, `webhook-signature`.
    #[default]
    Standard,
    /// HMAC-SHA256 of the body in a header.
    Hmac {
        /// The header, in lower case.
        header: Box<str>,
        /// What stands before the signature.
        prefix: Box<str>,
        /// How it is written.
        encoding: Encoding,
        /// The header that tells messages apart, in lower case; without one the body does.
        id_header: Option<Box<str>>,
    },
    /// The secret itself, in a header.
    Token {
        /// The header, in lower case.
        header: Box<str>,
        /// The header that tells messages apart, in lower case; without one the body does.
        id_header: Option<Box<str>>,
    },
}

/// What is wrong with the description of a scheme: the field below it, empty for the whole, and what to read after its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidScheme {
    /// The field.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

fn invalid<T>(field: &str, message: impl Into<String>) -> Result<T, InvalidScheme> {
    Err(InvalidScheme { field: field.to_owned(), message: message.into() })
}

/// The name of a header (RFC 9110, section 5.1), in lower case.
fn header(field: &str, value: &Value) -> Result<Box<str>, InvalidScheme> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    match value.as_str() {
        Some(text) if (1..=128).contains(&text.len()) && text.bytes().all(token) => {
            Ok(text.to_ascii_lowercase().into())
        }
        _ => invalid(field, "must be the name of a header"),
    }
}

impl Scheme {
    /// Reads a description: `standard`, `github`, or an object with `type` `standard`, `hmac` (where left out) or `token`.
    ///
    /// # Errors
    /// The field that is not as it must be.
    pub fn parse(described: &Value) -> Result<Self, InvalidScheme> {
        match described {
            Value::String(name) if name == "standard" => Ok(Self::Standard),
            Value::String(name) if name == "github" => Ok(Self::Hmac {
                header: "x-hub-signature-256".into(),
                prefix: "sha256=".into(),
                encoding: Encoding::Hex,
                id_header: Some("x-github-delivery".into()),
            }),
            Value::Object(fields) => Self::parse_fields(fields),
            _ => invalid("", "must be standard, github or an object"),
        }
    }

    fn parse_fields(fields: &Map<String, Value>) -> Result<Self, InvalidScheme> {
        let kind = fields.get("type").map_or(Some("hmac"), Value::as_str);
        let allowed: &[&str] = match kind {
            Some("standard") => &["type"],
            Some("hmac") => &["type", "header", "prefix", "encoding", "algorithm", "id_header"],
            Some("token") => &["type", "header", "id_header"],
            _ => return invalid("type", "must be one of standard, hmac, token"),
        };
        if let Some(unknown) = fields.keys().find(|name| !allowed.contains(&name.as_str())) {
            return invalid(unknown, "is unknown");
        }
        if kind == Some("standard") {
            return Ok(Self::Standard);
        }
        let Some(signed) = fields.get("header") else { return invalid("header", "is required") };
        let signed = header("header", signed)?;
        let id_header = fields.get("id_header").filter(|value| !value.is_null());
        let id_header = id_header.map(|value| header("id_header", value)).transpose()?;
        if kind == Some("token") {
            return Ok(Self::Token { header: signed, id_header });
        }
        if fields.get("algorithm").is_some_and(|algorithm| algorithm != "sha256") {
            return invalid("algorithm", "must be sha256");
        }
        let encoding = match fields.get("encoding").map_or(Some("hex"), Value::as_str) {
            Some("hex") => Encoding::Hex,
            Some("base64") => Encoding::Base64,
            _ => return invalid("encoding", "must be hex or base64"),
        };
        let prefix = match fields.get("prefix").map_or(Some(""), Value::as_str) {
            Some(prefix) if prefix.len() <= 64 && prefix.bytes().all(|byte| byte.is_ascii_graphic()) => {
                prefix
            }
            _ => return invalid("prefix", "must be at most 64 visible ASCII characters"),
        };
        Ok(Self::Hmac { header: signed, prefix: prefix.into(), encoding, id_header })
    }

    /// The description, as [`Scheme::parse`] reads it.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Standard => json!("standard"),
            Self::Hmac { header, prefix, encoding, id_header } => {
                let encoding = match encoding {
                    Encoding::Hex => "hex",
                    Encoding::Base64 => "base64",
                };
                json!({"type": "hmac", "header": header, "prefix": prefix, "encoding": encoding, "id_header": id_header})
            }
            Self::Token { header, id_header } => {
                json!({"type": "token", "header": header, "id_header": id_header})
            }
        }
    }

    /// The headers that vouch for a message: whoever gets its contents has no use for them.
    pub fn vouching(&self) -> Vec<&str> {
        match self {
            Self::Standard => vec!["webhook-signature"],
            Self::Hmac { header, .. } | Self::Token { header, .. } => vec![header],
        }
    }

    /// Whether a message is believed: the id that tells it from the others. Each of several secrets will do.
    ///
    /// # Errors
    /// Why not, for the log; the sender is not told.
    pub fn verify<'a>(
        &self,
        secrets: &[Secret],
        header: impl Fn(&str) -> Option<&'a str>,
        body: &[u8],
        now: Instant,
    ) -> Result<String, NotVerified> {
        let id_of = |name: Option<&str>| match name {
            Some(name) => {
                let id = header(name).ok_or_else(|| NotVerified::Missing(name.into()))?;
                if fits_as_id(id) { Ok(id.to_owned()) } else { Err(NotVerified::Id) }
            }
            None => Ok(format!("sha256:{}", HEXLOWER.encode(&Sha256::digest(body)))),
        };
        let required = |name: &str| header(name).ok_or_else(|| NotVerified::Missing(name.into()));
        match self {
            Self::Standard => {
                let id = required("webhook-id")?;
                let timestamp = required("webhook-timestamp")?;
                let signatures = required("webhook-signature")?;
                if !fits_as_id(id) {
                    return Err(NotVerified::Id);
                }
                let seconds: i64 = timestamp.parse().map_err(|_| NotVerified::Time)?;
                let apart = (now.micros() / 1_000_000).abs_diff(seconds);
                if apart > TOLERANCE.as_secs() {
                    return Err(NotVerified::Time);
                }
                let parts = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
                let given = signatures.split(' ').filter_map(|one| one.strip_prefix("v1,"));
                let mut given = given.take(SIGNATURES_AT_MOST).filter_map(|one| STANDARD.decode(one).ok());
                let good = given.any(|one| secrets.iter().any(|secret| is_mac(&secret.key(), &parts, &one)));
                if good { Ok(id.to_owned()) } else { Err(NotVerified::Signature) }
            }
            Self::Hmac { header: name, prefix, encoding, id_header } => {
                let given = required(name)?.strip_prefix(&**prefix).ok_or(NotVerified::Signature)?;
                let given = match encoding {
                    Encoding::Hex => HEXLOWER_PERMISSIVE.decode(given.as_bytes()).ok(),
                    Encoding::Base64 => STANDARD.decode(given).ok(),
                };
                let given = given.ok_or(NotVerified::Signature)?;
                if secrets.iter().any(|secret| is_mac(&secret.key(), &[body], &given)) {
                    id_of(id_header.as_deref())
                } else {
                    Err(NotVerified::Signature)
                }
            }
            Self::Token { header: name, id_header } => {
                let given = required(name)?;
                // Of both a code is made and compared, so that the time it takes tells nothing of the secret.
                let good = |secret: &Secret| {
                    let known = secret.reveal().as_bytes();
                    is_mac(known, &[known], &mac(known, &[given.as_bytes()]))
                };
                if secrets.iter().any(good) {
                    id_of(id_header.as_deref())
                } else {
                    Err(NotVerified::Signature)
                }
            }
        }
    }
}

/// Why a message is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotVerified {
    /// A header is missing.
    #[error("it has no header {0}")]
    Missing(Box<str>),
    /// Its id cannot be one.
    #[error("its id is none: 1 to {ID_AT_MOST} visible ASCII characters")]
    Id,
    /// Its time is none, or too far from ours.
    #[error("its time is none, or more than five minutes from ours")]
    Time,
    /// No signature fits any secret.
    #[error("no signature fits")]
    Signature,
}

fn fits_as_id(id: &str) -> bool {
    (1..=ID_AT_MOST).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
}

fn keyed(key: &[u8], parts: &[&[u8]]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    for part in parts {
        mac.update(part);
    }
    Some(mac)
}

fn mac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    keyed(key, parts).map(|mac| mac.finalize().into_bytes().to_vec()).unwrap_or_default()
}

/// Whether something is the code of a text; takes the same time wherever they differ.
fn is_mac(key: &[u8], parts: &[&[u8]], given: &[u8]) -> bool {
    keyed(key, parts).is_some_and(|mac| mac.verify_slice(given).is_ok())
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Standard => "standard",
            Self::Hmac { .. } => "hmac",
            Self::Token { .. } => "token",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sign;

    const NOW: i64 = 1_700_000_000;

    fn at(seconds: i64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    fn secret() -> Secret {
        Secret::of_bytes(&[7; 32])
    }

    fn of<'a>(headers: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<&'a str> {
        |name| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    #[test]
    fn a_standard_message_is_believed_for_five_minutes() {
        let signed = sign(&secret(), "msg_1", NOW, b"{}");
        let headers = [
            ("webhook-id", "msg_1"),
            ("webhook-timestamp", signed.timestamp.as_str()),
            ("webhook-signature", signed.standard.as_str()),
        ];
        let verify = |secrets: &[Secret], body: &[u8], seconds| {
            Scheme::Standard.verify(secrets, of(&headers), body, at(seconds))
        };
        let known = [Secret::of_bytes(&[1; 32]), secret()];
        assert_eq!(verify(&known, b"{}", NOW), Ok("msg_1".to_owned()));
        assert_eq!(verify(&known, b"{}", NOW + 300), Ok("msg_1".to_owned()));
        for seconds in [NOW + 301, NOW - 301, 0, i64::from(u32::MAX)] {
            assert_eq!(verify(&known, b"{}", seconds), Err(NotVerified::Time), "{seconds}");
        }
        assert_eq!(verify(&known, b"{ }", NOW), Err(NotVerified::Signature));
        assert_eq!(verify(&known[..1], b"{}", NOW), Err(NotVerified::Signature));
        assert_eq!(verify(&[], b"{}", NOW), Err(NotVerified::Signature));
        for left_out in 0..headers.len() {
            let mut some = headers.to_vec();
            let (name, _) = some.remove(left_out);
            let found = Scheme::Standard.verify(&known, of(&some), b"{}", at(NOW));
            assert_eq!(found, Err(NotVerified::Missing(name.into())));
        }
        let strange = [("webhook-id", "msg 1"), headers[1], headers[2]];
        assert_eq!(Scheme::Standard.verify(&known, of(&strange), b"{}", at(NOW)), Err(NotVerified::Id));
    }

    #[test]
    fn githubs_example_is_believed() {
        let scheme = Scheme::parse(&json!("github")).unwrap();
        let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let headers = [("x-hub-signature-256", signature), ("x-github-delivery", "72d3162e")];
        // Its secret has spaces, which ours cannot; the same bytes by another way.
        let known = Secret::parse(&format!("whsec_{}", STANDARD.encode(b"It's a Secret to Everybody")));
        let known = [known.unwrap()];
        let verify =
            |headers: &[(&str, &str)], body: &[u8]| scheme.verify(&known, of(headers), body, at(NOW));
        assert_eq!(verify(&headers, b"Hello, World!"), Ok("72d3162e".to_owned()));
        assert_eq!(verify(&headers, b"Hello, World?"), Err(NotVerified::Signature));
        assert_eq!(
            verify(&headers[..1], b"Hello, World!"),
            Err(NotVerified::Missing("x-github-delivery".into()))
        );
        let bare = signature.strip_prefix("sha256=").unwrap();
        for wrong in [bare, "sha256=", "sha256=zz", "sha256=7", ""] {
            let headers = [("x-hub-signature-256", wrong), headers[1]];
            assert_eq!(verify(&headers, b"Hello, World!"), Err(NotVerified::Signature), "{wrong}");
        }
    }

    #[test]
    fn a_token_is_believed_and_its_body_tells_messages_apart() {
        let scheme = Scheme::parse(&json!({"type": "token", "header": "X-Gitlab-Token"})).unwrap();
        let known = [Secret::parse("0123456789abcdef").unwrap()];
        let verify =
            |token, body: &[u8]| scheme.verify(&known, of(&[("x-gitlab-token", token)]), body, at(NOW));
        let first = verify("0123456789abcdef", b"1").unwrap();
        assert_eq!(verify("0123456789abcdef", b"1"), Ok(first.clone()));
        assert_ne!(verify("0123456789abcdef", b"2"), Ok(first));
        for wrong in ["0123456789abcdeg", "", "0123456789abcdef0"] {
            assert_eq!(verify(wrong, b"1"), Err(NotVerified::Signature));
        }
    }

    #[test]
    fn a_description_is_read_or_its_field_is_named() {
        for described in [
            json!("standard"),
            json!("github"),
            json!({"type": "standard"}),
            json!({"header": "X-Sig"}),
            json!({"type": "hmac", "header": "X-Sig", "encoding": "base64", "prefix": "v0=", "algorithm": "sha256", "id_header": "X-Id"}),
            json!({"type": "token", "header": "X-Token", "id_header": null}),
        ] {
            let scheme = Scheme::parse(&described).unwrap();
            assert_eq!(Scheme::parse(&scheme.to_json()), Ok(scheme));
        }
        for (described, field) in [
            (json!(null), ""),
            (json!("plain"), ""),
            (json!({}), "header"),
            (json!({"type": "rsa"}), "type"),
            (json!({"type": 1}), "type"),
            (json!({"type": "standard", "header": "X"}), "header"),
            (json!({"header": "two words"}), "header"),
            (json!({"header": 1}), "header"),
            (json!({"header": "X", "encoding": "base32"}), "encoding"),
            (json!({"header": "X", "algorithm": "md5"}), "algorithm"),
            (json!({"header": "X", "prefix": "a b"}), "prefix"),
            (json!({"header": "X", "id_header": ""}), "id_header"),
            (json!({"header": "X", "more": 1}), "more"),
            (json!({"type": "token", "header": "X", "prefix": ""}), "prefix"),
        ] {
            assert_eq!(Scheme::parse(&described).unwrap_err().field, field, "{described}");
        }
    }

    proptest! {
        #[test]
        fn what_another_library_signs_is_believed_and_nothing_else_is(
            body in ".{0,200}", id in "msg_[0-9A-Za-z]{1,40}", flip in 0..32_usize,
        ) {
            let theirs = standardwebhooks::Webhook::new(secret().reveal()).unwrap();
            let signature = theirs.sign(&id, NOW, body.as_bytes()).unwrap();
            let seconds = NOW.to_string();
            let verify = |signature: &str| {
                let headers =
                    [("webhook-id", id.as_str()), ("webhook-timestamp", seconds.as_str()), ("webhook-signature", signature)];
                Scheme::Standard.verify(&[secret()], of(&headers), body.as_bytes(), at(NOW))
            };
            prop_assert_eq!(verify(&signature), Ok(id.clone()));
            prop_assert_eq!(verify(&format!("v1,AAAA {signature}")), Ok(id.clone()));
            let mut bytes = STANDARD.decode(signature.strip_prefix("v1,").unwrap()).unwrap();
            bytes[flip] ^= 1;
            prop_assert_eq!(verify(&format!("v1,{}", STANDARD.encode(bytes))), Err(NotVerified::Signature));
        }

        #[test]
        fn nothing_that_a_stranger_sends_is_believed(
            id in "\\PC{0,20}", time in "\\PC{0,20}", signature in "\\PC{0,60}", body in ".{0,50}",
        ) {
            let headers =
                [("webhook-id", id.as_str()), ("webhook-timestamp", time.as_str()), ("webhook-signature", signature.as_str())];
            prop_assert!(Scheme::Standard.verify(&[secret()], of(&headers), body.as_bytes(), at(NOW)).is_err());
        }
    }
}
