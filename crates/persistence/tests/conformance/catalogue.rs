//! The tables themselves: both migration trees make the same ones, and a tenant's rows are found by their tenant.

use std::collections::{BTreeMap, BTreeSet};

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Bool, Nullable, Text};
use diesel_async::{AsyncConnection, AsyncPgConnection};
use scaigrid_persistence::DatabaseUrl;

use crate::home::Home;

/// The types that stand for one another: PostgreSQL's, SQLite's.
const TYPES: [(&str, &str); 6] = [
    ("text", "TEXT"),
    ("integer", "INTEGER"),
    ("bigint", "BIGINT"),
    ("timestamp with time zone", "BIGINT"),
    ("bytea", "BLOB"),
    ("jsonb", "BLOB"),
];

/// The tables whose rows belong to no tenant, or to whom their key names: a level, an owner, a chain. This list may only
/// become shorter.
const WITHOUT_TENANT: [&str; 18] = [
    "audit_chains",
    "audit_root",
    "audit_seals",
    "audit_unsealed",
    "backends",
    "data_keys",
    "duties",
    "model_backends",
    "model_group_members",
    "model_groups",
    "models",
    "module_configs",
    "module_settings",
    "nodes",
    "partners",
    "platform_facts",
    "signing_keys",
    "tenants",
];

/// Where the migrations are remembered; no table of ours.
const BOOKKEEPING: &str = "__diesel_schema_migrations";

#[derive(Debug, Default, PartialEq)]
struct Table {
    columns: BTreeMap<String, Column>,
    primary_key: Vec<String>,
    indexes: BTreeSet<Index>,
    references: BTreeSet<Reference>,
}

#[derive(Debug, PartialEq)]
struct Column {
    kind: String,
    nullable: bool,
}

/// An index beside the primary key. One that a UNIQUE rule made has no name of ours.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Index {
    columns: Vec<String>,
    unique: bool,
    partial: bool,
    name: Option<String>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Reference {
    column: String,
    to: (String, String),
    cascades: bool,
}

type Catalogue = BTreeMap<String, Table>;

#[derive(QueryableByName)]
struct ColumnRow {
    #[diesel(sql_type = Text)]
    table_name: String,
    #[diesel(sql_type = Text)]
    column_name: String,
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Bool)]
    nullable: bool,
    /// The place in the primary key, from 1; 0 outside.
    #[diesel(sql_type = BigInt)]
    key_place: i64,
}

#[derive(QueryableByName)]
struct IndexRow {
    #[diesel(sql_type = Text)]
    table_name: String,
    #[diesel(sql_type = Nullable<Text>)]
    index_name: Option<String>,
    #[diesel(sql_type = Bool)]
    is_unique: bool,
    #[diesel(sql_type = Bool)]
    is_partial: bool,
    /// Its columns in order, with commas.
    #[diesel(sql_type = Text)]
    columns: String,
}

#[derive(QueryableByName)]
struct ReferenceRow {
    #[diesel(sql_type = Text)]
    table_name: String,
    #[diesel(sql_type = Text)]
    column_name: String,
    #[diesel(sql_type = Text)]
    to_table: String,
    #[diesel(sql_type = Text)]
    to_column: String,
    #[diesel(sql_type = Bool)]
    cascades: bool,
}

fn assemble(columns: Vec<ColumnRow>, indexes: Vec<IndexRow>, references: Vec<ReferenceRow>) -> Catalogue {
    let mut catalogue = Catalogue::new();
    let mut keys: BTreeMap<String, BTreeMap<i64, String>> = BTreeMap::new();
    for row in columns {
        if row.key_place > 0 {
            keys.entry(row.table_name.clone()).or_default().insert(row.key_place, row.column_name.clone());
        }
        // SQLite does not say of a primary key that it is never null, PostgreSQL does.
        let nullable = row.nullable && row.key_place == 0;
        let table = catalogue.entry(row.table_name).or_default();
        table.columns.insert(row.column_name, Column { kind: row.kind, nullable });
    }
    for (table, key) in keys {
        catalogue.entry(table).or_default().primary_key = key.into_values().collect();
    }
    for row in indexes {
        let index = Index {
            columns: row.columns.split(',').map(str::to_owned).collect(),
            unique: row.is_unique,
            partial: row.is_partial,
            name: row.index_name,
        };
        catalogue.entry(row.table_name).or_default().indexes.insert(index);
    }
    for row in references {
        let reference =
            Reference { column: row.column_name, to: (row.to_table, row.to_column), cascades: row.cascades };
        catalogue.entry(row.table_name).or_default().references.insert(reference);
    }
    catalogue.remove(BOOKKEEPING);
    catalogue
}

fn of_sqlite(home: &Home) -> Catalogue {
    use diesel::{Connection, RunQueryDsl};

    let DatabaseUrl::Sqlite(path) = &home.url else { panic!("{:?} is no file", home.url) };
    let mut connection = diesel::SqliteConnection::establish(&path.to_string_lossy()).unwrap();
    let columns = diesel::sql_query(
        "SELECT t.name AS table_name, c.name AS column_name, c.type AS kind, c.\"notnull\" = 0 AS nullable, \
         c.pk AS key_place FROM sqlite_master t JOIN pragma_table_info(t.name) c WHERE t.type = 'table'",
    );
    let indexes = diesel::sql_query(
        "SELECT t.name AS table_name, CASE i.origin WHEN 'c' THEN i.name END AS index_name, \
         i.\"unique\" AS is_unique, i.partial AS is_partial, \
         (SELECT group_concat(name, ',') FROM (SELECT name FROM pragma_index_info(i.name) ORDER BY seqno)) AS columns \
         FROM sqlite_master t JOIN pragma_index_list(t.name) i WHERE t.type = 'table' AND i.origin <> 'pk'",
    );
    let references = diesel::sql_query(
        "SELECT t.name AS table_name, f.\"from\" AS column_name, f.\"table\" AS to_table, f.\"to\" AS to_column, \
         f.on_delete = 'CASCADE' AS cascades FROM sqlite_master t JOIN pragma_foreign_key_list(t.name) f \
         WHERE t.type = 'table'",
    );
    assemble(
        columns.load(&mut connection).unwrap(),
        indexes.load(&mut connection).unwrap(),
        references.load(&mut connection).unwrap(),
    )
}

