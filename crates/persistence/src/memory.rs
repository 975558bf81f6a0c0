//! Cores' memory: entries by Core, instance, variable and key. It is written with the journal, by [`crate::commit`].

use std::collections::BTreeMap;

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Text};
use diesel_async::RunQueryDsl;
use scaigrid_ir::Value;
use scaigrid_scope::{CoreId, TenantScope};

use crate::database::{Connection, Engine, with};
use crate::error::Result;
use crate::executions::decode;
use crate::json::text_storable;
use crate::schema::core_memory;

const TABLE: &str = "core_memory";
/// Entries of a variable that are counted where many variables are shown.
pub const COUNTED_AT_MOST: u64 = 10_000;
/// Keys in one query.
const KEYS_AT_ONCE: usize = 500;

/// An entry of a Core's memory.
#[derive(Debug, Clone, PartialEq)]
pub struct MemoryEntry {
    /// Its key; empty for scalars.
    pub key: String,
    /// Its value.
    pub value: Value,
    /// Changes with every write and never comes back.
    pub version: i64,
}

/// Where a variable lies.
#[derive(Debug, Clone, Copy)]
pub struct Variable<'a> {
    /// The Core.
    pub core_id: CoreId,
    /// The instance; empty for stateless Cores.
    pub partition: &'a str,
    /// The variable.
    pub name: &'a str,
}

/// One entry.
pub async fn lookup(
    c: &mut Connection,
    scope: TenantScope,
    variable: Variable<'_>,
    key: &str,
) -> Result<Option<MemoryEntry>> {
    let place = (
        scope.tenant_id().to_string(),
        variable.core_id.to_string(),
        text_storable(variable.partition.to_owned()),
        variable.name,
        text_storable(key.to_owned()),
    );
    let query = core_memory::table.find(place).select((core_memory::value, core_memory::version));
    let row: Option<(Vec<u8>, i64)> = with!(c, c => query.get_result(c).await.optional())?;
    match row {
        Some((value, version)) => {
            let value = c.open(scope.tenant_id(), value).await?;
            entry(key.to_owned(), &value, version).map(Some)
        }
        None => Ok(None),
    }
}

/// Which entries of a variable are listed.
#[derive(Debug, Clone, Default)]
pub struct EntryFilter {
    /// Keys begin with this.
    pub prefix: Option<String>,
    /// From the greatest key down.
    pub descending: bool,
    /// Keys come after this one, in the order that is asked for.
    pub after: Option<String>,
}

/// Entries in key order.
pub async fn list(
    c: &mut Connection,
    scope: TenantScope,
    variable: Variable<'_>,
    filter: &EntryFilter,
    rows: i64,
) -> Result<Vec<MemoryEntry>> {
    macro_rules! query {
        () => {{
            let mut query = core_memory::table
                .filter(core_memory::tenant_id.eq(scope.tenant_id().to_string()))
                .filter(core_memory::core_id.eq(variable.core_id.to_string()))
                .filter(core_memory::partition.eq(text_storable(variable.partition.to_owned())))
                .filter(core_memory::name.eq(variable.name.to_owned()))
                .limit(rows)
                .select((core_memory::key, core_memory::value, core_memory::version))
                .into_boxed();
            if let Some(prefix) = filter.prefix.clone().map(text_storable) {
                query = query.filter(core_memory::key.ge(prefix.clone()));
                // The range ends at the first key that no text with this prefix can reach.
                if let Some(end) = after_prefix(&prefix) {
                    query = query.filter(core_memory::key.lt(end));
                }
            }
            let after = filter.after.clone().map(text_storable);
            if filter.descending {
                if let Some(after) = after {
                    query = query.filter(core_memory::key.lt(after));
                }
                query.order(core_memory::key.desc())
            } else {
                if let Some(after) = after {
                    query = query.filter(core_memory::key.gt(after));
                }
                query.order(core_memory::key.asc())
            }
        }};
    }
    let rows: Vec<(String, Vec<u8>, i64)> = with!(c, c => query!().load(c).await)?;
    let mut entries = Vec::with_capacity(rows.len());
    for (key, value, version) in rows {
        let value = c.open(scope.tenant_id(), value).await?;
        entries.push(entry(key, &value, version)?);
    }
    Ok(entries)
}

