//! Checkpoints: their rules, what people say of them, who may still decide them, links to them, what has changed of them.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use scaigrid_checkpoints::{
    AllowedCall, Assignee, By, Checkpoint, CheckpointStatus, Claim, Expiry, ExpiryAction, Priority,
    Resolution, Routing, Rules, State, Vote,
};
use scaigrid_cores::execution::ExecutionStatus;
use scaigrid_persistence::checkpoints::changes::{self, Changed};
use scaigrid_persistence::checkpoints::links::{self, Link};
use scaigrid_persistence::checkpoints::{self, CheckpointFilter};
use scaigrid_persistence::commit::{Change, Unit, Verdict};
use scaigrid_persistence::timers::{self, Owner};
use scaigrid_persistence::{mails, retention};
use scaigrid_scope::{CheckpointId, Instant, UserId};

use crate::commit::{apply, begin, checkpoint, execution_id, hosted, proceed};
use crate::home::Home;
use crate::values::{SYSTEM, at, of_tenant, tenant_id, ulid, user_id};

crate::on_both_databases! {
    rules_are_read_as_they_were_written,
    an_escalation_asks_whom_it_was_to_ask,
    a_decision_counts_for_what_was_read,
    votes_are_kept_each_once,
    an_inbox_leaves_out_what_its_owner_may_not_decide,
    an_inbox_is_one_list_of_what_asks_any_that_its_owner_is,
    filters_choose_among_all,
    a_link_is_used_once_and_goes_with_its_execution,
    a_new_link_takes_the_place_of_an_unused_one,
    what_has_changed_is_found_by_when,
    reminders_go_with_their_checkpoint,
}

fn with_rules(number: u128, rules: Rules) -> Checkpoint {
    let mut checkpoint = checkpoint(number);
    checkpoint.question.rules = rules;
    checkpoint
}

fn approvals(count: u32) -> Rules {
    Rules { required_approvals: NonZeroU32::new(count).unwrap(), ..Rules::default() }
}

fn vote(user: u128, seconds: i64) -> Vote {
    Vote {
        by: user_id(user),
        decision: "yes".into(),
        response_data: Some(Arc::new(serde_json::json!({"n": [1, null]}))),
        comment: Some("fine".into()),
        at: at(seconds),
    }
}

/// The checkpoint with one more vote, which decides.
fn decided(mut checkpoint: Checkpoint, vote: Vote) -> Checkpoint {
    checkpoint.state = State::Resolved(Resolution {
        decision: vote.decision.clone(),
        response_data: vote.response_data.clone(),
        comment: vote.comment.clone(),
        by: By::User(vote.by),
        at: vote.at,
    });
    checkpoint.updated_at = vote.at;
    checkpoint.votes.push(vote);
    checkpoint
}

fn keep() -> Unit {
    Unit::new(tenant_id(1), at(9), Change::Keep { id: execution_id(1) })
}

async fn opened(home: &Home, checkpoints: &[Checkpoint]) {
    hosted(home).await;
    let opened = checkpoints.iter().cloned().zip(0..).collect();
    assert_eq!(apply(home, vec![Unit { opened, ..begin(1) }]).await, [Verdict::Done]);
}

async fn read(home: &Home, id: CheckpointId) -> Checkpoint {
    let mut c = home.read().await;
    checkpoints::lookup(&mut c, of_tenant(1), id).await.unwrap().unwrap().checkpoint
}

async fn rules_are_read_as_they_were_written(home: &Home) {
    let rules = Rules {
        form: Some(Arc::new(serde_json::json!({"type": "object", "required": ["a"]}))),
        required_approvals: NonZeroU32::new(3).unwrap(),
        excluded: vec![user_id(7), user_id(8)],
        allows: Some(AllowedCall {
            alias: "bank".into(),
            method: "pay".into(),
            hash: "ab".into(),
            decisions: vec!["approve".into()],
            expires_in: Some(Duration::from_micros(1_500_001)),
        }),
        reminder: Some(Duration::from_mins(5)),
        links: true,
        notify: true,
        shown: Some("cd".into()),
    };
    let all = [with_rules(1, rules), checkpoint(2)];
    opened(home, &all).await;
    assert_eq!([read(home, all[0].id).await, read(home, all[1].id).await], all);
}

