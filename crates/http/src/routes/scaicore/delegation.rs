//! Delegation: users' identities that Cores act under.

use actix_web::web;
use scaigrid_app::cores::{DelegationChanges, NewDelegation};
use scaigrid_app::{self as app, App};
use scaigrid_cores::CoreIdentity;
use scaigrid_http_macros::{get, post, put};
use scaigrid_scope::{CoreId, Instant, perm};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::Validate;

use super::wire::CoreView;
use crate::Error;
use crate::auth::Allowed;
use crate::body::Body;
use crate::conditional::IfMatch;
use crate::envelope::{DataOf, Reply};
use crate::openapi::kinds;
use crate::path::PathId;
use crate::request::Origin;
use crate::routes::given::given;

/// What is lent to a Core.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({"user_id": "usr_01JZ8QZ5T0000000000000000A", "scopes": ["models:use"], "expires_at": "2027-01-01T00:00:00Z"}))]
pub(super) struct DelegationBody {
    /// Whose identity: an active user of the tenant.
    #[schema(value_type = kinds::UserId)]
    user_id: String,
    /// Within what: at least one permission that the user holds, and the caller too.
    #[schema(value_type = Vec<kinds::Permission>, min_items = 1)]
    scopes: Vec<String>,
    /// From when on it counts no more; for as long as nobody takes it back, when left out.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Instant>,
}

/// What of a delegation is to be replaced; what is left out stays.
#[derive(Debug, Deserialize, Validate, ToSchema)]
pub(super) struct DelegationChangesBody {
    /// Within what: at least one permission that the user holds, and the caller too.
    #[schema(value_type = Option<Vec<kinds::Permission>>, min_items = 1)]
    scopes: Option<Vec<String>>,
    /// From when on it counts no more; null takes the end away.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, format = DateTime)]
    #[expect(clippy::option_option, reason = "absent keeps it, null takes it away")]
    expires_at: Option<Option<Instant>>,
}

/// For whom a Core acts.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DelegationView {
    /// `service_account` or `user_delegated`.
    identity_mode: &'static str,
    /// The user for whom it acts.
    #[schema(required = true)]
    delegated_user_id: Option<String>,
    /// Within what. What the user does not hold any more is in it, and does not count.
    delegation_scopes: Vec<String>,
    /// Until when.
    #[schema(required = true)]
    delegation_expires_at: Option<String>,
    /// Who lent it.
    #[schema(required = true)]
    delegation_granted_by: Option<String>,
    /// When the user took it back: the Core acts for nobody since then, until it is lent anew or given its tenant's identity.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    delegation_revoked_at: Option<Instant>,
}

impl From<&CoreIdentity> for DelegationView {
    fn from(identity: &CoreIdentity) -> Self {
        let lent = identity.delegation();
        Self {
            identity_mode: identity.mode().as_str(),
            delegated_user_id: lent.map(|lent| lent.user_id.to_string()),
            delegation_scopes: lent
                .map(|lent| lent.scopes.iter().map(|key| key.to_string()).collect())
                .unwrap_or_default(),
            delegation_expires_at: lent.and_then(|lent| lent.expires_at).map(|at| at.to_string()),
            delegation_granted_by: lent.map(|lent| lent.granted_by.to_string()),
            delegation_revoked_at: lent.and_then(|lent| lent.revoked_at),
        }
    }
}

/// What is wrong with the body of a delegation has a name of its own.
fn of_delegation(error: Error) -> Error {
    match error {
        Error::App(app::Error::Invalid(fields)) => app::Error::DelegationInvalid(fields).into(),
        other => other,
    }
}

