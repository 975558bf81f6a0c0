//! What only PostgreSQL does: connections, migrations under an advisory lock.

use diesel::ConnectionError;
use diesel_async::pooled_connection::{ManagerConfig, RecyclingMethod};
use diesel_async::{AsyncConnection, AsyncMigrationHarness, AsyncPgConnection, SimpleAsyncConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::error::{Error, Result};
use crate::migrations::unknown;

pub(crate) const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../../migrations/postgres");

/// The advisory lock that a process holds while it migrates ("scaigrid" as a number).
const MIGRATION_LOCK: i64 = 0x7363_6169_6772_6964;

/// The first of the two numbers of the locks on who seals under which data key ("seal" as a number).
const SEALING_LOCK: i32 = 0x7365_616c;

/// How every session is set up.
///
/// No statement of ours takes as long as the time-outs; one that does is stuck, and every wait has an end. A node that stands
/// still, or that no word comes from any more, in the middle of a transaction loses what it had locked there before its lease
/// ends: others can take over what it was at.
///
/// Every query of ours goes by an index. The planner is told so, because prepared statements keep their first plan: one made
/// while a table was small would read the whole table a thousand times over until the next `ANALYZE`. Where there is no
/// other way it still reads a table, at a price on paper that must not have it compile the plan (`jit`).
const SESSION: &str = "SET statement_timeout = '60s'; SET lock_timeout = '20s'; \
                       SET idle_in_transaction_session_timeout = '5s'; SET TIME ZONE 'UTC'; \
                       SET enable_seqscan = off; SET jit = off";

/// When a connection is given up over which nothing comes back, in seconds: packets that nobody acknowledges, and probes that
/// nobody answers. The system's own patience is a quarter of an hour and two hours.
const LOST_AFTER: [(&str, u32); 4] =
    [("tcp_user_timeout", 8), ("keepalives_idle", 4), ("keepalives_interval", 2), ("keepalives_retries", 3)];

/// Connections are checked by using them: a broken one is noticed and replaced.
///
/// What travels over them is driven by the runtime that opens the database, whoever needs a connection first. A thread that
/// serves requests comes round to it only when it has been through all that it has to do, and everybody who got the connection
/// later, those who commit for all before others, would wait for that; nor would a connection outlive its thread.
pub(crate) fn manager_config() -> ManagerConfig<AsyncPgConnection> {
    let home = Handle::current();
    let mut config = ManagerConfig::default();
    config.recycling_method = RecyclingMethod::Fast;
    config.custom_setup = Box::new(move |url| {
        let (home, url) = (home.clone(), url.to_owned());
        async move {
            // Given up with the set, when nobody waits any more.
            let mut connecting = JoinSet::new();
            connecting.spawn_on(async move { connect(&url).await }, &home);
            let broken_off = || ConnectionError::BadConnection("connecting was broken off".to_owned());
            connecting.join_next().await.and_then(Result::ok).unwrap_or_else(|| Err(broken_off()))
        }
        .boxed()
    });
    config
}

/// The URL with what it leaves open of when a connection is lost.
fn with_patience(url: &str) -> String {
    let left_open = LOST_AFTER.into_iter().filter(|(name, _)| !url.contains(name));
    left_open.fold(url.to_owned(), |url, (name, seconds)| {
        let joint = if url.contains('?') { '&' } else { '?' };
        format!("{url}{joint}{name}={seconds}")
    })
}

async fn connect(url: &str) -> diesel::ConnectionResult<AsyncPgConnection> {
    let mut connection = AsyncPgConnection::establish(&with_patience(url)).await?;
    connection.batch_execute(SESSION).await.map_err(ConnectionError::CouldntSetupConfiguration)?;
    Ok(connection)
}

/// Runs the missing migrations. Another process that is at it is waited for.
pub(crate) async fn migrate(url: &str) -> Result<()> {
    let mut connection =
        AsyncPgConnection::establish(url).await.map_err(|error| Error::Unavailable(error.to_string()))?;
    connection.batch_execute(&format!("SELECT pg_advisory_lock({MIGRATION_LOCK})")).await?;
    // The lock goes with the connection.
    let run = |harness: &mut Harness| {
        if let Some(version) = newer(harness)? {
            return Ok(Some(version));
        }
        harness.run_pending_migrations(MIGRATIONS).map(|_| None).map_err(Failed::of)
    };
    match aside(connection, run).await? {
        Ok(None) => Ok(()),
        Ok(Some(version)) => Err(Error::newer(&version)),
        Err(Failed(error)) => Err(Error::Setup(format!("the migrations failed: {error}"))),
    }
}

/// A migration that the database has and this version does not know.
fn newer(harness: &mut Harness) -> std::result::Result<Option<String>, Failed> {
    unknown(harness, &MIGRATIONS).map_err(Failed::of)
}

type Harness = AsyncMigrationHarness<AsyncPgConnection>;

/// Why a migration failed.
struct Failed(String);

impl Failed {
    #[expect(clippy::needless_pass_by_value, reason = "what errors are mapped by")]
    fn of(error: Box<dyn std::error::Error + Send + Sync>) -> Self {
        Self(error.to_string())
    }
}

/// Does something with the migrations on a thread of its own. They block the thread that they run on, and waking up what
/// else the same task waits for would be lost on them.
async fn aside<T: Send + 'static>(
    connection: AsyncPgConnection,
    work: impl FnOnce(&mut Harness) -> T + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(move || work(&mut AsyncMigrationHarness::new(connection))).await;
    done.map_err(|error| Error::Setup(format!("the migrations broke off: {error}")))
}

