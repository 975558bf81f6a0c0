//! A bare program that makes the two durable commits of a flow with the rows that a flow leaves behind: copies of a flow that a server has
//! run, in the server's own tables, with their indexes and triggers. All requests that wait share a commit, and a statement for each table.
//!
//! What a statement does is given: it writes for every number in the common table expression `n (suffix)`. On `PostgreSQL` those of a
//! commit travel as one.

use std::sync::atomic::{AtomicU64, Ordering};

use actix_web::web::{self, Bytes};
use actix_web::{App, HttpResponse, HttpServer};
use anyhow::Context as _;
use diesel::connection::SimpleConnection as _;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::{Array, Text};
use diesel::sqlite::{Sqlite, SqliteConnection};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::queue::{Queue, Waiting, answer, gather};
use crate::options::FloorRows;

/// Requests in one commit at most.
const BATCH: usize = 512;
/// The digits that a copy's ids end with.
pub(crate) const DIGITS: u8 = 12;

/// What either commit of a flow does.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Statements {
    /// When it stops at its checkpoint.
    pub(crate) first: Vec<String>,
    /// When that is resolved.
    pub(crate) second: Vec<String>,
    /// The greatest number that is taken already.
    pub(crate) copies: u64,
}

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Half {
    First,
    Second,
}

/// One commit of one flow.
#[derive(Debug, Clone, Copy)]
struct Step {
    half: Half,
    number: u64,
}

/// The flows, and where their commits wait.
struct Flows {
    first: Queue<Step>,
    second: Queue<Step>,
    last: AtomicU64,
}

/// Serves until it is told to end.
pub(crate) fn serve(arguments: &FloorRows) -> anyhow::Result<()> {
    let file = &arguments.statements;
    let statements = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let statements: Statements = serde_json::from_slice(&statements)?;
    actix_web::rt::System::new().block_on(async move {
        let (first, beginning) = Queue::new();
        let second = if let Some(path) = arguments.database.strip_prefix("sqlite://") {
            commit_to_sqlite(path, &statements, beginning)?;
            first.clone()
        } else {
            let (second, ending) = Queue::new();
            commit_to_postgres(&arguments.database, &statements.first, beginning).await?;
            commit_to_postgres(&arguments.database, &statements.second, ending).await?;
            second
        };
        let flows = web::Data::new(Flows { first, second, last: AtomicU64::new(statements.copies) });
        let server = HttpServer::new(move || {
            App::new()
                .app_data(flows.clone())
                .route("/first", web::post().to(begin))
                .route("/second/{number}", web::post().to(end))
        });
        let server = server.shutdown_timeout(1).bind("127.0.0.1:0")?;
        super::announce(&server.addrs())?;
        server.run().await.context("the server failed")
    })
}

/// A new flow; its number is told. The body is read, as the server does.
async fn begin(flows: web::Data<Flows>, _: Bytes) -> HttpResponse {
    let number = flows.last.fetch_add(1, Ordering::Relaxed) + 1;
    match flows.first.commit(Step { half: Half::First, number }).await {
        Ok(()) => {
            let body = format!(r#"{{"status":"ok","flow":{number}}}"#);
            HttpResponse::Ok().content_type("application/json").body(body)
        }
        Err(_) => HttpResponse::ServiceUnavailable().finish(),
    }
}

async fn end(flows: web::Data<Flows>, number: web::Path<u64>, _: Bytes) -> HttpResponse {
    match flows.second.commit(Step { half: Half::Second, number: number.into_inner() }).await {
        Ok(()) => super::commit::stored(),
        Err(_) => HttpResponse::ServiceUnavailable().finish(),
    }
}

fn suffix(number: u64) -> String {
    format!("{number:0width$}", width = usize::from(DIGITS))
}

/// A statement over numbers. Its text is one of a few, so it is prepared once.
struct Over<'a, N> {
    before: &'static str,
    numbers: &'a N,
    after: &'a str,
}

impl<N> QueryId for Over<'_, N> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

/// On `SQLite` a JSON array of their suffixes.
impl QueryFragment<Sqlite> for Over<'_, String> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_sql(self.before);
        out.push_bind_param::<Text, _>(self.numbers)?;
        out.push_sql(self.after);
        Ok(())
    }
}

impl QueryFragment<Pg> for Over<'_, Vec<String>> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(self.before);
        out.push_bind_param::<Array<Text>, _>(self.numbers)?;
        out.push_sql(self.after);
        Ok(())
    }
}

impl<Conn, N> diesel::RunQueryDsl<Conn> for Over<'_, N> {}

/// What the writer of `SQLite` has open.
pub(crate) struct Writer {
    connection: SqliteConnection,
    first: Vec<String>,
    second: Vec<String>,
}

