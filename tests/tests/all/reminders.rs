//! Reminders of checkpoints as people and webhooks get them. When they are due is looked at where the clock can be turned; here the
//! timers are.

use std::time::Duration;

use scaigrid_tests::{CORES, Db, Place, Receiver, SCAICORE, eventually, on_both_databases, programs};
use serde_json::{Value, json};

use crate::approvals::{at, history};
use crate::webhooks::{allowing, hook};

on_both_databases!(whoever_is_asked_is_reminded_on_every_way);

const PATIENCE: Duration = Duration::from_secs(20);

fn whoever_is_asked_is_reminded_on_every_way(place: &Place) {
    let receiver = Receiver::start();
    let server = allowing(place, &[&receiver]).start();
    let admin = server.admin();
    // On PostgreSQL there are two nodes that could do it.
    let second = (place.db() == Db::Postgres).then(|| {
        let launch = place.further_node("second");
        launch.set("SCAIGRID_EGRESS_ALLOW", &receiver.address().to_string()).start()
    });
    hook(&admin, &receiver.url("/"), &["scaicore.checkpoint_reminder"]);
    let more = json!({"assignee": "role:tenant_admin", "reminder_interval_m": 60});
    let core = admin.run("Patient", &programs::asking(&more));
    let (_, checkpoint) = admin.invoke_to_checkpoint(&core, "ask", &json!({}));
    let shown = admin.checkpoint(&checkpoint);
    assert_eq!((&shown["reminder_interval_m"], &shown["reminder_count"]), (&json!(60), &json!(0)));
    let mut following = admin.get(&format!("{SCAICORE}/checkpoints/stream")).listen();
    assert_eq!(following.take(1, PATIENCE)[0].data["event"], "open");
    for round in 1..=2_usize {
        place.run_sql(match place.db() {
            Db::Sqlite => "UPDATE timers SET due_at = 1000000 WHERE kind = 'reminder'",
            Db::Postgres => "UPDATE timers SET due_at = '1970-01-01T00:00:01Z' WHERE kind = 'reminder'",
        });
        eventually("it is counted", PATIENCE, || {
            (admin.checkpoint(&checkpoint)["reminder_count"] == round).then_some(())
        });
        let told = following.take(1, PATIENCE).remove(0).data;
        assert_eq!((&told["event"], &told["checkpoint"]["id"]), (&json!("open"), &json!(checkpoint)));
        assert_eq!(told["checkpoint"]["reminder_count"], round, "{told}");
        let letters = receiver.wait_for(round, PATIENCE);
        let letter = letters[round - 1].json();
        assert_eq!(letter["event_type"], "scaicore.checkpoint_reminder");
        assert_eq!(letter["payload"]["resource_id"], json!(checkpoint));
    }
    assert_eq!(history(&admin, &checkpoint), ["created", "reminded", "reminded"]);
    let records = admin.pages(&format!("/v1/audit/events?resource_id={checkpoint}"), "items");
    let actions: Vec<&Value> = records.iter().map(|record| &record["action"]).collect();
    assert_eq!(actions, ["checkpoint.remind", "checkpoint.remind"]);
    assert_eq!(receiver.received().len(), 2, "each once");
    // Who has decided is not asked any more.
    admin.post(&at(&checkpoint, "resolve")).json(&json!({"decision": "yes", "wait_ms": 20_000})).answer(200);
    let state = admin.get(&format!("{CORES}/{core}/state")).answer(200).data();
    assert_eq!(state["timers"], 0, "{state}");
    if let Some(second) = second {
        second.stop();
    }
    server.stop();
}
