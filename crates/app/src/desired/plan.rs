//! What has to be done so that things become as they are wanted: pure comparison, field by field.

use std::fmt;

use serde_json::{Map, Value};

/// The fields of a thing, as they can be shown: there is no secret among them.
pub type Fields = Map<String, Value>;

/// A kind of thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A partner.
    Partner,
    /// Whether a partner's tenants may work.
    PartnerStatus,
    /// A tenant.
    Tenant,
    /// Whether a tenant may work.
    TenantStatus,
    /// What a level has configured of a module.
    ModuleConfig,
    /// Whether a level has a module on.
    Module,
    /// A custom role.
    Role,
    /// A user.
    User,
    /// A group.
    Group,
    /// A webhook.
    Webhook,
    /// A Core.
    Core,
    /// Whether a Core runs.
    CoreState,
}

impl Kind {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Partner => "partner",
            Self::PartnerStatus => "partner_status",
            Self::Tenant => "tenant",
            Self::TenantStatus => "tenant_status",
            Self::ModuleConfig => "module_config",
            Self::Module => "module",
            Self::Role => "role",
            Self::User => "user",
            Self::Group => "group",
            Self::Webhook => "webhook",
            Self::Core => "core",
            Self::CoreState => "core_state",
        }
    }
}

/// What a thing is known by: its kind, and its name with the names of what it is in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Its kind.
    pub kind: Kind,
    /// Its name, as in `acme/ada@acme.example`.
    pub name: String,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.name)
    }
}

/// What has to be done about a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is not there and has to be made.
    Create,
    /// Some of its fields are not as they are wanted.
    Update,
    /// It is as it is wanted.
    Unchanged,
}

impl Verdict {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Unchanged => "unchanged",
        }
    }
}

/// A field that is not as it is wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The field.
    pub field: String,
    /// What it is; none where the thing, or the field, is not there.
    pub before: Option<Value>,
    /// What it is to be.
    pub after: Value,
}

/// What has to be done about a thing, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The thing.
    pub key: Key,
    /// What has to be done.
    pub verdict: Verdict,
    /// The fields that are not as they are wanted, in the order of their names.
    pub changes: Vec<Change>,
}

/// Compares what is wanted of a thing with what is there. Fields that nobody has said anything about stay.
pub fn judge(key: &Key, wanted: &Fields, there: Option<&Fields>) -> Step {
    let changes: Vec<Change> = wanted
        .iter()
        .filter_map(|(field, after)| {
            let before = there.and_then(|there| there.get(field));
            (before != Some(after)).then(|| Change {
                field: field.clone(),
                before: before.cloned(),
                after: after.clone(),
            })
        })
        .collect();
    let verdict = match there {
        None => Verdict::Create,
        Some(_) if changes.is_empty() => Verdict::Unchanged,
        Some(_) => Verdict::Update,
    };
    Step { key: key.clone(), verdict, changes }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    use super::*;

    type World = BTreeMap<String, Fields>;

    fn key(name: &str) -> Key {
        Key { kind: Kind::Tenant, name: name.to_owned() }
    }

    fn plan(wanted: &World, there: &World) -> Vec<Step> {
        wanted.iter().map(|(name, fields)| judge(&key(name), fields, there.get(name))).collect()
    }

    /// What becomes of a world when a plan is carried out.
    fn carried_out(plan: &[Step], mut there: World) -> World {
        for step in plan {
            if step.verdict == Verdict::Unchanged {
                continue;
            }
            let fields = there.entry(step.key.name.clone()).or_default();
            for change in &step.changes {
                fields.insert(change.field.clone(), change.after.clone());
            }
        }
        there
    }

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (0..3_i64).prop_map(Value::from),
            vec("[ab]", 0..2).prop_map(Value::from),
        ]
    }

    fn world() -> impl Strategy<Value = World> {
        let fields = btree_map("[a-d]", value(), 0..4).prop_map(|fields| fields.into_iter().collect());
        btree_map("[a-d]", fields, 0..4)
    }

    proptest! {
        #[test]
        fn what_was_carried_out_needs_nothing_more(wanted in world(), there in world()) {
            let after = carried_out(&plan(&wanted, &there), there);
            for step in plan(&wanted, &after) {
                prop_assert_eq!(step.verdict, Verdict::Unchanged);
                prop_assert!(step.changes.is_empty());
            }
        }

        #[test]
        fn what_is_not_spoken_of_stays(wanted in world(), there in world()) {
            let after = carried_out(&plan(&wanted, &there), there.clone());
            for (name, fields) in &there {
                for (field, value) in fields {
                    let said = wanted.get(name).and_then(|fields| fields.get(field));
                    prop_assert_eq!(&after[name][field], said.unwrap_or(value));
                }
            }
            prop_assert!(after.keys().all(|name| there.contains_key(name) || wanted.contains_key(name)));
        }

        #[test]
        fn broken_off_anywhere_it_can_be_gone_on_with(wanted in world(), there in world(), at in 0..5_usize) {
            let steps = plan(&wanted, &there);
            let halfway = carried_out(&steps[..at.min(steps.len())], there.clone());
            let resumed = carried_out(&plan(&wanted, &halfway), halfway);
            prop_assert_eq!(resumed, carried_out(&steps, there));
        }

        #[test]
        fn a_step_names_what_differs_and_nothing_else(wanted in world(), there in world()) {
            for step in plan(&wanted, &there) {
                let (now, then) = (there.get(&step.key.name), &wanted[&step.key.name]);
                prop_assert_eq!(step.verdict == Verdict::Create, now.is_none());
                for change in &step.changes {
                    prop_assert_eq!(&change.after, &then[&change.field]);
                    prop_assert_ne!(change.before.as_ref(), Some(&change.after));
                }
                let named = step.changes.len();
                let differing = then.iter().filter(|(field, value)| {
                    now.and_then(|now| now.get(*field)) != Some(value)
                });
                prop_assert_eq!(named, differing.count());
            }
        }
    }
}
