//! Figures that triggers keep: whoever writes, however much at once, they are what a recount finds, also while they are folded.

use std::collections::BTreeMap;

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Text};
use scaigrid_persistence::DatabaseUrl;
use scaigrid_persistence::tallies::{self, Counts, Used};
use scaigrid_scope::Instant;

use crate::home::Home;
use crate::values::{SYSTEM, at, of_tenant, settle_two, tenant_id};

crate::on_both_databases! {
    figures_are_what_a_recount_finds,
    usage_is_what_a_recount_finds,
    what_was_used_stays_used,
    writers_and_folders_do_not_disturb_each_other,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = BigInt)]
    value: i64,
}

/// What a recount of rows finds, under the names of the figures.
const RECOUNT: &str = "SELECT tenant_id || ' cores.' || status AS name, count(*) AS value FROM cores \
    GROUP BY tenant_id, status \
    UNION ALL SELECT tenant_id || ' checkpoints.' || status, count(*) FROM checkpoints GROUP BY tenant_id, status \
    UNION ALL SELECT tenant_id || ' storage.objects', count(*) FROM objects GROUP BY tenant_id \
    UNION ALL SELECT tenant_id || ' storage.bytes', CAST(sum(bytes) AS BIGINT) FROM objects GROUP BY tenant_id";
const KEPT: &str = "SELECT tenant_id || ' ' || figure AS name, CAST(sum(value) AS BIGINT) AS value FROM tallies \
    GROUP BY tenant_id, figure HAVING sum(value) <> 0";

fn is_postgres(home: &Home) -> bool {
    matches!(home.url, DatabaseUrl::Postgres(_))
}

/// Runs statements as whoever comes past the program does.
async fn run(url: &DatabaseUrl, text: &str) {
    match url {
        DatabaseUrl::Postgres(url) => {
            use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};

            AsyncPgConnection::establish(url).await.unwrap().batch_execute(text).await.unwrap();
        }
        DatabaseUrl::Sqlite(path) => {
            let (path, text) = (path.to_string_lossy().into_owned(), text.to_owned());
            let work = tokio::task::spawn_blocking(move || {
                use diesel::Connection as _;
                use diesel::connection::SimpleConnection as _;

                let mut connection = diesel::SqliteConnection::establish(&path).unwrap();
                connection.batch_execute("PRAGMA busy_timeout = 10000").unwrap();
                connection.batch_execute(&text).unwrap();
            });
            work.await.unwrap();
        }
    }
}

async fn numbers(home: &Home, query: &str) -> BTreeMap<String, i64> {
    let query = diesel::sql_query(query);
    let rows: Vec<Row> = match &home.url {
        DatabaseUrl::Postgres(url) => {
            use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};

            query.load(&mut AsyncPgConnection::establish(url).await.unwrap()).await.unwrap()
        }
        DatabaseUrl::Sqlite(path) => {
            use diesel::{Connection as _, RunQueryDsl};

            query.load(&mut diesel::SqliteConnection::establish(&path.to_string_lossy()).unwrap()).unwrap()
        }
    };
    rows.into_iter().map(|row| (row.name, row.value)).collect()
}

async fn fold(home: &Home, most: i64) -> usize {
    let mut tx = home.begin().await;
    let folded = tallies::fold(&mut tx, &SYSTEM, most).await.unwrap();
    tx.commit().await.unwrap();
    folded
}

/// An instant in SQL.
fn moment(home: &Home, at: Instant) -> String {
    if is_postgres(home) {
        format!("timestamptz 'epoch' + {} * interval '1 microsecond'", at.micros())
    } else {
        at.micros().to_string()
    }
}

/// Makes checkpoints of a tenant with such numbers, in one statement.
fn checkpoints(home: &Home, tenant: u128, numbers: std::ops::Range<u32>, status: &str) -> String {
    let (tenant, now) = (tenant_id(tenant), moment(home, at(0)));
    let rows = numbers.map(|number| {
        format!(
            "('c{number}', '{tenant}', 'core', 'exec', 1, 'f', 'b', 'approval', 'p', '[]', '{{}}', 'unrouted', \
             'normal', '{status}', 'expire', '[]', {now}, {now})"
        )
    });
    format!(
        "INSERT INTO checkpoints (id, tenant_id, core_id, execution_id, effect, flow_name, block_id, checkpoint_type, \
         prompt, options, context, assignee_type, priority, status, expiry_action, history, created_at, updated_at) \
         VALUES {};",
        rows.collect::<Vec<_>>().join(", ")
    )
}

