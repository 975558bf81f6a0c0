//! What keeps a platform that runs for long within bounds: turns, journals that are cut, retention.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use scaigrid_cores::execution::{Execution, ExecutionStatus};
use scaigrid_cores::{Action, Core, NewCore};
use scaigrid_ir::Value;
use scaigrid_persistence::commit::{
    Change, JournalChunk, Mark, MemoryWrite, Progress, Snapshot, Unit, Verdict,
};
use scaigrid_persistence::events::{self, CoreEvent, EventFilter};
use scaigrid_persistence::executions::{self, ExecutionFilter};
use scaigrid_persistence::memory::{self, Variable};
use scaigrid_persistence::sealing::Vault;
use scaigrid_persistence::{Error, Objects, cores, large, leases, objects, retention};
use scaigrid_scope::{CoreId, EventId, ExecutionId, TenantId};
use ulid::Ulid;

use crate::commit::{apply, begin, checkpoint, execution, execution_id, hosted, proceed, stored};
use crate::home::Home;
use crate::values::{SYSTEM, at, node_id, of_tenant, tenant_id, ulid, user_id};

crate::on_both_databases! {
    those_who_wait_are_found_by_tenant_and_core,
    what_waits_is_counted_up_to_a_bound,
    a_long_journal_is_cut_at_a_machine,
    what_is_over_goes_and_nothing_else,
    a_large_core_goes_in_pieces,
    a_duty_has_one_holder,
    what_is_large_lies_elsewhere_and_comes_back,
    what_nothing_refers_to_goes,
}

/// A Core of a tenant that runs.
pub(crate) async fn host(home: &Home, tenant: u128, number: u128) -> CoreId {
    let id = CoreId::from_ulid(ulid(number));
    let vault = Vault::parse("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").unwrap();
    let program = serde_json::json!({"schema_version": "0.2", "name": "P", "version": "1.0.0", "flows": []});
    let new = NewCore { source: program, ..NewCore::named(format!("Core {number}")) };
    let core = Core::create(id, tenant_id(tenant), user_id(tenant), at(0), new).unwrap();
    let (core, _) = core.apply(Action::Start, at(0)).unwrap();
    let (core, _) = core.apply(Action::Started, at(0)).unwrap();
    let mut tx = home.begin().await;
    cores::add(&mut tx, of_tenant(tenant), &core, &vault).await.unwrap();
    tx.commit().await.unwrap();
    id
}

/// Executions of a Core that wait to run.
async fn queue(home: &Home, tenant: u128, core: CoreId, numbers: std::ops::Range<u128>) {
    let of = |number| Execution {
        tenant_id: tenant_id(tenant),
        core_id: core,
        status: ExecutionStatus::Queued,
        ..execution(number)
    };
    let queued: Vec<Execution> = numbers.map(of).collect();
    let mut tx = home.begin().await;
    executions::add(&mut tx, of_tenant(tenant), &queued).await.unwrap();
    tx.commit().await.unwrap();
}

