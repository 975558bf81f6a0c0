//! Typed identifiers: a prefix that names the kind, and a ULID.
//!
//! `core_01J…` cannot be passed where `exec_01J…` is wanted, neither in Rust nor over HTTP. Ids are made from
//! a ULID that the caller supplies, so this crate needs neither a clock nor randomness.

use std::fmt;
use std::str::FromStr;

use ulid::Ulid;

/// Why a text is not an identifier of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected an identifier of the form {expected}")]
pub struct InvalidId {
    /// The form that was wanted, e.g. `core_<ULID>`.
    pub expected: &'static str,
}

macro_rules! prefixed_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Ulid);

        impl $name {
            /// What every identifier of this kind begins with.
            pub const PREFIX: &'static str = $prefix;

            /// Makes an identifier of a ULID that the caller has drawn.
            pub const fn from_ulid(ulid: Ulid) -> Self {
                Self(ulid)
            }

            /// The ULID without its prefix.
            pub const fn ulid(self) -> Ulid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                // In one piece: what it is written into grows once.
                let mut text = [0; $prefix.len() + ulid::ULID_LEN];
                let mut digits = [0; ulid::ULID_LEN];
                let (prefix, rest) = text.split_at_mut($prefix.len());
                prefix.copy_from_slice($prefix.as_bytes());
                rest.copy_from_slice(self.0.array_to_str(&mut digits).as_bytes());
                f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let invalid = InvalidId { expected: concat!($prefix, "<ULID>") };
                let Some(rest) = text.strip_prefix(Self::PREFIX) else { return Err(invalid) };
                parse_ulid(rest).map(Self).ok_or(invalid)
            }
        }

        text_serde!($name);
    };
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Ulid);

        impl $name {
            /// Makes an identifier of a ULID that the caller has drawn.
            pub const fn from_ulid(ulid: Ulid) -> Self {
                Self(ulid)
            }

            /// The ULID that the UUID form spells.
            pub const fn ulid(self) -> Ulid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                uuid::Uuid::from_u128(self.0.0).as_hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let invalid = InvalidId { expected: "a UUID in its hyphenated lower-case form" };
                let uuid = uuid::Uuid::try_parse(text).map_err(|_| invalid.clone())?;
                let id = Self(Ulid(uuid.as_u128()));
                // One identifier has one spelling: caches, cursors and audit filters compare texts.
                if id.to_string() == text { Ok(id) } else { Err(invalid) }
            }
        }

        text_serde!($name);
    };
}

macro_rules! text_serde {
    ($name:ident) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

prefixed_id!(
    /// A partner: a reseller or division that owns tenants.
    PartnerId, "prt_"
);
prefixed_id!(
    /// A tenant: the boundary that no data crosses.
    TenantId, "ten_"
);
prefixed_id!(
    /// A user, human or service, of exactly one tenant.
    UserId, "usr_"
);
prefixed_id!(
    /// A group of users of one tenant.
    GroupId, "grp_"
);
prefixed_id!(
    /// A role that a tenant has made for itself.
    CustomRoleId, "role_"
);
prefixed_id!(
    /// An API key; not the key itself, which is shown once and never stored.
    ApiKeyId, "apikey_"
);
prefixed_id!(
    /// A hosted Core.
    CoreId, "core_"
);
prefixed_id!(
    /// One run of a flow of a Core.
    ExecutionId, "exec_"
);
prefixed_id!(
    /// An event that was sent to, or emitted by, a Core; or one that webhooks are told of.
    EventId, "evt_"
);
prefixed_id!(
    /// A place at which executions of a Core stop.
    BreakpointId, "bp_"
);
prefixed_id!(
    /// A user's identity, lent to a Core.
    DelegationId, "dlg_"
);
prefixed_id!(
    /// A model of the catalogue.
    ModelId, "mdl_"
);
prefixed_id!(
    /// Something that answers for models: a server, and a model there.
    BackendId, "be_"
);
prefixed_id!(
    /// A group of models that are shown to the same tenants.
    ModelGroupId, "mg_"
);
prefixed_id!(
    /// The record of one call of a model.
    UsageId, "usage_"
);
prefixed_id!(
    /// A conversation with a published Core.
    ConversationId, "conv_"
);
prefixed_id!(
    /// Somebody or something that can be in a room: a person, or an AI.
    ParticipantId, "par_"
);
prefixed_id!(
    /// A room, where participants talk.
    RoomId, "room_"
);
prefixed_id!(
    /// What was said in a room.
    MessageId, "msg_"
);
prefixed_id!(
    /// What an AI owes a room: an answer to something that was said there.
    AnswerId, "ans_"
);
prefixed_id!(
    /// What AIs are to remember of a user.
    FactId, "fact_"
);
prefixed_id!(
    /// A question that a helper was asked.
    InvocationId, "hiv_"
);
prefixed_id!(
    /// An outgoing webhook.
    WebhookId, "whk_"
);
prefixed_id!(
    /// The delivery of one event to one webhook.
    DeliveryId, "del_"
);
prefixed_id!(
    /// An audit record.
    AuditId, "audit_"
);
prefixed_id!(
    /// One server process, from its start to its end. Never used again.
    NodeId, "node_"
);
prefixed_id!(
    /// An HTTP request, when the client did not name it.
    RequestId, "req_"
);
uuid_id!(
    /// A durable wait for a person's decision.
    CheckpointId
);
uuid_id!(
    /// A trigger of a Core.
    TriggerId
);

/// Parses the canonical (upper-case, 26 characters) spelling of a ULID and no other.
fn parse_ulid(text: &str) -> Option<Ulid> {
    let ulid = Ulid::from_string(text).ok()?;
    let mut buffer = [0; ulid::ULID_LEN];
    (ulid.array_to_str(&mut buffer) == text).then_some(ulid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        let id = CoreId::from_ulid(Ulid(0xabcd << 100));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(id.to_string().to_lowercase().parse::<CoreId>().is_err());
        assert!(id.to_string().replace("core_", "exec_").parse::<CoreId>().is_err());
        assert!("core_".parse::<CoreId>().is_err());

        let id = CheckpointId::from_ulid(Ulid(0xabcd << 100));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(id.to_string().to_uppercase().parse::<CheckpointId>().is_err());
        assert!(id.to_string().replace('-', "").parse::<CheckpointId>().is_err());
    }
}