async fn an_escalation_asks_whom_it_was_to_ask(home: &Home) {
    // A text without a prefix, and none, mean the user who had lent their identity; a text that names somebody means them.
    let targets = [Some("the boss"), None, Some("group:approvers")]
        .map(|raw| Routing::of_program(raw, Some(user_id(7))))
        .into_iter()
        .chain([Routing::of_program(Some("the boss"), None)]);
    let escalating = targets.zip(1..).map(|(to, number)| {
        let mut checkpoint = checkpoint(number);
        checkpoint.question.expiry = Some(Expiry { at: at(60), action: ExpiryAction::Escalate { to } });
        checkpoint
    });
    let escalating: Vec<Checkpoint> = escalating.collect();
    opened(home, &escalating).await;
    for checkpoint in escalating {
        let found = read(home, checkpoint.id).await;
        assert_eq!(found.expiry, checkpoint.expiry);
        let escalated = found.expire(at(60)).unwrap().checkpoint;
        let expected = checkpoint.expire(at(60)).unwrap().checkpoint;
        assert_eq!(escalated.routing, expected.routing);
    }
}

async fn a_decision_counts_for_what_was_read(home: &Home) {
    opened(home, &[checkpoint(1)]).await;
    let seen = read(home, checkpoint(1).id).await;
    let mut tx = home.begin().await;
    let mut stored = checkpoints::lock(&mut tx, of_tenant(1), seen.id).await.unwrap().unwrap();
    stored.checkpoint.claim = Some(Claim { by: user_id(2), at: at(3) });
    stored.checkpoint.reminders = 4;
    checkpoints::save_moved(&mut tx, of_tenant(1), &stored).await.unwrap();
    tx.commit().await.unwrap();
    let now = read(home, seen.id).await;
    assert_eq!((now.claim, now.reminders, now.revision), (stored.checkpoint.claim, 4, 1));
    // Whoever has read it before it was claimed decides nothing.
    let stale = Unit { decided: Some(decided(seen, vote(1, 4))), ..keep() };
    assert_eq!(apply(home, vec![stale]).await, [Verdict::CheckpointDecided]);
    let fresh = Unit { decided: Some(decided(now, vote(2, 4))), ..keep() };
    assert_eq!(apply(home, vec![fresh.clone(), fresh]).await, [Verdict::Done, Verdict::CheckpointDecided]);
    let ended = read(home, checkpoint(1).id).await;
    assert_eq!((ended.claim, ended.votes.len()), (None, 0), "one who decides alone casts no vote");
}

async fn votes_are_kept_each_once(home: &Home) {
    opened(home, &[with_rules(1, approvals(3))]).await;
    let id = checkpoint(1).id;
    for (user, seconds) in [(5, 4), (4, 5)] {
        let mut tx = home.begin().await;
        let stored = checkpoints::lock(&mut tx, of_tenant(1), id).await.unwrap().unwrap();
        checkpoints::save_moved(&mut tx, of_tenant(1), &stored).await.unwrap();
        checkpoints::add_vote(&mut tx, &stored.checkpoint, &vote(user, seconds)).await.unwrap();
        tx.commit().await.unwrap();
    }
    let seen = read(home, id).await;
    assert_eq!(seen.votes, [vote(5, 4), vote(4, 5)], "in the order of time");
    let mut tx = home.begin().await;
    assert!(checkpoints::add_vote(&mut tx, &seen, &vote(5, 6)).await.is_err(), "nobody votes twice");
    drop(tx);
    let last = Unit { decided: Some(decided(seen, vote(6, 7))), ..keep() };
    assert_eq!(apply(home, vec![last]).await, [Verdict::Done]);
    assert_eq!(read(home, id).await.votes, [vote(5, 4), vote(4, 5), vote(6, 7)]);
    let filter = CheckpointFilter::default();
    let mut c = home.read().await;
    let listed = checkpoints::list(&mut c, of_tenant(1), &filter, None, 9).await.unwrap();
    assert_eq!(listed[0].checkpoint.votes.len(), 3);
}

