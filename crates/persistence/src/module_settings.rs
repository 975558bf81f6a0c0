//! What each level has said about each module. What follows from it is for the domain to say.

use async_recursion::async_recursion as boxed;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use scaigrid_modules::{Enablement, ModuleId};
use scaigrid_scope::{
    Instant, Level, LevelScope, PartnerId, PartnerScope, PlatformScope, TenantScope, UserId,
};

use crate::database::{Connection, Transaction, with};
use crate::error::{Error, Result, column};
use crate::instant::Stamp;
use crate::schema::module_settings;

const TABLE: &str = "module_settings";
const PLATFORM: &str = "platform";
const PARTNER: &str = "partner";
const TENANT: &str = "tenant";
/// Stands where a user would, for what the process or its operator did.
const SYSTEM: &str = "system";

/// One level's word on one module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleSetting {
    /// Whose word it is.
    pub level: Level,
    /// About which module.
    pub module_id: ModuleId,
    /// On or off.
    pub enablement: Enablement,
    /// Who said so; none for the process itself or its operator.
    pub changed_by: Option<UserId>,
    /// When.
    pub changed_at: Instant,
}

#[derive(Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = module_settings)]
struct SettingRow {
    level: String,
    scope_id: String,
    module_id: String,
    enablement: String,
    changed_by: String,
    changed_at: Stamp,
}

/// A level as the two columns hold it. The platform, of which there is one, has an empty id.
pub(crate) fn place(level: Level) -> (&'static str, String) {
    match level {
        Level::Platform => (PLATFORM, String::new()),
        Level::Partner(id) => (PARTNER, id.to_string()),
        Level::Tenant(id) => (TENANT, id.to_string()),
    }
}

/// Reads what [`place`] wrote; `id` is what the row is called when it cannot be read.
pub(crate) fn level_at(table: &'static str, id: &str, level: &str, scope_id: &str) -> Result<Level> {
    match level {
        PLATFORM => Ok(Level::Platform),
        PARTNER => Ok(Level::Partner(column(table, "scope_id", id, scope_id)?)),
        TENANT => Ok(Level::Tenant(column(table, "scope_id", id, scope_id)?)),
        _ => Err(Error::inconsistent(table, "level", id, "there is no such level")),
    }
}

/// Reads who changed something.
pub(crate) fn author(
    table: &'static str,
    name: &'static str,
    id: &str,
    text: &str,
) -> Result<Option<UserId>> {
    if text == SYSTEM { Ok(None) } else { column(table, name, id, text).map(Some) }
}

/// Who changed something, as it is kept.
pub(crate) fn author_text(by: Option<UserId>) -> String {
    by.map_or_else(|| SYSTEM.to_owned(), |user| user.to_string())
}

impl TryFrom<SettingRow> for ModuleSetting {
    type Error = Error;

    fn try_from(row: SettingRow) -> Result<Self> {
        let id = format!("{}/{}/{}", row.level, row.scope_id, row.module_id);
        let level = level_at(TABLE, &id, &row.level, &row.scope_id)?;
        let changed_by = author(TABLE, "changed_by", &id, &row.changed_by)?;
        Ok(Self {
            level,
            module_id: column(TABLE, "module_id", &id, &row.module_id)?,
            enablement: column(TABLE, "enablement", &id, &row.enablement)?,
            changed_by,
            changed_at: row.changed_at.into(),
        })
    }
}

async fn of_levels(c: &mut Connection, levels: &[Level]) -> Result<Vec<ModuleSetting>> {
    let (names, ids): (Vec<_>, Vec<_>) = levels.iter().copied().map(place).unzip();
    // An id tells its level by its prefix, so the two columns need not be matched in pairs.
    let query = module_settings::table
        .filter(module_settings::level.eq_any(names))
        .filter(module_settings::scope_id.eq_any(ids))
        .order((module_settings::module_id, module_settings::level));
    let rows: Vec<SettingRow> = with!(c, c => query.select(SettingRow::as_select()).load(c).await)?;
    rows.into_iter().map(ModuleSetting::try_from).collect()
}

/// All that bears on a tenant: the words of the platform, of its partner and its own, in one query, by module.
#[boxed]
pub async fn for_tenant(
    c: &mut Connection,
    scope: TenantScope,
    its_partner: PartnerId,
) -> Result<Vec<ModuleSetting>> {
    of_levels(c, &[Level::Platform, Level::Partner(its_partner), Level::Tenant(scope.tenant_id())]).await
}

