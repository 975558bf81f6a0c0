//! What the planner of PostgreSQL knows of tables.
//!
//! A prepared statement keeps its plan until its tables are analysed. One that is made while they are small takes any index that would
//! do there, and reads all of it once they are large. The server itself analyses a table within a minute or so of its growing, which a
//! busy hour does not wait for; here it is done as soon as a table has grown a few times over. SQLite plans without counting rows.

use async_recursion::async_recursion as boxed;
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Text};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection as _};
use scaigrid_scope::SystemScope;

use crate::database::{Connection, Engine};
use crate::error::Result;

/// Rows of a table for which any plan is good enough.
const FEW: i64 = 300;
/// How many times as large a table is as it was known to be when it is analysed.
const GROWN: i64 = 3;
/// Tables that are analysed one after the other, at most.
const AT_ONCE: i64 = 100;

#[derive(QueryableByName)]
struct Grown {
    #[diesel(sql_type = Text)]
    name: String,
}

/// Has the tables analysed that have grown since they were, and names them; none on SQLite. What somebody else analyses is left to them.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn analyse_grown(c: &mut Connection, _system: &SystemScope) -> Result<Vec<String>> {
    let Engine::Postgres(c) = c.engine()? else { return Ok(Vec::new()) };
    // A table that was never analysed has -1 rows; one of another owner is not analysed, but complained of in the log. Names are
    // quoted as the statement needs them.
    let grown = "SELECT quote_ident(s.relname) AS name FROM pg_stat_user_tables s JOIN pg_class t ON t.oid = s.relid \
                 WHERE s.schemaname = current_schema() AND pg_has_role(t.relowner, 'USAGE') AND s.n_live_tup >= $1 \
                 AND s.n_live_tup >= $2 * greatest(t.reltuples, 0) ORDER BY s.n_live_tup DESC LIMIT $3";
    let grown =
        diesel::sql_query(grown).bind::<BigInt, _>(FEW).bind::<BigInt, _>(GROWN).bind::<BigInt, _>(AT_ONCE);
    let grown: Vec<Grown> = grown.load(c).await?;
    for Grown { name } in &grown {
        c.batch_execute(&format!("ANALYZE (SKIP_LOCKED) {name}")).await?;
    }
    Ok(grown.into_iter().map(|grown| grown.name).collect())
}
