//! Tenants: the boundary that no data crosses.

use serde_json::{Map, Value};

use crate::{Instant, Name, PartnerId, PartnerStatus, Slug, TenantId, TenantRef, TenantStatus};

/// A tenant.
#[derive(Debug, Clone, PartialEq)]
pub struct Tenant {
    /// Its identifier.
    pub id: TenantId,
    /// The partner that owns it.
    pub partner_id: PartnerId,
    /// Its slug; no two tenants have the same, whoever owns them.
    pub slug: Slug,
    /// What people call it.
    pub name: Name,
    /// Its own status; see [`TenantStatus::under`] for the one that counts.
    pub status: TenantStatus,
    /// Its identifier at the identity provider, where it has one.
    pub scaikey_tenant_id: Option<Name>,
    /// How far it may grow.
    pub limits: TenantLimits,
    /// Which features are switched on for it.
    pub features: Features,
    /// Counts the changes, from 1; what an entity tag is made of.
    pub revision: i64,
    /// When it was added.
    pub created_at: Instant,
    /// When it was last changed.
    pub updated_at: Instant,
}

impl Tenant {
    /// What must be known of the tenant to decide who acts in it, given its partner's status.
    pub fn reference(&self, partner: PartnerStatus) -> TenantRef {
        TenantRef {
            id: self.id,
            slug: self.slug.clone(),
            partner_id: self.partner_id,
            status: self.status.under(partner),
        }
    }
}

/// How far a tenant may grow. What is left out has no limit of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TenantLimits {
    /// How many users it may have.
    pub max_users: Option<u32>,
    /// How many Cores it may host.
    pub max_cores: Option<u32>,
    /// How many participants its rooms may know, people included.
    pub max_participants: Option<u32>,
    /// How many rooms it may have.
    pub max_rooms: Option<u32>,
    /// How many bytes its objects may take.
    pub max_storage_bytes: Option<u64>,
    /// How many tokens its model calls may use in a calendar month.
    pub monthly_ai_tokens: Option<u64>,
    /// How many of its executions may be waiting to run.
    pub max_queued_executions: Option<u32>,
    /// For how many days executions that have ended, and what belongs to them, are kept. At least one.
    pub execution_retention_days: Option<u32>,
}

/// A tenant's feature flags: a JSON object such as `{"prompt_studio": {"enabled": true}}`, of bounded size.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Features(Map<String, Value>);

/// Why a JSON object cannot be a tenant's feature flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFeatures {
    /// They take more room than they may.
    #[error("must be at most {} bytes of JSON", Features::MAX_BYTES)]
    TooLarge,
    /// They hold the character U+0000, which not every database keeps.
    #[error("must not contain the character U+0000")]
    NulCharacter,
}

impl Features {
    /// The greatest size, written as JSON.
    pub const MAX_BYTES: usize = 16 * 1024;

    /// Checks feature flags.
    pub fn new(flags: Map<String, Value>) -> Result<Self, InvalidFeatures> {
        let written = serde_json::to_string(&flags).map_err(|_| InvalidFeatures::TooLarge)?;
        if written.len() > Self::MAX_BYTES {
            return Err(InvalidFeatures::TooLarge);
        }
        if flags.iter().any(|(name, value)| name.contains('\0') || holds_nul(value)) {
            return Err(InvalidFeatures::NulCharacter);
        }
        Ok(Self(flags))
    }

    /// The flags.
    pub const fn as_map(&self) -> &Map<String, Value> {
        &self.0
    }

    /// Whether a feature is on, that is, whether its `enabled` is `true`.
    pub fn is_enabled(&self, feature: &str) -> bool {
        self.0.get(feature).and_then(|flags| flags.get("enabled")).and_then(Value::as_bool).unwrap_or(false)
    }
}

/// Whether a value holds U+0000. What fits in [`Features::MAX_BYTES`] is not deeper than that.
fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(holds_nul),
        Value::Object(fields) => fields.iter().any(|(name, value)| name.contains('\0') || holds_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// What is to be changed of a tenant; what is left out stays.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TenantChanges {
    /// The new name.
    pub name: Option<Name>,
    /// The new status.
    pub status: Option<TenantStatus>,
    /// The new identifier at the identity provider, or none from now on.
    pub scaikey_tenant_id: Option<Option<Name>>,
    /// The new limits, all of them.
    pub limits: Option<TenantLimits>,
    /// The new feature flags, all of them.
    pub features: Option<Features>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn features(json: Value) -> Result<Features, InvalidFeatures> {
        match json {
            Value::Object(flags) => Features::new(flags),
            other => panic!("{other} is no object"),
        }
    }

    #[test]
    fn a_feature_is_on_when_it_says_so() {
        let flags = features(json!({"a": {"enabled": true}, "b": {"enabled": "yes"}, "c": true})).unwrap();
        assert!(flags.is_enabled("a"));
        assert!(!flags.is_enabled("b") && !flags.is_enabled("c") && !flags.is_enabled("d"));
    }

    #[test]
    fn features_can_be_stored_anywhere() {
        for flags in [json!({"a\0": 1}), json!({"a": {"b": ["\0"]}}), json!({"a": {"\0": null}})] {
            assert_eq!(features(flags), Err(InvalidFeatures::NulCharacter));
        }
        assert!(features(json!({"a": "\u{1}\u{fffd}\\u0000"})).is_ok());
    }

    #[test]
    fn features_are_bounded() {
        // `{"a":""}` is eight bytes of JSON around the text.
        let of = |length: usize| features(json!({"a": "x".repeat(length)}));
        assert!(of(Features::MAX_BYTES - 8).is_ok());
        assert_eq!(of(Features::MAX_BYTES - 7), Err(InvalidFeatures::TooLarge));
    }
}
