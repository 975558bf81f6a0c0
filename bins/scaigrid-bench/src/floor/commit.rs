//! A bare program that makes durable inserts of every request's body, in commits that many requests share, or each has to
//! itself. Beside `/commit` it has `/flow`, which commits and calls as often as a flow does.

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use actix_web::web::{self, Bytes};
use actix_web::{App, HttpResponse, HttpServer};
use anyhow::Context as _;
use diesel::connection::SimpleConnection as _;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::{Array, Binary};
use diesel::sqlite::SqliteConnection;
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection as _};
use tokio::sync::{Mutex, mpsc};

use super::flow::{self, Flow};
use super::queue::{Queue, Waiting, answer, gather};
use crate::options::FloorCommit;

/// Bodies in one commit at most.
const BATCH: usize = 512;

diesel::table! {
    bench_floor (id) {
        id -> BigInt,
        body -> Binary,
    }
}

/// A row of each body on PostgreSQL: one statement, however many there are, which is prepared once.
struct Insert<'a>(Vec<&'a [u8]>);

impl QueryId for Insert<'_> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl QueryFragment<Pg> for Insert<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("INSERT INTO bench_floor (body) SELECT * FROM UNNEST(");
        out.push_bind_param::<Array<Binary>, _>(&self.0)?;
        out.push_sql(")");
        Ok(())
    }
}

impl<Conn> diesel::RunQueryDsl<Conn> for Insert<'_> {}

/// What goes into one commit.
#[derive(Debug, Clone, Copy)]
struct Amount {
    /// Requests at most.
    requests: usize,
    /// Rows of each.
    rows: usize,
}

/// Serves until it is told to end.
pub(crate) fn serve(arguments: &FloorCommit) -> anyhow::Result<()> {
    let (queue, waiting) = Queue::new();
    let amount =
        Amount { requests: if arguments.apart { 1 } else { BATCH }, rows: usize::from(arguments.rows) };
    let queue = web::Data::new(queue);
    let (calls, at_once, joined) = (arguments.calls, usize::from(arguments.at_once), arguments.joined);
    let stub = arguments.stub.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    actix_web::rt::System::new().block_on(async move {
        match arguments.database.strip_prefix("sqlite://") {
            Some(path) => commit_to_sqlite(path, amount, waiting)?,
            None => commit_to_postgres(&arguments.database, arguments.committers, amount, waiting).await?,
        }
        let server = HttpServer::new(move || {
            let flow = Flow { calls, at_once, joined, stub, idle: Rc::new(RefCell::default()) };
            App::new()
                .app_data(queue.clone())
                .app_data(web::Data::new(flow))
                .route("/flow", web::post().to(flow::run))
                .default_service(web::to(store))
        });
        let server = server.shutdown_timeout(1).bind("127.0.0.1:0")?;
        super::announce(&server.addrs())?;
        server.run().await.context("the server failed")
    })
}

async fn store(queue: web::Data<Queue<Bytes>>, body: Bytes) -> HttpResponse {
    match queue.commit(body).await {
        Ok(()) => stored(),
        Err(_) => HttpResponse::ServiceUnavailable().finish(),
    }
}

/// The answer when all is durable.
pub(super) fn stored() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(r#"{"status":"ok"}"#)
}

/// One thread is the writer, as `SQLite` has only one. The pragmas are the server's.
fn commit_to_sqlite(
    path: &str,
    amount: Amount,
    mut waiting: mpsc::Receiver<Waiting<Bytes>>,
) -> anyhow::Result<()> {
    let mut connection = SqliteConnection::establish(path).context("cannot open the database")?;
    connection.batch_execute(
        "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
         PRAGMA temp_store = MEMORY; PRAGMA cache_size = -8192; PRAGMA wal_autocheckpoint = 4000; \
         CREATE TABLE IF NOT EXISTS bench_floor (id INTEGER PRIMARY KEY, body BLOB NOT NULL)",
    )?;
    std::thread::spawn(move || {
        let mut batch = Vec::with_capacity(BATCH);
        while let Some(first) = waiting.blocking_recv() {
            gather(amount.requests, first, &mut waiting, &mut batch);
            let committed = connection.immediate_transaction(|connection| {
                let bodies = batch.iter().flat_map(|one| std::iter::repeat_n(&one.what, amount.rows));
                for body in bodies {
                    let row = bench_floor::body.eq(body.as_ref());
                    diesel::RunQueryDsl::execute(
                        diesel::insert_into(bench_floor::table).values(row),
                        connection,
                    )?;
                }
                diesel::QueryResult::Ok(())
            });
            answer(committed, &mut batch);
        }
    });
    Ok(())
}

async fn commit_to_postgres(
    url: &str,
    committers: u16,
    amount: Amount,
    waiting: mpsc::Receiver<Waiting<Bytes>>,
) -> anyhow::Result<()> {
    let waiting = Arc::new(Mutex::new(waiting));
    for number in 0..committers {
        let mut connection = AsyncPgConnection::establish(url).await.context("cannot connect")?;
        if number == 0 {
            let table = "CREATE TABLE IF NOT EXISTS bench_floor \
                         (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body bytea NOT NULL)";
            connection.batch_execute(table).await?;
        }
        let waiting = Arc::clone(&waiting);
        actix_web::rt::spawn(async move {
            let mut batch = Vec::with_capacity(BATCH);
            loop {
                {
                    let mut waiting = waiting.lock().await;
                    let Some(first) = waiting.recv().await else { return };
                    gather(amount.requests, first, &mut waiting, &mut batch);
                }
                let bodies = batch.iter().flat_map(|one| std::iter::repeat_n(&one.what[..], amount.rows));
                let bodies: Vec<&[u8]> = bodies.collect();
                let committed = RunQueryDsl::execute(Insert(bodies), &mut connection).await.map(drop);
                answer(committed, &mut batch);
            }
        });
    }
    Ok(())
}