/// How many entries a variable has.
pub async fn count(c: &mut Connection, scope: TenantScope, variable: Variable<'_>) -> Result<u64> {
    let query = core_memory::table
        .filter(core_memory::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(core_memory::core_id.eq(variable.core_id.to_string()))
        .filter(core_memory::partition.eq(text_storable(variable.partition.to_owned())))
        .filter(core_memory::name.eq(variable.name.to_owned()))
        .count();
    let count: i64 = with!(c, c => query.get_result(c).await)?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// How many entries a variable has, as far as that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// The number, at most [`COUNTED_AT_MOST`].
    pub entries: u64,
    /// Whether there are more.
    pub more: bool,
}

/// How many entries variables have in one place; those without any are left out.
pub async fn counts(
    c: &mut Connection,
    scope: TenantScope,
    (core_id, partition): (CoreId, &str),
    names: &[String],
) -> Result<BTreeMap<String, Counted>> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        name: String,
        #[diesel(sql_type = BigInt)]
        count: i64,
    }
    let counting = |names: &str| {
        let beyond = COUNTED_AT_MOST + 1;
        diesel::sql_query(format!(
            "SELECT n.name, (SELECT count(*) FROM (SELECT 1 FROM core_memory m WHERE m.tenant_id = $1 AND m.core_id = $2 \
             AND m.\"partition\" = $3 AND m.name = n.name LIMIT {beyond}) AS held) AS count FROM {names}"
        ))
        .bind::<Text, _>(scope.tenant_id().to_string())
        .bind::<Text, _>(core_id.to_string())
        .bind::<Text, _>(text_storable(partition.to_owned()))
    };
    let rows: Vec<Row> = match c.engine()? {
        Engine::Postgres(c) => {
            counting("unnest($4) AS n (name)").bind::<Array<Text>, _>(names).load(c).await?
        }
        Engine::Sqlite(c) => {
            let names = serde_json::json!(names).to_string();
            counting("(SELECT value AS name FROM json_each($4)) AS n").bind::<Text, _>(names).load(c).await?
        }
    };
    let counted = rows.into_iter().filter(|row| row.count > 0).map(|row| {
        let entries = u64::try_from(row.count).unwrap_or(0);
        let more = entries > COUNTED_AT_MOST;
        (row.name, Counted { entries: entries.min(COUNTED_AT_MOST), more })
    });
    Ok(counted.collect())
}

/// The key of a variable's entry at a place in key order, counted from 0.
pub async fn key_at(
    c: &mut Connection,
    scope: TenantScope,
    variable: Variable<'_>,
    place: u32,
) -> Result<Option<String>> {
    let query = core_memory::table
        .filter(core_memory::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(core_memory::core_id.eq(variable.core_id.to_string()))
        .filter(core_memory::partition.eq(text_storable(variable.partition.to_owned())))
        .filter(core_memory::name.eq(variable.name.to_owned()))
        .order(core_memory::key.asc())
        .offset(i64::from(place))
        .limit(1)
        .select(core_memory::key);
    Ok(with!(c, c => query.get_result(c).await.optional())?)
}

/// How many of these keys, each named once, are there.
pub async fn count_of(
    c: &mut Connection,
    scope: TenantScope,
    variable: Variable<'_>,
    keys: &[&str],
) -> Result<u64> {
    let mut found = 0;
    for keys in keys.chunks(KEYS_AT_ONCE) {
        let keys: Vec<String> = keys.iter().map(|key| text_storable((*key).to_owned())).collect();
        let query = core_memory::table
            .filter(core_memory::tenant_id.eq(scope.tenant_id().to_string()))
            .filter(core_memory::core_id.eq(variable.core_id.to_string()))
            .filter(core_memory::partition.eq(text_storable(variable.partition.to_owned())))
            .filter(core_memory::name.eq(variable.name.to_owned()))
            .filter(core_memory::key.eq_any(keys))
            .count();
        let count: i64 = with!(c, c => query.get_result(c).await)?;
        found += u64::try_from(count).unwrap_or(0);
    }
    Ok(found)
}

fn entry(key: String, value: &[u8], version: i64) -> Result<MemoryEntry> {
    let value = decode(TABLE, "value", &key, value)?;
    Ok(MemoryEntry { key, value, version })
}

/// The least text that is greater than every text that begins with `prefix`, by code points.
fn after_prefix(prefix: &str) -> Option<String> {
    let mut end: Vec<char> = prefix.chars().collect();
    while let Some(last) = end.pop() {
        let next = (u32::from(last) + 1..=u32::from(char::MAX)).find_map(char::from_u32);
        if let Some(next) = next {
            end.push(next);
            return Some(end.into_iter().collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::after_prefix;

    #[test]
    fn a_prefix_ends_where_the_next_text_begins() {
        assert_eq!(after_prefix("ab").as_deref(), Some("ac"));
        assert_eq!(after_prefix("a\u{d7ff}").as_deref(), Some("a\u{e000}"));
        assert_eq!(after_prefix("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(after_prefix(""), None);
    }
}
