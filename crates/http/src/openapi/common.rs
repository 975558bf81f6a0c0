//! What operations of a kind have in common: the errors they can answer and the headers they take.
//!
//! The examples are the errors as they are really written.

use std::time::Duration;

use scaigrid_app as app;
use serde_json::json;
use utoipa::openapi::path::{Operation, Parameter, ParameterIn};
use utoipa::openapi::schema::{ArrayBuilder, Components, KnownFormat, SchemaFormat, SchemaType, Type};
use utoipa::openapi::{Content, ObjectBuilder, Ref, RefOr, Required, Response, Schema};

use super::parameters;
use crate::body::JSON_LIMIT;
use crate::error::{Error, Family, body_of, table};
use crate::routes::modules::call::PASSED_ON;

/// The errors that many operations share, and the names of their components.
fn shared() -> impl Iterator<Item = (&'static str, &'static str, Error)> {
    own().into_iter().chain(of_others())
}

fn own() -> Vec<(&'static str, &'static str, Error)> {
    let app_error = Error::App;
    let later = Duration::from_secs(15);
    vec![
        (
            "InvalidFileType",
            "The file is of no kind that is taken here, or too large",
            app_error(app::Error::InvalidFileType { reason: "is no PNG, JPEG, GIF, WebP or SVG".to_owned() }),
        ),
        (
            "NoAvatar",
            "There is no such Core, or it has no picture",
            app_error(app::Error::NotFound(app::Resource::Avatar)),
        ),
        ("StorageError", "The object store does not do its work", app_error(app::Error::Storage)),
        (
            "DelegationInvalid",
            "What is said of the delegation is not valid; the details name the fields",
            app_error(app::Error::DelegationInvalid(vec![app::FieldError::new(
                "scopes",
                "must name at least one permission",
            )])),
        ),
        ("Unauthorized", "The credentials are missing or not valid", app_error(app::Error::TokenMissing)),
        (
            "Forbidden",
            "The caller may not do this, or the module is off, or the tenant suspended",
            app_error(app::Error::PermissionDenied { permission: "users:manage".into() }),
        ),
        (
            "NotFound",
            "There is no such thing, or none that the caller may see",
            app_error(app::Error::NotFound(app::Resource::Route)),
        ),
        ("Conflict", "The present state does not allow it", app_error(app::Error::IdempotencyKeyInUse)),
        (
            "PreconditionFailed",
            "The resource is no longer what `If-Match` names",
            app_error(app::Error::PreconditionFailed),
        ),
        (
            "EgressDenied",
            "The target may not be called",
            app_error(app::Error::EgressDenied {
                field: "url".into(),
                reason:
                    "the target is at a private address; the operator can allow it with SCAIGRID_EGRESS_ALLOW"
                        .to_owned(),
                calling: true,
            }),
        ),
        (
            "PluginUnreachable",
            "The plugin does not tell what it offers, or may not be called",
            app_error(app::Error::PluginUnreachable { reason: "no answer in time".to_owned() }),
        ),
        ("PayloadTooLarge", "The body is too large", Error::PayloadTooLarge { limit: JSON_LIMIT }),
        (
            "UnsupportedMediaType",
            "The body is of a kind that is not taken here",
            Error::UnsupportedMediaType { expected: "application/json" },
        ),
        (
            "Invalid",
            "The request is not valid; the details name the fields",
            Error::invalid("name", "must be 1 to 200 long"),
        ),
        (
            "TooManyRequests",
            "The caller asks too often; see `Retry-After`",
            app_error(app::Error::RateLimited { retry_after: later }),
        ),
        ("Internal", "Something went wrong inside", app_error(app::Error::internal("unseen"))),
        (
            "Unavailable",
            "The service cannot answer just now; see `Retry-After`",
            app_error(app::Error::Unavailable { retry_after: later }),
        ),
    ]
}

