//! Cores and the versions of their programs.
//!
//! A program is kept as a bundle, compressed; the secrets of an environment are kept sealed.

use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use scaigrid_cores::publication::Publication;
use scaigrid_cores::{
    Avatar, Concurrency, ConcurrencyMode, Core, CoreIdentity, EntityKeyField, LastError, Source,
    SourceVersion, Status,
};
use scaigrid_ir::bundle;
use scaigrid_scope::{CoreId, Instant, Name, Slug, SystemScope, TenantId, TenantScope, UserId};
use serde_json::{Map, Value, json};

use crate::data_keys::{self, Opener};
use crate::database::{Connection, Engine, Transaction, find, with};
use crate::delegations::{self, DelegationRow};
use crate::error::{Error, Result, column};
use crate::instant::Stamp;
use crate::json::storable;
use crate::schema::{
    core_instances, core_schedules, core_subscriptions, core_triggers, core_versions, cores,
    delegations as lent,
};
use crate::sealing::Vault;
use crate::{Revised, Written, retention, triggers};

mod environment;
mod list;

use environment::{open, seal};
pub(crate) use environment::{sealed, sealing_place};
pub use list::{CoreFilter, list};

const TABLE: &str = "cores";

#[derive(Debug, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = cores)]
#[diesel(treat_none_as_null = true)]
#[diesel(treat_none_as_default_value = false)]
struct CoreRow {
    id: String,
    tenant_id: String,
    slug: String,
    name: String,
    status: String,
    last_error: Option<Value>,
    runtime_mode: String,
    concurrency_mode: String,
    entity_key_field: Option<String>,
    source_version: i32,
    plugins: Value,
    environment: Value,
    resource_limits: Value,
    checkpoint_mode: String,
    privilege_level: String,
    metadata: Value,
    identity_mode: String,
    created_by: String,
    revision: i64,
    created_at: Stamp,
    updated_at: Stamp,
    published_model_id: Option<String>,
    published_backend_id: Option<String>,
    published_slug: Option<String>,
    avatar_type: Option<String>,
    avatar_hash: Option<String>,
}

impl CoreRow {
    fn of(core: &Core, revision: i64, environment: Value) -> Self {
        let last_error = core
            .last_error
            .as_ref()
            .map(|error| json!({"code": error.code, "message": error.message, "at": error.at.micros()}));
        Self {
            id: core.id.to_string(),
            tenant_id: core.tenant_id.to_string(),
            slug: core.slug.to_string(),
            name: core.name.to_string(),
            status: core.status.to_string(),
            last_error: last_error.map(storable),
            runtime_mode: core.runtime_mode.to_string(),
            concurrency_mode: core.concurrency.mode().to_string(),
            entity_key_field: core.concurrency.entity_key_field().map(ToString::to_string),
            source_version: core.source.version.cast_signed(),
            plugins: storable(Value::Array(core.plugins.to_vec())),
            environment: storable(environment),
            resource_limits: storable(Value::Object((*core.resource_limits).clone())),
            checkpoint_mode: core.checkpoint_mode.to_string(),
            privilege_level: core.privilege_level.to_string(),
            metadata: storable(Value::Object((*core.metadata).clone())),
            identity_mode: core.identity.mode().to_string(),
            created_by: core.created_by.to_string(),
            revision,
            created_at: core.created_at.into(),
            updated_at: core.updated_at.into(),
            published_model_id: core.publication.as_ref().map(|of| of.model_id.to_string()),
            published_backend_id: core.publication.as_ref().map(|of| of.backend_id.to_string()),
            published_slug: core.publication.as_ref().map(|of| of.slug.clone()),
            avatar_type: core.avatar.as_ref().map(|avatar| avatar.media_type.to_string()),
            avatar_hash: core.avatar.as_ref().map(|avatar| avatar.hash.to_string()),
        }
    }

    fn publication(&self) -> Result<Option<Publication>> {
        let (Some(model), Some(backend), Some(slug)) =
            (&self.published_model_id, &self.published_backend_id, &self.published_slug)
        else {
            return Ok(None);
        };
        Ok(Some(Publication {
            model_id: column(TABLE, "published_model_id", &self.id, model)?,
            backend_id: column(TABLE, "published_backend_id", &self.id, backend)?,
            slug: slug.clone(),
        }))
    }

    fn avatar(&self) -> Result<Option<Avatar>> {
        let (Some(media_type), Some(hash)) = (&self.avatar_type, &self.avatar_hash) else { return Ok(None) };
        let media_type = column(TABLE, "avatar_type", &self.id, media_type)?;
        Ok(Some(Avatar { media_type, hash: hash.as_str().into() }))
    }

