//! Databases that are filled by statements, since by the API it would take longer than what is measured with them.

use anyhow::Context as _;
use diesel::connection::{Connection as _, SimpleConnection as _};
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

impl Engine {
    /// The digits of a number, with zeros before them.
    pub(super) fn padded(self, number: &str, digits: u8) -> String {
        match self {
            Self::Sqlite => format!("printf('%0{digits}d', {number})"),
            Self::Postgres => format!("lpad(({number})::text, {digits}, '0')"),
        }
    }
}