/// All that bears on a partner: the words of the platform and its own, in one query, by module.
#[boxed]
pub async fn for_partner(c: &mut Connection, scope: PartnerScope) -> Result<Vec<ModuleSetting>> {
    of_levels(c, &[Level::Platform, Level::Partner(scope.partner_id())]).await
}

/// The words of the platform, by module.
#[boxed]
pub async fn for_platform(c: &mut Connection, _: PlatformScope) -> Result<Vec<ModuleSetting>> {
    of_levels(c, &[Level::Platform]).await
}

/// A level's own word on a module, if it has said one.
#[boxed]
pub async fn lookup(
    c: &mut Connection,
    scope: LevelScope,
    module: &ModuleId,
) -> Result<Option<ModuleSetting>> {
    let (level, id) = place(scope.level());
    let query = module_settings::table.find((level, id, module.to_string()));
    let row: Option<SettingRow> =
        with!(c, c => query.select(SettingRow::as_select()).get_result(c).await.optional())?;
    row.map(ModuleSetting::try_from).transpose()
}

/// What became of a level's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// It is what the level has said before.
    Before,
    /// It stands in place of what the level has said before, if anything.
    Instead(Option<Enablement>),
}

/// How often [`set`] looks again when a word is said and taken back while it looks.
const ATTEMPTS: u32 = 4;

/// Keeps a level's word on a module, in place of an earlier one. Of several who say the same at once, one says it first.
#[boxed]
pub async fn set(
    tx: &mut Transaction,
    scope: LevelScope,
    module: &ModuleId,
    enablement: Enablement,
    by: Option<UserId>,
    at: Instant,
) -> Result<Said> {
    let (level, scope_id) = place(scope.level());
    let row = SettingRow {
        level: level.to_owned(),
        scope_id,
        module_id: module.to_string(),
        enablement: enablement.to_string(),
        changed_by: author_text(by),
        changed_at: at.into(),
    };
    let key = (row.level.clone(), row.scope_id.clone(), row.module_id.clone());
    for _ in 0..ATTEMPTS {
        // An update that changes nothing takes the row lock in both databases, by the same statement.
        let held = diesel::update(module_settings::table.find(key.clone()))
            .set(module_settings::changed_at.eq(module_settings::changed_at))
            .returning(module_settings::enablement);
        let held: Option<String> = with!(tx, c => held.get_result(c).await.optional())?;
        let Some(before) = held else {
            let insert = diesel::insert_into(module_settings::table)
                .values((
                    module_settings::level.eq(row.level.clone()),
                    module_settings::scope_id.eq(row.scope_id.clone()),
                    module_settings::module_id.eq(row.module_id.clone()),
                    module_settings::enablement.eq(row.enablement.clone()),
                    module_settings::changed_by.eq(row.changed_by.clone()),
                    module_settings::changed_at.eq(row.changed_at),
                ))
                .on_conflict_do_nothing();
            if with!(tx, c => insert.execute(c).await)? == 1 {
                return Ok(Said::Instead(None));
            }
            continue;
        };
        let before: Enablement = column(TABLE, "enablement", &key.2, &before)?;
        if before == enablement {
            return Ok(Said::Before);
        }
        let update = diesel::update(module_settings::table.find(key)).set((
            module_settings::enablement.eq(row.enablement),
            module_settings::changed_by.eq(row.changed_by),
            module_settings::changed_at.eq(row.changed_at),
        ));
        with!(tx, c => update.execute(c).await)?;
        return Ok(Said::Instead(Some(before)));
    }
    Err(Error::Unavailable("what is said of the module changes all the time".into()))
}

/// Takes back a level's word on a module, and gives it, if there was one.
#[boxed]
pub async fn clear(tx: &mut Transaction, scope: LevelScope, module: &ModuleId) -> Result<Option<Enablement>> {
    let (level, id) = place(scope.level());
    let delete = diesel::delete(module_settings::table.find((level, id, module.to_string())))
        .returning(module_settings::enablement);
    let said: Option<String> = with!(tx, c => delete.get_result(c).await.optional())?;
    said.map(|said| column(TABLE, "enablement", &module.to_string(), &said)).transpose()
}
