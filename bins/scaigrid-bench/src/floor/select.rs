//! A bare handler over diesel-async: each request reads a page of a tenant's Cores from the server's own table, and writes it as JSON as
//! the server does. It knows nobody who asks, looks into no other table, and keeps nothing from request to request but its connections
//! and what these have prepared.

use actix_web::web;
use actix_web::{App, HttpResponse, HttpServer};
use anyhow::Context as _;
use diesel::prelude::*;
use diesel::sqlite::SqliteConnection;
use diesel_async::pooled_connection::deadpool::Pool;
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod};
use diesel_async::sync_connection_wrapper::SyncConnectionWrapper;
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection as _};
use futures_util::FutureExt as _;
use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::options::FloorSelect;

/// `PostgreSQL` counts microseconds from the beginning of the year 2000, `SQLite` has them from 1970 on.
const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;
/// What every answer says of its request, as long as what the server says.
const REQUEST_ID: &str = "req_01J00000000000000000000000";

diesel::table! {
    cores (id) {
        id -> Text,
        tenant_id -> Text,
        slug -> Text,
        name -> Text,
        status -> Text,
        last_error -> Nullable<Jsonb>,
        runtime_mode -> Text,
        concurrency_mode -> Text,
        entity_key_field -> Nullable<Text>,
        source_version -> Integer,
        plugins -> Jsonb,
        environment -> Jsonb,
        resource_limits -> Jsonb,
        checkpoint_mode -> Text,
        privilege_level -> Text,
        metadata -> Jsonb,
        identity_mode -> Text,
        created_by -> Text,
        // A `timestamptz` on PostgreSQL, which travels as such an integer.
        created_at -> BigInt,
        updated_at -> BigInt,
        published_model_id -> Nullable<Text>,
        avatar_hash -> Nullable<Text>,
    }
}

/// What the list shows of a Core.
#[derive(Queryable, Selectable)]
#[diesel(table_name = cores)]
struct CoreRow {
    id: String,
    tenant_id: String,
    slug: String,
    name: String,
    status: String,
    last_error: Option<Value>,
    runtime_mode: String,
    concurrency_mode: String,
    entity_key_field: Option<String>,
    source_version: i32,
    plugins: Value,
    environment: Value,
    resource_limits: Value,
    checkpoint_mode: String,
    privilege_level: String,
    metadata: Value,
    identity_mode: String,
    created_by: String,
    created_at: i64,
    updated_at: i64,
    published_model_id: Option<String>,
    avatar_hash: Option<String>,
}

/// A Core as the list has it. Nobody has lent these any rights.
#[derive(Serialize)]
struct CoreView<'a> {
    id: &'a str,
    tenant_id: &'a str,
    name: &'a str,
    slug: &'a str,
    status: &'a str,
    last_error: Option<&'a Value>,
    runtime_mode: &'a str,
    concurrency_mode: &'a str,
    entity_key_field: Option<&'a str>,
    source_version: i32,
    plugins: &'a Value,
    environment: &'a Value,
    resource_limits: &'a Value,
    checkpoint_mode: &'a str,
    privilege_level: &'a str,
    metadata: &'a Value,
    identity_mode: &'a str,
    delegated_user_id: Option<&'a str>,
    delegation_scopes: [&'a str; 0],
    delegation_expires_at: Option<&'a str>,
    delegation_granted_by: Option<&'a str>,
    delegation_revoked_at: Option<&'a str>,
    avatar_url: Option<String>,
    published: bool,
    created_by: &'a str,
    created_at: String,
    updated_at: String,
}

