//! Key sets (RFC 7517), as far as they verify what we take.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;

/// The most keys of a set; issuers have a handful.
const MAX_KEYS: usize = 64;
/// The sizes of RSA keys, in bytes of the modulus: smaller ones are weak, bigger ones dear to verify with.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;
/// The bytes of a coordinate on P-256.
const P256_BYTES: usize = 32;

/// A key, and the one algorithm that it is used with.
pub(crate) struct Key {
    pub(crate) algorithm: Algorithm,
    pub(crate) key: DecodingKey,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

/// The keys of an issuer by their ids.
pub(crate) type Keys = HashMap<Box<str>, Arc<Key>>;

#[derive(Deserialize)]
struct Set {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kid: String,
    kty: String,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// The keys of a set that verify RS256 or ES256 and have an id of their own. Keys for other purposes, and those that are
/// not understood, are left out; so are all that share an id, since it does not say which of them is meant.
pub(crate) fn read(text: &[u8]) -> Option<Keys> {
    let set: Set = serde_json::from_slice(text).ok()?;
    if set.keys.len() > MAX_KEYS {
        return None;
    }
    let mut keys = Keys::new();
    let mut seen = std::collections::HashSet::new();
    for value in set.keys {
        let Some(id) = value.get("kid").and_then(serde_json::Value::as_str).map(Box::<str>::from) else {
            continue;
        };
        if !seen.insert(id.clone()) {
            tracing::warn!(kid = %id, "a key set has two keys of one id; neither is used");
            keys.remove(&id);
            continue;
        }
        let key = serde_json::from_value(value).ok().and_then(|jwk: Jwk| jwk.key());
        keys.extend(key.map(|key| (id, Arc::new(key))));
    }
    Some(keys)
}

impl Jwk {
    fn key(self) -> Option<Key> {
        let signs = self.purpose.as_deref().is_none_or(|purpose| purpose == "sig")
            && self.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        if !signs || self.kid.is_empty() {
            return None;
        }
        let bytes = |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_deref()?).ok();
        let (algorithm, name, key) = match self.kty.as_str() {
            "RSA" => {
                let (n, e) = (bytes(&self.n)?, bytes(&self.e)?);
                let significant = n.iter().skip_while(|byte| **byte == 0).count();
                if !RSA_BYTES.contains(&significant) || e.is_empty() || e.len() > 8 {
                    return None;
                }
                (Algorithm::RS256, "RS256", DecodingKey::from_rsa_raw_components(&n, &e))
            }
            "EC" if self.crv.as_deref() == Some("P-256") => {
                let (x, y) = (bytes(&self.x)?, bytes(&self.y)?);
                if x.len() != P256_BYTES || y.len() != P256_BYTES {
                    return None;
                }
                let key = DecodingKey::from_ec_components(self.x.as_deref()?, self.y.as_deref()?).ok()?;
                (Algorithm::ES256, "ES256", key)
            }
            _ => return None,
        };
        self.alg.is_none_or(|alg| alg == name).then_some(Key { algorithm, key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rsa(bytes: usize) -> String {
        URL_SAFE_NO_PAD.encode(vec![0xff; bytes])
    }

    fn ids(set: &serde_json::Value) -> Vec<String> {
        let keys = read(set.to_string().as_bytes()).unwrap();
        let mut ids: Vec<String> = keys.keys().map(ToString::to_string).collect();
        ids.sort();
        ids
    }

    #[test]
    fn only_keys_that_verify_what_we_take_are_kept() {
        let xy = URL_SAFE_NO_PAD.encode([7; 32]);
        let set = serde_json::json!({"keys": [
            {"kid": "good-rsa", "kty": "RSA", "n": rsa(256), "e": "AQAB"},
            {"kid": "good-ec", "kty": "EC", "crv": "P-256", "x": xy, "y": xy, "use": "sig", "alg": "ES256"},
            {"kid": "short", "kty": "RSA", "n": rsa(128), "e": "AQAB"},
            {"kid": "huge", "kty": "RSA", "n": rsa(2048), "e": "AQAB"},
            {"kid": "pss", "kty": "RSA", "n": rsa(256), "e": "AQAB", "alg": "PS256"},
            {"kid": "enc", "kty": "RSA", "n": rsa(256), "e": "AQAB", "use": "enc"},
            {"kid": "ops", "kty": "RSA", "n": rsa(256), "e": "AQAB", "key_ops": ["sign"]},
            {"kid": "p384", "kty": "EC", "crv": "P-384", "x": xy, "y": xy},
            {"kid": "secret", "kty": "oct", "k": "c2VjcmV0"},
            {"kty": "RSA", "n": rsa(256), "e": "AQAB"},
            {"kid": 7, "kty": "RSA", "n": rsa(256), "e": "AQAB"},
            {"kid": "twice", "kty": "RSA", "n": rsa(256), "e": "AQAB"},
            {"kid": "twice", "kty": "RSA", "n": rsa(257), "e": "AQAB"},
            {"kid": "twice", "kty": "RSA", "n": rsa(258), "e": "AQAB"},
            "nonsense",
        ]});
        assert_eq!(ids(&set), ["good-ec", "good-rsa"]);
    }

    #[test]
    fn what_is_no_set_is_refused_as_a_whole() {
        let many: Vec<_> = (0..=MAX_KEYS).map(|n| serde_json::json!({"kid": n.to_string()})).collect();
        assert!(read(serde_json::json!({"keys": many}).to_string().as_bytes()).is_none());
        for text in ["", "[]", "{}", "{\"keys\": 1}", "<html>"] {
            assert!(read(text.as_bytes()).is_none(), "{text}");
        }
    }
}
