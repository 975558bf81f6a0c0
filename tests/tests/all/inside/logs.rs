//! What programs say is kept, found, and followed without a gap.

use std::collections::BTreeSet;
use std::time::Duration;

use scaigrid_tests::{
    CORES, Client, Db, Event, Place, SCAICORE, Server, eventually, on, on_both_databases, programs,
};
use serde_json::{Value, json};

use super::{PATIENCE, instant, talking};

on_both_databases!(
    what_is_said_is_found_again,
    a_log_is_followed_without_a_gap_across_restarts,
    who_is_cut_off_before_the_first_entry_misses_none,
    a_stream_says_why_it_ends,
);

fn logs(client: &Client, core: &str, query: &str) -> Vec<Value> {
    client.pages(&format!("{CORES}/{core}/logs?{query}"), "logs")
}

fn messages(logs: &[Value]) -> Vec<&str> {
    logs.iter().map(|entry| entry["message"].as_str().unwrap()).collect()
}

fn what_is_said_is_found_again(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let secret = json!({"name": "Talk", "source": talking(),
        "environment": {"TOKEN": {"type": "secret", "value": "hush-hush"}}});
    let core = admin.post(CORES).json(&secret).answer(201).data()["id"].as_str().unwrap().to_owned();
    admin.act(&core, "start");
    admin.status_becomes(&core, "running");
    let first = admin.invoke(&core, "talk", &json!({"times": 150, "who": "Ada"}))["id"].clone();
    let second = admin.invoke(&core, "talk", &json!({"times": 2, "who": "hush-hush"}))["id"].clone();
    let (first, second) = (first.as_str().unwrap(), second.as_str().unwrap());

    // Newest first, each once, over several pages.
    let all = logs(&admin, &core, "");
    assert_eq!(all.len(), 154, "150 and 2 entries of the program, and how both ended");
    let ids: BTreeSet<&str> = all.iter().map(|entry| entry["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), all.len(), "no id twice");
    assert_eq!(
        messages(&all)[..4],
        ["the execution completed", "*** says 2", "*** says 1", "the execution completed"]
    );
    assert_eq!((&all[1]["source"], &all[0]["source"]), (&json!("program"), &json!("runtime")));
    assert_eq!((&all[1]["flow"], &all[1]["block"]), (&json!("talk"), &json!("say")));
    assert_eq!((&all[1]["fields"], &all[1]["execution_id"]), (&json!({"n": 2}), &json!(second)));
    assert!(all.is_sorted_by(|a, b| instant(a) >= instant(b)));

    // By execution, in both ways.
    let of_first = logs(&admin, &core, &format!("execution_id={first}"));
    assert_eq!(of_first.len(), 151);
    let same = admin.pages(&format!("{SCAICORE}/executions/{first}/logs"), "logs");
    assert_eq!(same, of_first);
    // By text, in whatever case; by time.
    assert_eq!(messages(&logs(&admin, &core, "q=ADA%20says%2014")).len(), 11, "14 and 140 to 149");
    let at = of_first[0]["timestamp"].as_str().unwrap().replace('+', "%2B");
    assert_eq!(
        logs(&admin, &core, &format!("until={at}")).len() + logs(&admin, &core, &format!("since={at}")).len(),
        154
    );
    assert_eq!(logs(&admin, &core, "level=warn"), Vec::<Value>::new());

    // What fails is told once, with its place, and is worth more.
    let failing = programs::program(
        "Failing",
        &[programs::flow(
            "fail",
            &json!([]),
            &json!([
                {"kind": "try", "id": "outer", "body": [programs::rigid("inner", &json!([
                    {"kind": "fail", "code": "TOO_BAD", "message": "'it went wrong'"}]))],
                    "catch": [{"code": "OTHER", "body": []}]}
            ]),
        )],
    );
    let bad = admin.run("Failing", &failing);
    assert_eq!(admin.invoke(&bad, "fail", &json!({}))["status"], "failed");
    let told = logs(&admin, &bad, "level=warn");
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!((&told[0]["level"], &told[1]["level"]), (&json!("error"), &json!("warn")));
    assert_eq!((&told[1]["block"], &told[1]["fields"]["code"]), (&json!("inner"), &json!("TOO_BAD")));

    // Checkpoints open and are decided.
    let asks = admin.run("Ask", &programs::asking(&json!({})));
    let (execution, checkpoint) = admin.invoke_to_checkpoint(&asks, "ask", &json!({}));
    admin.resolve(&checkpoint, "yes");
    let told = admin.pages(&format!("{SCAICORE}/executions/{execution}/logs"), "logs");
    let expected =
        ["the execution completed", "a checkpoint was decided: yes", "waits at a checkpoint: Shall it be?"];
    assert_eq!(messages(&told), expected);

    // What is wrong with a question is told by name; what belongs to others is not there.
    for (query, field) in [("level=loud", "level"), ("q=", "q"), ("since=x", "since"), ("cursor=x", "cursor")]
    {
        let refused = admin.get(&format!("{CORES}/{core}/logs?{query}")).refused(422, "VALIDATION_ERROR");
        assert_eq!(refused.fields(), [field]);
    }
    let other = admin.in_tenant(&admin.tenant("other"));
    other.get(&format!("{CORES}/{core}/logs")).refused(404, "CORE_NOT_FOUND");
    other.get(&format!("{SCAICORE}/executions/{first}/logs")).refused(404, "EXECUTION_NOT_FOUND");

    // The Core takes its log with it.
    admin.act(&core, "stop");
    admin.status_becomes(&core, "stopped");
    admin.delete(&format!("{CORES}/{core}")).answer(204);
    admin.get(&format!("{CORES}/{core}/logs")).refused(404, "CORE_NOT_FOUND");
    server.stop();
}

fn stream(client: &Client, core: &str, query: &str, last: Option<&str>) -> scaigrid_tests::EventStream {
    let request = client.get(&format!("{CORES}/{core}/logs/stream{query}"));
    match last {
        Some(id) => request.header("Last-Event-ID", id).listen(),
        None => request.listen(),
    }
}

fn numbers(events: &[Event]) -> Vec<i64> {
    let of_program = events.iter().filter(|told| told.data["source"] == "program");
    of_program.map(|told| told.data["fields"]["n"].as_i64().unwrap()).collect()
}

fn a_log_is_followed_without_a_gap_across_restarts(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.run("Talk", &talking());
    admin.invoke(&core, "talk", &json!({"times": 10}));
    // One that begins now hears nothing of what was before; one with a tail the last of it.
    let mut now = stream(&admin, &core, "", None);
    let mut tail = stream(&admin, &core, "?tail=4", None);
    let last = tail.take(4, PATIENCE);
    assert_eq!(numbers(&last), [8, 9, 10]);
    assert_eq!(last[3].data["message"], "the execution completed");
    admin.invoke(&core, "talk", &json!({"times": 50}));
    let heard = now.take(51, PATIENCE);
    assert_eq!(numbers(&heard), (1..=50).collect::<Vec<_>>());
    assert_eq!(numbers(&tail.take(51, PATIENCE)), (1..=50).collect::<Vec<_>>());
    // Taken up again in the middle, also by another process: nothing is left out, nothing told twice.
    let middle = heard[20].id.clone().unwrap();
    drop((now, tail));
    server.kill();
    let server = place.start();
    let admin = server.admin();
    let mut again = stream(&admin, &core, "", Some(&middle));
    assert_eq!(numbers(&again.take(30, PATIENCE)), (22..=50).collect::<Vec<_>>());
    admin.status_becomes(&core, "running");
    admin.invoke(&core, "talk", &json!({"times": 3}));
    assert_eq!(numbers(&again.take(4, PATIENCE)), [1, 2, 3]);
    // By level: the rest is passed over, and does not come later either.
    let mut warnings = stream(&admin, &core, "?level=warn&tail=10", None);
    assert_eq!(warnings.next(Duration::from_secs(2)), None);
    for (query, last, field) in
        [("?tail=1001", None, "tail"), ("?tail=x", None, "tail"), ("", Some("x"), "Last-Event-ID")]
    {
        let request = admin.get(&format!("{CORES}/{core}/logs/stream{query}"));
        let request = match last {
            Some(last) => request.header("Last-Event-ID", last),
            None => request,
        };
        assert_eq!(request.refused(422, "VALIDATION_ERROR").fields(), [field]);
    }
    server.stop();
}

fn who_is_cut_off_before_the_first_entry_misses_none(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.run("Talk", &talking());
    // Of a log without an entry, and of one that has some.
    for entries in [4, 2] {
        let mut cut = stream(&admin, &core, "", None);
        let begun = cut.next_id(PATIENCE).unwrap();
        drop(cut);
        admin.invoke(&core, "talk", &json!({"times": entries}));
        let mut again = stream(&admin, &core, "", Some(&begun));
        let heard = again.take(usize::try_from(entries).unwrap() + 1, PATIENCE);
        assert_eq!(numbers(&heard), (1..=entries).collect::<Vec<_>>());
    }
    // Whoever waits for what does not come goes on behind what was passed over.
    let mut errors = stream(&admin, &core, "?level=error", None);
    let begun = errors.next_id(PATIENCE).unwrap();
    admin.invoke(&core, "talk", &json!({"times": 3}));
    let last = stream(&admin, &core, "", Some(&begun)).take(4, PATIENCE).pop().unwrap().id.unwrap();
    assert_ne!(begun, last);
    let mut passed = errors.next_id(PATIENCE).unwrap();
    while passed != last {
        passed = errors.next_id(PATIENCE).unwrap();
    }
    server.stop();
}

fn a_stream_says_why_it_ends(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.run("Talk", &talking());
    let end = |stream: &mut scaigrid_tests::EventStream| {
        let told = stream.next(PATIENCE).unwrap();
        assert_eq!(told.event.as_deref(), Some("end"), "{told:?}");
        assert_eq!(stream.next(PATIENCE), None, "nothing comes after it");
        told.data["reason"].as_str().unwrap().to_owned()
    };
    // Who may not any more.
    let (user, key) = admin.user("ada@example.org", &["tenant_admin"]);
    let mut theirs = stream(&server.client(&key), &core, "", None);
    admin.delete(&format!("/v1/users/{user}")).answer(204);
    assert_eq!(end(&mut theirs), "forbidden");
    // The Core is gone.
    let mut listening = stream(&admin, &core, "", None);
    admin.act(&core, "stop");
    admin.status_becomes(&core, "stopped");
    admin.delete(&format!("{CORES}/{core}")).answer(204);
    assert_eq!(end(&mut listening), "deleted");
    // The node ends; it does not wait for those who listen.
    let other = admin.run("Other", &talking());
    let mut listening = stream(&admin, &other, "", None);
    let begun = std::time::Instant::now();
    server.terminate();
    assert_eq!(end(&mut listening), "shutdown");
    assert!(server.ended().success());
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
}

/// Two nodes write to one Core's log as fast as they can, while readers on both follow, leave and come again.
#[test]
fn nobody_who_follows_several_nodes_misses_or_repeats_anything() {
    on(Db::Postgres, |place| {
        const EXECUTIONS: usize = 12;
        const TIMES: usize = 300;
        let first = place.start();
        let second = match Place::redis() {
            Some(redis) => place.further_node("second").set("SCAIGRID_REDIS_URL", &redis).start(),
            None => place.further_node("second").start(),
        };
        let core = first.admin().run("Talk", &talking());
        eventually("the other node knows it", PATIENCE, || {
            let body = json!({"flow": "talk", "input": {"times": 0}, "wait_ms": 10_000});
            (second.admin().post(&format!("{CORES}/{core}/invoke")).json(&body).exchange().status == 200)
                .then_some(())
        });
        let heard: Vec<Vec<(String, i64)>> = std::thread::scope(|threads| {
            let readers: Vec<_> = [&first, &second, &first]
                .into_iter()
                .zip(0..)
                .map(|(node, reader)| {
                    let mut listening = stream(&node.admin(), &core, "", None);
                    let (core, first, second) = (&core, &first, &second);
                    threads.spawn(move || {
                        let mut heard = Vec::new();
                        let nodes: [&Server; 2] = [first, second];
                        let mut turn = reader;
                        while heard.len() < EXECUTIONS * TIMES {
                            let told = listening.next(PATIENCE);
                            let told =
                                told.unwrap_or_else(|| panic!("reader {reader}: {} came", heard.len()));
                            if told.data["source"] == "program" {
                                let execution = told.data["execution_id"].as_str().unwrap().to_owned();
                                heard.push((execution, told.data["fields"]["n"].as_i64().unwrap()));
                            }
                            // The third reader changes nodes again and again.
                            if reader == 2 && heard.len() % 97 == 0 {
                                turn += 1;
                                listening = stream(&nodes[turn % 2].admin(), core, "", told.id.as_deref());
                            }
                        }
                        heard
                    })
                })
                .collect();
            for number in 0..EXECUTIONS {
                let client = if number % 2 == 0 { first.admin() } else { second.admin() };
                let core = &core;
                threads.spawn(move || client.invoke(core, "talk", &json!({"times": TIMES})));
            }
            readers.into_iter().map(|reader| reader.join().unwrap()).collect()
        });
        for heard in &heard {
            let each: BTreeSet<&(String, i64)> = heard.iter().collect();
            assert_eq!((each.len(), heard.len()), (EXECUTIONS * TIMES, EXECUTIONS * TIMES), "each once");
            for execution in each.iter().map(|(execution, _)| execution).collect::<BTreeSet<_>>() {
                let own: Vec<i64> = heard.iter().filter(|(id, _)| id == execution).map(|(_, n)| *n).collect();
                assert!(own.is_sorted(), "what one execution says stays in order");
            }
        }
        first.stop();
        second.stop();
    });
}
