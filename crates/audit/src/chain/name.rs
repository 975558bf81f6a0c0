//! Which chain a record belongs to.

use std::fmt;
use std::str::FromStr;

use scaigrid_scope::{InvalidId, PartnerId, TenantId};

use crate::AuditRecord;

/// A chain, by whose records it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Chain {
    /// What is done at the platform's level.
    Platform,
    /// What is done at a partner's own level.
    Partner(PartnerId),
    /// What is done in a tenant.
    Tenant(TenantId),
}

impl Chain {
    /// What the platform's chain is called.
    pub const PLATFORM: &'static str = "platform";

    /// The chain of a record of this tenant and partner.
    pub fn of(tenant: Option<TenantId>, partner: Option<PartnerId>) -> Self {
        match (tenant, partner) {
            (Some(tenant), _) => Self::Tenant(tenant),
            (None, Some(partner)) => Self::Partner(partner),
            (None, None) => Self::Platform,
        }
    }
}

impl AuditRecord {
    /// The chain that the record belongs to.
    pub fn chain(&self) -> Chain {
        Chain::of(self.tenant_id, self.partner_id)
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Platform => f.write_str(Self::PLATFORM),
            Self::Partner(id) => id.fmt(f),
            Self::Tenant(id) => id.fmt(f),
        }
    }
}

impl FromStr for Chain {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == Self::PLATFORM {
            return Ok(Self::Platform);
        }
        if text.starts_with(PartnerId::PREFIX) {
            return text.parse().map(Self::Partner);
        }
        text.parse().map(Self::Tenant)
    }
}

#[cfg(test)]
mod tests {
    use ulid::Ulid;

    use super::*;

    #[test]
    fn a_chain_has_one_name() {
        let (partner, tenant) = (PartnerId::from_ulid(Ulid(1)), TenantId::from_ulid(Ulid(1)));
        for chain in [Chain::Platform, Chain::Partner(partner), Chain::Tenant(tenant)] {
            assert_eq!(chain.to_string().parse(), Ok(chain));
        }
        assert!("Platform".parse::<Chain>().is_err());
        assert_eq!(Chain::of(Some(tenant), Some(partner)), Chain::Tenant(tenant));
        assert_eq!(Chain::of(Some(tenant), None), Chain::Tenant(tenant));
        assert_eq!(Chain::of(None, Some(partner)), Chain::Partner(partner));
        assert_eq!(Chain::of(None, None), Chain::Platform);
    }
}
