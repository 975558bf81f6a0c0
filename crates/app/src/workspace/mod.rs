//! ScaiWave: what tenants administer of their workspace, and the rooms that it acts on.

pub mod ai_config;
mod answers;
mod ask;
mod built_in;
pub mod helpers;
pub mod memories;
pub mod models;
pub mod notes;
pub mod participants;
pub mod plugins;
pub mod rooms;
pub mod stats;
pub mod studio;
pub mod studio_run;
mod tools;

use std::collections::BTreeMap;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::transaction::Expected;
use crate::{App, Error};

/// What an entity tag of a document is made of that is put together from several rows: eight bytes of the digest of what is
/// shown of it, whatever the order of its fields.
pub(crate) fn fingerprint(document: &Value) -> u64 {
    let digest = Sha256::digest(canonical(document).to_string().as_bytes());
    digest.iter().take(8).fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

/// The same value with the fields of its objects in order.
fn canonical(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(canonical).collect(),
        Value::Object(fields) => {
            let ordered: BTreeMap<_, _> = fields.iter().collect();
            ordered.into_iter().map(|(name, value)| (name.clone(), canonical(value))).collect()
        }
        other => other.clone(),
    }
}

/// Whether a document that has such a fingerprint is among those that are expected.
pub(crate) fn check_fingerprint(expected: Expected<'_>, fingerprint: u64) -> Result<(), Error> {
    let met = expected.is_none_or(|revisions| revisions.contains(&fingerprint));
    if met { Ok(()) } else { Err(Error::PreconditionFailed) }
}

impl App {
    /// What stands behind the colon in the full names of participants: the host of the platform's public address, or
    /// `localhost` where it was given none. Never what a request says, which anybody can write.
    pub fn server_name(&self) -> &str {
        self.0.remote.public_url.as_ref().and_then(url::Url::host_str).unwrap_or("localhost")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_fingerprint_is_of_what_a_document_says() {
        let one: Value = serde_json::from_str(r#"{"a": 1, "b": {"c": [1, 2], "d": null}}"#).unwrap();
        let same: Value = serde_json::from_str(r#"{"b": {"d": null, "c": [1, 2]}, "a": 1}"#).unwrap();
        assert_eq!(fingerprint(&one), fingerprint(&same));
        for other in [json!({"a": 1}), json!({"a": 1, "b": {"c": [2, 1], "d": null}}), Value::Null] {
            assert_ne!(fingerprint(&one), fingerprint(&other), "{other}");
        }
        assert!(check_fingerprint(None, 1).is_ok());
        assert!(check_fingerprint(Some(&[1, u64::MAX]), u64::MAX).is_ok());
        assert!(check_fingerprint(Some(&[]), 1).is_err());
    }
}
