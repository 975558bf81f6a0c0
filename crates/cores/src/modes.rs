//! How a Core is run. Each mode has one spelling, stored and sent.

use scaigrid_scope::text_enum;

use crate::core::EntityKeyField;

text_enum! {
    /// What starts a Core's flows.
    pub enum RuntimeMode {
        /// Events and triggers.
        EventDriven => "event_driven",
        /// A conversation.
        Interactive => "interactive",
        /// Calls of its own programmatic interface.
        Api => "api",
        /// Requests to it as a published model.
        Model => "model",
    }
}

text_enum! {
    /// How executions of one Core share memory.
    pub enum ConcurrencyMode {
        /// Side by side; one partition of memory with atomic operations.
        Stateless => "stateless",
        /// One partition, and one execution at a time, for each value of the entity key.
        Entity => "entity",
        /// One execution at a time.
        Singleton => "singleton",
    }
}

/// The concurrency mode with what it needs: an entity Core always has a key field, no other ever has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Concurrency {
    /// See [`ConcurrencyMode::Stateless`].
    Stateless,
    /// See [`ConcurrencyMode::Entity`].
    Entity {
        /// The field of the input whose value names the entity.
        key_field: EntityKeyField,
    },
    /// See [`ConcurrencyMode::Singleton`].
    Singleton,
}

impl Concurrency {
    /// The mode alone.
    pub const fn mode(&self) -> ConcurrencyMode {
        match self {
            Self::Stateless => ConcurrencyMode::Stateless,
            Self::Entity { .. } => ConcurrencyMode::Entity,
            Self::Singleton => ConcurrencyMode::Singleton,
        }
    }

    /// The key field of an entity Core.
    pub const fn entity_key_field(&self) -> Option<&EntityKeyField> {
        match self {
            Self::Entity { key_field } => Some(key_field),
            Self::Stateless | Self::Singleton => None,
        }
    }

    /// A mode and a key field, if they go together.
    pub fn new(mode: ConcurrencyMode, key_field: Option<EntityKeyField>) -> Option<Self> {
        match (mode, key_field) {
            (ConcurrencyMode::Stateless, None) => Some(Self::Stateless),
            (ConcurrencyMode::Singleton, None) => Some(Self::Singleton),
            (ConcurrencyMode::Entity, Some(key_field)) => Some(Self::Entity { key_field }),
            _ => None,
        }
    }
}

text_enum! {
    /// Which waits for a person become checkpoints that people see.
    pub enum CheckpointMode {
        /// All of them.
        Auto => "auto",
        /// All of them, too: what they are shown by is up to those who look.
        VisualQueue => "visual_queue",
        /// Those that ask someone; where one asks nobody in particular its execution is cancelled.
        Routed => "routed",
    }
}

text_enum! {
    /// How much a Core is trusted with.
    pub enum PrivilegeLevel {
        /// The usual.
        Standard => "standard",
        /// More than that.
        Elevated => "elevated",
        /// What an administrator is trusted with.
        Admin => "admin",
    }
}

text_enum! {
    /// Whose identity a Core acts under.
    pub enum IdentityMode {
        /// The tenant's service account.
        ServiceAccount => "service_account",
        /// A user's, who lent it.
        UserDelegated => "user_delegated",
    }
}