async fn those_who_wait_are_found_by_tenant_and_core(home: &Home) {
    hosted(home).await;
    let (own, first, second) = (CoreId::from_ulid(ulid(1)), host(home, 2, 10).await, host(home, 2, 11).await);
    queue(home, 1, own, 100..400).await;
    queue(home, 2, second, 500..503).await;
    queue(home, 2, first, 600..602).await;
    let mut c = home.read().await;
    let tenants =
        async |c: &mut _, after, most| leases::queued_tenants(c, &SYSTEM, after, most).await.unwrap();
    assert_eq!(tenants(&mut c, None, 10).await, [1, 2].map(tenant_id));
    assert_eq!(tenants(&mut c, None, 1).await, [tenant_id(1)]);
    assert_eq!(tenants(&mut c, Some(tenant_id(1)), 10).await, [tenant_id(2)]);
    assert_eq!(tenants(&mut c, Some(tenant_id(2)), 10).await, Vec::<TenantId>::new());
    let of_two = async |c: &mut _, after| leases::queued_cores(c, of_tenant(2), after, 10).await.unwrap();
    assert_eq!(of_two(&mut c, None).await, [first, second]);
    assert_eq!(of_two(&mut c, Some(first)).await, [second]);
    assert_eq!(leases::queued_cores(&mut c, of_tenant(1), Some(own), 10).await.unwrap(), []);
    let oldest = leases::queued(&mut c, of_tenant(2), second, 2).await.unwrap();
    assert_eq!(oldest.iter().map(|one| one.id).collect::<Vec<_>>(), [500, 501].map(execution_id));
    drop(c);
    // What is taken waits no more, and only what is left is taken.
    let mut tx = home.begin().await;
    leases::register(&mut tx, node_id(1), at(0), at(100)).await.unwrap();
    let taken = leases::claim(&mut tx, &SYSTEM, node_id(1), at(1), &oldest).await.unwrap();
    assert_eq!(taken, oldest);
    assert_eq!(leases::claim(&mut tx, &SYSTEM, node_id(2), at(1), &oldest).await.unwrap(), []);
    tx.commit().await.unwrap();
    let mut c = home.read().await;
    let left = leases::queued(&mut c, of_tenant(2), second, 9).await.unwrap();
    assert_eq!(left.iter().map(|one| one.id).collect::<Vec<_>>(), [execution_id(502)]);
}

async fn what_waits_is_counted_up_to_a_bound(home: &Home) {
    hosted(home).await;
    let (own, other) = (CoreId::from_ulid(ulid(1)), host(home, 1, 10).await);
    queue(home, 1, own, 100..130).await;
    queue(home, 1, other, 200..205).await;
    let in_turn = Execution {
        slots: std::num::NonZeroU32::new(1),
        status: ExecutionStatus::Queued,
        core_id: other,
        ..execution(300)
    };
    let mut tx = home.begin().await;
    executions::add(&mut tx, of_tenant(1), &[in_turn]).await.unwrap();
    tx.commit().await.unwrap();
    apply(home, vec![begin(1)]).await;
    let mut c = home.read().await;
    let count = async |c: &mut _, tenant, core, most| {
        leases::count_queued(c, of_tenant(tenant), core, most).await.unwrap()
    };
    assert_eq!(count(&mut c, 1, None, 1000).await, 36);
    assert_eq!(count(&mut c, 1, Some(other), 1000).await, 6);
    assert_eq!(count(&mut c, 2, None, 1000).await, 0);
    assert_eq!(count(&mut c, 1, Some(own), 10).await, 10);
}

