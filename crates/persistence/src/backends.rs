//! Backends of models. How they are reached is sealed under the key of the level that made them.

use async_recursion::async_recursion as boxed;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use scaigrid_catalog::{Backend, ConnectionConfig, ProviderType};
use scaigrid_scope::{BackendId, Instant, LevelScope};
use serde_json::Value;

use crate::data_keys;
use crate::database::{Connection, Transaction, with};
use crate::error::{Error, Result, column};
use crate::instant::Stamp;
use crate::module_settings::{level_at, place};
use crate::schema::{backends, model_backends};
use crate::sealing::Vault;

const TABLE: &str = "backends";

#[derive(Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = backends)]
pub(crate) struct BackendRow {
    id: String,
    level: String,
    scope_id: String,
    name: String,
    provider_type: String,
    model: String,
    sealed_config: String,
    revision: i64,
    created_at: Stamp,
    updated_at: Stamp,
}

/// What the configuration of a backend is sealed for; the backend by its id.
pub(crate) fn sealing_place(id: &str) -> String {
    format!("backends/{id}/connection_config")
}

/// Opens what a row holds.
pub(crate) async fn read(c: &mut Connection, row: BackendRow, vault: &Vault) -> Result<Backend> {
    let id = row.id.as_str();
    let owner = level_at(TABLE, id, &row.level, &row.scope_id)?;
    let impossible = |reason: &dyn std::fmt::Display| Error::inconsistent(TABLE, "sealed_config", id, reason);
    let opener = data_keys::opener_at(c, owner, vault, [row.sealed_config.as_str()]).await?;
    let clear = if row.sealed_config.is_empty() {
        "{}".to_owned()
    } else {
        opener.open(&sealing_place(id), &row.sealed_config).map_err(|error| impossible(&error))?
    };
    let Ok(Value::Object(written)) = serde_json::from_str(&clear) else {
        return Err(impossible(&"it is no object"));
    };
    let provider: ProviderType = column(TABLE, "provider_type", id, &row.provider_type)?;
    Ok(Backend {
        id: column(TABLE, "id", id, id)?,
        owner,
        name: column(TABLE, "name", id, &row.name)?,
        model: column(TABLE, "model", id, &row.model)?,
        config: ConnectionConfig::read(provider, &written, None).map_err(|error| impossible(&error))?,
        revision: row.revision,
        created_at: row.created_at.into(),
        updated_at: row.updated_at.into(),
    })
}

async fn read_all(c: &mut Connection, rows: Vec<BackendRow>, vault: &Vault) -> Result<Vec<Backend>> {
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        found.push(read(c, row, vault).await?);
    }
    Ok(found)
}

async fn seal(
    tx: &mut Transaction,
    scope: LevelScope,
    backend: &Backend,
    vault: &Vault,
    at: Instant,
) -> Result<BackendRow> {
    let clear = backend.config.to_json();
    // A configuration that says nothing hides nothing.
    let sealed_config = if clear.is_empty() {
        String::new()
    } else {
        let sealer = data_keys::sealer(tx, scope, vault, at).await?;
        let text = sealer.seal(&sealing_place(&backend.id.to_string()), &Value::Object(clear).to_string());
        text.map_err(|error| Error::Setup(error.to_string()))?
    };
    let (level, scope_id) = place(scope.level());
    Ok(BackendRow {
        id: backend.id.to_string(),
        level: level.to_owned(),
        scope_id,
        name: backend.name.to_string(),
        provider_type: backend.config.provider_type().to_string(),
        model: backend.model.to_string(),
        sealed_config,
        revision: backend.revision,
        created_at: backend.created_at.into(),
        updated_at: backend.updated_at.into(),
    })
}

/// A backend of a level by its id.
#[boxed]
pub async fn lookup(
    c: &mut Connection,
    scope: LevelScope,
    id: BackendId,
    vault: &Vault,
) -> Result<Option<Backend>> {
    let (level, owner) = place(scope.level());
    let query = backends::table
        .find(id.to_string())
        .filter(backends::level.eq(level).and(backends::scope_id.eq(owner)));
    match with!(c, c => query.select(BackendRow::as_select()).get_result(c).await.optional())? {
        Some(row) => read(c, row, vault).await.map(Some),
        None => Ok(None),
    }
}

