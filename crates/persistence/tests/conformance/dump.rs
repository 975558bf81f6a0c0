//! All rows out of a database and into another, of either kind.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use diesel::QueryableByName;
use diesel::sql_types::Text;
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use scaigrid_persistence::commit::{Unit, Verdict};
use scaigrid_persistence::dump::{self, LEFT_OUT, Table};
use scaigrid_persistence::{Database, DatabaseUrl, checkpoints, platform_facts};
use scaigrid_scope::SystemScope;
use serde_json::json;

use crate::commit;
use crate::home::Home;
use crate::values::of_tenant;

#[derive(QueryableByName)]
struct Name {
    #[diesel(sql_type = Text)]
    name: String,
}

/// A row of every kind of value, some of them awkward, in words that both databases understand.
fn filling(postgres: bool) -> String {
    let json = |text: &str| {
        let text = text.replace('\'', "''");
        if postgres { format!("'{text}'::jsonb") } else { format!("jsonb('{text}')") }
    };
    let bytes = |hex: &str| if postgres { format!("'\\x{hex}'::bytea") } else { format!("x'{hex}'") };
    // The last microsecond before the year 2030, and one before 1970.
    let moment = |micros: i64| {
        if postgres {
            format!(
                "timestamptz 'epoch' + {} * interval '1 second' + {} * interval '1 microsecond'",
                micros.div_euclid(1_000_000),
                micros.rem_euclid(1_000_000)
            )
        } else {
            micros.to_string()
        }
    };
    let limits = json(
        r#"{"a": [1, 2.5, null, true, "x\"\\\u00e4\ud83d\ude00"], "": {}, "big": 12345678901234567890}"#,
    );
    let (late, early) = (moment(1_893_455_999_999_999), moment(-1));
    let mut text = format!(
        "INSERT INTO partners VALUES ('p1', 'p', 'It''s \"quoted\" \\ ä 😀 \n', NULL, 'active', {limits}, 9007199254740993, {late}, {early});\
         INSERT INTO tenants VALUES ('t1', 'p1', 't', '123', 'active', 'null', {}, {}, 1, {late}, {early});\
         INSERT INTO core_memory VALUES ('t1', 'c', '', 'n', 'k', {}, 1), ('t1', 'c', '', 'n', 'K', {}, -1);",
        json("null"),
        json("{}"),
        bytes("00ff5c27"),
        bytes(""),
    );
    for number in 0..25 {
        write!(
            text,
            "INSERT INTO data_keys VALUES ('t1', {number}, 'k{number}', 'm', {}, {late});",
            bytes(&format!("{number:02x}"))
        )
        .unwrap();
    }
    text
}

async fn run(url: &DatabaseUrl, database: &Database, text: &str) {
    match url {
        DatabaseUrl::Postgres(url) => {
            AsyncPgConnection::establish(url).await.unwrap().batch_execute(text).await.unwrap();
        }
        DatabaseUrl::Sqlite(path) => {
            let path = path.to_string_lossy().into_owned();
            let text = text.to_owned();
            tokio::task::spawn_blocking(move || {
                use diesel::Connection as _;
                use diesel::connection::SimpleConnection as _;
                diesel::SqliteConnection::establish(&path).unwrap().batch_execute(&text).unwrap();
            })
            .await
            .unwrap();
        }
    }
    drop(database.read().await.unwrap());
}

/// All rows of all tables, read so many at once.
async fn all(database: &Database, at_once: usize) -> Vec<(Table, Vec<String>)> {
    let system = SystemScope::for_the_process();
    let mut snapshot = database.snapshot().await.unwrap();
    let mut found = Vec::new();
    for table in dump::tables() {
        let (mut rows, mut after) = (Vec::new(), None::<String>);
        loop {
            let page = dump::read(&mut snapshot, &system, &table, after.as_deref(), at_once).await.unwrap();
            rows.extend(page.rows);
            after = page.after;
            if after.is_none() {
                break;
            }
        }
        found.push((table, rows));
    }
    found
}

async fn put(database: &Database, rows: &[(Table, Vec<String>)]) {
    let system = SystemScope::for_the_process();
    let mut tx = database.begin().await.unwrap();
    for (table, rows) in rows {
        let text = format!("[{}]", rows.join(","));
        let written = dump::write(&mut tx, &system, table, &text).await.unwrap();
        assert_eq!(written, rows.len(), "{}", table.name());
    }
    tx.commit().await.unwrap();
}

/// The rows in a form that both databases spell alike.
fn told(rows: &[(Table, Vec<String>)]) -> BTreeSet<String> {
    let of = |(table, rows): &(Table, Vec<String>)| {
        let name = table.name();
        let tell = |row: &String| format!("{name} {}", canonical(serde_json::from_str(row).unwrap()));
        rows.iter().map(tell).collect::<Vec<_>>()
    };
    rows.iter().flat_map(of).collect()
}

/// A row without what the databases spell differently: the case of hexadecimal digits, blanks within JSON.
fn canonical(row: serde_json::Value) -> serde_json::Value {
    let serde_json::Value::Array(values) = row else { panic!("{row}") };
    values
        .into_iter()
        .map(|value| match &value {
            serde_json::Value::String(text) if text.starts_with(['{', '[']) => {
                serde_json::from_str::<serde_json::Value>(text)
                    .map_or(value.clone(), |json| json.to_string().into())
            }
            serde_json::Value::String(text) if text.bytes().all(|c| c.is_ascii_hexdigit()) => {
                text.to_lowercase().into()
            }
            _ => value,
        })
        .collect()
}

