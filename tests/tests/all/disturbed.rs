//! Nodes that are killed, stand still, are cut off or are replaced, under load: everything goes on elsewhere, nothing is lost and
//! nothing is done twice.

use std::time::{Duration, Instant};

use scaigrid_tests::{Behaviour, CORES, Client, Db, Place, Proxy, Server, eventually, on, run};
use serde_json::json;

use crate::storm::{Storm, call, calling, node, plugin};

/// Within this time others go on with what a node had that is gone.
const TAKEN_OVER: Duration = Duration::from_secs(10);
/// For what comes, when it comes: the machine may be busy.
const SOON: Duration = Duration::from_secs(30);

fn with_redis<'a>(launch: scaigrid_tests::Launch<'a>, redis: Option<&str>) -> scaigrid_tests::Launch<'a> {
    match redis {
        Some(url) => launch.set("SCAIGRID_REDIS_URL", url),
        None => launch,
    }
}

#[test]
fn one_of_three_is_killed_again_and_again() {
    on(Db::Postgres, |place| {
        let redis = Place::redis();
        let start = |name: &str| with_redis(node(place, name), redis.as_deref()).start();
        let mut nodes: Vec<Server> = ["a", "b", "c"].map(start).into_iter().collect();
        let storm = Storm::rise(place, &nodes.iter().collect::<Vec<_>>());
        for kill in 0..4 {
            storm.goes_on(15);
            nodes.remove(kill % 3).kill();
            storm.ask(&nodes.iter().collect::<Vec<_>>());
            storm.goes_on(10);
            let new = start(&format!("new-{kill}"));
            nodes.insert(kill % 3, new);
            storm.ask(&nodes.iter().collect::<Vec<_>>());
        }
        println!("{} flows through four kills", storm.calm());
        nodes.into_iter().for_each(Server::stop);
    });
}

#[test]
fn what_a_killed_node_had_goes_on_within_ten_seconds() {
    on(Db::Postgres, |place| {
        let (one, two) = (node(place, "a").start(), node(place, "b").start());
        let (first, second) = (one.admin(), two.admin());
        let plugin = plugin(&first);
        let core = first.run("Work", &calling(&json!([{"kind": "rigid", "statements": [call("keep")]}])));
        plugin.then((0..8).map(|_| Behaviour::Late(Duration::from_mins(1))));
        let executions: Vec<String> = (0..8).map(|n| begin(&first, &core, n)).collect();
        eventually("all are called for", SOON, || (plugin.calls().len() == 8).then_some(()));
        one.kill();
        let killed = Instant::now();
        eventually("all are called for again", SOON, || (plugin.calls().len() == 16).then_some(()));
        let took = killed.elapsed();
        println!("eight executions went on {took:?} after the kill");
        assert!(took < TAKEN_OVER, "{took:?}");
        for id in executions {
            second.execution_becomes(&id, "completed");
        }
        assert_eq!((plugin.calls().len(), plugin.carried_out()), (16, 8));
        two.stop();
    });
}

fn begin(client: &Client, core: &str, n: usize) -> String {
    let body = json!({"flow": "work", "input": {"n": n}});
    let started = client.post(&format!("{CORES}/{core}/invoke")).json(&body).answer(202).data();
    started["id"].as_str().unwrap().to_owned()
}

#[test]
fn one_that_stood_still_begins_no_call_that_others_have_taken_on() {
    on(Db::Postgres, |place| {
        let (one, two) = (node(place, "a").start(), node(place, "b").start());
        let (first, second) = (one.admin(), two.admin());
        let plugin = plugin(&first);
        let body = json!([{"kind": "rigid", "statements": [call("keep"), {"kind": "return", "value": "n"}]}]);
        let core = first.run("Work", &calling(&body));
        // It is to be called again after a while, and stands still before that.
        plugin.then([Behaviour::Status(503, "Retry-After: 5\r\n".to_owned(), "{}".to_owned())]);
        let execution = begin(&first, &core, 1);
        eventually("the first call", SOON, || (plugin.calls().len() == 1).then_some(()));
        one.pause();
        let paused = Instant::now();
        assert_eq!(second.execution_becomes(&execution, "completed")["output"], 1);
        let took = paused.elapsed();
        println!("the other had finished it {took:?} after");
        assert!(took < TAKEN_OVER, "{took:?}");
        assert_eq!(plugin.calls().len(), 2);
        one.resume();
        // What it had slept for is long over.
        let other = begin(&first, &core, 2);
        assert_eq!(first.execution_becomes(&other, "completed")["output"], 2, "it works again");
        std::thread::sleep(Duration::from_secs(2));
        assert_eq!(plugin.calls().len(), 3, "and has not called for what it had lost");
        let log = one.log();
        assert!(!log.contains("panicked"), "{log}");
        one.stop();
        two.stop();
    });
}

