//! What is said in rooms: it has numbers without gaps, is bounded, and comes to everybody once, in its order.

use std::time::Duration;

use scaigrid_tests::{Client, Db, Event, EventStream, Place, on, on_both_databases};
use serde_json::{Value, json};

use crate::rooms::{House, house, member, room, say, text};

on_both_databases!(
    what_is_said_at_once_has_numbers_without_gaps,
    messages_are_listed_both_ways,
    a_stream_tells_everything_once,
    who_is_out_hears_no_more,
    what_is_said_is_bounded,
);

const PATIENCE: Duration = Duration::from_secs(20);

fn seqs(messages: &[Value]) -> Vec<u64> {
    messages.iter().map(|message| message["seq"].as_u64().unwrap()).collect()
}

fn stream(client: &Client, room: &str, last: Option<&str>) -> EventStream {
    let request = client.get(&format!("{room}/stream"));
    match last {
        Some(id) => request.header("Last-Event-ID", id).listen(),
        None => request.listen(),
    }
}

fn told(events: &[Event]) -> Vec<(&str, &str, &str)> {
    let each = events.iter().map(|event| {
        let said = event.data["text"].as_str().unwrap_or_default();
        (event.event.as_deref().unwrap_or_default(), event.id.as_deref().unwrap_or_default(), said)
    });
    each.collect()
}

fn what_is_said_at_once_has_numbers_without_gaps(place: &Place) {
    let House { server, ada, bob, .. } = house(place);
    let path = room(&ada, &["bob"]);
    let mut following = stream(&bob, &path, None);
    assert_eq!(following.next_id(PATIENCE).as_deref(), Some("0"));
    std::thread::scope(|scope| {
        for who in [&ada, &bob, &ada, &bob] {
            let path = &path;
            scope.spawn(move || (0..10).for_each(|_| drop(say(who, path, "At once"))));
        }
    });
    let mut listed = seqs(&ada.pages(&format!("{path}/messages"), "items"));
    listed.reverse();
    assert_eq!(listed, (1..=40).collect::<Vec<u64>>());
    let heard: Vec<u64> =
        following.take(40, PATIENCE).iter().map(|event| event.data["seq"].as_u64().unwrap()).collect();
    assert_eq!(heard, listed, "everybody hears them in their order");
    server.stop();
}

fn messages_are_listed_both_ways(place: &Place) {
    let House { server, ada, .. } = house(place);
    let path = room(&ada, &[]);
    for number in 1..=5 {
        let said = say(&ada, &path, &format!("Number {number}"));
        assert_eq!((&said["seq"], &said["answers"]), (&json!(number), &json!([])));
    }
    let messages = format!("{path}/messages");
    let page = |query: &str| {
        let page = ada.get(&format!("{messages}?{query}")).answer(200).json();
        let items = page["data"]["items"].as_array().unwrap().clone();
        (seqs(&items), page["pagination"]["next_cursor"].as_str().map(str::to_owned))
    };
    let (newest, next) = page("limit=2");
    assert_eq!(newest, [5, 4]);
    // What is said in between does not move the page.
    say(&ada, &path, "Number 6");
    let (older, next) = page(&format!("limit=2&cursor={}", next.unwrap()));
    assert_eq!(older, [3, 2]);
    assert_eq!(page(&format!("limit=2&cursor={}", next.unwrap())), (vec![1], None));
    let (after, next) = page("after_seq=2&limit=3");
    assert_eq!(after, [3, 4, 5]);
    let next = next.unwrap();
    assert_eq!(page(&format!("after_seq=2&limit=3&cursor={next}")), (vec![6], None));
    assert_eq!(page("after_seq=6"), (vec![], None));
    // A cursor is of the way that the list was read.
    ada.get(&format!("{messages}?cursor={next}")).refused(422, "VALIDATION_ERROR");
    for bad in ["-1", "x", "99999999999999999999"] {
        let refused = ada.get(&format!("{messages}?after_seq={bad}")).refused(422, "VALIDATION_ERROR");
        assert_eq!(refused.fields(), ["after_seq"]);
    }
    let first = &ada.get(&format!("{messages}?after_seq=0&limit=1")).answer(200).data()["items"][0];
    assert_eq!((&first["text"], &first["kind"]), (&json!("Number 1"), &json!("text")));
    assert_eq!(first["author"]["local_id"], "ada");
    for none in ["answer_id", "model", "usage", "error"] {
        assert!(first.get(none).is_some_and(Value::is_null), "{none}: {first}");
    }
    server.stop();
}

