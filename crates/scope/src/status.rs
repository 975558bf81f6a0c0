//! Whether partners, tenants and users may be at work.

use crate::text_enum;

text_enum! {
    /// Whether a partner's tenants may work.
    pub enum PartnerStatus {
        /// They may.
        Active => "active",
        /// They may not, whatever their own status says.
        Suspended => "suspended",
    }
}

text_enum! {
    /// Whether a tenant may work.
    pub enum TenantStatus {
        /// It may.
        Active => "active",
        /// Its calls are refused and its Cores stand still; its data stays.
        Suspended => "suspended",
    }
}

impl TenantStatus {
    /// The status that counts: a suspended partner suspends its tenants.
    #[must_use]
    pub const fn under(self, partner: PartnerStatus) -> Self {
        match (self, partner) {
            (Self::Active, PartnerStatus::Active) => Self::Active,
            _ => Self::Suspended,
        }
    }
}

text_enum! {
    /// Whether a user may call.
    pub enum UserStatus {
        /// They may.
        Active => "active",
        /// Not at present.
        Suspended => "suspended",
        /// Never again; the row stays because audit records and checkpoints name it.
        Deleted => "deleted",
    }
}

text_enum! {
    /// Whether a user is a person or a program.
    pub enum UserKind {
        /// A person.
        Human => "human",
        /// A program with an account of its own.
        Service => "service",
    }
}