/// Lend a Core a user's identity
///
/// It acts for the user from then on, within what the scopes and the user's own permissions have in common at each moment.
/// What it was lent before is taken back by that. Executions that have begun stay as they began.
#[utoipa::path(
    tag = "delegation",
    operation_id = "delegate_core",
    params(("core_id" = kinds::CoreId, Path, description = "The Core")),
    request_body = DelegationBody,
    responses((status = 200, description = "The Core", body = DataOf<CoreView>))
)]
#[post("/v1/modules/scaicore/cores/{core_id}/delegate")]
pub(super) async fn delegate(
    caller: Allowed<perm::CoresDelegate>,
    id: PathId<CoreId>,
    origin: Origin,
    body: Body<DelegationBody>,
    app: web::Data<App>,
) -> Result<Reply<CoreView>, Error> {
    app.require_core(caller.tenant_scope(), id.0).await?;
    let DelegationBody { user_id, scopes, expires_at } = body.read().await.map_err(of_delegation)?;
    let new = NewDelegation { user_id, scopes, expires_at };
    let shown = app.delegate_core(&caller, &origin.context(), id.0, new).await?;
    let revision = shown.revision.cast_unsigned();
    Ok(Reply::ok(CoreView::whole(shown)).with_etag(revision))
}

/// For whom a Core acts
#[utoipa::path(
    tag = "delegation",
    operation_id = "get_delegation",
    params(("core_id" = kinds::CoreId, Path, description = "The Core")),
    responses((status = 200, description = "For whom", body = DataOf<DelegationView>))
)]
#[get("/v1/modules/scaicore/cores/{core_id}/delegation")]
pub(super) async fn get(
    caller: Allowed<perm::CoresView>,
    id: PathId<CoreId>,
    app: web::Data<App>,
) -> Result<Reply<DelegationView>, Error> {
    let shown = app.delegation_of(&caller, id.0).await?;
    Ok(Reply::ok(DelegationView::from(&shown.value)).with_etag(shown.revision.cast_unsigned()))
}

/// Change what a Core may do for its user, or until when
///
/// It counts at once, also for executions that have begun.
#[utoipa::path(
    tag = "delegation",
    operation_id = "replace_delegation",
    params(("core_id" = kinds::CoreId, Path, description = "The Core")),
    request_body = DelegationChangesBody,
    responses((status = 200, description = "For whom the Core acts now", body = DataOf<DelegationView>))
)]
#[put("/v1/modules/scaicore/cores/{core_id}/delegation")]
pub(super) async fn replace(
    caller: Allowed<perm::CoresDelegate>,
    id: PathId<CoreId>,
    condition: IfMatch,
    origin: Origin,
    body: Body<DelegationChangesBody>,
    app: web::Data<App>,
) -> Result<Reply<DelegationView>, Error> {
    app.require_core(caller.tenant_scope(), id.0).await?;
    let DelegationChangesBody { scopes, expires_at } = body.read().await.map_err(of_delegation)?;
    let changes = DelegationChanges { scopes, expires_at };
    let expected = condition.revisions();
    let shown = app.change_delegation(&caller, &origin.context(), id.0, expected, changes).await?;
    let revision = shown.revision.cast_unsigned();
    Ok(Reply::ok(DelegationView::from(&shown.core.identity)).with_etag(revision))
}

/// Take a user's identity back from a Core
///
/// It acts for its tenant from then on. Executions that were begun under the delegation do not: their next call fails.
#[utoipa::path(
    tag = "delegation",
    operation_id = "revoke_delegation",
    params(("core_id" = kinds::CoreId, Path, description = "The Core")),
    responses((status = 200, description = "The Core", body = DataOf<CoreView>))
)]
#[post("/v1/modules/scaicore/cores/{core_id}/revoke-delegation")]
pub(super) async fn revoke(
    caller: Allowed<perm::CoresDelegate>,
    id: PathId<CoreId>,
    origin: Origin,
    app: web::Data<App>,
) -> Result<Reply<CoreView>, Error> {
    let shown = app.revoke_delegation(&caller, &origin.context(), id.0).await?;
    let revision = shown.revision.cast_unsigned();
    Ok(Reply::ok(CoreView::whole(shown)).with_etag(revision))
}