async fn a_long_journal_is_cut_at_a_machine(home: &Home) {
    hosted(home).await;
    apply(home, vec![begin(1), begin(2)]).await;
    let unit = |seq: i64, keep_from: i64| {
        let change = Change::Proceed {
            id: execution_id(1),
            expected_epoch: 1,
            expected_seq: seq,
            status: ExecutionStatus::Suspended,
            output: None,
            error: None,
            finished_at: None,
            progress: Progress {
                snapshot: Snapshot::Store(vec![8]),
                next_seq: seq + 10,
                owner: None,
                epoch: 1,
            },
        };
        let machine = seq.to_be_bytes().to_vec();
        Unit {
            journal: vec![JournalChunk { seq, entries: vec![3], alone: false }],
            mark: Some(Mark { seq: seq + 10, machine, keep_from }),
            ..Unit::new(tenant_id(1), at(2), change)
        }
    };
    // Chunks at 0, 2, 12, 22, …; machines before 12, 22, 32, …; the last 25 entries are to stay.
    for step in 0..10 {
        let seq = 2 + 10 * step;
        assert_eq!(apply(home, vec![unit(seq, (seq + 10 - 25).max(0))]).await, [Verdict::Done]);
    }
    let mut c = home.read().await;
    let chunks = executions::journal(&mut c, of_tenant(1), execution_id(1), 0, 100).await.unwrap();
    // 102 - 25 = 77: the machine before 72 is the last that leads there.
    assert_eq!(chunks.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [72, 82, 92]);
    assert_eq!(executions::journal_start(&mut c, of_tenant(1), execution_id(1)).await.unwrap(), Some(72));
    let machine = async |c: &mut _, at_most| {
        let found = executions::kept_machine(c, of_tenant(1), execution_id(1), at_most).await.unwrap();
        found.map(|(seq, machine)| (seq, i64::from_be_bytes(machine.try_into().unwrap())))
    };
    assert_eq!(machine(&mut c, 71).await, None);
    assert_eq!(machine(&mut c, 77).await, Some((72, 62)));
    assert_eq!(machine(&mut c, 1000).await, Some((102, 92)));
    assert_eq!(executions::kept_machine(&mut c, of_tenant(2), execution_id(1), 1000).await.unwrap(), None);
    // The other one is as it was.
    assert_eq!(executions::journal(&mut c, of_tenant(1), execution_id(2), 0, 9).await.unwrap().len(), 1);
    // Whoever has little room reads nothing rather than too much; what comes after the end is not counted.
    let within = async |c: &mut _, until, most| {
        let found = executions::journal_within(c, of_tenant(1), execution_id(1), (72, until), 9, most).await;
        found.unwrap().map(|chunks| chunks.len())
    };
    assert_eq!(within(&mut c, 1000, 3).await, Some(3));
    assert_eq!(within(&mut c, 1000, 2).await, None);
    assert_eq!(within(&mut c, 92, 2).await, Some(2));
    // Once it has failed and goes on from an entry, machines behind that one lead nowhere.
    let change = Change::Proceed {
        id: execution_id(1),
        expected_epoch: 1,
        expected_seq: 102,
        status: ExecutionStatus::Failed,
        output: None,
        error: None,
        finished_at: Some(at(3)),
        progress: Progress { snapshot: Snapshot::Drop, next_seq: 102, owner: None, epoch: 1 },
    };
    drop(c);
    assert_eq!(apply(home, vec![Unit::new(tenant_id(1), at(3), change)]).await, [Verdict::Done]);
    let mut c = home.read().await;
    let failed = executions::load(&mut c, of_tenant(1), execution_id(1)).await.unwrap().unwrap();
    drop(c);
    let mut tx = home.begin().await;
    assert!(executions::revive(&mut tx, of_tenant(1), &failed, (85, vec![4]), at(4)).await.unwrap());
    assert!(!executions::revive(&mut tx, of_tenant(1), &failed, (85, vec![4]), at(4)).await.unwrap());
    tx.commit().await.unwrap();
    let mut c = home.read().await;
    assert_eq!(machine(&mut c, 1000).await, Some((82, 72)));
}

/// An execution that ended, with a journal and a checkpoint.
fn ended(number: u128, seconds: i64) -> Vec<Unit> {
    let mut first = begin(number);
    let mut asked = checkpoint(number);
    asked.question.execution_id = execution_id(number);
    first.opened = vec![(asked, 0)];
    let mut last = proceed(number, (1, 2), ExecutionStatus::Completed);
    if let Change::Proceed { finished_at, .. } = &mut last.change {
        *finished_at = Some(at(seconds));
    }
    last.abandoned = vec![checkpoint(number).id];
    vec![first, last]
}