impl<'a> CoreView<'a> {
    /// Instants are counted from `epoch` on, in microseconds.
    fn of(row: &'a CoreRow, epoch: i64) -> anyhow::Result<Self> {
        Ok(Self {
            id: &row.id,
            tenant_id: &row.tenant_id,
            name: &row.name,
            slug: &row.slug,
            status: &row.status,
            last_error: row.last_error.as_ref(),
            runtime_mode: &row.runtime_mode,
            concurrency_mode: &row.concurrency_mode,
            entity_key_field: row.entity_key_field.as_deref(),
            source_version: row.source_version,
            plugins: &row.plugins,
            environment: &row.environment,
            resource_limits: &row.resource_limits,
            checkpoint_mode: &row.checkpoint_mode,
            privilege_level: &row.privilege_level,
            metadata: &row.metadata,
            identity_mode: &row.identity_mode,
            delegated_user_id: None,
            delegation_scopes: [],
            delegation_expires_at: None,
            delegation_granted_by: None,
            delegation_revoked_at: None,
            avatar_url: row
                .avatar_hash
                .as_ref()
                .map(|_| format!("/v1/modules/scaicore/cores/{}/avatar", row.id)),
            published: row.published_model_id.is_some(),
            created_by: &row.created_by,
            created_at: instant(row.created_at, epoch)?,
            updated_at: instant(row.updated_at, epoch)?,
        })
    }
}

fn instant(micros: i64, epoch: i64) -> anyhow::Result<String> {
    let nanos = (i128::from(micros) + i128::from(epoch)) * 1_000;
    Ok(OffsetDateTime::from_unix_timestamp_nanos(nanos)?.format(&Rfc3339)?)
}

#[derive(Serialize)]
struct Envelope<'a> {
    status: &'static str,
    data: Items<'a>,
    pagination: Pagination<'a>,
    meta: Meta,
}

#[derive(Serialize)]
struct Items<'a> {
    items: Vec<CoreView<'a>>,
}

#[derive(Serialize)]
struct Pagination<'a> {
    has_more: bool,
    next_cursor: Option<&'a str>,
}

#[derive(Serialize)]
struct Meta {
    request_id: &'static str,
}

type Reader = SyncConnectionWrapper<SqliteConnection>;

/// Where pages are read.
enum Readers {
    Postgres(Pool<AsyncPgConnection>),
    Sqlite(Pool<Reader>),
}

/// The list of one tenant's Cores.
struct List {
    readers: Readers,
    tenant: String,
    limit: u32,
}

/// Serves until it is told to end.
pub(crate) fn serve(arguments: &FloorSelect) -> anyhow::Result<()> {
    let list = web::Data::new(List::open(arguments)?);
    actix_web::rt::System::new().block_on(async move {
        let server =
            HttpServer::new(move || App::new().app_data(list.clone()).default_service(web::to(answer)))
                .shutdown_timeout(1)
                .bind("127.0.0.1:0")?;
        super::announce(&server.addrs())?;
        server.run().await.context("the server failed")
    })
}

async fn answer(list: web::Data<List>) -> HttpResponse {
    match list.page().await {
        Ok(body) => HttpResponse::Ok().content_type("application/json").body(body),
        Err(error) => HttpResponse::ServiceUnavailable().body(format!("{error:#}")),
    }
}

/// Both databases are asked the same; the body is compiled for each.
macro_rules! rows {
    ($connection:ty, $pool:expr, $tenant:expr, $most:expr) => {{
        let mut held = $pool.get().await?;
        let connection: &mut $connection = &mut held;
        let query = cores::table
            .filter(cores::tenant_id.eq($tenant))
            .order(cores::id.desc())
            .limit($most)
            .select(CoreRow::as_select());
        let rows: Vec<CoreRow> = query.load(connection).await?;
        rows
    }};
}

impl List {
    fn open(arguments: &FloorSelect) -> anyhow::Result<Self> {
        let connections = usize::from(arguments.connections);
        let readers = if let Some(path) = arguments.database.strip_prefix("sqlite://") {
            let mut config = ManagerConfig::<Reader>::default();
            config.custom_setup = Box::new(|file| connect(file).boxed());
            let manager = AsyncDieselConnectionManager::new_with_config(path, unquestioned(config));
            Readers::Sqlite(Pool::builder(manager).max_size(connections).build()?)
        } else {
            let config = unquestioned(ManagerConfig::<AsyncPgConnection>::default());
            let manager = AsyncDieselConnectionManager::new_with_config(&arguments.database, config);
            Readers::Postgres(Pool::builder(manager).max_size(connections).build()?)
        };
        Ok(Self { readers, tenant: arguments.tenant.clone(), limit: arguments.limit })
    }

