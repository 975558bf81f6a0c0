//! The one table from errors to status and code.
//!
//! Each error has two names: the platform's, and the one it wears under `/v1/admin`, whose clients know the
//! names of the workspace product. Adding an error to the application without a row here does not compile.

use actix_web::http::StatusCode;
use scaigrid_app as app;
use scaigrid_app::Resource;

use super::Error;

/// Which names the errors of a route wear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// The platform's own names.
    Grid,
    /// The workspace product's, beginning with `SW_`.
    Workspace,
    /// OpenAI's, for its clients.
    OpenAi,
}

impl Family {
    /// The family of the route at a path.
    pub fn of_path(path: &str) -> Self {
        match path.strip_prefix("/v1/admin") {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => Self::Workspace,
            _ if path.starts_with("/oai/") => Self::OpenAi,
            _ => Self::Grid,
        }
    }
}

/// What the wire says of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The status.
    pub status: StatusCode,
    /// The code in the platform's family.
    pub grid: &'static str,
    /// The code under `/v1/admin`.
    pub workspace: &'static str,
}

impl Row {
    /// The code in a family.
    pub const fn code(&self, family: Family) -> &'static str {
        match family {
            Family::Workspace => self.workspace,
            Family::Grid | Family::OpenAi => self.grid,
        }
    }

    /// The status in a family.
    pub const fn status(&self, family: Family) -> StatusCode {
        match (family, self.status) {
            // Its clients know no other status for a request that breaks rules.
            (Family::OpenAi, StatusCode::UNPROCESSABLE_ENTITY) => StatusCode::BAD_REQUEST,
            (_, status) => status,
        }
    }
}

const fn entry(status: StatusCode, grid: &'static str, workspace: &'static str) -> Row {
    Row { status, grid, workspace }
}

