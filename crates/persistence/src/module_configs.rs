//! What each level has configured of each module. Secrets are sealed here and opened here, under the key of the level
//! that gave them; everything else about them is for the domain to say.

use std::collections::{BTreeMap, BTreeSet};

use async_recursion::async_recursion as boxed;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use scaigrid_modules::ModuleId;
use scaigrid_modules::config::{ConfigSchema, Layer, Origin};
use scaigrid_scope::{Instant, Level, LevelScope, PartnerId, PartnerScope, PlatformScope, TenantScope};
use serde_json::{Map, Value, json};

use crate::data_keys;
use crate::database::{Connection, Transaction, with};
use crate::error::{Error, Result};
use crate::instant::Stamp;
use crate::json::storable;
use crate::module_settings::{author, author_text, level_at, place};
use crate::schema::module_configs;
use crate::sealing::Vault;

const TABLE: &str = "module_configs";

/// What one level has configured of one module.
#[derive(Debug, Clone, PartialEq)]
pub struct ModuleConfig {
    /// Whose configuration it is.
    pub level: Level,
    /// The values, secrets in the clear.
    pub layer: Layer,
    /// Counts its changes, from 1.
    pub revision: i64,
}

#[derive(Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = module_configs)]
struct ConfigRow {
    level: String,
    scope_id: String,
    module_id: String,
    config: Value,
    secrets: Value,
    origins: Value,
    revision: i64,
    changed_at: Stamp,
}

/// What a sealed value is bound to, beside its level.
pub(crate) fn sealing_place(module: &str, pointer: &str) -> String {
    format!("modules/{module}/config{pointer}")
}

async fn read(c: &mut Connection, row: ConfigRow, vault: &Vault) -> Result<ModuleConfig> {
    let id = format!("{}/{}/{}", row.level, row.scope_id, row.module_id);
    let impossible = |column: &'static str, reason: &dyn std::fmt::Display| {
        Error::inconsistent(TABLE, column, &id, reason)
    };
    let level = level_at(TABLE, &id, &row.level, &row.scope_id)?;
    let mut values = row.config;
    let mut secrets = BTreeSet::new();
    let texts = || row.secrets.as_object().into_iter().flatten();
    let opener = data_keys::opener_at(c, level, vault, texts().filter_map(|(_, text)| text.as_str())).await?;
    for (pointer, sealed) in texts() {
        let clear = opener
            .open(&sealing_place(&row.module_id, pointer), sealed.as_str().unwrap_or_default())
            .map_err(|error| impossible("secrets", &error))?;
        let secret: Value =
            serde_json::from_str(&clear).map_err(|_| impossible("secrets", &"it is no JSON"))?;
        let Some(part) = values.pointer_mut(pointer) else {
            return Err(impossible("secrets", &"there is nothing at the place of a secret"));
        };
        *part = secret;
        secrets.insert(pointer.clone());
    }
    let mut origins = BTreeMap::new();
    for (pointer, origin) in row.origins.as_object().into_iter().flatten() {
        let (Some(at), Some(by)) = (origin["at"].as_i64(), origin["by"].as_str()) else {
            return Err(impossible("origins", &"an origin is a time and a name"));
        };
        let origin = Origin { at: Instant::from_micros(at), by: author(TABLE, "origins", &id, by)? };
        origins.insert(pointer.clone(), origin);
    }
    let layer =
        Layer::kept(values, secrets, origins).ok_or_else(|| impossible("config", &"it is no object"))?;
    Ok(ModuleConfig { level, layer, revision: row.revision })
}

async fn of_levels(
    c: &mut Connection,
    levels: &[Level],
    module: &ModuleId,
    vault: &Vault,
) -> Result<Vec<ModuleConfig>> {
    let (names, ids): (Vec<_>, Vec<_>) = levels.iter().copied().map(place).unzip();
    // An id tells its level by its prefix, so the two columns need not be matched in pairs.
    let query = module_configs::table
        .filter(module_configs::level.eq_any(names))
        .filter(module_configs::scope_id.eq_any(ids))
        .filter(module_configs::module_id.eq(module.to_string()));
    let rows: Vec<ConfigRow> = with!(c, c => query.select(ConfigRow::as_select()).load(c).await)?;
    let mut configs = Vec::with_capacity(rows.len());
    for row in rows {
        configs.push(read(c, row, vault).await?);
    }
    Ok(configs)
}

