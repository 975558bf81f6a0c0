//! Whether all objects are there that rows refer to.

use std::collections::BTreeSet;

use async_recursion::async_recursion as boxed;
use scaigrid_cores::Avatar;
use scaigrid_persistence::{Connection, Error, avatars, objects};
use scaigrid_scope::{CoreId, SystemScope};
use scaigrid_storage::Key;
use serde::{Deserialize, Serialize};

/// How many are named of those that are missing.
const NAMED: usize = 10;
/// Rows that are read at once.
const AT_ONCE: i64 = 1000;

/// Objects that rows refer to and that are not there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Missing {
    /// How many.
    pub count: u64,
    /// The keys of the first ones.
    pub first: Vec<String>,
}

impl Missing {
    /// Whether there are any.
    pub const fn any(&self) -> bool {
        self.count > 0
    }

    pub(super) fn note(&mut self, key: &str) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(key.to_owned());
        }
    }
}

/// The keys of objects that rows refer to, and that were not seen yet.
#[derive(Debug, Default)]
pub(super) struct Expected(BTreeSet<Box<str>>);

impl Expected {
    /// What the rows of a database refer to.
    #[boxed]
    pub(super) async fn of(c: &mut Connection, system: &SystemScope) -> Result<Self, Error> {
        let mut keys = BTreeSet::new();
        let mut after = None;
        loop {
            let page = objects::referred(c, system, after, AT_ONCE).await?;
            let Some((tenant, object)) = page.last() else { break };
            after = Some((*tenant, object.hash));
            keys.extend(page.iter().map(|(tenant, object)| object.key(*tenant).into_boxed_str()));
        }
        let mut after = None;
        loop {
            let page = avatars::pictured(c, system, after, AT_ONCE).await?;
            let Some((_, core)) = page.last() else { break };
            after = Some(*core);
            keys.extend(page.iter().map(|(tenant, core)| Avatar::key(*tenant, *core).into_boxed_str()));
        }
        Ok(Self(keys))
    }

    /// Notes that an object was seen.
    pub(super) fn saw(&mut self, key: &Key) {
        self.0.remove(key.as_str());
    }

    /// What was not seen.
    pub(super) fn left(self) -> impl Iterator<Item = Box<str>> {
        self.0.into_iter()
    }
}

/// The Core whose picture lies under a key, if it is one's.
pub(super) fn pictured(key: &str) -> Option<CoreId> {
    let mut parts = key.strip_prefix("scaicore/")?.split('/');
    parts.nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use scaigrid_scope::TenantId;

    use super::*;

    #[test]
    fn a_picture_is_known_by_its_key() {
        let core: CoreId = "core_00000000000000000000000007".parse().unwrap();
        let tenant: TenantId = "ten_00000000000000000000000001".parse().unwrap();
        assert_eq!(pictured(&Avatar::key(tenant, core)), Some(core));
        assert_eq!(pictured("tenants/ten_1/values/ab/abc"), None);
    }

    #[test]
    fn all_are_counted_and_the_first_are_named() {
        let mut missing = Missing::default();
        assert!(!missing.any());
        (0..30).for_each(|number| missing.note(&number.to_string()));
        assert_eq!((missing.count, missing.first.len()), (30, NAMED));
        assert_eq!(missing.first[0], "0");
    }
}