impl Writer {
    /// The pragmas are the server's.
    pub(crate) fn open(path: &str, statements: &Statements) -> anyhow::Result<Self> {
        let mut connection = SqliteConnection::establish(path).context("cannot open the database")?;
        connection.batch_execute(
            "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
             PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -8192; \
             PRAGMA wal_autocheckpoint = 4000",
        )?;
        let after = |bodies: &[String]| bodies.iter().map(|body| format!(")) {body}")).collect();
        Ok(Self { connection, first: after(&statements.first), second: after(&statements.second) })
    }

    /// Makes one commit, in which some flows begin and others end.
    pub(crate) fn copy(&mut self, begin: &[u64], end: &[u64]) -> QueryResult<()> {
        let Self { connection, first, second } = self;
        connection.immediate_transaction(|connection| {
            for (numbers, statements) in [(begin, &*first), (end, &*second)] {
                if numbers.is_empty() {
                    continue;
                }
                let suffixes: Vec<_> =
                    numbers.iter().map(|&number| format!("\"{}\"", suffix(number))).collect();
                let numbers = format!("[{}]", suffixes.join(","));
                for after in statements {
                    let before = "WITH n (suffix) AS (SELECT value FROM json_each(";
                    diesel::RunQueryDsl::execute(Over { before, numbers: &numbers, after }, connection)?;
                }
            }
            Ok(())
        })
    }
}

/// One thread is the writer, as `SQLite` has only one.
fn commit_to_sqlite(
    path: &str,
    statements: &Statements,
    mut waiting: mpsc::Receiver<Waiting<Step>>,
) -> anyhow::Result<()> {
    let mut writer = Writer::open(path, statements)?;
    std::thread::spawn(move || {
        let mut batch = Vec::with_capacity(BATCH);
        while let Some(first) = waiting.blocking_recv() {
            gather(BATCH, first, &mut waiting, &mut batch);
            let of = |half: Half| {
                let steps = batch.iter().map(|one| one.what).filter(move |step| step.half == half);
                steps.map(|step| step.number).collect::<Vec<_>>()
            };
            let (begin, end) = (of(Half::First), of(Half::Second));
            answer(writer.copy(&begin, &end), &mut batch);
        }
    });
    Ok(())
}

/// The statements of a commit as one, which is a transaction by itself.
fn joined(statements: &[String]) -> String {
    let parts = statements.iter().enumerate().map(|(number, body)| format!(", part_{number} AS ({body})"));
    format!(")){} SELECT 1", parts.collect::<Vec<_>>().concat())
}

/// One connection for either half, as many in all as the other floor has.
async fn commit_to_postgres(
    url: &str,
    statements: &[String],
    mut waiting: mpsc::Receiver<Waiting<Step>>,
) -> anyhow::Result<()> {
    let mut connection = AsyncPgConnection::establish(url).await.context("cannot connect")?;
    let after = joined(statements);
    actix_web::rt::spawn(async move {
        let mut batch = Vec::with_capacity(BATCH);
        while let Some(first) = waiting.recv().await {
            gather(BATCH, first, &mut waiting, &mut batch);
            let numbers: Vec<String> = batch.iter().map(|one| suffix(one.what.number)).collect();
            let before = "WITH n (suffix) AS (SELECT * FROM UNNEST(";
            let statement = Over { before, numbers: &numbers, after: &after };
            let committed = RunQueryDsl::execute(statement, &mut connection).await.map(drop);
            answer(committed, &mut batch);
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_copies_are_of_one_length() {
        assert_eq!((suffix(1), suffix(999_999_999_999).len()), ("000000000001".to_owned(), 12));
    }

    #[test]
    fn the_statements_of_a_commit_are_joined() {
        let statements = ["INSERT 1".to_owned(), "UPDATE 2".to_owned()];
        assert_eq!(joined(&statements), ")), part_0 AS (INSERT 1), part_1 AS (UPDATE 2) SELECT 1");
    }

    #[test]
    fn a_commit_writes_for_those_who_wait() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.db").display().to_string();
        let write =
            |text: &str| vec![format!("INSERT INTO written (text) SELECT '{text}' || n.suffix FROM n")];
        let statements = Statements { first: write("a"), second: write("b"), copies: 0 };
        let mut writer = Writer::open(&file, &statements).unwrap();
        writer.connection.batch_execute("CREATE TABLE written (text TEXT NOT NULL)").unwrap();
        writer.copy(&[2, 3], &[1]).unwrap();
        let texts = diesel::dsl::sql::<Text>("SELECT text FROM written ORDER BY text");
        let texts: Vec<String> = diesel::RunQueryDsl::load(texts, &mut writer.connection).unwrap();
        assert_eq!(texts, ["a000000000002", "a000000000003", "b000000000001"]);
    }
}