/// All that bears on a tenant: what the platform, its partner and it have configured of a module, in one query. In no
/// particular order.
#[boxed]
pub async fn for_tenant(
    c: &mut Connection,
    scope: TenantScope,
    its_partner: PartnerId,
    module: &ModuleId,
    vault: &Vault,
) -> Result<Vec<ModuleConfig>> {
    let levels = [Level::Platform, Level::Partner(its_partner), Level::Tenant(scope.tenant_id())];
    of_levels(c, &levels, module, vault).await
}

/// All that bears on a partner: what the platform and it have configured of a module, in one query.
#[boxed]
pub async fn for_partner(
    c: &mut Connection,
    scope: PartnerScope,
    module: &ModuleId,
    vault: &Vault,
) -> Result<Vec<ModuleConfig>> {
    of_levels(c, &[Level::Platform, Level::Partner(scope.partner_id())], module, vault).await
}

/// What the platform has configured of a module.
#[boxed]
pub async fn for_platform(
    c: &mut Connection,
    _: PlatformScope,
    module: &ModuleId,
    vault: &Vault,
) -> Result<Vec<ModuleConfig>> {
    of_levels(c, &[Level::Platform], module, vault).await
}

/// Has the transaction be the only one that changes what a level has configured of a module, if it has.
#[boxed]
pub async fn lock(tx: &mut Transaction, scope: LevelScope, module: &ModuleId) -> Result<()> {
    let (level, scope_id) = place(scope.level());
    // An update that changes nothing takes the row lock in both databases, by the same statement.
    let update = diesel::update(module_configs::table.find((level.to_owned(), scope_id, module.to_string())))
        .set(module_configs::revision.eq(module_configs::revision));
    with!(tx, c => update.execute(c).await)?;
    Ok(())
}

/// Keeps what a level has configured of a module, sealing what the schema calls secret, if what was there before still is
/// what the caller saw: a revision, or nothing. False when somebody else was faster.
#[expect(clippy::too_many_arguments, reason = "a row, what it must be now, and what it takes to write it")]
#[boxed]
pub async fn save(
    tx: &mut Transaction,
    scope: LevelScope,
    module: &ModuleId,
    schema: &ConfigSchema,
    layer: &Layer,
    seen: Option<i64>,
    at: Instant,
    vault: &Vault,
) -> Result<bool> {
    let mut config = layer.values().clone();
    let mut secrets = Map::new();
    let mut sealer = None;
    for pointer in layer.secrets(schema) {
        let Some(part) = config.pointer_mut(&pointer) else { continue };
        let clear = std::mem::take(part).to_string();
        let sealer = match &sealer {
            Some(sealer) => sealer,
            None => sealer.insert(data_keys::sealer(tx, scope, vault, at).await?),
        };
        let text = sealer.seal(&sealing_place(module.as_str(), &pointer), &clear);
        secrets.insert(pointer, text.map_err(|error| Error::Setup(error.to_string()))?.into());
    }
    let origin = |(pointer, origin): (&String, &Origin)| {
        (pointer.clone(), json!({"at": origin.at.micros(), "by": author_text(origin.by)}))
    };
    let origins: Map<String, Value> = layer.origins().iter().map(origin).collect();
    let (level, scope_id) = place(scope.level());
    let row = ConfigRow {
        level: level.to_owned(),
        scope_id,
        module_id: module.to_string(),
        config: storable(config),
        secrets: Value::Object(secrets),
        origins: Value::Object(origins),
        revision: seen.unwrap_or(0) + 1,
        changed_at: at.into(),
    };
    let rows = match seen {
        None => {
            let insert = diesel::insert_into(module_configs::table).values(row).on_conflict_do_nothing();
            with!(tx, c => insert.execute(c).await)?
        }
        Some(revision) => {
            let key = (row.level, row.scope_id, row.module_id);
            let update = diesel::update(module_configs::table.find(key))
                .filter(module_configs::revision.eq(revision))
                .set((
                    module_configs::config.eq(row.config),
                    module_configs::secrets.eq(row.secrets),
                    module_configs::origins.eq(row.origins),
                    module_configs::revision.eq(row.revision),
                    module_configs::changed_at.eq(row.changed_at),
                ));
            with!(tx, c => update.execute(c).await)?
        }
    };
    Ok(rows > 0)
}