/// The backends of a level, newest first, after the one that the last page ended with.
#[boxed]
pub async fn list(
    c: &mut Connection,
    scope: LevelScope,
    after: Option<BackendId>,
    rows: i64,
    vault: &Vault,
) -> Result<Vec<Backend>> {
    let (level, owner) = place(scope.level());
    macro_rules! query {
        () => {{
            let mut query = backends::table
                .filter(backends::level.eq(level).and(backends::scope_id.eq(owner.clone())))
                .order(backends::id.desc())
                .limit(rows)
                .select(BackendRow::as_select())
                .into_boxed();
            if let Some(after) = after {
                query = query.filter(backends::id.lt(after.to_string()));
            }
            query
        }};
    }
    let found: Vec<BackendRow> = with!(c, c => query!().load(c).await)?;
    read_all(c, found, vault).await
}

/// Which of some backends are of a level, held until the transaction ends: none of them is removed before.
#[boxed]
pub async fn hold(tx: &mut Transaction, scope: LevelScope, ids: &[BackendId]) -> Result<Vec<BackendId>> {
    let (level, owner) = place(scope.level());
    let mut wanted: Vec<String> = ids.iter().map(ToString::to_string).collect();
    wanted.sort_unstable();
    let mut held = Vec::with_capacity(wanted.len());
    for id in wanted {
        let update = diesel::update(backends::table.find(id))
            .filter(backends::level.eq(level).and(backends::scope_id.eq(owner.clone())))
            .set(backends::revision.eq(backends::revision))
            .returning(backends::id);
        let found: Option<String> = with!(tx, c => update.get_result(c).await.optional())?;
        if let Some(id) = found {
            held.push(column(TABLE, "id", &id, &id)?);
        }
    }
    Ok(held)
}

/// Adds a backend at a level.
#[boxed]
pub async fn add(
    tx: &mut Transaction,
    scope: LevelScope,
    backend: &Backend,
    vault: &Vault,
    at: Instant,
) -> Result<()> {
    let row = seal(tx, scope, backend, vault, at).await?;
    let insert = diesel::insert_into(backends::table).values(row);
    with!(tx, c => insert.execute(c).await)?;
    Ok(())
}

/// A backend of a level, held until the transaction ends.
#[boxed]
pub async fn lock(
    tx: &mut Transaction,
    scope: LevelScope,
    id: BackendId,
    vault: &Vault,
) -> Result<Option<Backend>> {
    if hold(tx, scope, &[id]).await?.is_empty() { Ok(None) } else { lookup(tx, scope, id, vault).await }
}

/// Writes a backend that is held, its revision included.
#[boxed]
pub async fn save(
    tx: &mut Transaction,
    scope: LevelScope,
    backend: &Backend,
    vault: &Vault,
    at: Instant,
) -> Result<()> {
    let row = seal(tx, scope, backend, vault, at).await?;
    let update = diesel::update(backends::table.find(row.id))
        .filter(backends::level.eq(row.level).and(backends::scope_id.eq(row.scope_id)))
        .set((
            backends::name.eq(row.name),
            backends::model.eq(row.model),
            backends::sealed_config.eq(row.sealed_config),
            backends::revision.eq(row.revision),
            backends::updated_at.eq(row.updated_at),
        ));
    with!(tx, c => update.execute(c).await)?;
    Ok(())
}

/// Removes a backend of a level, and takes it from the models that have it: how many there were. None when there is no such
/// backend.
#[boxed]
pub async fn remove(tx: &mut Transaction, scope: LevelScope, id: BackendId) -> Result<Option<usize>> {
    if hold(tx, scope, &[id]).await?.is_empty() {
        return Ok(None);
    }
    let mappings =
        diesel::delete(model_backends::table.filter(model_backends::backend_id.eq(id.to_string())));
    let taken = with!(tx, c => mappings.execute(c).await)?;
    let backend = diesel::delete(backends::table.find(id.to_string()));
    with!(tx, c => backend.execute(c).await)?;
    Ok(Some(taken))
}