/// Those of others, whom an operation calls.
fn of_others() -> Vec<(&'static str, &'static str, Error)> {
    let app_error = Error::App;
    vec![
        (
            "ModuleError",
            "The module cannot be reached, or what it answers is no HTTP",
            app_error(app::Error::ModuleUnreachable { module: "weather".to_owned() }),
        ),
        (
            "ModuleTimeout",
            "The module does not answer in time",
            app_error(app::Error::ModuleTimeout { module: "weather".to_owned() }),
        ),
        (
            "ModelError",
            "The model has failed",
            app_error(app::Error::BackendFailed {
                model: "openai/gpt-4o".to_owned(),
                reason: "its backend cannot be reached".to_owned(),
            }),
        ),
        (
            "ModelTimeout",
            "The model does not answer in time",
            app_error(app::Error::BackendTimeout { model: "openai/gpt-4o".to_owned() }),
        ),
    ]
}

const fn prefix(family: Family) -> &'static str {
    match family {
        Family::Grid => "",
        Family::Workspace => "Workspace",
        Family::OpenAi => "OpenAi",
    }
}

/// Adds the error's schema and the shared answers.
pub(super) fn add_components(components: &mut Components) {
    components.schemas.insert("Error".to_owned(), error_schema());
    components.schemas.insert("OpenAiError".to_owned(), openai_error_schema());
    for (name, description, error) in shared() {
        for family in [Family::Grid, Family::Workspace, Family::OpenAi] {
            let schema = if family == Family::OpenAi { "OpenAiError" } else { "Error" };
            let mut content = Content::new(Some(Ref::from_schema_name(schema)));
            content.example = Some(body_of(&error, family, "req_01JZ8QZ5T0000000000000000A"));
            let mut response = Response::new(description);
            response.content.insert("application/json".to_owned(), content.into());
            components.responses.insert(format!("{}{name}", prefix(family)), response.into());
        }
    }
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

/// A list of entity tags, or `*` (RFC 9110, sections 8.8.3 and 13.1.1).
fn entity_tags() -> ObjectBuilder {
    const TAG: &str = r#"(W/)?"[!#-~\x80-\xff]*""#;
    text().pattern(Some(format!(r"^(\*|[ \t,]*{TAG}([ \t]*,[ \t]*({TAG})?)*)$"))).examples([r#""r3""#])
}

fn maybe_text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::from_iter([Type::String, Type::Null]))
}

fn error_schema() -> RefOr<Schema> {
    let detail =
        ObjectBuilder::new().property("field", text()).property("message", text()).required("message");
    let seconds = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
        .description(Some("Whole seconds after which it is worth trying again"));
    let error = ObjectBuilder::new()
        .property("code", text().description(Some("Stable; what programs decide by")))
        .property("message", text().description(Some("For people; may change")))
        .property("retry_after", seconds)
        .property("details", ArrayBuilder::new().items(detail))
        .required("code")
        .required("message");
    let meta = ObjectBuilder::new().property("request_id", text()).required("request_id");
    ObjectBuilder::new()
        .property("status", text().enum_values(Some([json!("error")])))
        .property("error", error)
        .property("meta", meta)
        .required("status")
        .required("error")
        .required("meta")
        .into()
}

fn openai_error_schema() -> RefOr<Schema> {
    let error = ObjectBuilder::new()
        .property("message", text())
        .property("type", text())
        .property("param", maybe_text())
        .property("code", maybe_text())
        .required("message")
        .required("type");
    ObjectBuilder::new().property("error", error).required("error").into()
}

/// Adds the errors that an operation can answer by its kind, and the headers that it takes.
pub(super) fn add_to(operation: &mut Operation, method: &str, path: &str, public: bool) {
    open_streams(operation);
    let in_api = crate::server::is_api(path);
    let has_query = parameters::has_query(operation);
    let has_body = operation.request_body.is_some();
    // What a module makes of such headers, and which kinds of body it takes, is its own affair.
    let passed_on = path == PASSED_ON;
    let asks_a_model =
        matches!(path, "/v1/inference/chat" | "/oai/v1/chat/completions" | "/oai/v1/embeddings");
    let posts = method == "post" && !public && !passed_on;
    let (of_avatar, of_core) = (path.ends_with("/avatar"), path.ends_with("/cores/{core_id}"));
    let takes_avatar = posts && (of_avatar || path.ends_with("/scaicore/cores"));
    let takes_file = takes_avatar || posts && path.ends_with("/parse-bundle") || of_core && method == "put";
    let of_api = path.contains("/api/invoke/");
    let starts = path.ends_with("/cores/{core_id}/start") || path.ends_with("/cores/{core_id}/restart");
    let delegates = has_body && (path.ends_with("/delegate") || path.ends_with("/delegation"));
    if posts {
        add_header(
            operation,
            "Idempotency-Key",
            Ref::from_schema_name("IdempotencyKey").into(),
            "1 to 255 visible ASCII characters; the same request with the same key runs once",
        );
    }
    // A removal says by itself that it takes the condition; it is told of in one way.
    let is_condition = |parameter: &RefOr<Parameter>| matches!(parameter, RefOr::T(parameter) if parameter.name == "If-Match");
    let conditional =
        method == "put" && has_body && !passed_on || operation.parameters.iter().flatten().any(is_condition);
    if conditional {
        operation.parameters.get_or_insert_default().retain(|parameter| !is_condition(parameter));
        add_header(
            operation,
            "If-Match",
            entity_tags().into(),
            "Entity tags, one of which the resource must still have (RFC 9110)",
        );
    }
    let answers = |name: &str| match name {
        "InvalidFileType" => takes_file,
        "NoAvatar" => of_avatar && public,
        "StorageError" => takes_avatar || of_avatar || of_values(path),
        "DelegationInvalid" => delegates || starts,
        "Unauthorized" | "Forbidden" => !public,
        // A tenant's partner is named by the body.
        "NotFound" => path.contains('{') || asks_a_model || posts && path == "/v1/admin/tenants",
        "Conflict" => posts || of_api || (of_core && method == "delete"),
        "PreconditionFailed" => conditional,
        "PayloadTooLarge" => has_body,
        "UnsupportedMediaType" => has_body && !passed_on,
        "ModuleError" | "ModuleTimeout" => passed_on,
        "ModelError" | "ModelTimeout" => asks_a_model,
        "Invalid" => has_body || has_query || posts || conditional,
        "TooManyRequests" | "Internal" | "Unavailable" => in_api,
        _ => false,
    };
    let family = Family::of_path(path);
    for (name, _, error) in shared().filter(|(name, ..)| answers(name)) {
        let status = table::row(&error).status(family).as_u16().to_string();
        let shared = RefOr::Ref(Ref::from_response_name(format!("{}{name}", prefix(family))));
        operation.responses.responses.entry(status).or_insert(shared);
    }
}

/// A stream is no text that comes whole: it has no schema, and what its events tell stands with the operation.
fn open_streams(operation: &mut Operation) {
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(response) = response
            && let Some(RefOr::T(content)) = response.content.get_mut("text/event-stream")
        {
            content.schema = None;
        }
    }
}

/// Whether an operation takes or gives values of programs, of which large ones lie in the object store.
fn of_values(path: &str) -> bool {
    const FAMILIES: [&str; 6] =
        ["/executions/{", "/invoke", "/events", "/debug/step", "/debug/inspect", "/memory/{"];
    if !path.starts_with("/v1/modules/scaicore/") {
        return path.starts_with("/v1/hooks/");
    }
    path.ends_with("/resolve") || FAMILIES.iter().any(|family| path.contains(family))
}

fn add_header(operation: &mut Operation, name: &str, schema: RefOr<Schema>, description: &str) {
    let parameters = operation.parameters.get_or_insert_default();
    let known = |parameter: &RefOr<Parameter>| matches!(parameter, RefOr::T(parameter) if parameter.name.eq_ignore_ascii_case(name));
    if parameters.iter().any(known) {
        return;
    }
    let mut parameter = Parameter::new(name);
    parameter.parameter_in = ParameterIn::Header;
    parameter.required = Required::False;
    parameter.description = Some(description.to_owned());
    parameter.schema = Some(schema);
    parameters.push(parameter.into());
}