    fn core(self, program: Arc<Value>, lent: Option<DelegationRow>, opener: &Opener<'_>) -> Result<Core> {
        let id = self.id.as_str();
        let bad = |name, reason: &dyn std::fmt::Display| Error::inconsistent(TABLE, name, id, reason);
        let tenant_id = column(TABLE, "tenant_id", id, &self.tenant_id)?;
        let core_id: CoreId = column(TABLE, "id", id, id)?;
        let mode: ConcurrencyMode = column(TABLE, "concurrency_mode", id, &self.concurrency_mode)?;
        let key_field = self.entity_key_field.as_deref().and_then(EntityKeyField::parse);
        let publication = self.publication()?;
        let avatar = self.avatar()?;
        let identity = match lent {
            Some(lent) => CoreIdentity::UserDelegated(lent.delegation()?),
            None => CoreIdentity::ServiceAccount,
        };
        if identity.mode().as_str() != self.identity_mode {
            return Err(bad("identity_mode", &"does not fit the delegation"));
        }
        Ok(Core {
            id: core_id,
            tenant_id,
            name: Name::parse(&self.name).map_err(|error| bad("name", &error))?,
            slug: Slug::parse(&self.slug).map_err(|error| bad("slug", &error))?,
            status: column(TABLE, "status", id, &self.status)?,
            last_error: self.last_error.as_ref().map(last_error),
            runtime_mode: column(TABLE, "runtime_mode", id, &self.runtime_mode)?,
            concurrency: Concurrency::new(mode, key_field)
                .ok_or_else(|| bad("entity_key_field", &"does not fit the concurrency mode"))?,
            source: Source { program, version: self.source_version.cast_unsigned() },
            plugins: Arc::new(match self.plugins {
                Value::Array(entries) => entries,
                _ => return Err(bad("plugins", &"not an array")),
            }),
            environment: open(&self.environment, core_id, opener)
                .map_err(|reason| bad("environment", &reason))?,
            resource_limits: Arc::new(object(self.resource_limits)),
            checkpoint_mode: column(TABLE, "checkpoint_mode", id, &self.checkpoint_mode)?,
            privilege_level: column(TABLE, "privilege_level", id, &self.privilege_level)?,
            metadata: Arc::new(object(self.metadata)),
            identity,
            avatar,
            publication,
            // Whoever reads the row reads them beside it.
            triggers: Arc::default(),
            created_by: column(TABLE, "created_by", id, &self.created_by)?,
            created_at: self.created_at.into(),
            updated_at: self.updated_at.into(),
        })
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

fn last_error(stored: &Value) -> LastError {
    let text = |name: &str| stored[name].as_str().unwrap_or_default().to_owned();
    let at = Instant::from_micros(stored["at"].as_i64().unwrap_or_default());
    LastError { code: text("code"), message: text("message"), at }
}

/// A Core with its present program.
#[boxed]
pub async fn lookup(
    c: &mut Connection,
    scope: TenantScope,
    id: CoreId,
    vault: &Vault,
) -> Result<Option<Revised<Core>>> {
    macro_rules! query {
        () => {
            cores::table
                .inner_join(
                    core_versions::table.on(core_versions::tenant_id
                        .eq(cores::tenant_id)
                        .and(core_versions::core_id.eq(cores::id))
                        .and(core_versions::version.eq(cores::source_version))),
                )
                .left_join(
                    lent::table.on(lent::tenant_id.eq(cores::tenant_id).and(lent::core_id.eq(cores::id))),
                )
                .filter(cores::id.eq(id.to_string()))
                .filter(cores::tenant_id.eq(scope.tenant_id().to_string()))
                .select((CoreRow::as_select(), core_versions::bundle, Option::<DelegationRow>::as_select()))
        };
    }
    type Row = (CoreRow, Vec<u8>, Option<DelegationRow>);
    let row: Option<Row> = find!(c, query!())?;
    let Some((row, bundle, lent)) = row else { return Ok(None) };
    let program = unpack(&row.id, &bundle)?;
    let revision = row.revision;
    let opener = data_keys::opener(c, scope, vault, sealed(&row.environment)).await?;
    let registered = triggers::list(c, scope, id).await?;
    Ok(Some(Revised {
        value: Core { triggers: Arc::new(registered), ..row.core(program, lent, &opener)? },
        revision,
    }))
}

/// A Core's status and the number of its present program, without the rest.
#[boxed]
pub async fn standing(c: &mut Connection, scope: TenantScope, id: CoreId) -> Result<Option<(Status, u32)>> {
    let query = cores::table
        .find(id.to_string())
        .filter(cores::tenant_id.eq(scope.tenant_id().to_string()))
        .select((cores::status, cores::source_version));
    let row: Option<(String, i32)> = with!(c, c => query.get_result(c).await.optional())?;
    row.map(|(status, version)| {
        Ok((column(TABLE, "status", &id.to_string(), &status)?, version.cast_unsigned()))
    })
    .transpose()
}

/// As [`standing`], and it stays so until the transaction ends.
#[boxed]
pub async fn hold_standing(
    tx: &mut Transaction,
    scope: TenantScope,
    id: CoreId,
) -> Result<Option<(Status, u32)>> {
    if let Engine::Postgres(c) = tx.engine()? {
        let query = cores::table
            .find(id.to_string())
            .filter(cores::tenant_id.eq(scope.tenant_id().to_string()))
            .select(cores::id)
            .for_share();
        let _: Option<String> = query.get_result(c).await.optional()?;
    }
    standing(tx, scope, id).await
}

/// The Core of a slug.
#[boxed]
pub async fn find_by_slug(c: &mut Connection, scope: TenantScope, slug: &str) -> Result<Option<CoreId>> {
    let query = cores::table
        .filter(cores::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(cores::slug.eq(slug))
        .select(cores::id);
    let found: Option<String> = with!(c, c => query.first(c).await.optional())?;
    found.map(|id| column("cores", "id", &id, &id)).transpose()
}

/// How many Cores a tenant has.
#[boxed]
pub async fn count(c: &mut Connection, scope: TenantScope) -> Result<i64> {
    let query = cores::table.filter(cores::tenant_id.eq(scope.tenant_id().to_string())).count();
    Ok(with!(c, c => query.get_result(c).await)?)
}

/// Keeps a new Core with its first program.
///
/// # Errors
/// [`Error::Duplicate`] when the tenant has a Core of that slug.
#[boxed]
pub async fn add(tx: &mut Transaction, scope: TenantScope, core: &Core, vault: &Vault) -> Result<()> {
    check(scope, core)?;
    let row = CoreRow::of(core, 1, seal(tx, scope, core, vault).await?);
    with!(tx, c => diesel::insert_into(cores::table).values(&row).execute(c).await)?;
    delegations::put(tx, scope, core.id, core.identity.delegation()).await?;
    add_version(tx, scope, core, core.created_by).await
}

/// Keeps the program of a Core as the version that it is.
#[boxed]
pub async fn add_version(tx: &mut Transaction, scope: TenantScope, core: &Core, by: UserId) -> Result<()> {
    check(scope, core)?;
    let row = (
        core_versions::tenant_id.eq(core.tenant_id.to_string()),
        core_versions::core_id.eq(core.id.to_string()),
        core_versions::version.eq(core.source.version.cast_signed()),
        core_versions::bundle.eq(bundle::encode(&core.source.program)),
        core_versions::created_by.eq(by.to_string()),
        core_versions::created_at.eq(Stamp(core.updated_at)),
    );
    with!(tx, c => diesel::insert_into(core_versions::table).values(row).execute(c).await)?;
    Ok(())
}

/// Replaces a Core that still has a revision.
#[boxed]
pub async fn save(
    tx: &mut Transaction,
    scope: TenantScope,
    core: &Core,
    expected: i64,
    vault: &Vault,
) -> Result<Written> {
    check(scope, core)?;
    let row = CoreRow::of(core, expected + 1, seal(tx, scope, core, vault).await?);
    macro_rules! target {
        () => {
            cores::table
                .filter(cores::id.eq(core.id.to_string()))
                .filter(cores::tenant_id.eq(scope.tenant_id().to_string()))
        };
    }
    let update = diesel::update(target!().filter(cores::revision.eq(expected))).set(&row);
    if with!(tx, c => update.execute(c).await)? == 1 {
        delegations::put(tx, scope, core.id, core.identity.delegation()).await?;
        return Ok(Written::Done);
    }
    let there: i64 = with!(tx, c => target!().count().get_result(c).await)?;
    Ok(if there == 0 { Written::Missing } else { Written::Stale })
}

/// Notes that something has changed that is shown with a Core, which still has a revision.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn touch(
    tx: &mut Transaction,
    scope: TenantScope,
    id: CoreId,
    expected: i64,
    at: Instant,
) -> Result<Written> {
    macro_rules! target {
        () => {
            cores::table
                .filter(cores::id.eq(id.to_string()))
                .filter(cores::tenant_id.eq(scope.tenant_id().to_string()))
        };
    }
    let update = diesel::update(target!().filter(cores::revision.eq(expected)))
        .set((cores::revision.eq(expected + 1), cores::updated_at.eq(Stamp(at))));
    if with!(tx, c => update.execute(c).await)? == 1 {
        return Ok(Written::Done);
    }
    let there: i64 = with!(tx, c => target!().count().get_result(c).await)?;
    Ok(if there == 0 { Written::Missing } else { Written::Stale })
}

/// The tenant of a Core: for what comes in without credentials.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn tenant_of(c: &mut Connection, _system: &SystemScope, id: CoreId) -> Result<Option<TenantId>> {
    let query = cores::table.find(id.to_string()).select(cores::tenant_id);
    let found: Option<String> = with!(c, c => query.get_result(c).await.optional())?;
    found.map(|tenant| column(TABLE, "tenant_id", &id.to_string(), &tenant)).transpose()
}

/// What a Core is in the catalogue; it stays so until the transaction ends.
#[boxed]
pub async fn hold_publication(
    tx: &mut Transaction,
    scope: TenantScope,
    id: CoreId,
) -> Result<Option<Publication>> {
    let update = diesel::update(cores::table.find(id.to_string()))
        .filter(cores::tenant_id.eq(scope.tenant_id().to_string()))
        .set(cores::revision.eq(cores::revision));
    let row = with!(tx, c => update.returning(CoreRow::as_returning()).get_result(c).await.optional())?;
    row.map_or(Ok(None), |row: CoreRow| row.publication())
}

/// Deletes a Core and what belongs to it, up to so many executions, events and entries of memory; none where there is no such
/// Core, else whether that was all. What is left is noted, for [`retention::remove_rows`].
#[boxed]
pub async fn delete(tx: &mut Transaction, scope: TenantScope, id: CoreId, most: i64) -> Result<Option<bool>> {
    let (tenant, core) = (scope.tenant_id().to_string(), id.to_string());
    macro_rules! remove {
        ($($table:ident),+) => {$(
            let rows = $table::table.filter($table::tenant_id.eq(&tenant)).filter($table::core_id.eq(&core));
            with!(tx, c => diesel::delete(rows).execute(c).await)?;
        )+};
    }
    remove!(core_versions, core_schedules, core_subscriptions, core_instances, core_triggers, lent);
    let row = cores::table.filter(cores::id.eq(&core)).filter(cores::tenant_id.eq(&tenant));
    if with!(tx, c => diesel::delete(row).execute(c).await)? == 0 {
        return Ok(None);
    }
    let all = retention::remove_rows(tx, scope, id, most).await?;
    if !all {
        retention::remember_removed(tx, scope, id).await?;
    }
    Ok(Some(all))
}

/// One version of a Core's program.
#[boxed]
pub async fn lookup_version(
    c: &mut Connection,
    scope: TenantScope,
    id: CoreId,
    version: u32,
) -> Result<Option<SourceVersion>> {
    let query = core_versions::table
        .find((scope.tenant_id().to_string(), id.to_string(), version.cast_signed()))
        .select((core_versions::bundle, core_versions::created_by, core_versions::created_at));
    let row: Option<(Vec<u8>, String, Stamp)> = with!(c, c => query.get_result(c).await.optional())?;
    row.map(|(bundle, created_by, created_at)| {
        let program = unpack(&id.to_string(), &bundle)?;
        source_version(id, Source { program, version }, &created_by, created_at)
    })
    .transpose()
}

/// The versions of a Core's program, newest first, below the one that the last page ended with; without the programs.
#[boxed]
pub async fn list_versions(
    c: &mut Connection,
    scope: TenantScope,
    id: CoreId,
    below: Option<u32>,
    rows: i64,
) -> Result<Vec<SourceVersion>> {
    let query = core_versions::table
        .filter(core_versions::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(core_versions::core_id.eq(id.to_string()))
        // Version 0 is the absence of a program.
        .filter(core_versions::version.gt(0))
        .filter(core_versions::version.lt(below.map_or(i32::MAX, u32::cast_signed)))
        .order(core_versions::version.desc())
        .limit(rows)
        .select((core_versions::version, core_versions::created_by, core_versions::created_at));
    let found: Vec<(i32, String, Stamp)> = with!(c, c => query.load(c).await)?;
    let empty = Arc::new(Value::Object(Map::new()));
    found
        .into_iter()
        .map(|(version, by, at)| {
            let source = Source { program: Arc::clone(&empty), version: version.cast_unsigned() };
            source_version(id, source, &by, at)
        })
        .collect()
}

fn source_version(id: CoreId, source: Source, by: &str, at: Stamp) -> Result<SourceVersion> {
    let created_by = column("core_versions", "created_by", &id.to_string(), by)?;
    Ok(SourceVersion { core_id: id, source, created_by, created_at: at.into() })
}

fn unpack(id: &str, bytes: &[u8]) -> Result<Arc<Value>> {
    let program = bundle::decode(bytes);
    program.map(Arc::new).map_err(|error| Error::inconsistent("core_versions", "bundle", id, error))
}

/// A Core is written only in the tenant that it belongs to.
fn check(scope: TenantScope, core: &Core) -> Result<()> {
    if core.tenant_id == scope.tenant_id() {
        Ok(())
    } else {
        Err(Error::inconsistent(TABLE, "tenant_id", core.id, "belongs to another tenant than the caller's"))
    }
}