async fn of_postgres(home: &Home) -> Catalogue {
    use diesel_async::RunQueryDsl;

    let DatabaseUrl::Postgres(url) = &home.url else { panic!("{:?} is no server", home.url) };
    let mut connection = AsyncPgConnection::establish(url).await.unwrap();
    let columns = diesel::sql_query(
        "SELECT c.table_name::text, c.column_name::text, c.data_type::text AS kind, c.is_nullable = 'YES' AS nullable, \
         coalesce((SELECT k.place FROM pg_index x, unnest(x.indkey) WITH ORDINALITY AS k (attnum, place), pg_attribute a \
         WHERE x.indisprimary AND x.indrelid = format('%I', c.table_name)::regclass AND a.attrelid = x.indrelid \
         AND a.attnum = k.attnum AND a.attname = c.column_name), 0) AS key_place \
         FROM information_schema.columns c WHERE c.table_schema = current_schema()",
    );
    let indexes = diesel::sql_query(
        "SELECT t.relname::text AS table_name, CASE WHEN u.oid IS NULL THEN i.relname::text END AS index_name, \
         x.indisunique AS is_unique, x.indpred IS NOT NULL AS is_partial, \
         (SELECT string_agg(a.attname::text, ',' ORDER BY k.place) FROM unnest(x.indkey) WITH ORDINALITY AS k (attnum, place) \
         JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = k.attnum) AS columns \
         FROM pg_index x JOIN pg_class t ON t.oid = x.indrelid JOIN pg_class i ON i.oid = x.indexrelid \
         LEFT JOIN pg_constraint u ON u.conindid = x.indexrelid AND u.contype IN ('u', 'x') \
         WHERE NOT x.indisprimary AND t.relnamespace = current_schema()::regnamespace",
    );
    let references = diesel::sql_query(
        "SELECT t.relname::text AS table_name, a.attname::text AS column_name, r.relname::text AS to_table, \
         b.attname::text AS to_column, f.confdeltype = 'c' AS cascades FROM pg_constraint f \
         JOIN pg_class t ON t.oid = f.conrelid JOIN pg_class r ON r.oid = f.confrelid \
         JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = f.conkey[1] \
         JOIN pg_attribute b ON b.attrelid = f.confrelid AND b.attnum = f.confkey[1] \
         WHERE f.contype = 'f' AND t.relnamespace = current_schema()::regnamespace",
    );
    let columns = columns.load(&mut connection).await.unwrap();
    let indexes = indexes.load(&mut connection).await.unwrap();
    let references = references.load(&mut connection).await.unwrap();
    assemble(columns, indexes, references)
}

/// Writes PostgreSQL's types as those that stand for them in SQLite.
fn in_sqlite_types(mut catalogue: Catalogue) -> Catalogue {
    for table in catalogue.values_mut() {
        for column in table.columns.values_mut() {
            let known = TYPES.iter().find(|(postgres, _)| *postgres == column.kind);
            let (_, sqlite) = known.unwrap_or_else(|| panic!("no type stands for {}", column.kind));
            (*sqlite).clone_into(&mut column.kind);
        }
    }
    catalogue
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_migration_trees_make_the_same_tables() {
    let Some(server) = Home::postgres("catalogue::both_migration_trees_make_the_same_tables").await else {
        return;
    };
    let file = Home::sqlite().await;
    let (sqlite, postgres) = (of_sqlite(&file), in_sqlite_types(of_postgres(&server).await));
    let names = |catalogue: &Catalogue| catalogue.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&sqlite), names(&postgres));
    for (name, table) in &sqlite {
        assert_eq!(Some(table), postgres.get(name), "{name} (left: SQLite, right: PostgreSQL)");
    }
    file.remove().await;
    server.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenants_rows_are_found_by_their_tenant() {
    let home = Home::sqlite().await;
    let catalogue = of_sqlite(&home);
    assert!(catalogue.len() > WITHOUT_TENANT.len());
    let leads = |columns: &[String]| columns.first().is_some_and(|first| first == "tenant_id");
    for (name, table) in &catalogue {
        let listed = WITHOUT_TENANT.contains(&name.as_str());
        assert_ne!(
            table.columns.contains_key("tenant_id"),
            listed,
            "{name} has no tenant_id, or is listed needlessly"
        );
        let found = leads(&table.primary_key)
            || table.indexes.iter().any(|index| !index.partial && leads(&index.columns));
        assert!(listed || found, "neither the key nor an index of {name} begins with tenant_id");
    }
    let unknown: Vec<_> = WITHOUT_TENANT.iter().filter(|name| !catalogue.contains_key(**name)).collect();
    assert!(unknown.is_empty(), "{unknown:?} do not exist");
    home.remove().await;
}
