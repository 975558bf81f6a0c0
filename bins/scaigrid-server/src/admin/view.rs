//! Things as JSON objects, under the names that the HTTP interface uses, and what of them a table shows.

use scaigrid_app::api_keys::CreatedApiKey;
use scaigrid_app::checkpoints::{Decided, StoredCheckpoint};
use scaigrid_app::groups::{Counted, Peopled};
use scaigrid_app::modules::{ConfigView, ExplainedValue, ModuleView, SourcedValue};
use scaigrid_app::users::Account;
use scaigrid_checkpoints::State;
use scaigrid_cores::Core;
use scaigrid_ir::Diagnostic;
use scaigrid_modules::config::field_name;
use scaigrid_scope::{ApiKey, CustomRole, Description, Group, Partner, Role, Tenant};
use scaigrid_webhooks::{Standing, Webhook};
use serde_json::{Value, json};

use super::answer::Columns;

pub(super) const PARTNER: Columns = &["id", "slug", "name", "status", "created_at"];
pub(super) const TENANT: Columns = &["id", "slug", "name", "partner_id", "status", "created_at"];
pub(super) const USER: Columns = &["id", "email", "display_name", "kind", "status", "roles"];
pub(super) const KEY: Columns = &["id", "name", "user_id", "expires_at", "scopes"];
pub(super) const KEYS: Columns = &["id", "name", "user_id", "prefix", "expires_at", "scopes"];
pub(super) const GROUP: Columns = &["id", "slug", "name", "member_count"];
pub(super) const MEMBERS: Columns = &["id", "slug", "name", "members"];
pub(super) const ROLE: Columns = &["id", "slug", "name", "permissions"];
pub(super) const WEBHOOK: Columns = &["id", "url", "events", "status", "disabled_reason"];
pub(super) const MODULE: Columns = &["module_id", "display_name", "version", "status", "description"];
pub(super) const SETTING: Columns = &["field", "value", "level", "since"];
pub(super) const CORE: Columns = &["id", "slug", "name", "status", "source_version", "updated_at"];
pub(super) const CHECKPOINT: Columns =
    &["id", "status", "priority", "assignee", "options", "expires_at", "prompt"];
pub(super) const DECIDED: Columns = &["id", "status", "execution_id", "execution_status"];

pub(super) fn partner(partner: &Partner) -> Value {
    json!({
        "id": partner.id.to_string(),
        "slug": partner.slug.as_str(),
        "name": partner.name.as_str(),
        "contact_email": partner.contact_email.as_ref().map(ToString::to_string),
        "status": partner.status.as_str(),
        "created_at": partner.created_at,
        "updated_at": partner.updated_at,
    })
}

pub(super) fn tenant(tenant: &Tenant) -> Value {
    json!({
        "id": tenant.id.to_string(),
        "partner_id": tenant.partner_id.to_string(),
        "slug": tenant.slug.as_str(),
        "name": tenant.name.as_str(),
        "status": tenant.status.as_str(),
        "created_at": tenant.created_at,
        "updated_at": tenant.updated_at,
    })
}

pub(super) fn user(Account { user, custom_roles }: &Account) -> Value {
    json!({
        "id": user.id.to_string(),
        "tenant_id": user.tenant_id.to_string(),
        "email": user.email.as_str(),
        "display_name": user.display_name.as_ref().map(ToString::to_string),
        "kind": user.kind.as_str(),
        "status": user.status.as_str(),
        "roles": user.roles.iter().map(Role::as_str).collect::<Vec<_>>(),
        "custom_role_ids": custom_roles.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "created_at": user.created_at,
        "updated_at": user.updated_at,
    })
}

/// A key, which the key itself cannot be made of.
pub(super) fn key(key: &ApiKey) -> Value {
    let scopes = key.scopes.as_ref();
    json!({
        "id": key.id.to_string(),
        "name": key.name.as_str(),
        "user_id": key.user_id.to_string(),
        "prefix": key.prefix,
        "scopes": scopes.map(|scopes| scopes.iter().map(|key| key.to_string()).collect::<Vec<_>>()),
        "expires_at": key.expires_at,
        "created_at": key.created_at,
    })
}

/// A key that was just made, with the key itself.
pub(super) fn created_key(CreatedApiKey { key: created, plaintext }: &CreatedApiKey) -> Value {
    let mut view = key(created);
    view["key"] = plaintext.reveal().into();
    view
}

pub(super) fn group(group: &Group) -> Value {
    json!({
        "id": group.id.to_string(),
        "tenant_id": group.tenant_id.to_string(),
        "slug": group.slug.as_str(),
        "name": group.name.as_str(),
        "created_at": group.created_at,
        "updated_at": group.updated_at,
    })
}

pub(super) fn counted_group(counted: &Counted) -> Value {
    let mut view = group(&counted.group);
    view["member_count"] = counted.member_count.into();
    view
}

pub(super) fn peopled_group(peopled: &Peopled) -> Value {
    let mut view = group(&peopled.group);
    view["members"] = peopled.members.iter().map(ToString::to_string).collect();
    view
}

pub(super) fn custom_role(role: &CustomRole) -> Value {
    json!({
        "id": role.id.to_string(),
        "tenant_id": role.tenant_id.to_string(),
        "slug": role.slug.as_str(),
        "name": role.name.as_str(),
        "description": role.description.as_ref().map(Description::as_str),
        "permissions": role.permissions.iter().map(|key| key.to_string()).collect::<Vec<_>>(),
        "created_at": role.created_at,
        "updated_at": role.updated_at,
    })
}

