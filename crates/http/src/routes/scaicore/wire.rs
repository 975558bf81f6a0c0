//! What Cores, executions and checkpoints look like on the wire.

use scaigrid_app::conversations::Told;
use scaigrid_app::cores::ShownCore;
use scaigrid_cores::debugging::{Debugging, Pause, PauseReason};
use scaigrid_cores::execution::{Execution, Origin, Standing};
use scaigrid_cores::{Core, CoreIdentity, LastError, SourceVersion};
use scaigrid_scope::Instant;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// A finding about a program.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DiagnosticView {
    /// Stable: `E` and three digits, or `W` and three digits for what does not keep the program from running.
    #[schema(example = "E201")]
    pub(super) code: String,
    /// `error` or `warning`.
    pub(super) severity: String,
    /// What is wrong, and what would be right.
    pub(super) message: String,
    /// Where in the document (RFC 6901).
    #[schema(example = "/flows/0/body/1")]
    pub(super) pointer: String,
    /// Where the author wrote it, as the author's tools named it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) source_location: Option<Value>,
}

impl From<&scaigrid_ir::Diagnostic> for DiagnosticView {
    fn from(finding: &scaigrid_ir::Diagnostic) -> Self {
        Self {
            code: finding.code.to_owned(),
            severity: match finding.severity {
                scaigrid_ir::Severity::Error => "error".to_owned(),
                scaigrid_ir::Severity::Warning => "warning".to_owned(),
            },
            message: finding.message.clone(),
            pointer: finding.pointer.to_string(),
            source_location: finding.source_location.clone(),
        }
    }
}

/// Why a Core is in error.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LastErrorView {
    /// Stable.
    pub(super) code: String,
    /// For people.
    pub(super) message: String,
    /// Since when (RFC 3339, UTC).
    pub(super) timestamp: String,
}

impl From<&LastError> for LastErrorView {
    fn from(error: &LastError) -> Self {
        Self { code: error.code.clone(), message: error.message.clone(), timestamp: error.at.to_string() }
    }
}

/// A Core.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CoreView {
    /// Its id.
    #[schema(example = "core_01JZ8QZ5T0000000000000000A")]
    pub(super) id: String,
    /// Whose it is.
    pub(super) tenant_id: String,
    /// What it is called.
    pub(super) name: String,
    /// Its name in addresses; unique in the tenant.
    pub(super) slug: String,
    /// Where it is in its life.
    pub(super) status: &'static str,
    /// Why it is in error, or why its last start failed.
    #[schema(required = true)]
    pub(super) last_error: Option<LastErrorView>,
    /// `event_driven`, `interactive`, `api` or `model`.
    pub(super) runtime_mode: &'static str,
    /// `stateless`, `entity` or `singleton`.
    pub(super) concurrency_mode: &'static str,
    /// The input field that is the key of an entity.
    #[schema(required = true)]
    pub(super) entity_key_field: Option<String>,
    /// The program; left out in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub(super) source: Option<Value>,
    /// Goes up by one with every new program; 0 while there is none.
    pub(super) source_version: u32,
    /// Plugin entries.
    #[schema(value_type = Vec<Object>)]
    pub(super) plugins: Vec<Value>,
    /// Environment values; secrets are shown as `***`.
    #[schema(value_type = Object)]
    pub(super) environment: Map<String, Value>,
    /// Limits, as given.
    #[schema(value_type = Object)]
    pub(super) resource_limits: Map<String, Value>,
    /// `auto`, `visual_queue` or `routed`.
    pub(super) checkpoint_mode: &'static str,
    /// `standard`, `elevated` or `admin`.
    pub(super) privilege_level: &'static str,
    /// Whatever the tenant keeps there; of a published Core also `published`, `published_model_id`, `published_backend_id` and
    /// `published_slug`, which are the platform's.
    #[schema(value_type = Object)]
    pub(super) metadata: Map<String, Value>,
    /// `service_account` or `user_delegated`.
    pub(super) identity_mode: &'static str,
    /// The user for whom it acts.
    #[schema(required = true)]
    pub(super) delegated_user_id: Option<String>,
    /// Within what.
    pub(super) delegation_scopes: Vec<String>,
    /// Until when.
    #[schema(required = true)]
    pub(super) delegation_expires_at: Option<String>,
    /// Who lent it.
    #[schema(required = true)]
    pub(super) delegation_granted_by: Option<String>,
    /// When the user took it back: the Core acts for nobody since then, until it is lent anew or given its tenant's identity.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    pub(super) delegation_revoked_at: Option<Instant>,
    /// Its picture.
    #[schema(required = true)]
    pub(super) avatar_url: Option<String>,
    /// Whether it is offered as a model.
    pub(super) published: bool,
    /// Who made it.
    pub(super) created_by: String,
    /// When (RFC 3339, UTC).
    pub(super) created_at: String,
    /// When it last changed (RFC 3339, UTC).
    pub(super) updated_at: String,
    /// What the verifier says of a program that was just given; of a Core that was just started, what it calls that is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) diagnostics: Option<Vec<DiagnosticView>>,
}