/// Refuses a database without tables, or with those of an older version. It is not written to.
pub(crate) async fn require_migrated(url: &str) -> Result<()> {
    /// Asks for a table of the first migration, and for no row of it.
    const PROBE: &str = "SELECT 1 FROM platform_facts LIMIT 0";
    let mut connection =
        AsyncPgConnection::establish(url).await.map_err(|error| Error::Unavailable(error.to_string()))?;
    let probed = connection.batch_execute(PROBE).await;
    probed.map_err(|error| Error::Setup(format!("the database has no tables: {error}")))?;
    let look = |harness: &mut Harness| {
        let newer = newer(harness)?;
        Ok((newer, harness.has_pending_migration(MIGRATIONS).map_err(Failed::of)?))
    };
    match aside(connection, look).await? {
        Ok((Some(version), _)) => Err(Error::newer(&version)),
        Ok((None, false)) => Ok(()),
        Ok((None, true)) => Err(Error::Setup("the database lacks migrations of this version".into())),
        Err(Failed(error)) => Err(Error::Setup(error)),
    }
}

/// Holds the choice of an owner's data key until the transaction ends: together with all others who seal under it, or alone.
/// In memory, so that sealing writes nothing but what is sealed. Two owners that share a number wait for each other in vain.
pub(crate) async fn hold_sealing(c: &mut AsyncPgConnection, owner: &str, alone: bool) -> Result<()> {
    let shared = if alone { "" } else { "_shared" };
    let statement = format!("SELECT pg_advisory_xact_lock{shared}($1, hashtext($2))");
    let query = diesel::sql_query(statement)
        .bind::<diesel::sql_types::Integer, _>(SEALING_LOCK)
        .bind::<diesel::sql_types::Text, _>(owner.to_owned());
    diesel_async::RunQueryDsl::execute(query, c).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_url_says_counts() {
        let all = "tcp_user_timeout=8&keepalives_idle=4&keepalives_interval=2&keepalives_retries=3";
        assert_eq!(with_patience("postgres://u@h/d"), format!("postgres://u@h/d?{all}"));
        assert_eq!(with_patience("postgres://u@h/d?a=b"), format!("postgres://u@h/d?a=b&{all}"));
        let said = "postgres://u@h/d?tcp_user_timeout=60";
        let rest = &all["tcp_user_timeout=8&".len()..];
        assert_eq!(with_patience(said), format!("{said}&{rest}"));
    }
}
