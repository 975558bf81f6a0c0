//! Webhooks and how much of the way out each may have: what is slow holds up nobody else.

use std::time::Duration;

use scaigrid_tests::{Place, Reaction, Receiver, on_both_databases};

use crate::webhooks::{SOON, allowing, deliveries, hook};

on_both_databases!(
    a_slow_receiver_holds_up_nobody_else,
    slow_tenants_hold_up_no_other,
    a_tenants_webhooks_share_its_room,
    tests_are_bounded_too,
);

fn a_slow_receiver_holds_up_nobody_else(place: &Place) {
    let (slow, quick) = (Receiver::start(), Receiver::start());
    let server = allowing(place, &[&slow, &quick]).start();
    let root = server.admin();
    slow.always(Reaction::Silence(Duration::from_secs(12)));
    hook(&root, &slow.url("/"), &["scaikey.user.created"]);
    for n in 0..8 {
        root.user(&format!("early-{n}@example.org"), &[]);
    }
    slow.wait_for(4, SOON);
    hook(&root, &quick.url("/"), &["scaikey.user.created"]);
    for n in 0..8 {
        root.user(&format!("late-{n}@example.org"), &[]);
    }
    quick.wait_for(8, Duration::from_secs(5));
    assert_eq!(slow.received().len(), 4, "four at once");
    server.stop();
}

fn slow_tenants_hold_up_no_other(place: &Place) {
    let (slow, quick) = (Receiver::start(), Receiver::start());
    let server = allowing(place, &[&slow, &quick]).start();
    let root = server.admin();
    slow.always(Reaction::Silence(Duration::from_secs(7)));
    // Four older tenants with long queues take all the room there is.
    for tenant in 0..4 {
        let inside = root.in_tenant(&root.tenant(&format!("slow-{tenant}")));
        for _ in 0..2 {
            hook(&inside, &slow.url("/"), &["scaikey.user.created"]);
        }
        for user in 0..14 {
            inside.user(&format!("user-{user}@example.org"), &[]);
        }
    }
    slow.wait_for(32, SOON);
    let inside = root.in_tenant(&root.tenant("quick"));
    hook(&inside, &quick.url("/"), &["scaikey.user.created"]);
    inside.user("ada@example.org", &[]);
    // As soon as something ends, and not when all of their queues have.
    quick.wait_for(1, Duration::from_secs(10));
    server.kill();
}

fn a_tenants_webhooks_share_its_room(place: &Place) {
    let slow = Receiver::start();
    let server = allowing(place, &[&slow]).start();
    let root = server.admin();
    slow.always(Reaction::Silence(Duration::from_secs(9)));
    for _ in 0..6 {
        hook(&root, &slow.url("/"), &["scaikey.user.created"]);
    }
    for user in 0..6 {
        root.user(&format!("user-{user}@example.org"), &[]);
    }
    slow.wait_for(8, SOON);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(slow.received().len(), 8, "eight at once");
    server.kill();
}

fn tests_are_bounded_too(place: &Place) {
    let slow = Receiver::start();
    let server = allowing(place, &[&slow]).start();
    let root = server.admin();
    let (id, _) = hook(&root, &slow.url("/"), &["scaikey.user.created"]);
    let test = root.post(&format!("/v1/webhooks/{id}/test"));
    slow.always(Reaction::Silence(Duration::from_secs(4)));
    // Who hangs up has not ended what they began.
    for _ in 0..4 {
        test.abandon(Duration::from_millis(50));
    }
    slow.wait_for(4, SOON);
    let refused = test.refused(429, "RATE_LIMITED");
    assert!(refused.header("retry-after").is_some(), "{refused}");
    assert_eq!(deliveries(&root, &id, "").len(), 4, "nothing was written for it");
    // Another tenant's room is its own.
    let inside = root.in_tenant(&root.tenant("other"));
    slow.then([Reaction::Answer(200, String::new())]);
    let (other, _) = hook(&inside, &slow.url("/"), &["scaikey.user.created"]);
    inside.post(&format!("/v1/webhooks/{other}/test")).answer(200);
    slow.always(Reaction::Answer(200, String::new()));
    scaigrid_tests::eventually("there is room again", SOON, || (test.exchange().status == 200).then_some(()));
    server.stop();
}
