//! Several nodes on one PostgreSQL, with Redis and without.

use std::time::{Duration, Instant};

use scaigrid_tests::{CORES, Db, Place, Proxy, Server, eventually, on, programs};
use serde_json::json;

/// Enough to be at it for a second or so.
const ROUNDS: usize = 20_000;

/// A second node.
fn second_node(place: &Place, redis: Option<&str>) -> Server {
    let launch = place.further_node("second");
    let server = match redis {
        Some(redis) => launch.set("SCAIGRID_REDIS_URL", redis).start(),
        None => launch.start(),
    };
    let key = place.folder().join("second/admin.key");
    assert!(!key.exists(), "a node on a filled database writes no key");
    server
}

#[test]
fn a_dead_nodes_executions_are_finished_by_the_other() {
    on(Db::Postgres, |place| {
        let (first, second) = (place.start(), second_node(place, None));
        let (one, two) = (first.admin(), second.admin());
        let core = one.run("Spin", &programs::spinning());
        let mut running = Vec::new();
        for _ in 0..4 {
            let body = json!({"flow": "spin", "input": {"rounds": ROUNDS}});
            let started = one.post(&format!("{CORES}/{core}/invoke")).json(&body).answer(202).data();
            running.push(started["id"].as_str().unwrap().to_owned());
        }
        let unfinished = running.iter().filter(|id| two.execution(id)["status"] != "completed").count();
        assert!(unfinished > 0, "they were too quick to be killed");
        first.kill();
        let begun = Instant::now();
        for id in &running {
            assert_eq!(two.execution_becomes(id, "completed")["output"], ROUNDS);
        }
        let journal = two.pages(&format!("/v1/modules/scaicore/executions/{}/history", running[0]), "items");
        let rounds = journal.iter().filter(|entry| entry["type"] == "effect").count();
        assert_eq!(rounds, ROUNDS, "each round once");
        println!("finished {:?} after the kill", begun.elapsed());
        second.stop();
    });
}

#[test]
fn a_dead_nodes_executions_are_taken_over_within_ten_seconds() {
    on(Db::Postgres, |place| {
        let (first, second) = (place.start(), second_node(place, None));
        let (one, two) = (first.admin(), second.admin());
        let core = one.run("Ask", &programs::expenses_with_ledger());
        let input = json!({"employee": "Eve", "lines": [{"label": "x", "amount": 9000}]});
        let (execution, checkpoint) = one.invoke_to_checkpoint(&core, "submit", &input);
        let spin = one.run("Spin", &programs::spinning());
        let body = json!({"flow": "spin", "input": {"rounds": 30_000}});
        let started = one.post(&format!("{CORES}/{spin}/invoke")).json(&body).answer(202).data();
        let id = started["id"].as_str().unwrap().to_owned();
        first.kill();
        let begun = Instant::now();
        // What waits belongs to nobody: the other node decides it at once.
        assert_eq!(two.resolve(&checkpoint, "approve")["execution"]["status"], "completed");
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
        assert_eq!(two.execution(&execution)["output"]["total"], 9000);
        // What ran is taken once the lease has ended.
        two.execution_becomes(&id, "completed");
        let took = begun.elapsed();
        println!("taken over and finished after {took:?}");
        assert!(took < Duration::from_secs(15), "10 s for the lease, the rest to run: {took:?}");
        second.stop();
    });
}

#[test]
fn what_one_node_changes_counts_on_the_other() {
    on(Db::Postgres, |place| {
        let Some(redis) = Place::redis() else { return };
        let first = place.launch().set("SCAIGRID_REDIS_URL", &redis).start();
        let second = second_node(place, Some(&redis));
        let (one, two) = (first.admin(), second.admin());
        for node in [&first, &second] {
            assert_eq!(node.anyone().get("/health/ready").answer(200).json()["checks"]["bus"], "ok");
        }
        let (user, key) = one.user("ada@example.org", &["tenant_admin"]);
        let (ada_one, ada_two) = (first.client(&key), second.client(&key));
        ada_two.get("/v1/users").answer(200);
        let within_a_second = |what: &str, mut is: Box<dyn FnMut() -> bool + '_>| {
            let begun = Instant::now();
            eventually(what, Duration::from_secs(3), || is().then_some(()));
            assert!(begun.elapsed() < Duration::from_millis(1500), "{what}: {:?}", begun.elapsed());
        };
        one.post("/v1/modules/scaicore/disable").answer(200);
        within_a_second("the module is off", Box::new(|| ada_two.get(CORES).exchange().status == 403));
        one.post("/v1/modules/scaicore/enable").answer(200);
        within_a_second("the module is on", Box::new(|| ada_two.get(CORES).exchange().status == 200));
        // A Core that one node starts and pauses takes work, and does not, on the other.
        let core = one.run("Ask", &programs::asking(&json!({})));
        let (execution, checkpoint) = two.invoke_to_checkpoint(&core, "ask", &json!({}));
        assert_eq!(one.resolve(&checkpoint, "yes")["execution"]["status"], "completed");
        assert_eq!(two.execution(&execution)["output"]["decision"], "yes");
        two.act(&core, "pause");
        let body = json!({"flow": "ask"});
        one.post(&format!("{CORES}/{core}/invoke")).json(&body).refused(409, "CORE_NOT_RUNNING");
        // A user who is removed on one is nobody on the other.
        ada_one.get("/v1/me").answer(200);
        two.delete(&format!("/v1/users/{user}")).answer(204);
        within_a_second("the user is gone", Box::new(|| ada_one.get("/v1/me").exchange().status == 401));
        first.stop();
        second.stop();
    });
}