async fn an_inbox_leaves_out_what_its_owner_may_not_decide(home: &Home) {
    let excluding = Rules { excluded: vec![user_id(1), user_id(2)], ..Rules::default() };
    opened(home, &[checkpoint(1), with_rules(2, excluding), with_rules(3, approvals(2))]).await;
    let mut tx = home.begin().await;
    checkpoints::add_vote(&mut tx, &with_rules(3, approvals(2)), &vote(3, 4)).await.unwrap();
    tx.commit().await.unwrap();
    let open_to = async |user: UserId| {
        let filter = CheckpointFilter { open_to: Some(user), ..CheckpointFilter::default() };
        let mut c = home.read().await;
        let found = checkpoints::list(&mut c, of_tenant(1), &filter, None, 9).await.unwrap();
        found.into_iter().map(|stored| stored.checkpoint.id).collect::<Vec<_>>()
    };
    let id = |number| checkpoint(number).id;
    assert_eq!(open_to(user_id(1)).await, [id(3), id(1)]);
    assert_eq!(open_to(user_id(2)).await, [id(3), id(1)]);
    assert_eq!(open_to(user_id(3)).await, [id(2), id(1)]);
    assert_eq!(open_to(user_id(4)).await, [id(3), id(2), id(1)]);
}

async fn an_inbox_is_one_list_of_what_asks_any_that_its_owner_is(home: &Home) {
    let own = format!("user:{}", user_id(7));
    let asking = |number, assignee: Option<&str>| {
        let mut checkpoint = checkpoint(number);
        checkpoint.question.routing = Routing::of_program(assignee, None);
        checkpoint
    };
    let mut low = asking(5, Some(&own));
    low.question.priority = Priority::Low;
    opened(
        home,
        &[
            asking(1, Some("role:tenant_admin")),
            asking(2, Some(&own)),
            asking(3, None),
            asking(4, Some("group:finance")),
            low,
            asking(6, Some(&format!("user:{}", user_id(8)))),
        ],
    )
    .await;
    let inbox = CheckpointFilter {
        status: Some(CheckpointStatus::Pending),
        assignees: Some(vec![
            Assignee::parse(Some(&own), None).unwrap(),
            Assignee::parse(Some("role:tenant_admin"), None).unwrap(),
            Assignee::Unrouted,
        ]),
        open_to: Some(user_id(7)),
        ..CheckpointFilter::default()
    };
    let listed = async |tenant: u128, filter: &CheckpointFilter, after: Option<u128>| {
        let after = after.map(|number| checkpoint(number).id);
        let mut c = home.read().await;
        let found = checkpoints::list(&mut c, of_tenant(tenant), filter, after, 3).await.unwrap();
        found.into_iter().map(|stored| stored.checkpoint.id.ulid().0).collect::<Vec<_>>()
    };
    let number = |number: u128| checkpoint(number).id.ulid().0;
    assert_eq!(listed(1, &inbox, None).await, [5, 3, 2].map(number));
    assert_eq!(listed(1, &inbox, Some(3)).await, [2, 1].map(number));
    assert!(listed(2, &inbox, None).await.is_empty());
    let low = CheckpointFilter { priority: Some(Priority::Low), ..inbox.clone() };
    assert_eq!(listed(1, &low, None).await, [number(5)]);
    let approvals = CheckpointFilter { checkpoint_type: Some("approval".into()), ..inbox.clone() };
    assert_eq!(listed(1, &approvals, None).await, [5, 3, 2].map(number));
    let others = CheckpointFilter { checkpoint_type: Some("other".into()), ..inbox.clone() };
    assert!(listed(1, &others, None).await.is_empty());
    let of_core = CheckpointFilter { core_id: Some(checkpoint(1).core_id), ..inbox.clone() };
    assert_eq!(listed(1, &of_core, Some(2)).await, [number(1)]);
    let excluded = CheckpointFilter { assignees: Some(Vec::new()), ..inbox.clone() };
    assert!(listed(1, &excluded, None).await.is_empty(), "nobody is asked");
    // Whoever is very many is asked for in another way.
    let many = (0..300).map(|number| Assignee::parse(Some(&format!("group:g{number}")), None).unwrap());
    let many = many.chain(inbox.assignees.clone().unwrap()).collect();
    let many = CheckpointFilter { assignees: Some(many), ..inbox };
    assert_eq!(listed(1, &many, None).await, [5, 3, 2].map(number));
}

