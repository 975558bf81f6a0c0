//! All rows of all tables, out of a database as it stands at one moment, and into an empty one: in a form that is the same
//! for both databases.
//!
//! A row is a JSON array of its columns in the order of [`Table::columns`]: texts and numbers as they are, instants as
//! microseconds since 1970 in UTC, JSON as its text, bytes in hexadecimal. The databases write and read it themselves.
//! What is sealed stays sealed. Nothing is left out but the leases of nodes, their duties and what they hold back for calls of models that go
//! on, which are nobody's past, and the figures and what Cores are found by, which come about anew while the
//! rows are written that they are of.

mod columns;
mod dialect;

use async_recursion::async_recursion as boxed;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use diesel_async::RunQueryDsl;
use scaigrid_scope::SystemScope;
use serde_json::Value;

use crate::database::{Connection, Snapshot, Transaction, with};
use crate::error::{Error, Result};
use crate::schema;

use columns::{Column, Columns};
use dialect::Dialect;

/// A table, as far as its rows can be taken out of it and put into it.
#[derive(Debug, Clone)]
pub struct Table {
    name: &'static str,
    columns: Vec<Column>,
    /// The positions of the columns of its key.
    key: Vec<usize>,
}

impl Table {
    /// Its name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The names of its columns, in the order in which a row has them.
    pub fn columns(&self) -> impl Iterator<Item = &'static str> {
        self.columns.iter().map(|column| column.name)
    }

    fn new(name: &'static str, columns: Vec<Column>, key: &[&str]) -> Self {
        let place = |part: &&str| columns.iter().position(|column| column.name == *part);
        let key = key.iter().filter_map(place).collect();
        Self { name, columns, key }
    }
}

macro_rules! tables {
    ($($table:ident [$($key:literal),+]),+ $(,)?) => {
        vec![$(Table::new(
            stringify!($table),
            <<schema::$table::table as diesel::Table>::AllColumns as Columns>::columns(),
            &[$($key),+],
        )),+]
    };
}

/// All tables whose rows are taken out, each after those that its rows refer to.
pub fn tables() -> Vec<Table> {
    tables![
        platform_facts["name"],
        partners["id"],
        tenants["id"],
        users["id"],
        external_identities["tenant_id", "issuer", "subject"],
        data_keys["owner", "generation"],
        signing_keys["generation"],
        api_keys["id"],
        user_groups["id"],
        group_members["group_id", "user_id"],
        custom_roles["id"],
        custom_role_holders["role_id", "user_id"],
        user_grants["tenant_id", "user_id"],
        module_settings["level", "scope_id", "module_id"],
        module_configs["level", "scope_id", "module_id"],
        audit_records["id"],
        audit_unsealed["record_id"],
        audit_seals["chain", "position"],
        audit_chains["chain"],
        audit_root["id"],
        idempotency_keys["tenant_id", "endpoint", "key"],
        cores["id"],
        core_versions["tenant_id", "core_id", "version"],
        delegations["tenant_id", "core_id"],
        avatar_objects["tenant_id", "core_id"],
        executions["id"],
        journal["tenant_id", "execution_id", "seq"],
        execution_snapshots["tenant_id", "execution_id", "seq"],
        removed_cores["tenant_id", "core_id"],
        objects["tenant_id", "hash"],
        object_refs["tenant_id", "object_id", "kind", "holder", "place"],
        execution_inbox["tenant_id", "execution_id", "effect"],
        checkpoints["id"],
        checkpoint_votes["tenant_id", "checkpoint_id", "user_id"],
        checkpoint_links["id"],
        mails["id"],
        core_memory["tenant_id", "core_id", "partition", "name", "key"],
        core_vectors["tenant_id", "core_id", "space", "hash"],
        core_events["id"],
        core_logs["tenant_id", "core_id", "lane", "last"],
        core_log_lanes["tenant_id", "core_id", "lane"],
        core_breakpoints["id"],
        timers["tenant_id", "kind", "owner", "effect"],
        event_waits["tenant_id", "execution_id", "effect"],
        core_triggers["id"],
        hook_messages["tenant_id", "core_id", "trigger_id", "message"],
        core_schedules["tenant_id", "core_id", "name"],
        core_subscriptions["tenant_id", "core_id", "from_slug", "event"],
        core_instances["tenant_id", "core_id", "key"],
        conversations["id"],
        conversation_turns["tenant_id", "conversation_id", "turn"],
        webhooks["id"],
        webhook_deliveries["id"],
        plugins["tenant_id", "plugin"],
        backends["id"],
        models["id"],
        model_backends["model_id", "backend_id"],
        model_groups["id"],
        model_group_members["group_id", "model_id"],
        tenant_models["tenant_id", "model_id"],
        model_usage["id"],
        model_budgets["tenant_id", "owner", "month"],
        workspace_settings["tenant_id", "name"],
        workspace_plugins["tenant_id", "plugin_id"],
        workspace_memories["tenant_id", "user_id", "id"],
        participants["id"],
        rooms["id"],
        room_members["tenant_id", "room_id", "participant_id"],
        room_messages["tenant_id", "room_id", "seq"],
        room_answers["id"],
        helper_invocations["id"],
        helper_days["tenant_id", "participant_id", "day"],
    ]
}

