//! What is true of every body: it takes no field that it does not name, and no number that is too great for its format.
//!
//! That is how [`crate::body::Body`] reads all of them, so it is said of all at once and not beside each.

use std::collections::BTreeSet;

use utoipa::Number;
use utoipa::openapi::schema::{
    AdditionalProperties, ArrayItems, KnownFormat, Object, SchemaFormat, SchemaType, Type,
};
use utoipa::openapi::{OpenApi, RefOr, Schema};

use super::operations_mut;

/// Says so of every schema that a request's body is made of.
pub(super) fn restrict(document: &mut OpenApi) {
    let mut found = BTreeSet::new();
    for item in document.paths.paths.values_mut() {
        for (_, operation) in operations_mut(item) {
            let Some(RefOr::T(body)) = &mut operation.request_body else { continue };
            for content in body.content.values_mut() {
                if let RefOr::T(content) = content
                    && let Some(schema) = &mut content.schema
                {
                    visit(schema, &mut found);
                }
            }
        }
    }
    let Some(components) = &mut document.components else { return };
    let mut seen = BTreeSet::new();
    while let Some(name) = found.pop_first() {
        let Some(schema) = components.schemas.get_mut(&name) else { continue };
        if seen.insert(name) {
            visit(schema, &mut found);
        }
    }
}

/// Restricts a schema and what is in it, and notes what it refers to.
fn visit(schema: &mut RefOr<Schema>, found: &mut BTreeSet<String>) {
    let schema = match schema {
        RefOr::Ref(reference) => {
            found.extend(reference.ref_location.rsplit('/').next().map(str::to_owned));
            return;
        }
        RefOr::T(schema) => schema,
    };
    match schema {
        Schema::Object(object) => {
            // One that names no field is whatever the caller likes.
            if !object.properties.is_empty() && object.additional_properties.is_none() {
                object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
            }
            bound(object);
            object.properties.values_mut().for_each(|property| visit(property, found));
        }
        Schema::Array(array) => {
            if let ArrayItems::RefOrSchema(items) = &mut array.items {
                visit(items, found);
            }
        }
        Schema::OneOf(one_of) => one_of.items.iter_mut().for_each(|item| visit(item, found)),
        Schema::AllOf(all_of) => all_of.items.iter_mut().for_each(|item| visit(item, found)),
        Schema::AnyOf(any_of) => any_of.items.iter_mut().for_each(|item| visit(item, found)),
        _ => {}
    }
}

/// Gives a whole number the bounds of its format, where it has none of its own. One that begins at 0 has no sign.
pub(super) fn bound(object: &mut Object) {
    let is_integer = match &object.schema_type {
        SchemaType::Type(kind) => *kind == Type::Integer,
        SchemaType::Array(kinds) => kinds.contains(&Type::Integer),
        SchemaType::AnyValue => false,
    };
    let Some(SchemaFormat::KnownFormat(format)) = object.format.as_ref().filter(|_| is_integer) else {
        return;
    };
    let (least, most): (Number, Number) = match (format, object.minimum.is_some()) {
        (KnownFormat::Int32, true) => (0.into(), u32::MAX.into()),
        (KnownFormat::Int32, false) => (i32::MIN.into(), i32::MAX.into()),
        (KnownFormat::Int64, true) => (0.into(), u64::MAX.into()),
        (KnownFormat::Int64, false) => (i64::MIN.into(), i64::MAX.into()),
        _ => return,
    };
    object.minimum.get_or_insert(least);
    object.maximum.get_or_insert(most);
}
