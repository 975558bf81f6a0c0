//! To whom a model is shown.
//!
//! A model can be enabled by a tenant when it is global, when it was made in the tenant or at its partner's level, or when
//! a group holds it whose scope has the tenant in it. It is shown to the tenant's callers, and answers them, when the tenant
//! has enabled it, too. What is made in a tenant is enabled there unless the tenant says otherwise.

use scaigrid_scope::{Level, PartnerId, TenantId};

/// A tenant, and whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Viewer {
    /// The tenant.
    pub tenant: TenantId,
    /// Its partner.
    pub partner: PartnerId,
}

impl Viewer {
    /// Whether the tenant is at a level or below it.
    pub fn is_under(self, level: Level) -> bool {
        match level {
            Level::Platform => true,
            Level::Partner(partner) => partner == self.partner,
            Level::Tenant(tenant) => tenant == self.tenant,
        }
    }
}

/// What is known of a model that its visibility depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown<'a> {
    /// At which level it was made.
    pub owner: Level,
    /// Whether every tenant may enable it.
    pub global: bool,
    /// Whether it is enabled where a tenant has not said otherwise.
    pub default_enabled: bool,
    /// The levels of the groups that hold it.
    pub groups: &'a [Level],
    /// What the tenant has said.
    pub said: Option<bool>,
}

/// Whether a tenant may enable a model.
pub fn is_available(model: &Shown<'_>, viewer: Viewer) -> bool {
    let of_owner = model.owner != Level::Platform && viewer.is_under(model.owner);
    model.global || of_owner || model.groups.iter().any(|group| viewer.is_under(*group))
}

/// Whether a partner sees a model at its level: what is for all its tenants.
pub fn is_available_to_partner(model: &Shown<'_>, partner: PartnerId) -> bool {
    let above = |level: &Level| *level == Level::Platform || *level == Level::Partner(partner);
    model.global || model.owner == Level::Partner(partner) || model.groups.iter().any(above)
}

/// Whether a tenant has enabled a model, where it may.
pub fn is_enabled(model: &Shown<'_>, viewer: Viewer) -> bool {
    let own = model.owner == Level::Tenant(viewer.tenant);
    model.said.unwrap_or(model.default_enabled || own)
}

/// Whether a model is shown to a tenant's callers, and answers them.
pub fn is_visible(model: &Shown<'_>, viewer: Viewer) -> bool {
    is_available(model, viewer) && is_enabled(model, viewer)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ulid::Ulid;

    use super::*;

    fn partner(n: u128) -> PartnerId {
        PartnerId::from_ulid(Ulid(n))
    }

    fn tenant(n: u128) -> TenantId {
        TenantId::from_ulid(Ulid(n))
    }

    const NONE: Shown<'_> = Shown {
        owner: Level::Platform,
        global: false,
        default_enabled: false,
        groups: &[],
        said: Some(true),
    };

    #[test]
    fn a_model_is_shown_by_its_groups_and_its_owner() {
        let viewer = Viewer { tenant: tenant(11), partner: partner(1) };
        let visible = |model: Shown<'_>| is_visible(&model, viewer);
        assert!(!visible(NONE));
        assert!(visible(Shown { global: true, ..NONE }));
        assert!(!visible(Shown { global: true, said: None, ..NONE }));
        assert!(visible(Shown { global: true, said: None, default_enabled: true, ..NONE }));
        assert!(!visible(Shown { global: true, said: Some(false), default_enabled: true, ..NONE }));
        for (level, shown) in [
            (Level::Platform, true),
            (Level::Partner(partner(1)), true),
            (Level::Partner(partner(2)), false),
            (Level::Tenant(tenant(11)), true),
            (Level::Tenant(tenant(12)), false),
        ] {
            assert_eq!(visible(Shown { groups: &[level], ..NONE }), shown, "{level:?}");
            let owned = Shown { owner: level, ..NONE };
            assert_eq!(visible(owned), shown && level != Level::Platform, "{level:?}");
        }
        let own = Shown { owner: Level::Tenant(tenant(11)), said: None, ..NONE };
        assert!(visible(own) && !visible(Shown { said: Some(false), ..own }));
    }

    fn levels() -> impl Strategy<Value = Level> {
        prop_oneof![
            Just(Level::Platform),
            (1u128..4).prop_map(|n| Level::Partner(partner(n))),
            (1u128..4).prop_map(|n| Level::Tenant(tenant(n))),
        ]
    }

    proptest! {
        /// More groups never hide a model, and nothing above a tenant's word shows what it has disabled.
        #[test]
        fn groups_only_add(
            owner in levels(), groups in prop::collection::vec(levels(), 0..4), more in levels(),
            global: bool, default_enabled: bool, said: Option<bool>, t in 1u128..4, p in 1u128..4,
        ) {
            let viewer = Viewer { tenant: tenant(t), partner: partner(p) };
            let with: Vec<Level> = groups.iter().copied().chain([more]).collect();
            let model = Shown { owner, global, default_enabled, groups: &groups, said };
            let larger = Shown { groups: &with, ..model };
            prop_assert!(!is_available(&model, viewer) || is_available(&larger, viewer));
            prop_assert!(!is_available_to_partner(&model, partner(p)) || is_available(&model, viewer));
            if said == Some(false) {
                prop_assert!(!is_visible(&larger, viewer));
            }
        }
    }
}