async fn what_is_over_goes_and_nothing_else(home: &Home) {
    const OLD: u128 = 5000;
    hosted(home).await;
    let begun = std::time::Instant::now();
    for numbers in (1..=OLD).collect::<Vec<_>>().chunks(500) {
        apply(home, numbers.iter().flat_map(|number| ended(*number, 10)).collect()).await;
    }
    // Young ones, one that goes on, and those of another tenant.
    apply(home, (OLD + 1..=OLD + 7).flat_map(|number| ended(number, 1000)).collect()).await;
    apply(home, vec![begin(OLD + 8)]).await;
    let event = |number: u64, seconds: i64| CoreEvent {
        id: EventId::from_ulid(Ulid::from_parts(
            u64::try_from(at(seconds).micros() / 1000).unwrap(),
            u128::from(number),
        )),
        core_id: CoreId::from_ulid(ulid(1)),
        execution_id: None,
        name: "heard".to_owned(),
        data: Value::Null,
        at: at(seconds),
        heard: None,
    };
    let mut tx = home.begin().await;
    for number in 0..50 {
        events::add(&mut tx, of_tenant(1), &event(number, 10), &[]).await.unwrap();
        events::add(&mut tx, of_tenant(1), &event(number, 1000), &[]).await.unwrap();
    }
    tx.commit().await.unwrap();
    let setting_up = begun.elapsed();

    let (begun, mut all, mut rounds) = (std::time::Instant::now(), 0, 0);
    loop {
        let mut tx = home.begin().await;
        let gone = retention::purge_executions(&mut tx, of_tenant(1), at(500), 500).await.unwrap();
        tx.commit().await.unwrap();
        (all, rounds) = (all + gone, rounds + 1);
        if gone < 500 {
            break;
        }
    }
    println!("{all} in {rounds} rounds took {:?}, making them {setting_up:?}", begun.elapsed());
    assert_eq!((all, rounds), (5000, 11));
    let mut tx = home.begin().await;
    let core = CoreId::from_ulid(ulid(1));
    assert_eq!(retention::purge_executions(&mut tx, of_tenant(2), at(5000), 500).await.unwrap(), 0);
    assert_eq!(retention::purge_events(&mut tx, of_tenant(2), core, at(5000), 500).await.unwrap(), 0);
    assert_eq!(retention::purge_events(&mut tx, of_tenant(1), core, at(500), 20).await.unwrap(), 20);
    assert_eq!(retention::purge_events(&mut tx, of_tenant(1), core, at(500), 500).await.unwrap(), 30);
    assert_eq!(retention::purge_usage(&mut tx, of_tenant(1), at(500), 500).await.unwrap(), 0);
    tx.commit().await.unwrap();
    let mut c = home.read().await;
    let left = executions::list(&mut c, of_tenant(1), &ExecutionFilter::default(), None, 100).await.unwrap();
    let left: Vec<ExecutionId> = left.into_iter().map(|one| one.id).collect();
    assert_eq!(left, (OLD + 1..=OLD + 8).rev().map(execution_id).collect::<Vec<_>>());
    for number in [1, 2500, OLD] {
        let entries = executions::journal(&mut c, of_tenant(1), execution_id(number), 0, 9).await.unwrap();
        assert!(entries.is_empty());
        let asked =
            scaigrid_persistence::checkpoints::lookup(&mut c, of_tenant(1), checkpoint(number).id).await;
        assert!(asked.unwrap().is_none());
    }
    let young = executions::journal(&mut c, of_tenant(1), execution_id(OLD + 1), 0, 9).await.unwrap();
    assert_eq!(young.len(), 2);
    let kept = checkpoint(OLD + 1).id;
    assert!(scaigrid_persistence::checkpoints::lookup(&mut c, of_tenant(1), kept).await.unwrap().is_some());
    let heard = events::list(&mut c, of_tenant(1), core, &EventFilter::default(), None, 100).await.unwrap();
    assert_eq!(heard.len(), 50);
    assert!(heard.iter().all(|event| event.at == at(1000)));
}