fn core(home: &Home, tenant: u128, number: u32, status: &str) -> String {
    let (tenant, now) = (tenant_id(tenant), moment(home, at(0)));
    format!(
        "INSERT INTO cores (id, tenant_id, slug, name, status, runtime_mode, concurrency_mode, source_version, plugins, \
         environment, resource_limits, checkpoint_mode, privilege_level, metadata, identity_mode, created_by, revision, \
         created_at, updated_at) VALUES ('core{number}', '{tenant}', 's{number}', 'n', '{status}', 'a', 'b', 1, '[]', \
         '{{}}', '{{}}', 'auto', 'standard', '{{}}', 'service_account', 'usr_x', 1, {now}, {now});"
    )
}

fn object(home: &Home, tenant: u128, hash: &str, bytes: i64) -> String {
    let (tenant, now) = (tenant_id(tenant), moment(home, at(0)));
    format!(
        "INSERT INTO objects (tenant_id, hash, id, bytes, state, touched_at) \
         VALUES ('{tenant}', '{hash}', 'o', {bytes}, 'reserved', {now}) \
         ON CONFLICT (tenant_id, hash) DO UPDATE SET touched_at = excluded.touched_at, state = 'stored';"
    )
}

async fn figures_are_what_a_recount_finds(home: &Home) {
    settle_two(home).await;
    let steps = [
        checkpoints(home, 1, 0..50, "pending") + &checkpoints(home, 2, 50..60, "pending"),
        core(home, 1, 1, "created") + &core(home, 1, 2, "created") + &core(home, 2, 3, "running"),
        object(home, 1, "a", 10) + &object(home, 1, "b", 32) + &object(home, 2, "a", 7),
        // Of many at once each goes another way; some stay as they are.
        "UPDATE checkpoints SET status = CASE WHEN id < 'c3' THEN 'resolved' WHEN id < 'c4' THEN 'expired' \
         ELSE status END WHERE id <> 'c5'"
            .to_owned(),
        "UPDATE checkpoints SET comment = 'x'".to_owned(),
        "UPDATE cores SET status = 'running'".to_owned(),
        // There already: nothing is added, neither objects nor bytes.
        object(home, 1, "a", 10),
        "DELETE FROM objects WHERE hash = 'b'".to_owned(),
        "DELETE FROM checkpoints WHERE status = 'expired' OR id LIKE '%5'".to_owned(),
        "UPDATE checkpoints SET status = 'none' WHERE 1 = 0; DELETE FROM checkpoints WHERE 1 = 0".to_owned(),
        "DELETE FROM cores WHERE id = 'core2'".to_owned(),
        "BEGIN; DELETE FROM checkpoints; DELETE FROM objects; ROLLBACK".to_owned(),
    ];
    for (number, step) in steps.iter().enumerate() {
        run(&home.url, step).await;
        let recount = numbers(home, RECOUNT).await;
        assert_eq!(numbers(home, KEPT).await, recount, "after {step}");
        if number % 3 == 2 {
            fold(home, 4).await;
            assert_eq!(numbers(home, KEPT).await, recount, "folded, after {step}");
        }
    }
    while fold(home, 4).await > 0 {}
    let recount = numbers(home, RECOUNT).await;
    assert_eq!(numbers(home, KEPT).await, recount);
    let rows = numbers(home, "SELECT 'rows' AS name, count(*) AS value FROM tallies WHERE id <> 0").await;
    assert_eq!(rows["rows"], 0, "all are folded");
    let read = tallies::read(&mut home.read().await, of_tenant(1)).await.unwrap();
    let of = |name: &str| u64::try_from(recount[&format!("{} {name}", tenant_id(1))]).unwrap();
    assert_eq!((read.objects, read.bytes), (1, 10));
    assert_eq!(read.checkpoints["resolved"], of("checkpoints.resolved"));
    assert_eq!(read.cores.get("running"), Some(&1));
    assert_eq!(read.rooms, Counts::default());
    let empty = tallies::read(&mut home.read().await, of_tenant(9)).await.unwrap();
    assert_eq!(empty, tallies::Figures::default());
}

/// A call of a model, so many seconds into the time of the test.
fn call(home: &Home, number: u32, seconds: i64, model: &str) -> String {
    let (tenant, at) = (tenant_id(1), moment(home, at(seconds)));
    format!(
        "INSERT INTO model_usage (id, tenant_id, model_id, model, input_tokens, output_tokens, counted, cost, latency_us, \
         status, created_at) VALUES ('u{number}', '{tenant}', 'm', '{model}', {}, {}, 'reported', '0', 1, 'unknown', {at});",
        number + 1,
        2 * number,
    )
}