async fn filters_choose_among_all(home: &Home) {
    let mut normal = checkpoint(2);
    normal.question.priority = Priority::Normal;
    opened(home, &[checkpoint(1), normal, checkpoint(3)]).await;
    let ending = Unit { decided: Some(decided(read(home, checkpoint(3).id).await, vote(1, 4))), ..keep() };
    assert_eq!(apply(home, vec![ending]).await, [Verdict::Done]);
    let listed = async |filter: CheckpointFilter| {
        let mut c = home.read().await;
        let found = checkpoints::list(&mut c, of_tenant(1), &filter, None, 9).await.unwrap();
        found.into_iter().map(|stored| stored.checkpoint.id).collect::<Vec<_>>()
    };
    let id = |number| checkpoint(number).id;
    let of_status = |status| CheckpointFilter { status: Some(status), ..CheckpointFilter::default() };
    assert_eq!(listed(of_status(CheckpointStatus::Pending)).await, [id(2), id(1)]);
    assert_eq!(listed(of_status(CheckpointStatus::Resolved)).await, [id(3)]);
    assert!(listed(of_status(CheckpointStatus::Expired)).await.is_empty());
    let of_priority = |priority| CheckpointFilter { priority: Some(priority), ..CheckpointFilter::default() };
    assert_eq!(listed(of_priority(Priority::High)).await, [id(3), id(1)]);
    assert_eq!(listed(of_priority(Priority::Normal)).await, [id(2)]);
    assert!(listed(of_priority(Priority::Low)).await.is_empty());
}

async fn a_link_is_used_once_and_goes_with_its_execution(home: &Home) {
    opened(home, &[checkpoint(1)]).await;
    let link = Link {
        id: ulid(1),
        hash: "h".into(),
        checkpoint: checkpoint(1).id,
        user: user_id(1),
        created_at: at(1),
        expires_at: at(99),
        used_at: None,
    };
    let mut tx = home.begin().await;
    links::add(&mut tx, of_tenant(1), &checkpoint(1), &link).await.unwrap();
    tx.commit().await.unwrap();
    let found = links::find_by_hash(&mut home.read().await, &SYSTEM, "h").await.unwrap();
    assert_eq!(found, Some((tenant_id(1), link.clone())));
    assert_eq!(links::find_by_hash(&mut home.read().await, &SYSTEM, "H").await.unwrap(), None);
    let mut tx = home.begin().await;
    assert!(!links::mark_used(&mut tx, of_tenant(2), link.id, at(5)).await.unwrap());
    assert!(links::mark_used(&mut tx, of_tenant(1), link.id, at(5)).await.unwrap());
    assert!(!links::mark_used(&mut tx, of_tenant(1), link.id, at(6)).await.unwrap());
    tx.commit().await.unwrap();
    let found = links::find_by_hash(&mut home.read().await, &SYSTEM, "h").await.unwrap().unwrap();
    assert_eq!(found.1.used_at, Some(at(5)));
    let mut tx = home.begin().await;
    links::renew(&mut tx, of_tenant(2), link.id, "foreign").await.unwrap();
    links::renew(&mut tx, of_tenant(1), link.id, "h2").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(links::find_by_hash(&mut home.read().await, &SYSTEM, "h").await.unwrap(), None);
    let found = links::find_by_hash(&mut home.read().await, &SYSTEM, "h2").await.unwrap();
    assert_eq!(found.map(|(_, link)| link.id), Some(link.id));
    apply(home, vec![proceed(1, (1, 2), ExecutionStatus::Completed)]).await;
    let mut tx = home.begin().await;
    assert_eq!(retention::purge_executions(&mut tx, of_tenant(1), Instant::MAX, 9).await.unwrap(), 1);
    tx.commit().await.unwrap();
    assert_eq!(links::find_by_hash(&mut home.read().await, &SYSTEM, "h2").await.unwrap(), None);
}