impl From<Core> for CoreView {
    fn from(core: Core) -> Self {
        let delegation = core.identity.delegation();
        Self {
            id: core.id.to_string(),
            tenant_id: core.tenant_id.to_string(),
            name: core.name.to_string(),
            slug: core.slug.to_string(),
            status: core.status.as_str(),
            last_error: core.last_error.as_ref().map(Into::into),
            runtime_mode: core.runtime_mode.as_str(),
            concurrency_mode: core.concurrency.mode().as_str(),
            entity_key_field: core.concurrency.entity_key_field().map(ToString::to_string),
            source: None,
            source_version: core.source.version,
            plugins: core.plugins.to_vec(),
            environment: core.shown_environment(),
            resource_limits: (*core.resource_limits).clone(),
            checkpoint_mode: core.checkpoint_mode.as_str(),
            privilege_level: core.privilege_level.as_str(),
            metadata: core.shown_metadata(),
            identity_mode: CoreIdentity::mode(&core.identity).as_str(),
            delegated_user_id: delegation.map(|delegation| delegation.user_id.to_string()),
            delegation_scopes: delegation
                .map(|delegation| delegation.scopes.iter().map(|scope| scope.to_string()).collect())
                .unwrap_or_default(),
            delegation_expires_at: delegation
                .and_then(|delegation| delegation.expires_at)
                .map(|at| at.to_string()),
            delegation_granted_by: delegation.map(|delegation| delegation.granted_by.to_string()),
            delegation_revoked_at: delegation.and_then(|delegation| delegation.revoked_at),
            avatar_url: core.avatar_url(),
            published: core.publication.is_some(),
            created_by: core.created_by.to_string(),
            created_at: core.created_at.to_string(),
            updated_at: core.updated_at.to_string(),
            diagnostics: None,
        }
    }
}

impl CoreView {
    /// A Core with its program.
    pub(super) fn whole(shown: ShownCore) -> Self {
        let source = (*shown.core.source.program).clone();
        Self { source: Some(source), ..Self::from(shown.core) }
    }

    /// A Core with its program and what the verifier says of it.
    pub(super) fn with_diagnostics(shown: ShownCore) -> Self {
        let diagnostics = shown.diagnostics.iter().map(Into::into).collect();
        Self { diagnostics: Some(diagnostics), ..Self::whole(shown) }
    }
}

/// A version of a Core's program.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct VersionView {
    /// Its number.
    pub(super) version: u32,
    /// The program; left out in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub(super) source: Option<Value>,
    /// Who gave it.
    pub(super) created_by: String,
    /// When (RFC 3339, UTC).
    pub(super) created_at: String,
}

impl From<SourceVersion> for VersionView {
    fn from(version: SourceVersion) -> Self {
        Self {
            version: version.source.version,
            source: None,
            created_by: version.created_by.to_string(),
            created_at: version.created_at.to_string(),
        }
    }
}

/// What calls of models have used.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UsedView {
    /// Tokens that models have read.
    input_tokens: u64,
    /// Tokens that models have written.
    output_tokens: u64,
    /// Both.
    total_tokens: u64,
    /// In the currency of the catalogue's prices.
    #[schema(example = "0.007275")]
    cost: String,
}

impl From<Told> for UsedView {
    fn from(told: Told) -> Self {
        Self {
            input_tokens: told.input_tokens,
            output_tokens: told.output_tokens,
            total_tokens: told.input_tokens.saturating_add(told.output_tokens),
            cost: told.cost.normalize().to_string(),
        }
    }
}