/// A webhook, without its secret.
pub(super) fn webhook(webhook: &Webhook) -> Value {
    let (reason, at) = match webhook.standing {
        Standing::Disabled { reason, at } => (Some(reason.as_str()), Some(at)),
        _ => (None, None),
    };
    json!({
        "id": webhook.id.to_string(),
        "url": webhook.url.as_str(),
        "events": webhook.events.iter().map(|wish| wish.to_string()).collect::<Vec<_>>(),
        "status": webhook.standing.status().as_str(),
        "disabled_reason": reason,
        "disabled_at": at,
        "max_retries": webhook.max_retries.get(),
        "created_at": webhook.created_at,
        "updated_at": webhook.updated_at,
    })
}

pub(super) fn module(view: &ModuleView) -> Value {
    let failure = view.last_error.as_ref();
    json!({
        "module_id": view.manifest.module_id.to_string(),
        "display_name": view.manifest.display_name.to_string(),
        "version": view.manifest.version.to_string(),
        "description": view.manifest.description,
        "status": view.effective.status.as_str(),
        "dependencies": view.manifest.dependencies.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "last_error": failure.map(|failure| json!({"message": failure.message, "timestamp": failure.at})),
    })
}

/// A module's configuration.
pub(super) fn config(view: &ConfigView) -> Value {
    json!({
        "global_config": view.global,
        "partner_config": view.partner,
        "scope_config": view.scope,
        "effective_config": view.effective,
    })
}

/// A value of a module's configuration, and where it comes from.
pub(super) fn setting(value: &ExplainedValue) -> Value {
    let sourced = |one: &SourcedValue| {
        let by = one.by.as_ref();
        json!({
            "value": one.value,
            "level": one.source.as_str(),
            "since": one.since,
            "by": by.map(|by| json!({
                "user_id": by.user_id.to_string(),
                "email": by.email.as_ref().map(ToString::to_string),
            })),
        })
    };
    let mut shown = sourced(&value.winner);
    shown["field"] = field_name(&value.pointer).into();
    shown["secret"] = value.secret.into();
    shown["overrides"] = value.losers.iter().map(sourced).collect();
    shown
}

/// A Core without its program.
pub(super) fn core(core: &Core) -> Value {
    let failure = core.last_error.as_ref();
    json!({
        "id": core.id.to_string(),
        "tenant_id": core.tenant_id.to_string(),
        "name": core.name.as_str(),
        "slug": core.slug.as_str(),
        "status": core.status.as_str(),
        "last_error": failure.map(|failure| {
            json!({"code": failure.code, "message": failure.message, "timestamp": failure.at})
        }),
        "runtime_mode": core.runtime_mode.as_str(),
        "concurrency_mode": core.concurrency.mode().as_str(),
        "entity_key_field": core.concurrency.entity_key_field().map(ToString::to_string),
        "source_version": core.source.version,
        "created_at": core.created_at,
        "updated_at": core.updated_at,
    })
}

/// A Core that was just given a program, and what the verifier says of that.
pub(super) fn imported(hosted: &Core, findings: &[Diagnostic]) -> Value {
    let mut view = core(hosted);
    view["diagnostics"] = json!(findings);
    view
}

pub(super) fn checkpoint(stored: &StoredCheckpoint) -> Value {
    let checkpoint = &stored.checkpoint;
    let resolution = match &checkpoint.state {
        State::Resolved(resolution) => Some(json!({
            "decision": resolution.decision,
            "response_data": resolution.response_data,
            "comment": resolution.comment,
        })),
        State::Pending | State::Expired { .. } | State::Cancelled { .. } => None,
    };
    json!({
        "id": checkpoint.id.to_string(),
        "core_id": checkpoint.core_id.to_string(),
        "tenant_id": checkpoint.tenant_id.to_string(),
        "execution_id": checkpoint.execution_id.to_string(),
        "flow_name": checkpoint.flow_name,
        "block_id": checkpoint.block_id,
        "instance_key": checkpoint.instance_key,
        "checkpoint_type": checkpoint.checkpoint_type,
        "prompt": checkpoint.prompt,
        "options": checkpoint.options,
        "assignee": checkpoint.routing.assignee.to_string(),
        "context": *checkpoint.context,
        "status": checkpoint.status().as_str(),
        "priority": checkpoint.priority.as_str(),
        "expires_at": checkpoint.expiry.as_ref().map(|expiry| expiry.at),
        "resolution": resolution,
        "created_at": checkpoint.created_at,
        "updated_at": checkpoint.updated_at,
    })
}

/// A checkpoint that was just decided, and its execution as it stands after going on.
pub(super) fn decided(decided: &Decided) -> Value {
    let execution = &decided.standing.execution;
    let mut view = checkpoint(&decided.checkpoint);
    view["execution_status"] = json!(execution.status.as_str());
    view["execution"] = json!({
        "id": execution.id.to_string(),
        "flow": execution.flow.to_string(),
        "status": execution.status.as_str(),
        "output": execution.output.as_ref().map(scaigrid_ir::Value::to_json),
        "error": execution.error.as_ref().map(scaigrid_ir::Value::to_json),
        "checkpoints": decided.standing.checkpoints.iter().map(ToString::to_string).collect::<Vec<_>>(),
    });
    view
}