async fn a_large_core_goes_in_pieces(home: &Home) {
    hosted(home).await;
    let (large, other) = (CoreId::from_ulid(ulid(1)), host(home, 1, 10).await);
    apply(home, (1..=45).flat_map(|number| ended(number, 10)).collect()).await;
    queue(home, 1, other, 500..503).await;
    let mut tx = home.begin().await;
    assert_eq!(cores::delete(&mut tx, of_tenant(1), large, 20).await.unwrap(), Some(false));
    tx.commit().await.unwrap();
    assert_eq!(
        retention::removed(&mut home.read().await, &SYSTEM, 9).await.unwrap(),
        [(tenant_id(1), large)]
    );
    let mut rounds = 0;
    loop {
        let mut tx = home.begin().await;
        let all = retention::remove_rows(&mut tx, of_tenant(1), large, 20).await.unwrap();
        tx.commit().await.unwrap();
        rounds += 1;
        if all {
            break;
        }
    }
    assert_eq!(rounds, 2, "45 are 20, 20 and 5");
    let mut c = home.read().await;
    assert_eq!(retention::removed(&mut c, &SYSTEM, 9).await.unwrap(), []);
    assert!(stored(home, 1).await.is_none() && stored(home, 45).await.is_none());
    assert!(executions::journal(&mut c, of_tenant(1), execution_id(45), 0, 9).await.unwrap().is_empty());
    let left = executions::list(&mut c, of_tenant(1), &ExecutionFilter::default(), None, 100).await.unwrap();
    assert_eq!(left.len(), 3);
    assert_eq!(retention::cores_of(&mut c, of_tenant(1), None, 9).await.unwrap(), [other]);
}

async fn a_duty_has_one_holder(home: &Home) {
    let take = async |node, now, until| {
        let mut tx = home.begin().await;
        let who = (node_id(node), at(now), at(until));
        let held = retention::take_duty(&mut tx, &SYSTEM, "sweeping", who).await.unwrap();
        tx.commit().await.unwrap();
        held
    };
    assert!(take(1, 0, 10).await);
    assert!(!take(2, 5, 15).await, "another has it");
    assert!(take(1, 5, 15).await, "who has it may keep it");
    assert!(!take(2, 15, 25).await);
    assert!(take(2, 16, 26).await, "who had it is gone");
    assert!(!take(1, 20, 30).await);
}

/// A store in memory.
#[derive(Default)]
pub(crate) struct Shelf(Mutex<HashMap<String, Bytes>>);

impl Objects for Shelf {
    fn get(&self, key: String) -> BoxFuture<'_, Result<Option<Bytes>, String>> {
        std::future::ready(Ok(self.0.lock().unwrap().get(&key).cloned())).boxed()
    }
}

/// Puts what is large of a unit where it belongs.
pub(crate) async fn prepare(home: &Home, shelf: &Shelf, mut unit: Unit, seconds: i64) -> Unit {
    let mut tx = home.begin().await;
    for (hash, bytes) in large::pieces(&unit).unwrap() {
        let id = Ulid(u128::from_be_bytes(*hash.first_chunk::<16>().unwrap()));
        let size = (hash, bytes.len() as u64);
        let (object, _) = objects::reserve(&mut tx, of_tenant(1), size, id, at(seconds)).await.unwrap();
        shelf.0.lock().unwrap().insert(object.key(tenant_id(1)), bytes.into());
        unit.objects.insert(hash, object);
    }
    tx.commit().await.unwrap();
    unit
}

/// The same, and commits it.
pub(crate) async fn put_away(home: &Home, shelf: &Shelf, unit: Unit, seconds: i64) {
    let unit = prepare(home, shelf, unit, seconds).await;
    assert_eq!(apply(home, vec![unit]).await, [Verdict::Done]);
}

/// A unit that begins an execution, all of it large.
pub(crate) fn heavy(number: u128) -> Unit {
    let text = |letter: &str| Value::from(letter.repeat(100_000).as_str());
    let mut unit = begin(number);
    if let Change::Begin { execution, .. } = &mut unit.change {
        execution.input = Value::from([("in", text("i"))]);
    }
    unit.journal.push(JournalChunk { seq: 2, entries: vec![2; 70_000], alone: true });
    unit.journal.push(JournalChunk { seq: 3, entries: vec![3; 70_000], alone: false });
    unit.memory = vec![MemoryWrite {
        core_id: CoreId::from_ulid(ulid(1)),
        partition: String::new(),
        name: "m".to_owned(),
        key: "k".to_owned(),
        value: Some(text("m")),
        expected_version: None,
    }];
    unit.events = vec![CoreEvent {
        id: EventId::from_ulid(ulid(number)),
        core_id: CoreId::from_ulid(ulid(1)),
        execution_id: Some(execution_id(number)),
        name: "heavy".to_owned(),
        data: text("e"),
        at: at(1),
        heard: None,
    }];
    unit
}