#[test]
fn a_core_changed_on_one_node_is_shown_changed_on_the_other_within_a_second() {
    on(Db::Postgres, |place| {
        let (first, second) = (place.start(), second_node(place, None));
        let (one, two) = (first.admin(), second.admin());
        let path = format!("{CORES}/{}", one.host("Before", &programs::echo(1)));
        assert_eq!(two.get(&path).answer(200).data()["name"], "Before");
        one.put(&path, &json!({"name": "After"})).answer(200);
        assert_eq!(one.get(&path).answer(200).data()["name"], "After", "at once where it was changed");
        let begun = Instant::now();
        eventually("the other node shows it", Duration::from_secs(3), || {
            (two.get(&path).answer(200).data()["name"] == "After").then_some(())
        });
        assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
        first.stop();
        second.stop();
    });
}

#[test]
fn many_resolvers_on_two_nodes_have_one_winner() {
    on(Db::Postgres, |place| {
        let (first, second) = (place.start(), second_node(place, None));
        let core = first.admin().run("Ask", &programs::asking(&json!({})));
        for _ in 0..5 {
            let (execution, checkpoint) = first.admin().invoke_to_checkpoint(&core, "ask", &json!({}));
            let path = format!("/v1/modules/scaicore/checkpoints/{checkpoint}/resolve");
            let rivals: Vec<_> = (0..10)
                .map(|me| {
                    let node = if me % 2 == 0 { first.admin() } else { second.admin() };
                    let request =
                        node.post(&path).json(&json!({"decision": format!("{me}"), "wait_ms": 5000}));
                    std::thread::spawn(move || request.exchange())
                })
                .collect();
            let answers: Vec<_> = rivals.into_iter().map(|rival| rival.join().unwrap()).collect();
            let won: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
            assert_eq!(won.len(), 1, "{answers:?}");
            assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 409)), "{answers:?}");
            let done = second.admin().execution_becomes(&execution, "completed");
            assert_eq!(done["output"]["decision"], won[0].data()["resolution"]["decision"]);
        }
        first.stop();
        second.stop();
    });
}

#[test]
fn redis_may_go_and_come_back() {
    for db in [Db::Sqlite, Db::Postgres] {
        on(db, |place| {
            let Some(redis) = Place::redis() else { return };
            let (wire, through) = Proxy::on_the_way_to(&redis);
            let server = place.launch().set("SCAIGRID_REDIS_URL", &through).start();
            let admin = server.admin();
            let bus = || server.anyone().get("/health/ready").answer(200).json()["checks"]["bus"].clone();
            eventually("the bus is well", Duration::from_secs(5), || (bus() == "ok").then_some(()));
            let core = admin.run("Ask", &programs::asking(&json!({})));
            let (_, checkpoint) = admin.invoke_to_checkpoint(&core, "ask", &json!({}));

            wire.cut();
            eventually("it is noticed", Duration::from_secs(10), || (bus() == "degraded").then_some(()));
            // Losing it costs latency at most.
            let begun = Instant::now();
            assert_eq!(admin.resolve(&checkpoint, "yes")["execution"]["status"], "completed");
            let (_, checkpoint) = admin.invoke_to_checkpoint(&core, "ask", &json!({}));
            assert_eq!(admin.resolve(&checkpoint, "yes")["execution"]["status"], "completed");
            assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());

            wire.mend();
            eventually("it is well again", Duration::from_secs(15), || (bus() == "ok").then_some(()));
            server.stop();
        });
    }
}