/// The tables whose rows are not taken out.
pub const LEFT_OUT: [&str; 6] =
    ["nodes", "model_reservations", "duties", "tallies", "model_usage_hours", "core_grams"];

/// Where the migrations are remembered.
const MIGRATIONS: &str = "__diesel_schema_migrations";

#[derive(QueryableByName)]
struct Written {
    #[diesel(sql_type = Text)]
    line: String,
}

#[derive(QueryableByName)]
struct Counted {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

/// Rows, and where the next ones begin.
#[derive(Debug)]
pub struct Rows {
    /// Each as the text of a JSON array.
    pub rows: Vec<String>,
    /// What [`read`] takes to go on behind them; none behind the last.
    pub after: Option<String>,
}

/// The names of the migrations that a database has had, in order: two with the same ones have the same tables.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn migrations(c: &mut Connection) -> Result<Vec<String>> {
    let query = format!("SELECT version AS line FROM {MIGRATIONS} ORDER BY version");
    let found: Vec<Written> = with!(c, c => diesel::sql_query(query).load(c).await)?;
    Ok(found.into_iter().map(|row| row.line).collect())
}

/// Up to `most` rows of a table, in the order of its key, behind where the last ones ended.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn read(
    snapshot: &mut Snapshot,
    _system: &SystemScope,
    table: &Table,
    after: Option<&str>,
    most: usize,
) -> Result<Rows> {
    let c = snapshot.connection()?;
    let query = Dialect::of(c)?.select(table, after.is_some(), most);
    let after = after.unwrap_or("[]").to_owned();
    let found: Vec<Written> = with!(c, c => diesel::sql_query(query).bind::<Text, _>(after).load(c).await)?;
    let rows: Vec<String> = found.into_iter().map(|row| row.line).collect();
    let after = match rows.last() {
        Some(last) if rows.len() == most => Some(key_of(table, last)?),
        _ => None,
    };
    Ok(Rows { rows, after })
}

/// The key of a row, as [`read`] takes it.
fn key_of(table: &Table, row: &str) -> Result<String> {
    let strange = |reason: String| Error::Inconsistent {
        table: table.name,
        column: "key",
        id: row.chars().take(80).collect(),
        reason,
    };
    let row: Vec<Value> = serde_json::from_str(row).map_err(|error| strange(error.to_string()))?;
    let key: Option<Vec<&Value>> = table.key.iter().map(|place| row.get(*place)).collect();
    let key = key.ok_or_else(|| strange("it has fewer columns than the table".to_owned()))?;
    serde_json::to_string(&key).map_err(|error| strange(error.to_string()))
}

/// Puts rows into a table: a JSON array of rows, as text. Says how many there were.
///
/// # Errors
/// The database's, also when a row is none of the table.
#[boxed]
pub async fn write(tx: &mut Transaction, _system: &SystemScope, table: &Table, rows: &str) -> Result<usize> {
    let query = Dialect::of(tx)?.insert(table);
    let rows = rows.to_owned();
    Ok(with!(tx, c => diesel::sql_query(query).bind::<Text, _>(rows).execute(c).await)?)
}

/// The first table that holds rows, if any does.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn occupied(c: &mut Connection, _system: &SystemScope) -> Result<Option<&'static str>> {
    for name in tables().iter().map(Table::name).chain(LEFT_OUT) {
        let query = format!("SELECT count(*) AS number FROM (SELECT 1 FROM {name} LIMIT 1) AS found");
        let found: Counted = with!(c, c => diesel::sql_query(query).get_result(c).await)?;
        if found.number > 0 {
            return Ok(Some(name));
        }
    }
    Ok(None)
}