#[test]
fn one_of_two_stands_still_past_its_lease() {
    on(Db::Postgres, |place| {
        let redis = Place::redis();
        let start = |name: &str| with_redis(node(place, name), redis.as_deref()).start();
        let (one, two) = (start("a"), start("b"));
        let storm = Storm::rise(place, &[&one, &two]);
        for _ in 0..2 {
            storm.goes_on(20);
            one.pause();
            let paused = Instant::now();
            storm.ask(&[&two]);
            // Longer than its lease, and than it takes others to look.
            while paused.elapsed() < Duration::from_secs(8) {
                storm.goes_on(1);
            }
            one.resume();
            storm.ask(&[&one, &two]);
        }
        storm.goes_on(20);
        println!("{} flows through two times standing still", storm.calm());
        assert_eq!(one.anyone().get("/health/ready").answer(200).json()["checks"]["database"], "ok");
        one.stop();
        two.stop();
    });
}

/// A way in which the wire to the database fails, and how often the load goes on meanwhile.
fn database_fails(fail: fn(&Proxy), is_noticed: bool) {
    on(Db::Postgres, |place| {
        // What a node says of it is for the operator, and may be loud.
        place.allow_in_log("");
        let two = node(place, "a").start();
        let (wire, through) = Proxy::on_the_way_to(place.database_url());
        let one = node(place, "b").set("SCAIGRID_DATABASE_URL", &through).start();
        let storm = Storm::rise(place, &[&two, &one]);
        storm.goes_on(30);
        fail(&wire);
        let failed = Instant::now();
        storm.ask(&[&two]);
        if is_noticed {
            eventually("readiness tells", SOON, || {
                let ready = one.anyone().get("/health/ready").exchange();
                (ready.status == 503 && ready.json()["checks"]["database"] != "ok").then_some(())
            });
            one.anyone().get("/health").answer(200);
            while failed.elapsed() < Duration::from_secs(9) {
                storm.goes_on(1);
            }
        }
        wire.mend();
        eventually("it is ready again", SOON, || {
            (one.anyone().get("/health/ready").exchange().status == 200).then_some(())
        });
        storm.ask(&[&two, &one]);
        storm.goes_on(20);
        println!("{} flows around the failure", storm.calm());
        one.stop();
        two.stop();
    });
}

#[test]
fn the_database_is_cut_off_from_one() {
    database_fails(Proxy::cut, true);
}

#[test]
fn nothing_comes_through_between_one_and_the_database() {
    database_fails(Proxy::stall, true);
}

#[test]
fn one_is_heard_by_the_database_and_hears_nothing() {
    database_fails(Proxy::mute, true);
}

#[test]
fn connections_to_the_database_end_in_the_midst() {
    database_fails(Proxy::half_close, false);
}

#[test]
fn redis_is_cut_off_from_one() {
    on(Db::Postgres, |place| {
        let Some(redis) = Place::redis() else { return };
        let (wire, through) = Proxy::on_the_way_to(&redis);
        let two = with_redis(node(place, "a"), Some(&redis)).start();
        let one = with_redis(node(place, "b"), Some(&through)).start();
        let bus = || one.anyone().get("/health/ready").answer(200).json()["checks"]["bus"].clone();
        eventually("the bus is well", SOON, || (bus() == "ok").then_some(()));
        let storm = Storm::rise(place, &[&one, &two]);
        storm.goes_on(10);
        wire.cut();
        eventually("it is noticed", SOON, || (bus() == "degraded").then_some(()));
        storm.goes_on(15);
        wire.mend();
        eventually("it is well again", SOON, || (bus() == "ok").then_some(()));
        storm.goes_on(10);
        println!("{} flows with and without Redis", storm.calm());
        one.stop();
        two.stop();
    });
}

#[test]
fn nodes_are_replaced_one_by_one() {
    on(Db::Postgres, |place| {
        let redis = Place::redis();
        let start = |name: &str| with_redis(node(place, name), redis.as_deref()).start();
        let mut nodes = vec![start("a"), start("b")];
        let storm = Storm::rise(place, &nodes.iter().collect::<Vec<_>>());
        for round in 0..3 {
            storm.goes_on(15);
            let old = nodes.remove(0);
            // Clients hear of it from whoever refuses them.
            old.terminate();
            let told = Instant::now();
            nodes.push(start(&format!("new-{round}")));
            storm.ask(&nodes.iter().collect::<Vec<_>>());
            let status = old.ended();
            println!("a node ended {:?} after it was told", told.elapsed());
            assert!(status.success(), "{status}");
        }
        storm.goes_on(15);
        println!("{} flows while both nodes were replaced", storm.calm());
        nodes.into_iter().for_each(Server::stop);
    });
}

#[test]
fn a_call_that_is_under_way_when_its_node_is_told_to_end_is_waited_for() {
    on(Db::Postgres, |place| {
        let (one, two) = (node(place, "a").start(), node(place, "b").start());
        let (first, second) = (one.admin(), two.admin());
        let plugin = plugin(&first);
        let body =
            json!([{"kind": "rigid", "statements": [call("shout"), {"kind": "return", "value": "n"}]}]);
        let core = first.run("Work", &calling(&body));
        // Longer than a lease, and less than what a node waits.
        plugin.then([Behaviour::Late(Duration::from_secs(8))]);
        let execution = begin(&first, &core, 1);
        eventually("the call", SOON, || (plugin.calls().len() == 1).then_some(()));
        one.terminate();
        let status = one.ended();
        assert!(status.success(), "{status}");
        // Nobody had to be asked what became of it, though it must not be made twice.
        assert_eq!(second.execution_becomes(&execution, "completed")["output"], 1);
        assert_eq!(plugin.calls().len(), 1);
        two.stop();
    });
}