    /// The newest Cores of the tenant, as JSON.
    async fn page(&self) -> anyhow::Result<Vec<u8>> {
        // One more tells whether more follow.
        let most = i64::from(self.limit) + 1;
        let tenant = self.tenant.as_str();
        let (epoch, mut rows) = match &self.readers {
            Readers::Postgres(pool) => (POSTGRES_EPOCH_MICROS, rows!(AsyncPgConnection, pool, tenant, most)),
            Readers::Sqlite(pool) => (0, rows!(Reader, pool, tenant, most)),
        };
        let limit = usize::try_from(self.limit)?;
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        let items: anyhow::Result<Vec<_>> = rows.iter().map(|row| CoreView::of(row, epoch)).collect();
        let next_cursor = rows.last().filter(|_| has_more).map(|row| row.id.as_str());
        Ok(serde_json::to_vec(&Envelope {
            status: "ok",
            data: Items { items: items? },
            pagination: Pagination { has_more, next_cursor },
            meta: Meta { request_id: REQUEST_ID },
        })?)
    }
}

/// A connection goes from one to the next without a question whether it still lives, as in the server.
fn unquestioned<C>(mut config: ManagerConfig<C>) -> ManagerConfig<C> {
    config.recycling_method = RecyclingMethod::Fast;
    config
}

/// The pragmas are those of the server's readers; nothing can be written.
async fn connect(path: &str) -> ConnectionResult<Reader> {
    let mut connection = Reader::establish(path).await?;
    let pragmas = "PRAGMA busy_timeout = 10000; PRAGMA query_only = ON; PRAGMA temp_store = MEMORY; \
                   PRAGMA cache_size = -4096";
    connection.batch_execute(pragmas).await.map_err(ConnectionError::CouldntSetupConfiguration)?;
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use diesel::connection::SimpleConnection as _;

    use super::*;
    use crate::options::Engine;
    use crate::scratch::Databases;

    #[tokio::test]
    async fn a_page_has_the_newest_of_its_tenant() {
        let folder = tempfile::tempdir().unwrap();
        let place = Databases::new(folder.path(), None).unwrap().fresh(Engine::Sqlite).await.unwrap();
        let mut connection = place.migrated();
        connection.batch_execute("PRAGMA foreign_keys = OFF").unwrap();
        for (id, tenant) in [("core_1", "t"), ("core_2", "t"), ("core_3", "t"), ("core_4", "other")] {
            connection
                .batch_execute(&format!(
                    "INSERT INTO cores (id, tenant_id, slug, name, status, runtime_mode, concurrency_mode, \
                     source_version, plugins, environment, resource_limits, checkpoint_mode, privilege_level, metadata, \
                     identity_mode, created_by, revision, created_at, updated_at) VALUES ('{id}', '{tenant}', '{id}', \
                     'n', 'created', 'api', 'stateless', 1, jsonb('[]'), jsonb('{{}}'), jsonb('{{}}'), 'auto', \
                     'standard', jsonb('{{\"a\":1}}'), 'service_account', 'u', 1, 1000000, 2500000)"
                ))
                .unwrap();
        }
        let arguments =
            FloorSelect { database: place.url.clone(), tenant: "t".to_owned(), limit: 2, connections: 2 };
        let list = List::open(&arguments).unwrap();
        let page: Value = serde_json::from_slice(&list.page().await.unwrap()).unwrap();
        let items = page["data"]["items"].as_array().unwrap();
        assert_eq!(items.iter().map(|item| &item["id"]).collect::<Vec<_>>(), ["core_3", "core_2"]);
        assert_eq!((&items[0]["metadata"]["a"], &items[0]["last_error"]), (&Value::from(1), &Value::Null));
        assert_eq!(items[0]["updated_at"], "1970-01-01T00:00:02.5Z");
        assert_eq!(page["status"], "ok");
        assert_eq!(page["pagination"]["next_cursor"], "core_2");
    }

    #[test]
    fn an_instant_of_postgresql_begins_with_the_year_2000() {
        assert_eq!(instant(1_000_000, POSTGRES_EPOCH_MICROS).unwrap(), "2000-01-01T00:00:01Z");
    }
}
