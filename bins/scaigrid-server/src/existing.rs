//! Whether a database has been set up, for what must not do that itself.
//!
//! Opening a database runs the missing migrations. An administrator who mistypes a path or a URL would so make a new,
//! empty platform and be told that their key is not valid; they are told what is the matter instead.

use diesel_async::{AsyncConnection as _, AsyncPgConnection, SimpleAsyncConnection as _};
use scaigrid_app::bootstrap::FIRST_PARTNER;
use scaigrid_persistence::{Database, DatabaseUrl, partners};
use scaigrid_scope::{PlatformScope, Slug};

use crate::files::Unusable;

/// Asks for a table of the first migration, and for no row of it.
const PROBE: &str = "SELECT 1 FROM platform_facts LIMIT 0";

/// Refuses a database without tables.
pub(crate) async fn require_tables(url: &DatabaseUrl) -> Result<(), Unusable> {
    match url {
        // The file of a database that was opened once is never empty.
        DatabaseUrl::Sqlite(path) => match std::fs::metadata(path) {
            Ok(file) if file.len() > 0 => Ok(()),
            Ok(_) => Err(not_set_up(&format!("{} is empty", path.display()))),
            Err(error) => Err(not_set_up(&format!("{}: {error}", path.display()))),
        },
        DatabaseUrl::Postgres(url) => {
            let unusable = |error| Unusable(format!("SCAIGRID_DATABASE_URL: {error}"));
            let mut connection = AsyncPgConnection::establish(url).await.map_err(unusable)?;
            connection.batch_execute(PROBE).await.map_err(|error| not_set_up(&error.to_string()))
        }
    }
}

/// Refuses a database that no server has started on yet.
pub(crate) async fn require_first_start(database: &Database, platform: PlatformScope) -> anyhow::Result<()> {
    let mut connection = database.read().await?;
    let first = partners::find_by_slug(&mut connection, platform, &Slug::parse(FIRST_PARTNER)?).await?;
    match first {
        Some(_) => Ok(()),
        None => Err(not_set_up("it has tables, but nobody in them").into()),
    }
}

fn not_set_up(how: &str) -> Unusable {
    Unusable(format!(
        "SCAIGRID_DATABASE_URL: the database is not set up; start the server on it once ({how})"
    ))
}