#[test]
fn postgresql_may_go_and_come_back() {
    on(Db::Postgres, |place| {
        // What the server says of it is for the operator, and may be loud.
        place.allow_in_log("");
        let (wire, through) = Proxy::on_the_way_to(place.database_url());
        let server = place.launch().set("SCAIGRID_DATABASE_URL", &through).start();
        let admin = server.admin();
        let asks = admin.run("Ask", &programs::asking(&json!({})));
        let spins = admin.run("Spin", &programs::spinning());
        let (_, checkpoint) = admin.invoke_to_checkpoint(&asks, "ask", &json!({}));
        let body = json!({"flow": "spin", "input": {"rounds": ROUNDS}});
        let spun = admin.post(&format!("{CORES}/{spins}/invoke")).json(&body).answer(202).data();
        let spun = spun["id"].as_str().unwrap();

        wire.cut();
        let path = format!("/v1/modules/scaicore/checkpoints/{checkpoint}");
        let begun = Instant::now();
        for request in
            [admin.get(&path), admin.post(&format!("{path}/resolve")).json(&json!({"decision": "lost"}))]
        {
            let refusal = request.refused(503, "SERVICE_UNAVAILABLE");
            assert!(refusal.header("retry-after").is_some(), "{refusal}");
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        let ready = server.anyone().get("/health/ready").answer(503).json();
        assert_ne!(ready["checks"]["database"], "ok", "{ready}");
        server.anyone().get("/health").answer(200);
        // Longer than a lease lasts.
        std::thread::sleep(Duration::from_secs(7));

        wire.mend();
        eventually("it is ready again", Duration::from_secs(20), || {
            (server.anyone().get("/health/ready").exchange().status == 200).then_some(())
        });
        assert_eq!(admin.execution_becomes(spun, "completed")["output"], ROUNDS);
        let (_, second) = admin.invoke_to_checkpoint(&asks, "ask", &json!({}));
        for id in [checkpoint, second] {
            let done = admin.resolve(&id, "found");
            assert_eq!(done["execution"]["status"], "completed", "{done}");
        }
        server.stop();
    });
}

#[test]
fn a_node_that_is_asked_to_end_hands_its_executions_over() {
    on(Db::Postgres, |place| {
        let (first, second) = (place.start(), second_node(place, None));
        let (one, two) = (first.admin(), second.admin());
        let core = one.run("Spin", &programs::spinning());
        let running: Vec<String> = (0..4)
            .map(|_| {
                let body = json!({"flow": "spin", "input": {"rounds": 40_000}});
                let started = one.post(&format!("{CORES}/{core}/invoke")).json(&body).answer(202).data();
                started["id"].as_str().unwrap().to_owned()
            })
            .collect();
        first.terminate();
        let begun = Instant::now();
        let status = first.ended();
        assert!(status.success(), "{status}");
        println!("ended after {:?}", begun.elapsed());
        let begun = Instant::now();
        for id in &running {
            assert_eq!(two.execution_becomes(id, "completed")["output"], 40_000);
        }
        println!("the other had finished them after {:?}", begun.elapsed());
        second.stop();
    });
}

#[test]
fn limits_are_counted_together_while_there_is_redis() {
    on(Db::Postgres, |place| {
        let Some(redis) = Place::redis() else { return };
        let (wire, redis) = Proxy::on_the_way_to(&redis);
        let limits = "key=10,user=1000,tenant=1000,partner=1000";
        let first =
            place.launch().set("SCAIGRID_REDIS_URL", &redis).set("SCAIGRID_RATE_LIMITS", limits).start();
        let second = place
            .further_node("second")
            .set("SCAIGRID_REDIS_URL", &redis)
            .set("SCAIGRID_RATE_LIMITS", limits)
            .start();
        let key = place.admin_key();
        let nodes = [first.client(&key), second.client(&key)];
        // A minute may end in between: then the window slides, and a few more pass.
        let passed =
            |most: usize| (0..most).filter(|n| nodes[n % 2].get("/v1/me").exchange().status == 200).count();
        let together = passed(40);
        assert!((10..=13).contains(&together), "{together} passed two nodes of one limit");
        let told = nodes[1].get("/v1/me").exchange();
        assert_eq!((told.status, told.header("x-scaigrid-ratelimit-remaining")), (429, Some("0")));
        assert_eq!(told.header("x-scaigrid-ratelimit-limit"), Some("10"));

        wire.cut();
        // Limits stay, each node's own.
        let alone = passed(80);
        assert!((20..=26).contains(&alone), "{alone} passed two nodes that count alone");
        let away = "rate limits are counted by each node for itself";
        assert_eq!(place.log().matches(away).count(), 2, "each node says it once");
        wire.mend();
        let back = "rate limits are counted together again";
        eventually("both count together again", Duration::from_secs(15), || {
            passed(2);
            (place.log().matches(back).count() == 2).then_some(())
        });
        assert_eq!(place.log().matches(away).count(), 2);
        first.stop();
        second.stop();
    });
}
