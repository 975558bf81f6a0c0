//! What is true of every parameter.

use utoipa::openapi::path::{Operation, Parameter, ParameterIn};
use utoipa::openapi::schema::{SchemaType, Type};
use utoipa::openapi::{RefOr, Schema};

use super::bodies::bound;

/// What no text in a query holds, since PostgreSQL takes none with U+0000, not even to compare with.
const WITHOUT_NUL: &str = r"^[^\x00]*$";

/// A parameter that may be left out is left out or a text: there is no `null` in an address or a header. Numbers have the bounds
/// of their format.
pub(super) fn restrict(operation: &mut Operation) {
    for parameter in operation.parameters.iter_mut().flatten() {
        let RefOr::T(Parameter { schema: Some(schema), parameter_in, .. }) = parameter else { continue };
        without_null(schema);
        if let RefOr::T(Schema::Object(object)) = schema {
            bound(object);
            let is_text = object.schema_type == SchemaType::Type(Type::String) && object.format.is_none();
            if is_text && *parameter_in == ParameterIn::Query && object.enum_values.is_none() {
                object.pattern.get_or_insert_with(|| WITHOUT_NUL.to_owned());
            }
        }
    }
}

fn is_null(schema: &RefOr<Schema>) -> bool {
    matches!(schema, RefOr::T(Schema::Object(object)) if object.schema_type == SchemaType::Type(Type::Null))
}

/// The schema, without `null`.
pub(crate) fn without_null(schema: &mut RefOr<Schema>) {
    match schema {
        RefOr::T(Schema::Object(object)) => type_without_null(&mut object.schema_type),
        RefOr::T(Schema::Array(array)) => type_without_null(&mut array.schema_type),
        RefOr::T(Schema::OneOf(one_of)) => {
            one_of.items.retain(|item| !is_null(item));
            if one_of.items.len() == 1
                && let Some(only) = one_of.items.pop()
            {
                *schema = only;
            }
        }
        _ => {}
    }
}

fn type_without_null(of: &mut SchemaType) {
    let SchemaType::Array(types) = of else { return };
    types.retain(|kind| *kind != Type::Null);
    if types.len() == 1
        && let Some(only) = types.pop()
    {
        *of = SchemaType::Type(only);
    }
}

/// Whether an operation takes parameters in its query.
pub(super) fn has_query(operation: &Operation) -> bool {
    operation.parameters.iter().flatten().any(
        |parameter| matches!(parameter, RefOr::T(parameter) if parameter.parameter_in == ParameterIn::Query),
    )
}