/// Out of one and into the other: what is read there is what was read here.
async fn carries_over(from: &Home, to: &Home) {
    run(&from.url, &from.database, &filling(matches!(from.url, DatabaseUrl::Postgres(_)))).await;
    let before = all(&from.database, 3).await;
    let count = |rows: &[(Table, Vec<String>)]| rows.iter().map(|(_, rows)| rows.len()).sum::<usize>();
    assert_eq!(count(&before), 29);
    assert_eq!(told(&before).len(), 29, "the rows differ");
    put(&to.database, &before).await;
    assert_eq!(told(&all(&to.database, 1000).await), told(&before));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_carried_from_either_database_to_either() {
    for (from, to) in [(false, false), (false, true), (true, false), (true, true)] {
        let home = async |postgres: bool| {
            if postgres { Home::postgres("dump").await } else { Some(Home::sqlite().await) }
        };
        let (Some(from), Some(to)) = (home(from).await, home(to).await) else { continue };
        carries_over(&from, &to).await;
        from.remove().await;
        to.remove().await;
    }
}

/// What programs and people say goes in by our own hands, and holds whatever texts can hold.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_json_holds_is_carried_whole() {
    let odd = json!({"a \"b\"": ["\"", "\\", "dom\\nick", "\\u0041", "\n\t\u{1}\u{7f}\u{85}\u{2028}", "/", "✓", ""], "c": [0.1, -3, null]});
    let mut question = commit::checkpoint(7);
    question.question.context = Arc::new(odd);
    for (from, to) in [(false, false), (false, true), (true, false), (true, true)] {
        let home = async |postgres: bool| {
            if postgres { Home::postgres("dump").await } else { Some(Home::sqlite().await) }
        };
        let (Some(from), Some(to)) = (home(from).await, home(to).await) else { continue };
        commit::hosted(&from).await;
        let asks = Unit { opened: vec![(question.clone(), 1)], ..commit::begin(1) };
        assert_eq!(commit::apply(&from, vec![asks]).await, [Verdict::Done]);
        let rows = all(&from.database, 1000).await;
        put(&to.database, &rows).await;
        assert_eq!(told(&all(&to.database, 1000).await), told(&rows));
        let mut c = to.read().await;
        let found = checkpoints::lookup(&mut c, of_tenant(1), question.id).await.unwrap().unwrap();
        assert_eq!(found.checkpoint, question);
        drop(c);
        from.remove().await;
        to.remove().await;
    }
}

async fn a_snapshot_does_not_see_what_is_written_after_it(home: &Home) {
    let system = SystemScope::for_the_process();
    let facts = dump::tables().into_iter().find(|table| table.name() == "platform_facts").unwrap();
    let mut snapshot = home.database.snapshot().await.unwrap();
    let mut tx = home.database.begin().await.unwrap();
    platform_facts::put(&mut tx, "late", "1").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(dump::read(&mut snapshot, &system, &facts, None, 9).await.unwrap().rows.len(), 0);
    drop(snapshot);
    // Its connection is not one that others get in the middle of it.
    for _ in 0..8 {
        let mut snapshot = home.database.snapshot().await.unwrap();
        assert_eq!(dump::read(&mut snapshot, &system, &facts, None, 9).await.unwrap().rows.len(), 1);
    }
    let mut connection = home.database.read().await.unwrap();
    assert_eq!(dump::occupied(&mut connection, &system).await.unwrap(), Some("platform_facts"));
}

/// A table that nobody has thought of would be missing from every backup.
async fn every_table_is_taken_out_or_left_out_on_purpose(home: &Home) {
    let mut connection = home.database.read().await.unwrap();
    assert!(!dump::migrations(&mut connection).await.unwrap().is_empty());
    assert_eq!(dump::occupied(&mut connection, &SystemScope::for_the_process()).await.unwrap(), None);
    drop(connection);
    let known: BTreeSet<String> =
        dump::tables().iter().map(Table::name).chain(LEFT_OUT).map(str::to_owned).collect();
    let there: Vec<Name> = match &home.url {
        DatabaseUrl::Postgres(url) => {
            let mut c = AsyncPgConnection::establish(url).await.unwrap();
            let query = "SELECT table_name::text AS name FROM information_schema.tables \
                         WHERE table_schema = current_schema()";
            diesel::sql_query(query).load(&mut c).await.unwrap()
        }
        DatabaseUrl::Sqlite(path) => {
            let path = path.to_string_lossy().into_owned();
            tokio::task::spawn_blocking(move || {
                use diesel::Connection as _;
                let mut c = diesel::SqliteConnection::establish(&path).unwrap();
                let query =
                    "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
                diesel::RunQueryDsl::load(diesel::sql_query(query), &mut c).unwrap()
            })
            .await
            .unwrap()
        }
    };
    let there: BTreeSet<String> =
        there.into_iter().map(|row| row.name).filter(|name| !name.starts_with("__")).collect();
    assert_eq!(known, there);
}

crate::on_both_databases! {
    a_snapshot_does_not_see_what_is_written_after_it,
    every_table_is_taken_out_or_left_out_on_purpose,
}