async fn a_new_link_takes_the_place_of_an_unused_one(home: &Home) {
    opened(home, &[checkpoint(1), checkpoint(2)]).await;
    let mut tx = home.begin().await;
    // Of one person: unused, used, of a mail, of another checkpoint; and somebody else's.
    for (number, of, user) in [(1, 1, 1), (2, 1, 1), (3, 1, 1), (4, 2, 1), (5, 1, 2)] {
        let link = Link {
            id: ulid(number),
            hash: format!("h{number}"),
            checkpoint: checkpoint(of).id,
            user: user_id(user),
            created_at: at(1),
            expires_at: at(99),
            used_at: (number == 2).then(|| at(3)),
        };
        links::add(&mut tx, of_tenant(1), &checkpoint(of), &link).await.unwrap();
    }
    mails::add(&mut tx, of_tenant(1), &checkpoint(1), (ulid(3), user_id(1), "created"), at(1)).await.unwrap();
    links::remove_unused(&mut tx, of_tenant(2), &checkpoint(1), user_id(1)).await.unwrap();
    assert!(links::lookup(&mut tx, of_tenant(1), ulid(1)).await.unwrap().is_some());
    links::remove_unused(&mut tx, of_tenant(1), &checkpoint(1), user_id(1)).await.unwrap();
    assert_eq!(links::lookup(&mut tx, of_tenant(1), ulid(1)).await.unwrap(), None);
    for number in 2..=5 {
        let left = links::lookup(&mut tx, of_tenant(1), ulid(number)).await.unwrap();
        assert!(left.is_some(), "{number}");
    }
}

async fn what_has_changed_is_found_by_when(home: &Home) {
    let later = |number, seconds| Checkpoint { updated_at: at(seconds), ..checkpoint(number) };
    opened(home, &[later(1, 5), later(2, 3), later(3, 4), later(4, 5)]).await;
    let mut c = home.read().await;
    let id = |number| checkpoint(number).id;
    let asks = "role:tenant_admin".to_owned();
    let changed =
        |number, seconds| Changed { id: id(number), at: at(seconds), asks: asks.clone(), moved: false };
    let since = changes::since(&mut c, of_tenant(1), (at(4), None), 9).await.unwrap();
    assert_eq!(since, [changed(3, 4), changed(1, 5), changed(4, 5)]);
    assert_eq!(changes::since(&mut c, of_tenant(1), (at(0), None), 2).await.unwrap().len(), 2);
    assert!(changes::since(&mut c, of_tenant(2), (at(0), None), 9).await.unwrap().is_empty());
    // Of one instant, what comes behind.
    let behind = changes::since(&mut c, of_tenant(1), (at(5), Some(id(1))), 9).await.unwrap();
    assert_eq!(behind, [changed(4, 5)]);
    assert!(changes::since(&mut c, of_tenant(1), (at(5), Some(id(4))), 9).await.unwrap().is_empty());
    assert_eq!(changes::since(&mut c, of_tenant(1), (at(4), Some(id(3))), 9).await.unwrap().len(), 2);
    let named = changes::named(&mut c, of_tenant(1), &[id(1), id(2), id(9)]).await.unwrap();
    let named: Vec<CheckpointId> = named.iter().map(|stored| stored.checkpoint.id).collect();
    assert_eq!(named, [id(2), id(1)]);
    assert!(changes::named(&mut c, of_tenant(2), &[id(1)]).await.unwrap().is_empty());
    drop(c);
    // What was changed while it waited may have asked somebody else.
    let mut tx = home.begin().await;
    let stored = checkpoints::lock(&mut tx, of_tenant(1), id(2)).await.unwrap().unwrap();
    checkpoints::save_moved(&mut tx, of_tenant(1), &stored).await.unwrap();
    tx.commit().await.unwrap();
    let mut c = home.read().await;
    let moved = changes::since(&mut c, of_tenant(1), (at(3), None), 9).await.unwrap();
    assert!(moved[0].id == id(2) && moved[0].moved && !moved[1].moved, "{moved:?}");
}

async fn reminders_go_with_their_checkpoint(home: &Home) {
    let reminding = || Rules { reminder: Some(Duration::from_mins(1)), ..Rules::default() };
    opened(home, &[with_rules(1, reminding()), with_rules(2, reminding()), checkpoint(3)]).await;
    let owners = async || {
        let due = timers::due(&mut home.read().await, &SYSTEM, Instant::MAX, 9).await.unwrap();
        due.into_iter().map(|(_, timer)| (timer.owner, timer.due_at)).collect::<Vec<_>>()
    };
    let due = |number| (Owner::Reminder(checkpoint(number).id), at(61));
    let mut found = owners().await;
    found.sort();
    assert_eq!(found, [due(1), due(2)]);
    let first = decided(with_rules(1, reminding()), vote(1, 4));
    apply(home, vec![Unit { decided: Some(first), ..keep() }]).await;
    assert_eq!(owners().await, [due(2)]);
    apply(home, vec![Unit { abandoned: vec![checkpoint(2).id], ..keep() }]).await;
    assert_eq!(owners().await, []);
}
