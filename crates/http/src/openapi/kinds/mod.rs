//! What requests may hold, as the document shows it: a component for each kind of text, made of what reads it.
//!
//! A field is a plain text in Rust, since everything that is wrong with a request is told at once; beside it stands which kind
//! it is: `#[schema(value_type = Option<kinds::Slug>)]`. The types here stand for schemas and have no values.

mod choices;
mod ids;
mod questions;
mod texts;

use utoipa::openapi::schema::Components;
use utoipa::openapi::{RefOr, Schema};

pub(crate) use choices::*;
pub(crate) use ids::*;
pub(crate) use questions::*;
pub(crate) use texts::*;

/// The name of a component, and its schema.
type Component = (&'static str, RefOr<Schema>);

/// Declares types that stand for schemas.
macro_rules! kinds {
    ($all:ident: $($(#[doc = $doc:literal])+ $name:ident = $schema:expr;)+) => {
        $(
            $(#[doc = $doc])+
            #[derive(Debug)]
            pub(crate) enum $name {}

            impl utoipa::PartialSchema for $name {
                fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                    $schema.description(Some(concat!($($doc),+).trim())).into()
                }
            }

            impl utoipa::ToSchema for $name {}
        )+

        /// All of them.
        pub(super) fn $all() -> Vec<super::Component> {
            vec![$((stringify!($name), <$name as utoipa::PartialSchema>::schema())),+]
        }
    };
}

use kinds;

/// Adds what parameters refer to, which bring no components of their own.
pub(super) fn add_components(components: &mut Components) {
    for (name, schema) in all() {
        components.schemas.entry(name.to_owned()).or_insert(schema);
    }
}

fn all() -> Vec<Component> {
    [choices::every_choice(), ids::every_id(), questions::every_question(), texts::every_text()].concat()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_has_a_name_of_its_own() {
        let all = all();
        let names: BTreeSet<&str> = all.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), all.len());
    }
}
