//! Which Core a `core://` address means: that of a call, or that to which a subscription listens.
//!
//! `core://slug` is a Core of the tenant in which the program runs, `core://tenant/slug` says the tenant too, and
//! `core://self` is the Core whose program it is.

/// What every address begins with.
pub(crate) const SCHEME: &str = "core://";

/// The Core whose program it is, in its own words.
pub const SELF: &str = "core://self";

/// What is said of an address that [`is_well_formed`] does not take.
pub(crate) const RULE: &str = "must be a Core: core://slug, core://tenant/slug or core://self";

/// Whether an address has the form of one. Whether there can be a slug like its slug is told where there are Cores.
pub(crate) fn is_well_formed(address: &str) -> bool {
    let segment = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    slug(address).is_some_and(segment) && tenant(address).is_none_or(segment) || address == SELF
}

/// The slug of the Core that an address names. None where it names none, or the Core itself.
pub fn slug(address: &str) -> Option<&str> {
    let place = address.strip_prefix(SCHEME)?;
    let slug = place.split_once('/').map_or(place, |(_, slug)| slug);
    (address != SELF && !slug.is_empty() && !slug.contains('/')).then_some(slug)
}

/// The slug of the tenant that an address names, where it names one.
pub fn tenant(address: &str) -> Option<&str> {
    address.strip_prefix(SCHEME)?.split_once('/').map(|(tenant, _)| tenant)
}

/// Whether an address lies in the tenant of this slug, which may be left out where [`tenant`] is none.
pub fn lies_in(address: &str, own: Option<&str>) -> bool {
    tenant(address).is_none_or(|named| own == Some(named))
}

/// Whether an address names the Core of this slug in that tenant. `core://self` names none.
pub fn names(address: &str, own: Option<&str>, core: &str) -> bool {
    slug(address) == Some(core) && lies_in(address, own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_is_named_with_its_tenant_or_without() {
        assert_eq!((slug("core://ledger"), tenant("core://ledger")), (Some("ledger"), None));
        assert_eq!(
            (slug("core://acme/ledger"), tenant("core://acme/ledger")),
            (Some("ledger"), Some("acme"))
        );
        assert_eq!(slug("core://acme/self"), Some("self"), "a Core that is called so");
        assert!(
            names("core://ledger", None, "ledger") && names("core://acme/ledger", Some("acme"), "ledger")
        );
        assert!(
            !names("core://acme/ledger", Some("globex"), "ledger") && !names("core://ledger", None, "books")
        );
        for address in [SELF, "core://", "core://acme/", "core://a/b/c", "ledger"] {
            assert_eq!(slug(address), None, "{address}");
        }
    }
}