async fn what_is_large_lies_elsewhere_and_comes_back(home: &Home) {
    hosted(home).await;
    let shelf = Arc::new(Shelf::default());
    put_away(home, &shelf, heavy(1), 0).await;
    assert_eq!(shelf.0.lock().unwrap().len(), 4, "input, entry, memory and event; a chunk of many stays");
    let mut c = home.read().await;
    // Nobody has said yet where it is read; what does not need it goes all the same.
    let unread = executions::lookup(&mut c, of_tenant(1), execution_id(1)).await;
    assert!(matches!(unread, Err(Error::Objects(_))), "{unread:?}");
    let shown = executions::glance(&mut c, of_tenant(1), execution_id(1)).await.unwrap().unwrap();
    let listed = executions::list(&mut c, of_tenant(1), &ExecutionFilter::default(), None, 9).await.unwrap();
    assert_eq!(listed, [shown]);
    let input = listed[0].input.to_json();
    assert!(input["omitted"] == true && input["bytes"].as_i64().unwrap() > 100_000, "{input}");
    let loaded = executions::load(&mut c, of_tenant(1), execution_id(1)).await.unwrap().unwrap();
    assert_eq!(loaded.execution.input, listed[0].input);
    drop(c);
    home.database.read_large_values_from(shelf.clone());
    let mut c = home.read().await;
    let input = Value::from([("in", Value::from("i".repeat(100_000).as_str()))]);
    let read = executions::lookup(&mut c, of_tenant(1), execution_id(1)).await.unwrap().unwrap();
    assert_eq!(read.input, input);
    let mut loaded = executions::load(&mut c, of_tenant(1), execution_id(1)).await.unwrap().unwrap();
    executions::open_input(&mut c, of_tenant(1), &mut loaded).await.unwrap();
    assert_eq!(loaded.execution.input, input);
    let chunks = executions::journal(&mut c, of_tenant(1), execution_id(1), 0, 9).await.unwrap();
    assert_eq!(chunks, [(0, vec![1, 2]), (2, vec![2; 70_000]), (3, vec![3; 70_000])]);
    let variable = Variable { core_id: CoreId::from_ulid(ulid(1)), partition: "", name: "m" };
    let entry = memory::lookup(&mut c, of_tenant(1), variable, "k").await.unwrap().unwrap();
    assert_eq!(entry.value, Value::from("m".repeat(100_000).as_str()));
    let heard =
        events::list(&mut c, of_tenant(1), variable.core_id, &EventFilter::default(), None, 9).await.unwrap();
    assert_eq!(heard[0].data, Value::from("e".repeat(100_000).as_str()));
    drop(c);
    // One that was changed on the way is not taken for what it was.
    for bytes in shelf.0.lock().unwrap().values_mut() {
        *bytes = Bytes::from_static(b"something else");
    }
    let read = executions::lookup(&mut home.read().await, of_tenant(1), execution_id(1)).await;
    assert!(matches!(read, Err(Error::Lost(_))), "{read:?}");
    // Nor is one that is not there, for one that cannot be read now.
    shelf.0.lock().unwrap().clear();
    let read = executions::lookup(&mut home.read().await, of_tenant(1), execution_id(1)).await;
    assert!(matches!(read, Err(Error::Lost(_))), "{read:?}");
}