async fn usage_is_what_a_recount_finds(home: &Home) {
    const SPAN: i64 = 4 * 3600;
    settle_two(home).await;
    let models = ["m/a", "m/b", "m/c"].into_iter().cycle();
    let calls: Vec<(i64, &str)> =
        (0..60_i64).zip(models).map(|(number, model)| ((number * 7919) % SPAN, model)).collect();
    let statements: String =
        calls.iter().zip(0..).map(|((seconds, model), number)| call(home, number, *seconds, model)).collect();
    run(&home.url, &statements).await;
    run(
        &home.url,
        "UPDATE model_usage SET input_tokens = 1000, output_tokens = 0 WHERE id IN ('u3', 'u7', 'u8')",
    )
    .await;
    let tokens = |number: u64| if [3, 7, 8].contains(&number) { (1000, 0) } else { (number + 1, 2 * number) };
    for (since, until) in
        [(0, SPAN), (1, SPAN - 1), (100, 200), (3599, 3601), (3000, 9000), (SPAN, 2 * SPAN), (5, 5)]
    {
        let mut by_model: BTreeMap<&str, Used> = BTreeMap::new();
        let mut all = Used::default();
        for ((seconds, model), number) in calls.iter().zip(0..) {
            if (since..until).contains(seconds) {
                let (input, output) = tokens(number);
                for used in [by_model.entry(model).or_default(), &mut all] {
                    used.requests += 1;
                    used.input_tokens += input;
                    used.output_tokens += output;
                }
            }
        }
        for folded in [false, true] {
            if folded {
                fold(home, 7).await;
            }
            let found =
                tallies::usage(&mut home.read().await, of_tenant(1), at(since), at(until)).await.unwrap();
            assert_eq!(found.all, all, "{since}..{until}");
            let found_models: BTreeMap<&str, Used> =
                found.by_model.iter().map(|(model, used)| (model.as_str(), *used)).collect();
            assert_eq!(found_models, by_model, "{since}..{until}");
            assert!(found.by_model.is_sorted_by(|one, next| one.1.requests >= next.1.requests));
        }
    }
    let other = tallies::usage(&mut home.read().await, of_tenant(2), at(0), at(SPAN)).await.unwrap();
    assert_eq!(other, tallies::Usage::default());
}

async fn what_was_used_stays_used(home: &Home) {
    settle_two(home).await;
    run(&home.url, &(call(home, 1, 10, "m/a") + &call(home, 2, 20, "m/a"))).await;
    run(&home.url, "DELETE FROM model_usage WHERE id = 'u1'").await;
    let day = at(86_400);
    let used = tallies::usage(&mut home.read().await, of_tenant(1), at(-86_400), day).await.unwrap();
    assert_eq!(used.all, Used { requests: 2, input_tokens: 5, output_tokens: 6 });
}

/// What is written within one transaction is never seen in part, and nothing is lost or counted twice.
async fn writers_and_folders_do_not_disturb_each_other(home: &Home) {
    const WRITERS: u32 = 3;
    const ROUNDS: u32 = 20;
    settle_two(home).await;
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (url, texts) = (
                home.url.clone(),
                (0..ROUNDS)
                    .map(|round| {
                        let first = (writer * ROUNDS + round) * 4;
                        // Begun as a writer, which SQLite has one of.
                        let begin = if is_postgres(home) { "BEGIN;" } else { "BEGIN IMMEDIATE;" };
                        format!(
                            "{begin} {} UPDATE checkpoints SET status = 'resolved' WHERE status = 'pending'; COMMIT;",
                            checkpoints(home, 1 + u128::from(round % 2), first..first + 4, "pending")
                        )
                    })
                    .collect::<Vec<_>>(),
            );
            tokio::spawn(async move {
                for text in texts {
                    run(&url, &text).await;
                }
            })
        })
        .collect();
    let folding = async {
        loop {
            fold(home, 5).await;
            let read = tallies::read(&mut home.read().await, of_tenant(1)).await.unwrap();
            let (pending, resolved) = (read.checkpoints.get("pending"), read.checkpoints.get("resolved"));
            assert_eq!(pending.copied().unwrap_or_default(), 0, "a part of a transaction");
            assert_eq!(resolved.copied().unwrap_or_default() % 4, 0);
        }
    };
    let writing = async {
        for writer in writers {
            writer.await.unwrap();
        }
    };
    tokio::select! {
        () = folding => {}
        () = writing => {}
    }
    assert_eq!(numbers(home, KEPT).await, numbers(home, RECOUNT).await);
    if is_postgres(home) {
        // Several that fold at once take different rows; who adds to the same sums waits for the other, never both.
        let flips = "UPDATE checkpoints SET status = 'expired'; UPDATE checkpoints SET status = 'resolved';";
        run(&home.url, &flips.repeat(10)).await;
        let folding = || async { while fold(home, 3).await > 0 {} };
        tokio::join!(folding(), folding(), folding());
        assert_eq!(numbers(home, KEPT).await, numbers(home, RECOUNT).await);
        let rows = numbers(home, "SELECT 'rows' AS name, count(*) AS value FROM tallies WHERE id <> 0").await;
        assert_eq!(rows["rows"], 0, "all are folded");
    }
    let total: i64 = numbers(home, KEPT).await.values().sum();
    assert_eq!(total, i64::from(WRITERS * ROUNDS * 4));
}