/// An execution.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ExecutionView {
    /// Its id.
    #[schema(example = "exec_01JZ8QZ5T0000000000000000A")]
    pub(super) id: String,
    /// The same, under the name that callers of `invoke` look for.
    pub(super) execution_id: String,
    /// The Core.
    pub(super) core_id: String,
    /// The flow.
    pub(super) flow: String,
    /// The version of the program that it began with and stays on.
    pub(super) source_version: u32,
    /// `queued`, `running`, `suspended`, `completed`, `failed` or `cancelled`.
    pub(super) status: String,
    /// What it was given.
    #[schema(value_type = Object)]
    pub(super) input: Value,
    /// What it returned.
    #[schema(required = true)]
    pub(super) output: Option<Value>,
    /// Why it failed: `code`, `message`, and where: `block`, `pointer`. Where a flow that it called has failed, that is the place of
    /// the call, and `cause` says what went wrong there: `core_id`, `execution_id`, `code`, `message`, `block`, `pointer`, `cause`.
    #[schema(required = true, value_type = Option<Object>)]
    pub(super) error: Option<Value>,
    /// What started it: `invoke`, `event:<name>`, `schedule:<name>`, `api:<name>`, `webhook:<name>`, `core_call`, `chat` or
    /// `fork:<execution>@<entry>`.
    pub(super) trigger: String,
    /// The instance that it belongs to.
    #[schema(required = true)]
    pub(super) instance_key: Option<String>,
    /// The execution that called it.
    #[schema(required = true)]
    pub(super) parent_execution_id: Option<String>,
    /// When it was accepted (RFC 3339, UTC).
    pub(super) started_at: String,
    /// When it ended (RFC 3339, UTC).
    #[schema(required = true)]
    pub(super) finished_at: Option<String>,
    /// The execution that it branched off from, and the last entry of its journal that both share.
    #[schema(required = true)]
    pub(super) forked_from: Option<ForkedFromView>,
    /// Where a debugger has it stand still.
    #[schema(required = true)]
    pub(super) paused: Option<PausedView>,
    /// The checkpoints that it, or what it called, waits at; left out in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) checkpoints: Option<Vec<String>>,
    /// What the calls of models have used that it made itself; only where one execution is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) usage: Option<UsedView>,
}

/// Where an execution comes from.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ForkedFromView {
    /// The execution.
    execution_id: String,
    /// The entry of its journal.
    at: i64,
}

/// Where an execution stands still.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PausedView {
    /// `breakpoint` or `step`.
    reason: &'static str,
    /// The breakpoint.
    #[schema(required = true)]
    breakpoint_id: Option<String>,
    /// The flow.
    flow: String,
    /// The block that is next.
    block: String,
    /// Since when (RFC 3339, UTC).
    since: String,
}

impl From<&Pause> for PausedView {
    fn from(pause: &Pause) -> Self {
        let (reason, breakpoint_id) = match pause.reason {
            PauseReason::Breakpoint(id) => ("breakpoint", Some(id.to_string())),
            PauseReason::Step => ("step", None),
        };
        let (flow, block) = (pause.flow.to_string(), pause.block.to_string());
        Self { reason, breakpoint_id, flow, block, since: pause.at.to_string() }
    }
}

impl From<Execution> for ExecutionView {
    fn from(execution: Execution) -> Self {
        let forked_from = match &execution.origin {
            Origin::Fork { execution, at } => {
                Some(ForkedFromView { execution_id: execution.to_string(), at: *at })
            }
            _ => None,
        };
        Self {
            forked_from,
            paused: execution.debugging.as_ref().and_then(Debugging::pause).map(Into::into),
            id: execution.id.to_string(),
            execution_id: execution.id.to_string(),
            core_id: execution.core_id.to_string(),
            flow: execution.flow.to_string(),
            source_version: execution.source_version,
            status: execution.status.to_string(),
            input: execution.input.to_json(),
            output: execution.output.map(|output| output.to_json()),
            error: execution.error.map(|error| error.to_json()),
            trigger: execution.origin.to_string(),
            instance_key: execution.instance_key.map(|key| key.to_string()),
            parent_execution_id: execution.parent.map(|parent| parent.execution.to_string()),
            started_at: execution.started_at.to_string(),
            finished_at: execution.finished_at.map(|at| at.to_string()),
            checkpoints: None,
            usage: None,
        }
    }
}

impl From<Standing> for ExecutionView {
    fn from(standing: Standing) -> Self {
        let checkpoints = standing.checkpoints.iter().map(ToString::to_string).collect();
        Self { checkpoints: Some(checkpoints), ..Self::from(standing.execution) }
    }
}