/// The row of an error.
pub const fn row(error: &Error) -> Row {
    use StatusCode as S;
    match error {
        Error::App(error) => row_of_app(error),
        Error::MethodNotAllowed { .. } => {
            entry(S::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", "SW_METHOD_NOT_ALLOWED")
        }
        Error::UnsupportedMediaType { .. } => {
            entry(S::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", "SW_UNSUPPORTED_MEDIA_TYPE")
        }
        Error::PayloadTooLarge { .. } => {
            entry(S::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE", "SW_CONTENT_TOO_LARGE")
        }
    }
}

const fn row_of_app(error: &app::Error) -> Row {
    use StatusCode as S;
    use app::Error as E;
    match error {
        E::TokenMissing => entry(S::UNAUTHORIZED, "AUTH_TOKEN_MISSING", "SW_AUTH_INVALID_TOKEN"),
        E::TokenInvalid => entry(S::UNAUTHORIZED, "AUTH_TOKEN_INVALID", "SW_AUTH_INVALID_TOKEN"),
        E::TokenExpired => entry(S::UNAUTHORIZED, "AUTH_TOKEN_INVALID", "SW_AUTH_EXPIRED_TOKEN"),
        E::WebhookSignature => {
            entry(S::UNAUTHORIZED, "WEBHOOK_SIGNATURE_INVALID", "SW_WEBHOOK_SIGNATURE_INVALID")
        }
        E::PermissionDenied { .. } | E::NotAssignee | E::RequesterExcluded => {
            entry(S::FORBIDDEN, "AUTHZ_PERMISSION_DENIED", "SW_AUTH_INSUFFICIENT_PERMISSION")
        }
        E::InsufficientScope { .. } => {
            entry(S::FORBIDDEN, "AUTH_INSUFFICIENT_SCOPE", "SW_AUTH_INSUFFICIENT_PERMISSION")
        }
        E::CheckpointClaimed => entry(S::CONFLICT, "CHECKPOINT_CLAIMED", "SW_CONFLICT"),
        E::CheckpointAlreadyVoted => entry(S::CONFLICT, "CHECKPOINT_ALREADY_VOTED", "SW_CONFLICT"),
        E::TenantSuspended => entry(S::FORBIDDEN, "TENANT_SUSPENDED", "SW_TENANT_SUSPENDED"),
        E::NotFound(resource) => row_of_missing(*resource),
        E::Invalid(_) => entry(S::UNPROCESSABLE_ENTITY, "VALIDATION_ERROR", "SW_VALIDATION_ERROR"),
        E::InvalidSource(_) => entry(S::UNPROCESSABLE_ENTITY, "INVALID_SOURCE_IR", "SW_VALIDATION_ERROR"),
        E::InvalidTransition { .. } => entry(S::CONFLICT, "INVALID_CORE_TRANSITION", "SW_CONFLICT"),
        E::CoreNotRunning { .. } => entry(S::CONFLICT, "CORE_NOT_RUNNING", "SW_CONFLICT"),
        E::SlugConflict { .. } => entry(S::CONFLICT, "SLUG_CONFLICT", "SW_SLUG_CONFLICT"),
        E::CheckpointAlreadyResolved { .. } => {
            entry(S::CONFLICT, "CHECKPOINT_ALREADY_RESOLVED", "SW_CONFLICT")
        }
        E::StudioDisabled => entry(S::FORBIDDEN, "STUDIO_DISABLED", "SW_STUDIO_DISABLED"),
        E::StudioForbidden => entry(S::FORBIDDEN, "STUDIO_FORBIDDEN", "SW_STUDIO_FORBIDDEN"),
        E::StudioNoParticipant => entry(S::CONFLICT, "STUDIO_NO_PARTICIPANT", "SW_STUDIO_NO_PARTICIPANT"),
        E::NotesDisabled => entry(S::FORBIDDEN, "NOTE_PROCESSING_DISABLED", "SW_NOTE_FORBIDDEN"),
        E::RoomForbidden(_) => entry(S::FORBIDDEN, "ROOM_FORBIDDEN", "SW_ROOM_FORBIDDEN"),
        E::RoomArchived => entry(S::CONFLICT, "ROOM_ARCHIVED", "SW_ROOM_FROZEN"),
        E::Taken { .. } | E::Conflict(_) => entry(S::CONFLICT, "CONFLICT", "SW_CONFLICT"),
        E::PreconditionFailed => {
            entry(S::PRECONDITION_FAILED, "PRECONDITION_FAILED", "SW_PRECONDITION_FAILED")
        }
        E::ModuleNotEnabled { .. } => entry(S::FORBIDDEN, "MODULE_NOT_ENABLED", "SW_MODULE_NOT_ENABLED"),
        E::ModuleDependencyUnavailable { enabling, .. } => {
            let status = if *enabling { S::CONFLICT } else { S::SERVICE_UNAVAILABLE };
            entry(status, "MODULE_DEPENDENCY_UNAVAILABLE", "SW_MODULE_DEPENDENCY_UNAVAILABLE")
        }
        E::ModuleFailed { .. } => entry(S::SERVICE_UNAVAILABLE, "MODULE_ERROR", "SW_MODULE_ERROR"),
        E::ModuleUnreachable { .. } => entry(S::BAD_GATEWAY, "MODULE_ERROR", "SW_MODULE_ERROR"),
        E::ModuleTimeout { .. } => entry(S::GATEWAY_TIMEOUT, "MODULE_TIMEOUT", "SW_MODULE_TIMEOUT"),
        E::ModuleNotInstalled => entry(S::CONFLICT, "MODULE_NOT_INSTALLED", "SW_CONFLICT"),
        E::FileTooLarge { .. } => entry(S::BAD_REQUEST, "FILE_TOO_LARGE", "SW_CONTENT_TOO_LARGE"),
        E::InvalidFileType { .. } => entry(S::BAD_REQUEST, "INVALID_FILE_TYPE", "SW_VALIDATION_ERROR"),
        E::DelegationInvalid(_) => {
            entry(S::BAD_REQUEST, "DELEGATION_VALIDATION_ERROR", "SW_VALIDATION_ERROR")
        }
        E::Delegation(lapse) => entry(S::FORBIDDEN, lapse.as_str(), "SW_CONFLICT"),
        E::EgressDenied { calling, .. } => {
            let status = if *calling { S::BAD_GATEWAY } else { S::UNPROCESSABLE_ENTITY };
            entry(status, "EGRESS_DENIED", "SW_EGRESS_DENIED")
        }
        E::PluginUnreachable { .. } => entry(S::BAD_GATEWAY, "PLUGIN_UNREACHABLE", "SW_PLUGIN_UNREACHABLE"),
        E::PluginsMissing(_) => entry(S::UNPROCESSABLE_ENTITY, "PLUGIN_NOT_FOUND", "SW_PLUGIN_NOT_FOUND"),
        E::ModelsMissing(_) => entry(S::UNPROCESSABLE_ENTITY, "MODEL_NOT_FOUND", "SW_MODEL_NOT_FOUND"),
        E::ModelUnavailable { .. } => {
            entry(S::SERVICE_UNAVAILABLE, "MODEL_UNAVAILABLE", "SW_MODEL_UNAVAILABLE")
        }
        E::BackendRateLimited { .. } => {
            entry(S::TOO_MANY_REQUESTS, "BACKEND_RATE_LIMITED", "SW_RATE_LIMIT_EXCEEDED")
        }
        E::BackendTimeout { .. } => entry(S::GATEWAY_TIMEOUT, "BACKEND_TIMEOUT", "SW_BACKEND_TIMEOUT"),
        E::BackendFailed { .. } => entry(S::BAD_GATEWAY, "BACKEND_ERROR", "SW_BACKEND_ERROR"),
        E::BudgetExceeded { .. } => entry(S::TOO_MANY_REQUESTS, "BUDGET_EXCEEDED", "SW_BUDGET_EXCEEDED"),
        E::Capacity { .. } => entry(S::CONFLICT, "TENANT_CAPACITY", "SW_TENANT_CAPACITY"),
        E::QueueFull { .. } => entry(S::TOO_MANY_REQUESTS, "QUEUE_FULL", "SW_RATE_LIMIT_EXCEEDED"),
        E::IdempotencyKeyReused => {
            entry(S::UNPROCESSABLE_ENTITY, "IDEMPOTENCY_KEY_REUSED", "SW_IDEMPOTENCY_KEY_REUSED")
        }
        E::IdempotencyKeyInUse => entry(S::CONFLICT, "IDEMPOTENCY_KEY_IN_USE", "SW_IDEMPOTENCY_KEY_IN_USE"),
        E::RateLimited { .. } => entry(S::TOO_MANY_REQUESTS, "RATE_LIMITED", "SW_RATE_LIMIT_EXCEEDED"),
        E::Unavailable { .. } => {
            entry(S::SERVICE_UNAVAILABLE, "SERVICE_UNAVAILABLE", "SW_SERVICE_UNAVAILABLE")
        }
        E::Storage | E::Lost => entry(S::BAD_GATEWAY, "STORAGE_ERROR", "SW_STORAGE_ERROR"),
        E::Internal(_) => entry(S::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", "SW_INTERNAL_ERROR"),
    }
}

const fn row_of_missing(resource: Resource) -> Row {
    let (grid, workspace) = match resource {
        Resource::Route => ("NOT_FOUND", "SW_NOT_FOUND"),
        Resource::Tenant => ("TENANT_NOT_FOUND", "SW_TENANT_NOT_FOUND"),
        Resource::Partner => ("PARTNER_NOT_FOUND", "SW_PARTNER_NOT_FOUND"),
        Resource::User => ("USER_NOT_FOUND", "SW_PARTICIPANT_NOT_FOUND"),
        Resource::ApiKey => ("API_KEY_NOT_FOUND", "SW_NOT_FOUND"),
        Resource::Group => ("GROUP_NOT_FOUND", "SW_NOT_FOUND"),
        Resource::CustomRole => ("CUSTOM_ROLE_NOT_FOUND", "SW_NOT_FOUND"),
        Resource::Module => ("MODULE_NOT_FOUND", "SW_NOT_FOUND"),
        Resource::Core => ("CORE_NOT_FOUND", "SW_NOT_FOUND"),
        Resource::CoreVersion => ("CORE_VERSION_NOT_FOUND", "SW_NOT_FOUND"),
        Resource::Execution => ("EXECUTION_NOT_FOUND", "SW_NOT_FOUND"),
        Resource::Checkpoint => ("CHECKPOINT_NOT_FOUND", "SW_NOT_FOUND"),
        Resource::CheckpointLink => ("CHECKPOINT_LINK_NOT_FOUND", "SW_NOT_FOUND"),
        Resource::Conversation => ("CONVERSATION_NOT_FOUND", "SW_NOT_FOUND"),
        Resource::Breakpoint => ("BREAKPOINT_NOT_FOUND", "SW_NOT_FOUND"),
        Resource::Delegation => ("DELEGATION_NOT_FOUND", "SW_NOT_FOUND"),
        Resource::Avatar => ("NO_AVATAR", "SW_NOT_FOUND"),
        Resource::Trigger => ("TRIGGER_NOT_FOUND", "SW_NOT_FOUND"),
        Resource::Webhook => ("WEBHOOK_NOT_FOUND", "SW_NOT_FOUND"),
        Resource::Delivery => ("DELIVERY_NOT_FOUND", "SW_NOT_FOUND"),
        Resource::Plugin | Resource::WorkspacePlugin => ("PLUGIN_NOT_FOUND", "SW_PLUGIN_NOT_FOUND"),
        Resource::Model => ("MODEL_NOT_FOUND", "SW_MODEL_NOT_FOUND"),
        Resource::Backend => ("BACKEND_NOT_FOUND", "SW_NOT_FOUND"),
        Resource::ModelGroup => ("MODEL_GROUP_NOT_FOUND", "SW_NOT_FOUND"),
        Resource::Participant => ("PARTICIPANT_NOT_FOUND", "SW_PARTICIPANT_NOT_FOUND"),
        Resource::Room => ("ROOM_NOT_FOUND", "SW_ROOM_NOT_FOUND"),
        Resource::Memory => ("MEMORY_NOT_FOUND", "SW_NOT_FOUND"),
    };
    entry(StatusCode::NOT_FOUND, grid, workspace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_in_the_guide() {
        let guide = include_str!("../../../../docs/api.md");
        // As it is written: the arms cannot be counted.
        let (rows, _) = include_str!("table.rs").split_once("#[cfg(test)]").unwrap();
        let is_code = |text: &&str| text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
        let codes: Vec<&str> = rows.split('"').skip(1).step_by(2).filter(is_code).collect();
        assert!(codes.len() > 100, "{}", codes.len());
        let of_grid = codes.iter().filter(|code| !code.starts_with("SW_"));
        let missing: Vec<_> = of_grid.filter(|code| !guide.contains(&format!("`{code}`"))).collect();
        assert!(missing.is_empty(), "{missing:?}");
        // Nothing is a stub.
        assert!(!codes.contains(&"NOT_IMPLEMENTED"));
    }

    #[test]
    fn only_the_administration_wears_the_workspace_names() {
        assert_eq!(Family::of_path("/v1/admin/tenants"), Family::Workspace);
        assert_eq!(Family::of_path("/v1/admin"), Family::Workspace);
        assert_eq!(Family::of_path("/v1/administrators"), Family::Grid);
        assert_eq!(Family::of_path("/v1/users"), Family::Grid);
        assert_eq!(Family::of_path("/oai/v1/models"), Family::OpenAi);
    }
}
