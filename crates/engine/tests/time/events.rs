//! Who hears an event: executions that wait for it, and flows of other Cores.

use scaigrid_cores::Status;
use scaigrid_ir::Value;
use scaigrid_persistence::event_waits::EventWait;
use scaigrid_persistence::timers::{Owner, Timer};
use serde_json::json;
use std::time::Duration;

use crate::home::{Home, core, echo, program, scope};
use crate::timers::waiting;

crate::on_both_databases! {
    an_event_wakes_who_waits_for_it_once,
    other_cores_of_the_tenant_can_listen,
}

async fn an_event_wakes_who_waits_for_it_once(home: &Home) {
    let node = home.node().await;
    let core_id = home.host(&node, core("Wait", program(&[echo("main"), listening()], &json!({})))).await;
    let other = home.host(&node, core("Other", program(&[echo("main")], &json!({})))).await;
    let mut waiters = Vec::new();
    for name in ["paid", "paid", "sent"] {
        let due_at = home.now().plus(Duration::from_secs(5));
        let id = waiting(home, core_id, |execution_id, unit| {
            unit.waits.push(EventWait {
                execution_id,
                effect: 2,
                core_id,
                name: name.into(),
                source_version: 1,
                pointer: String::new(),
                captured: None,
            });
            let owner = Owner::EventWait { execution: execution_id, effect: 2 };
            unit.timers.push(Timer { owner, core_id, due_at });
        })
        .await;
        waiters.push(id);
    }
    node.send_event(scope(), other, "paid", Value::Null, None).await.unwrap();
    assert!(home.inbox(waiters[0]).await.is_empty(), "another Core's event is none of theirs");
    let data = Value::from([("amount", Value::Int(5))]);
    node.send_event(scope(), core_id, "paid", data, None).await.unwrap();
    node.send_event(scope(), core_id, "paid", Value::Null, None).await.unwrap();
    for id in &waiters[..2] {
        let inbox = home.inbox(*id).await;
        assert_eq!(inbox.len(), 1);
        assert!(String::from_utf8_lossy(&inbox[0].1).contains("amount"), "the first one counts");
    }
    assert!(home.inbox(waiters[2]).await.is_empty());
    let left = home.timers().await;
    assert_eq!(left.len(), 1, "what has come does not time out");
    assert_eq!(left[0].owner, Owner::EventWait { execution: waiters[2], effect: 2 });
}

/// A flow that waits for an event.
pub(crate) fn listening() -> serde_json::Value {
    json!({"name": "listen", "params": [], "body": [
        {"kind": "rigid", "statements": [{"kind": "wait_event", "name": "paid"}]}]})
}

async fn other_cores_of_the_tenant_can_listen(home: &Home) {
    let node = home.node().await;
    let quiet = program(&[echo("main")], &json!({}));
    let invoices = home.host(&node, core("Invoices", quiet.clone())).await;
    let others = home.host(&node, core("Others", quiet)).await;
    let listening = |from: &str, filter: &str| {
        program(
            &[echo("book")],
            &json!({"subscriptions": [{"event": "paid", "from": from, "filter": filter, "flow": "book"}]}),
        )
    };
    let ledger = home.host(&node, core("Ledger", listening("core://acme/invoices", "data.amount > 5"))).await;
    let short = home.host(&node, core("Short", listening("core://invoices", "true"))).await;
    let foreign = home.host(&node, core("Foreign", listening("core://globex/invoices", "true"))).await;
    let own = home.host(&node, core("Own", listening("core://self", "true"))).await;
    let both = program(
        &[echo("book"), echo("foreign")],
        &json!({"subscriptions": [
            {"event": "paid", "from": "core://globex/invoices", "flow": "foreign"},
            {"event": "paid", "from": "core://acme/invoices", "flow": "book"},
            {"event": "own", "from": "core://globex/both", "flow": "foreign"},
            {"event": "own", "from": "core://acme/both", "flow": "book"},
        ]}),
    );
    let both = home.host(&node, core("Both", both)).await;
    let started = async |core, amount| {
        let data = Value::from([("amount", Value::Int(amount))]);
        node.send_event(scope(), core, "paid", data, None).await.unwrap().executions.len()
    };
    assert_eq!(started(invoices, 6).await, 3);
    assert_eq!(started(invoices, 5).await, 2, "the filter of one of them");
    assert_eq!(started(others, 6).await, 0, "the same name from elsewhere");
    assert_eq!(started(own, 6).await, 1);
    let booked = home.executions(ledger).await;
    assert_eq!(booked.len(), 1);
    assert_eq!((booked[0].flow.as_ref(), booked[0].origin.to_string().as_str()), ("book", "event:paid"));
    assert_eq!(home.executions(short).await.len(), 2);
    assert!(home.executions(foreign).await.is_empty(), "another tenant's Core of the same name");
    let told = node.send_event(scope(), both, "own", Value::Null, None).await.unwrap();
    assert_eq!(told.executions.len(), 1, "its own event, by its own tenant");
    let flows: Vec<_> = home.executions(both).await.into_iter().map(|one| one.flow.to_string()).collect();
    assert_eq!(flows, ["book", "book", "book"], "nothing of another tenant's Core");
    // One that does not run hears nothing.
    home.turn(&node, ledger, Status::Paused, None).await;
    assert_eq!(started(invoices, 6).await, 2);
}
