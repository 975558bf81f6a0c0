//! Instances of a Core: which execution belongs to which, and how many may run at once.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use scaigrid_ir::Value;
use scaigrid_ir::module::{Instance, InstanceMode, Overflow};

use crate::modes::Concurrency;

/// How long an instance stays active without work, where its program says nothing about that.
pub const IDLE_TIMEOUT: Duration = Duration::from_mins(10);
/// The most characters of a key.
const KEY_AT_MOST: usize = 512;

/// How the executions of a Core are brought under instances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Instances {
    /// They are not.
    Stateless,
    /// One instance for each value of a field of the input.
    Entity {
        /// The field.
        key_field: Arc<str>,
        /// The bounds.
        bounds: Bounds,
    },
    /// One instance.
    Singleton(Bounds),
}

/// What instances keep to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// How many executions of one instance may run at once.
    pub slots: NonZeroU32,
    /// How long an instance stays active without work.
    pub idle_timeout: Duration,
    /// How many instances may be active at once.
    pub max_active: Option<NonZeroU32>,
    /// What happens past that.
    pub overflow: Overflow,
}

/// Where an execution belongs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    /// The instance; none for executions that belong to none, and for a Core's only one.
    pub key: Option<Arc<str>>,
    /// How many executions of the instance may run at once; none where nothing bounds them.
    pub slots: Option<NonZeroU32>,
}

/// What is wrong with the key of an entity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyProblem {
    /// There is none.
    #[error("names the entity, and must be there")]
    Missing {
        /// The field that should hold it.
        field: Arc<str>,
    },
    /// It cannot be one.
    #[error(
        "names the entity, and must be a text, a number or a truth value of 1 to {KEY_AT_MOST} characters"
    )]
    Impossible {
        /// The field that holds it.
        field: Arc<str>,
    },
}

impl KeyProblem {
    /// The field that is meant.
    pub fn field(&self) -> &str {
        match self {
            Self::Missing { field } | Self::Impossible { field } => field,
        }
    }
}

impl Instances {
    /// How a Core's executions are brought under instances: as the Core says, and where it is stateless as its program says.
    /// The bounds are the program's in any case.
    pub fn of(concurrency: &Concurrency, declared: &Instance) -> Self {
        let bounds = Bounds {
            slots: declared.max_concurrent.and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN),
            idle_timeout: declared.idle_timeout.unwrap_or(IDLE_TIMEOUT),
            max_active: declared.max_active_instances.and_then(NonZeroU32::new),
            overflow: declared.overflow,
        };
        let one = Bounds { slots: NonZeroU32::MIN, max_active: None, ..bounds };
        match (concurrency, declared.mode, &declared.key) {
            (Concurrency::Entity { key_field }, ..) => {
                Self::Entity { key_field: key_field.as_str().into(), bounds }
            }
            (Concurrency::Stateless, InstanceMode::Entity, Some(key)) => {
                Self::Entity { key_field: Arc::clone(key), bounds }
            }
            (Concurrency::Singleton, ..) | (Concurrency::Stateless, InstanceMode::Singleton, _) => {
                Self::Singleton(one)
            }
            (Concurrency::Stateless, ..) => Self::Stateless,
        }
    }

    /// What instances keep to, where there are any.
    pub const fn bounds(&self) -> Option<&Bounds> {
        match self {
            Self::Stateless => None,
            Self::Entity { bounds, .. } | Self::Singleton(bounds) => Some(bounds),
        }
    }

    /// Where an execution with an input belongs. A key that the caller names goes before the input's.
    ///
    /// # Errors
    /// The key of an entity is missing, or cannot be one.
    pub fn place(&self, named: Option<&str>, input: &Value) -> Result<Place, KeyProblem> {
        match self {
            // One memory, whoever is named: a key would be a memory of its own.
            Self::Stateless => Ok(Place::default()),
            Self::Singleton(bounds) => Ok(Place { key: None, slots: Some(bounds.slots) }),
            Self::Entity { key_field, bounds } => {
                let field = || Arc::clone(key_field);
                let key = match (named, input.get(key_field)) {
                    (Some(named), _) => Arc::from(named),
                    (None, None | Some(Value::Null)) => return Err(KeyProblem::Missing { field: field() }),
                    (None, Some(value)) => {
                        text(value).ok_or_else(|| KeyProblem::Impossible { field: field() })?
                    }
                };
                if key.is_empty() || key.chars().count() > KEY_AT_MOST {
                    return Err(KeyProblem::Impossible { field: field() });
                }
                Ok(Place { key: Some(key), slots: Some(bounds.slots) })
            }
        }
    }

    /// Where an execution belongs that no entity is named for: beside all instances, or in the only one.
    pub fn place_of_all(&self) -> Place {
        match self {
            Self::Stateless | Self::Entity { .. } => Place::default(),
            Self::Singleton(bounds) => Place { key: None, slots: Some(bounds.slots) },
        }
    }
}

/// A value as a key.
fn text(value: &Value) -> Option<Arc<str>> {
    match value {
        Value::String(text) => Some(Arc::clone(text)),
        Value::Int(_) | Value::Bool(_) => Some(value.to_string().into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EntityKeyField;

    fn input(key: Value) -> Value {
        Value::from([("customer", key)])
    }

    #[test]
    fn an_entity_is_named_by_its_input() {
        let key_field = EntityKeyField::parse("customer").unwrap();
        let entity = Instances::of(&Concurrency::Entity { key_field }, &Instance::default());
        let key = |value| entity.place(None, &input(value)).map(|place| place.key.unwrap().to_string());
        assert_eq!(key(Value::from("eve")).as_deref(), Ok("eve"));
        assert_eq!(key(Value::Int(7)).as_deref(), Ok("7"));
        for wrong in [
            Value::from(""),
            Value::from("x".repeat(513)),
            Value::Float(0.5),
            Value::from([("a", Value::Null)]),
        ] {
            assert_eq!(key(wrong), Err(KeyProblem::Impossible { field: "customer".into() }));
        }
        let missing = KeyProblem::Missing { field: "customer".into() };
        assert_eq!(key(Value::Null), Err(missing.clone()));
        assert_eq!(entity.place(None, &Value::Null), Err(missing));
        let named = entity.place(Some("adam"), &input(Value::from("eve"))).unwrap();
        assert_eq!((named.key.as_deref(), named.slots), (Some("adam"), Some(NonZeroU32::MIN)));
        assert_eq!(entity.place_of_all(), Place::default());
    }

    #[test]
    fn the_core_goes_before_its_program() {
        let declared = Instance {
            mode: InstanceMode::Entity,
            key: Some("order".into()),
            max_concurrent: Some(3),
            max_active_instances: Some(2),
            ..Instance::default()
        };
        let Instances::Entity { key_field, bounds } = Instances::of(&Concurrency::Stateless, &declared)
        else {
            panic!("the program's mode counts where the Core has none");
        };
        assert_eq!(
            (&*key_field, bounds.slots.get(), bounds.max_active.map(NonZeroU32::get)),
            ("order", 3, Some(2))
        );
        let singleton = Instances::of(&Concurrency::Singleton, &declared);
        assert_eq!(singleton.bounds().map(|bounds| (bounds.slots.get(), bounds.max_active)), Some((1, None)));
        let place = singleton.place(Some("x"), &Value::Null).unwrap();
        assert_eq!((place.key, place.slots), (None, Some(NonZeroU32::MIN)));
        let stateless = Instances::of(&Concurrency::Stateless, &Instance::default());
        assert_eq!(stateless.place(Some("x"), &Value::Null).unwrap(), Place::default());
    }
}
