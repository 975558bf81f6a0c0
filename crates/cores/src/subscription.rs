//! Which Core a subscription listens to.

/// The slug of the Core that `from` names: `core://slug` or `core://tenant/slug`. None where it names none, or the
/// subscriber itself.
pub fn slug(from: &str) -> Option<&str> {
    let place = from.strip_prefix("core://")?;
    let slug = place.split_once('/').map_or(place, |(_, slug)| slug);
    (slug != "self" && !slug.is_empty() && !slug.contains('/')).then_some(slug)
}

/// The slug of the tenant that `from` names, where it names one.
pub fn tenant(from: &str) -> Option<&str> {
    from.strip_prefix("core://")?.split_once('/').map(|(tenant, _)| tenant)
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
        for from in ["core://self", "core://", "core://acme/", "core://a/b/c", "ledger"] {
            assert_eq!(slug(from), None, "{from}");
        }
    }
}