fn a_stream_tells_everything_once(place: &Place) {
    let House { server, ada, bob, .. } = house(place);
    let path = room(&ada, &["bob"]);
    say(&ada, &path, "Before");
    let mut following = stream(&bob, &path, None);
    assert_eq!(following.next_id(PATIENCE).as_deref(), Some("1"), "it begins now");
    say(&ada, &path, "Two");
    say(&bob, &path, "Three");
    let heard = following.take(2, PATIENCE);
    assert_eq!(told(&heard), [("message", "2", "Two"), ("message", "3", "Three")]);
    assert_eq!(heard[0].data["author"]["local_id"], "ada");
    let listed = bob.get(&format!("{path}/messages?after_seq=1&limit=1")).answer(200).data();
    assert_eq!(heard[0].data, listed["items"][0], "it is the message as it is listed");
    drop(following);
    // What is said while nobody listens, and while the server is away, is told to whoever comes back.
    say(&ada, &path, "Four");
    server.kill();
    let server = place.start();
    let (ada, bob) = (server.of(&ada), server.of(&bob));
    say(&ada, &path, "Five");
    let mut again = stream(&bob, &path, Some("2"));
    let missed = again.take(3, PATIENCE);
    let expected = [("message", "3", "Three"), ("message", "4", "Four"), ("message", "5", "Five")];
    assert_eq!(told(&missed), expected);
    assert_eq!(again.next(Duration::from_secs(3)), None, "nothing is told twice");
    // More than is read at once comes whole, too.
    for number in 6..=50 {
        say(&ada, &path, &format!("Number {number}"));
    }
    let mut all = stream(&bob, &path, Some("0"));
    let seqs: Vec<u64> = all.take(50, PATIENCE).iter().map(|it| it.data["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=50).collect::<Vec<u64>>());
    let mut tail = bob.get(&format!("{path}/stream?tail=2")).listen();
    assert_eq!(
        told(&tail.take(2, PATIENCE)),
        [("message", "49", "Number 49"), ("message", "50", "Number 50")]
    );
    for bad in ["x", "-1", "51"] {
        let refused = bob.get(&format!("{path}/stream")).header("Last-Event-ID", bad);
        assert_eq!(refused.refused(422, "VALIDATION_ERROR").fields(), ["Last-Event-ID"]);
    }
    for bad in ["x", "-1", "201"] {
        let refused = bob.get(&format!("{path}/stream?tail={bad}")).refused(422, "VALIDATION_ERROR");
        assert_eq!(refused.fields(), ["tail"]);
    }
    server.terminate();
    let end = tail.take(1, PATIENCE);
    assert_eq!((end[0].event.as_deref(), &end[0].data["reason"]), (Some("end"), &json!("shutdown")));
    assert!(server.ended().success(), "it does not wait for those who listen");
}

fn who_is_out_hears_no_more(place: &Place) {
    let House { server, tenant, ada, bob, boss } = house(place);
    let path = room(&ada, &["bob", "boss"]);
    let (mut to_bob, mut to_boss) = (stream(&bob, &path, None), stream(&boss, &path, None));
    to_bob.next_id(PATIENCE).unwrap();
    to_boss.next_id(PATIENCE).unwrap();
    let bob_id = member(&ada, &path, "bob");
    ada.delete(&format!("{path}/participants/{bob_id}")).answer(204);
    say(&ada, &path, "Without bob");
    let end = to_bob.take(1, PATIENCE);
    assert_eq!((end[0].event.as_deref(), &end[0].data["reason"]), (Some("end"), &json!("forbidden")));
    assert_eq!(told(&to_boss.take(1, PATIENCE)), [("message", "1", "Without bob")]);
    // Nor does who is a user no more.
    let users = boss.pages("/v1/users", "items");
    let gone = users.iter().find(|user| user["email"] == "boss@acme.example").unwrap();
    let root = server.admin();
    root.in_tenant(&tenant).delete(&format!("/v1/users/{}", text(&gone["id"]))).answer(204);
    let end = to_boss.take(1, PATIENCE);
    assert_eq!((end[0].event.as_deref(), &end[0].data["reason"]), (Some("end"), &json!("forbidden")));
    server.stop();
}

fn what_is_said_is_bounded(place: &Place) {
    let House { server, ada, .. } = house(place);
    let path = room(&ada, &[]);
    let messages = format!("{path}/messages");
    let longest = "x".repeat(64 * 1024);
    assert_eq!(say(&ada, &path, &longest)["text"], json!(longest));
    for (body, field) in [
        (json!({}), "text"),
        (json!({"text": ""}), "text"),
        (json!({"text": " \n"}), "text"),
        (json!({"text": "a\u{0}b"}), "text"),
        (json!({"text": "x".repeat(64 * 1024 + 1)}), "text"),
        (json!({"text": "é".repeat(32 * 1024 + 1)}), "text"),
        (json!({"text": "x", "kind": "failure"}), "kind"),
    ] {
        let refused = ada.post(&messages).json(&body).refused(422, "VALIDATION_ERROR");
        assert_eq!(refused.fields(), [field]);
    }
    let huge = json!({"text": "x".repeat(1024 * 1024)});
    ada.post(&messages).json(&huge).refused(413, "PAYLOAD_TOO_LARGE");
    for bad in ["-1", "60001", "soon"] {
        let asked = ada.post(&format!("{messages}?wait_ms={bad}")).json(&json!({"text": "x"}));
        assert_eq!(asked.refused(422, "VALIDATION_ERROR").fields(), ["wait_ms"]);
    }
    // Nobody owes anything: there is nothing to wait for.
    let begun = std::time::Instant::now();
    let said = ada.post(&format!("{messages}?wait_ms=60000")).json(&json!({"text": "x"})).answer(201).data();
    assert_eq!((&said["answers"], &said["seq"]), (&json!([]), &json!(2)));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    // Sent again with the same key it is said once.
    let body = json!({"text": "Once"});
    let once = ada.post(&messages).header("Idempotency-Key", "once-1").json(&body);
    assert_eq!(once.answer(201).data()["seq"], once.answer(201).data()["seq"]);
    assert_eq!(seqs(&ada.pages(&messages, "items")), [3, 2, 1]);
    server.stop();
}

#[test]
fn a_room_is_followed_on_another_node() {
    on(Db::Postgres, |place| {
        let House { server: first, ada, bob, .. } = house(place);
        let second = place.further_node("second").start();
        let (here, there) = (second.of(&bob), second.of(&ada));
        let path = room(&ada, &["bob"]);
        let mut following = stream(&here, &path, None);
        following.next_id(PATIENCE).unwrap();
        // Said on both nodes at once, heard on one, in one order.
        std::thread::scope(|scope| {
            for who in [&ada, &there] {
                let path = &path;
                scope.spawn(move || (0..20).for_each(|_| drop(say(who, path, "From both"))));
            }
        });
        let heard: Vec<String> =
            following.take(40, PATIENCE).into_iter().map(|event| event.id.unwrap()).collect();
        assert_eq!(heard, (1..=40).map(|seq| seq.to_string()).collect::<Vec<_>>());
        // From the middle of what one node told, another goes on.
        let mut rest = stream(&bob, &path, Some(&heard[37]));
        let ids: Vec<String> = rest.take(2, PATIENCE).into_iter().map(|event| event.id.unwrap()).collect();
        assert_eq!(ids, ["39", "40"]);
        assert_eq!(rest.next(Duration::from_secs(2)), None);
        first.stop();
        second.stop();
    });
}
