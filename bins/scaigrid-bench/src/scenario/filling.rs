//! Databases that are filled by statements, since by the API it would take longer than what is measured with them.

use anyhow::{Context as _, ensure};
use diesel::connection::{Connection as _, SimpleConnection as _};
use diesel::sql_types::{BigInt, Text};
use diesel::sqlite::SqliteConnection;
use diesel_async::{AsyncConnection as _, AsyncPgConnection, SimpleAsyncConnection as _};

use crate::options::Engine;
use crate::scratch::Place;

/// Runs statements, each of these texts in a transaction of its own, in a database that a server has set up and does not use
/// at the moment. What is planned afterwards is planned with knowledge of what is there.
pub(super) async fn run(place: &Place, batches: impl Iterator<Item = String>) -> anyhow::Result<()> {
    if let Some(path) = place.url.strip_prefix("sqlite://") {
        let mut connection = SqliteConnection::establish(path).context("cannot open the database")?;
        for batch in batches {
            connection.batch_execute(&format!("BEGIN;\n{batch}COMMIT;\n"))?;
            // Whoever wants to interrupt gets a chance.
            tokio::task::yield_now().await;
        }
    } else {
        let mut connection = AsyncPgConnection::establish(&place.url).await.context("PostgreSQL")?;
        for batch in batches {
            connection.batch_execute(&format!("BEGIN;\n{batch}COMMIT;\n")).await?;
        }
        connection.batch_execute("ANALYZE").await?;
    }
    Ok(())
}

/// The columns of a table.
pub(super) async fn columns(place: &Place, table: &str) -> anyhow::Result<Vec<String>> {
    #[derive(diesel::QueryableByName)]
    struct Column {
        #[diesel(sql_type = Text)]
        name: String,
    }
    let found: Vec<Column> = if let Some(path) = place.url.strip_prefix("sqlite://") {
        let mut connection = SqliteConnection::establish(path).context("cannot open the database")?;
        let query = diesel::sql_query("SELECT name FROM pragma_table_info(?)").bind::<Text, _>(table);
        diesel::RunQueryDsl::load(query, &mut connection)?
    } else {
        let mut connection = AsyncPgConnection::establish(&place.url).await.context("PostgreSQL")?;
        let query = diesel::sql_query(
            "SELECT column_name::text AS name FROM information_schema.columns \
             WHERE table_schema = current_schema() AND table_name = $1 ORDER BY ordinal_position",
        );
        diesel_async::RunQueryDsl::load(query.bind::<Text, _>(table), &mut connection).await?
    };
    ensure!(!found.is_empty(), "there is no table {table}");
    Ok(found.into_iter().map(|column| column.name).collect())
}

/// How many rows a table has, or those of one for which a condition holds that is written behind its name.
pub(super) async fn count(place: &Place, of: &str) -> anyhow::Result<i64> {
    #[derive(diesel::QueryableByName)]
    struct Counted {
        #[diesel(sql_type = BigInt)]
        count: i64,
    }
    let query = diesel::sql_query(format!("SELECT count(*) AS count FROM {of}"));
    let found: Counted = if let Some(path) = place.url.strip_prefix("sqlite://") {
        let mut connection = SqliteConnection::establish(path).context("cannot open the database")?;
        diesel::RunQueryDsl::get_result(query, &mut connection)?
    } else {
        let mut connection = AsyncPgConnection::establish(&place.url).await.context("PostgreSQL")?;
        diesel_async::RunQueryDsl::get_result(query, &mut connection).await?
    };
    Ok(found.count)
}

impl Engine {
    /// The digits of a number, with zeros before them.
    pub(super) fn padded(self, number: &str, digits: u8) -> String {
        match self {
            Self::Sqlite => format!("printf('%0{digits}d', {number})"),
            Self::Postgres => format!("lpad(({number})::text, {digits}, '0')"),
        }
    }
}
