//! Cores as forms, for the document: the fields of the JSON, and a file beside them.

use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::cores::{CoreChangesBody, NewCoreBody};
use crate::openapi::without_null;

/// A bundle as a form.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "it only describes the form")]
pub(super) struct BundleForm {
    /// The bundle (`.scaicore-ir`), or the program as JSON.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
}

/// The fields of a body, none of which is null in a form, and the file beside them.
fn with_file(fields: RefOr<Schema>) -> RefOr<Schema> {
    match (fields, BundleForm::schema()) {
        (RefOr::T(Schema::Object(mut fields)), RefOr::T(Schema::Object(form))) => {
            fields.properties.values_mut().for_each(without_null);
            fields.properties.extend(form.properties);
            fields.required.extend(form.required);
            RefOr::T(Schema::Object(fields))
        }
        (fields, _) => fields,
    }
}

/// A Core to be made, as a form.
#[derive(Debug)]
pub(super) enum NewCoreForm {}

impl PartialSchema for NewCoreForm {
    fn schema() -> RefOr<Schema> {
        with_file(NewCoreBody::schema())
    }
}

impl ToSchema for NewCoreForm {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        NewCoreBody::schemas(schemas);
    }
}

/// What of a Core is to be replaced, as a form.
#[derive(Debug)]
pub(super) enum CoreChangesForm {}

impl PartialSchema for CoreChangesForm {
    fn schema() -> RefOr<Schema> {
        with_file(CoreChangesBody::schema())
    }
}

impl ToSchema for CoreChangesForm {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        CoreChangesBody::schemas(schemas);
    }
}