/// Goes round for ever so long, with a slot of its entity.
fn turning() -> serde_json::Value {
    json!({
        "schema_version": "0.2", "name": "Turn", "version": "1.0.0",
        "instance": {"mode": "entity", "key": "who"},
        "flows": [{"name": "turn", "params": [{"name": "who", "type": "string"}, {"name": "rounds", "type": "int"}], "body": [
            {"kind": "rigid", "statements": [{"kind": "let", "name": "i", "value": "0"}]},
            {"kind": "while", "condition": "i < rounds", "max_iterations": 100_000, "body": [
                {"kind": "rigid", "statements": [
                    {"kind": "assign", "target": "i", "value": "i + 1"},
                    {"kind": "log", "message": "round ${i}"}
                ]}
            ]},
            {"kind": "rigid", "statements": [{"kind": "return", "value": "i"}]}
        ]}],
    })
}

#[test]
fn what_a_node_lets_go_is_taken_at_once_slots_and_all() {
    on(Db::Postgres, |place| {
        let redis = Place::redis();
        let start = |name: &str| with_redis(node(place, name), redis.as_deref()).start();
        let one = start("a");
        let first = one.admin();
        let core = first.run("Turn", &turning());
        // Enough to be at it for long after.
        let input = |rounds: u32| json!({"flow": "turn", "input": {"who": "eve", "rounds": rounds}});
        let begin = |rounds| {
            let begun = first.post(&format!("{CORES}/{core}/invoke")).json(&input(rounds)).answer(202).data();
            begun["id"].as_str().unwrap().to_owned()
        };
        let (long, next) = (begin(60_000), begin(1));
        first.execution_becomes(&long, "running");
        let two = start("b");
        let second = two.admin();
        one.terminate();
        let told = Instant::now();
        let status = one.ended();
        let ended = told.elapsed();
        assert!(status.success(), "{status}");
        println!("the node ended {ended:?} after it was told");
        assert!(ended < Duration::from_secs(8), "it did not wait for what others can go on with: {ended:?}");
        assert_eq!(second.execution_becomes(&long, "completed")["output"], 60_000);
        assert_eq!(second.execution_becomes(&next, "completed")["output"], 1, "in turn");
        two.stop();
    });
}

#[test]
fn a_database_of_a_newer_version_is_refused() {
    for db in [Db::Sqlite, Db::Postgres] {
        on(db, |place| {
            place.start().stop();
            place.run_sql("INSERT INTO __diesel_schema_migrations (version) VALUES ('99990101000000')");
            let (data, url) = (place.data(), place.database_url());
            let variables = [
                ("SCAIGRID_BIND", "127.0.0.1:0"),
                ("SCAIGRID_DATA_DIR", data.to_str().unwrap()),
                ("SCAIGRID_DATABASE_URL", url),
            ];
            for arguments in [&["serve"][..], &["migrate"], &["admin", "tenant", "list"]] {
                let refused = run(place.folder(), arguments, &variables);
                let said = String::from_utf8_lossy(&refused.stderr).into_owned();
                assert_eq!(refused.status.code(), Some(2), "{arguments:?}: {said}");
                assert!(said.contains("newer version"), "{arguments:?}: {said}");
                assert!(said.contains("99990101000000"), "{arguments:?}: {said}");
            }
        });
    }
}

#[test]
fn who_hangs_up_in_the_midst_of_a_query_harms_nobody() {
    for db in [Db::Sqlite, Db::Postgres] {
        on(db, |place| {
            let server = place.start();
            let admin = server.admin();
            let core = admin.run("Turn", &turning());
            let impatient: Vec<_> = (0..4_u64)
                .map(|me| {
                    let list = admin.get(&format!("{CORES}?limit=100"));
                    let audit = admin.get("/v1/audit/events?limit=100");
                    let name = json!({"name": format!("Name {me}")});
                    let change = admin.put(&format!("{CORES}/{core}"), &name);
                    std::thread::spawn(move || {
                        for round in 0..60_u64 {
                            for request in [&list, &audit, &change] {
                                request.abandon(Duration::from_micros(150 * ((round + me) % 40)));
                            }
                        }
                    })
                })
                .collect();
            for one in impatient {
                one.join().unwrap();
            }
            assert_eq!(admin.get(CORES).answer(200).data()["items"].as_array().unwrap().len(), 1);
            // What was sent before the hanging up may be carried out still, and come in between.
            eventually("it can be changed", SOON, || {
                let changed = admin.put(&format!("{CORES}/{core}"), &json!({"name": "Last"})).exchange();
                (changed.status == 200).then_some(())
            });
            assert!(!server.log().contains("panicked"), "{}", server.log());
            server.stop();
        });
    }
}