async fn what_nothing_refers_to_goes(home: &Home) {
    hosted(home).await;
    let shelf = Shelf::default();
    put_away(home, &shelf, heavy(1), 0).await;
    // The same content again: the same objects. And one that was reserved for nothing.
    put_away(home, &shelf, heavy(2), 10).await;
    assert_eq!(shelf.0.lock().unwrap().len(), 4);
    let orphan = async |seconds: i64| {
        let mut tx = home.begin().await;
        let id = Ulid(u128::from(seconds.unsigned_abs()));
        let reserved =
            objects::reserve(&mut tx, of_tenant(1), ([9; 32], 70_000), id, at(seconds)).await.unwrap();
        tx.commit().await.unwrap();
        reserved
    };
    let (first, stored) = orphan(20).await;
    assert!(!stored);
    let mut c = home.read().await;
    let page = objects::referred(&mut c, &SYSTEM, None, 3).await.unwrap();
    let (tenant, last) = page[2];
    let rest = objects::referred(&mut c, &SYSTEM, Some((tenant, last.hash)), 3).await.unwrap();
    assert_eq!((page.len(), rest.len()), (3, 1), "what nothing refers to is not among them");
    drop(c);
    let sweep = async |untouched_since| {
        let mut tx = home.begin().await;
        let mut released = objects::release(&mut tx, &SYSTEM).await.unwrap();
        let (gone, more) = objects::release_memory(&mut tx, &SYSTEM, None).await.unwrap();
        assert_eq!(more, None);
        released += gone;
        objects::doom(&mut tx, &SYSTEM, at(untouched_since), 100).await.unwrap();
        tx.commit().await.unwrap();
        let marked = objects::marked(&mut home.read().await, &SYSTEM, 100).await.unwrap();
        (released, marked)
    };
    assert_eq!(sweep(20).await, (0, vec![]), "it may be on its way");
    let (released, marked) = sweep(21).await;
    assert_eq!(released, 0);
    assert_eq!(marked.iter().map(|one| one.object).collect::<Vec<_>>(), [first]);
    // It comes again before it is removed: as another object, which nobody who is late removes.
    let (second, _) = orphan(30).await;
    assert_ne!(second.id, first.id);
    let mut tx = home.begin().await;
    objects::forget(&mut tx, &SYSTEM, &marked).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(objects::count(&mut home.read().await, of_tenant(1)).await.unwrap(), 5);
    // The first execution goes; the second one refers to the same.
    let end = |number| {
        let mut unit = proceed(number, (1, 2), ExecutionStatus::Completed);
        unit.journal.clear();
        unit
    };
    assert_eq!(apply(home, vec![end(1)]).await, [Verdict::Done]);
    let purge = async || {
        let mut tx = home.begin().await;
        let gone = retention::purge_executions(&mut tx, of_tenant(1), at(100), 10).await.unwrap();
        tx.commit().await.unwrap();
        gone
    };
    assert_eq!(purge().await, 1);
    let (released, marked) = sweep(100).await;
    assert_eq!(released, 2, "its input and its entry");
    assert_eq!(marked.iter().map(|one| one.object).collect::<Vec<_>>(), [second]);
    // So does the second one, with the events, and memory holds something small.
    assert_eq!(apply(home, vec![end(2)]).await, [Verdict::Done]);
    assert_eq!(purge().await, 1);
    let mut tx = home.begin().await;
    let core = CoreId::from_ulid(ulid(1));
    assert_eq!(retention::purge_events(&mut tx, of_tenant(1), core, at(0), 10).await.unwrap(), 2);
    tx.commit().await.unwrap();
    let mut small = begin(3);
    small.memory = heavy(3).memory;
    small.memory[0].value = Some(Value::Int(1));
    assert_eq!(apply(home, vec![small]).await, [Verdict::Done]);
    let (_, marked) = sweep(100).await;
    assert_eq!(marked.len(), 5, "{marked:?}");
    let keys: Vec<String> = marked.iter().map(|one| one.object.key(one.tenant_id)).collect();
    assert!(shelf.0.lock().unwrap().keys().all(|key| keys.contains(key)));
    let mut tx = home.begin().await;
    objects::forget(&mut tx, &SYSTEM, &marked).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(objects::count(&mut home.read().await, of_tenant(1)).await.unwrap(), 0);
}
