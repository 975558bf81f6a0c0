//! Units: each becomes durable as a whole or not at all, and those of one transaction see each other.

use std::sync::Arc;

use scaigrid_checkpoints::{By, Checkpoint, NewCheckpoint, Priority, Resolution, Routing, Rules, State};
use scaigrid_cores::execution::{Execution, ExecutionStatus, Origin, Parent};
use scaigrid_cores::{Action, Core, NewCore};
use scaigrid_ir::Value;
use scaigrid_persistence::commit::{
    self, Believed, Change, Delivery, JournalChunk, MemoryWrite, Progress, Snapshot, Unit, Verdict,
};
use scaigrid_persistence::events::{self, CoreEvent, EventFilter};
use scaigrid_persistence::executions::{self, ExecutionFilter, Stored};
use scaigrid_persistence::leases::Claimed;
use scaigrid_persistence::memory::{self, EntryFilter, Variable};
use scaigrid_persistence::sealing::Vault;
use scaigrid_persistence::{checkpoints, cores, leases};
use scaigrid_scope::{CheckpointId, CoreId, EventId, ExecutionId};

use crate::home::Home;
use crate::values::{SYSTEM, at, node_id, of_tenant, settle_two, tenant_id, ulid, user_id};

crate::on_both_databases! {
    a_unit_is_written_whole,
    a_stale_epoch_or_journal_number_is_fenced,
    a_checkpoint_is_decided_once,
    an_update_of_what_has_changed_is_refused,
    of_two_nodes_that_find_nothing_the_first_writes,
    a_place_that_was_kept_is_seen_by_nobody,
    what_comes_after_the_end_is_refused,
    memory_is_ordered_and_versions_never_come_back,
    what_has_come_is_seen_before_waiting,
    executions_of_dead_nodes_are_taken_once,
    a_core_that_is_held_takes_nothing_and_its_executions_rest,
    what_has_got_something_meanwhile_is_not_believed_to_wait,
    odd_texts_survive,
    another_tenant_sees_nothing,
    deleting_a_core_leaves_nothing_behind,
}

pub(crate) fn execution_id(number: u128) -> ExecutionId {
    ExecutionId::from_ulid(ulid(number))
}

pub(crate) fn core_id() -> CoreId {
    CoreId::from_ulid(ulid(1))
}

pub(crate) fn vault() -> Vault {
    Vault::parse("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").unwrap()
}

/// A tenant with a Core that is running.
pub(crate) async fn hosted(home: &Home) -> Core {
    settle_two(home).await;
    let program = serde_json::json!({"schema_version": "0.2", "name": "P", "version": "1.0.0", "flows": []});
    let new = NewCore { source: program, ..NewCore::named("A Core") };
    let core = Core::create(core_id(), tenant_id(1), user_id(1), at(0), new).unwrap();
    let (core, _) = core.apply(Action::Start, at(0)).unwrap();
    let (core, _) = core.apply(Action::Started, at(0)).unwrap();
    let mut tx = home.begin().await;
    cores::add(&mut tx, of_tenant(1), &core, &vault()).await.unwrap();
    tx.commit().await.unwrap();
    core
}

pub(crate) fn execution(number: u128) -> Execution {
    Execution {
        id: execution_id(number),
        tenant_id: tenant_id(1),
        core_id: core_id(),
        flow: "main".into(),
        source_version: 1,
        status: ExecutionStatus::Suspended,
        origin: Origin::Invoke,
        instance_key: None,
        slots: None,
        parent: None,
        depth: 0,
        input: Value::from([("n", Value::Int(1))]),
        output: None,
        error: None,
        started_at: at(1),
        finished_at: None,
        debugging: None,
        trace: None,
        delegation: None,
        requested_by: Vec::new(),
    }
}

fn progress(next_seq: i64, epoch: i64) -> Progress {
    Progress { snapshot: Snapshot::Store(vec![7; 3]), next_seq, owner: None, epoch }
}

pub(crate) fn begin(number: u128) -> Unit {
    let change = Change::Begin { execution: Box::new(execution(number)), progress: progress(2, 1) };
    let journal = vec![JournalChunk { seq: 0, entries: vec![1, 2], alone: false }];
    Unit { journal, ..Unit::new(tenant_id(1), at(1), change) }
}

pub(crate) fn proceed(number: u128, (epoch, seq): (i64, i64), status: ExecutionStatus) -> Unit {
    let ended = status.is_final();
    let change = Change::Proceed {
        id: execution_id(number),
        expected_epoch: epoch,
        expected_seq: seq,
        status,
        output: ended.then_some(Value::Bool(true)),
        error: None,
        finished_at: ended.then(|| at(2)),
        progress: Progress {
            snapshot: if ended { Snapshot::Drop } else { Snapshot::Store(vec![8]) },
            ..progress(seq + 1, epoch + 1)
        },
    };
    let journal = vec![JournalChunk { seq, entries: vec![3], alone: false }];
    Unit { journal, ..Unit::new(tenant_id(1), at(2), change) }
}

pub(crate) fn checkpoint(number: u128) -> Checkpoint {
    let question = NewCheckpoint {
        id: CheckpointId::from_ulid(ulid(number)),
        tenant_id: tenant_id(1),
        core_id: core_id(),
        execution_id: execution_id(1),
        flow_name: "main".into(),
        block_id: "ask".into(),
        instance_key: None,
        checkpoint_type: "approval".into(),
        prompt: "May I?".into(),
        options: vec!["yes".into(), "no".into()],
        routing: Routing::of_program(Some("role:tenant_admin"), None),
        context: Arc::new(serde_json::json!({"a": [1, "x"]})),
        priority: Priority::High,
        expiry: None,
        rules: Rules::default(),
    };
    Checkpoint::open(question, at(1)).checkpoint
}

pub(crate) fn decided(number: u128) -> Checkpoint {
    let resolution = Resolution {
        decision: "yes".into(),
        response_data: Some(Arc::new(serde_json::json!({"b": null}))),
        comment: Some("fine".into()),
        by: By::User(user_id(1)),
        at: at(2),
    };
    Checkpoint { state: State::Resolved(resolution), updated_at: at(2), ..checkpoint(number) }
}

fn write(name: &str, key: &str, value: i64, expected_version: Option<i64>) -> MemoryWrite {
    MemoryWrite {
        core_id: core_id(),
        partition: String::new(),
        name: name.into(),
        key: key.into(),
        value: Some(Value::Int(value)),
        expected_version,
    }
}

pub(crate) async fn apply(home: &Home, units: Vec<Unit>) -> Vec<Verdict> {
    let (tx, verdicts) = commit::begin(&home.database, units).await.unwrap();
    tx.commit().await.unwrap();
    verdicts
}

pub(crate) async fn stored(home: &Home, number: u128) -> Option<Stored> {
    executions::load(&mut home.read().await, of_tenant(1), execution_id(number)).await.unwrap()
}

fn variable(name: &str) -> Variable<'_> {
    Variable { core_id: core_id(), partition: "", name }
}

async fn a_unit_is_written_whole(home: &Home) {
    hosted(home).await;
    let mut unit = begin(1);
    unit.opened = vec![(checkpoint(1), 4)];
    unit.memory = vec![write("m", "k", 5, None), write("m", "k", 6, None)];
    let event = CoreEvent {
        id: EventId::from_ulid(ulid(1)),
        core_id: core_id(),
        execution_id: Some(execution_id(1)),
        name: "done".into(),
        data: Value::from("x"),
        at: at(1),
        heard: Some(serde_json::json!([{"listener": "trigger:a", "result": "started"}])),
    };
    unit.events = vec![event.clone()];
    unit.started = vec![Execution { status: ExecutionStatus::Queued, ..execution(2) }];
    // Units of other executions share the transaction.
    assert_eq!(apply(home, vec![unit, begin(3), begin(4)]).await, [Verdict::Done; 3]);

    let found = stored(home, 1).await.unwrap();
    assert_eq!(found.execution, execution(1));
    assert_eq!((found.snapshot, found.snapshot_seq, found.next_seq), (Some(vec![7; 3]), 2, 2));
    assert_eq!((found.epoch, found.owner, found.core_runs), (1, None, true));
    let mut c = home.read().await;
    let journal = executions::journal(&mut c, of_tenant(1), execution_id(1), 0, 10).await.unwrap();
    assert_eq!(journal, [(0, vec![1, 2])]);
    let asked = checkpoints::lookup(&mut c, of_tenant(1), checkpoint(1).id).await.unwrap().unwrap();
    assert_eq!((asked.checkpoint, asked.effect), (checkpoint(1), 4));
    let entry = memory::lookup(&mut c, of_tenant(1), variable("m"), "k").await.unwrap().unwrap();
    assert_eq!(entry.value, Value::Int(6));
    let seen = events::list(&mut c, of_tenant(1), core_id(), &EventFilter::default(), None, 10).await;
    assert_eq!(seen.unwrap(), [event]);
    let filter = ExecutionFilter { core_id: Some(core_id()), ..ExecutionFilter::default() };
    let all = executions::list(&mut c, of_tenant(1), &filter, None, 10).await.unwrap();
    assert_eq!(all.iter().map(|one| one.id).collect::<Vec<_>>(), [4, 3, 2, 1].map(execution_id));
    drop(c);

    let mut unit = proceed(1, (1, 2), ExecutionStatus::Completed);
    unit.decided = Some(decided(1));
    assert_eq!(apply(home, vec![unit]).await, [Verdict::Done]);
    let found = stored(home, 1).await.unwrap();
    assert_eq!(found.execution.status, ExecutionStatus::Completed);
    assert_eq!((found.execution.output, found.snapshot), (Some(Value::Bool(true)), None));
    let mut c = home.read().await;
    let journal = executions::journal(&mut c, of_tenant(1), execution_id(1), 1, 10).await.unwrap();
    assert_eq!(journal, [(2, vec![3])]);
    assert_eq!(executions::chunk_of(&mut c, of_tenant(1), execution_id(1), 1).await.unwrap(), Some(0));
    let answered = checkpoints::lookup(&mut c, of_tenant(1), checkpoint(1).id).await.unwrap().unwrap();
    assert_eq!(answered.checkpoint, decided(1));
}

async fn a_stale_epoch_or_journal_number_is_fenced(home: &Home) {
    hosted(home).await;
    apply(home, vec![begin(1)]).await;
    let running = ExecutionStatus::Running;
    let stale = [proceed(1, (0, 2), running), proceed(1, (1, 1), running), proceed(9, (1, 2), running)];
    assert_eq!(apply(home, stale.to_vec()).await, [Verdict::Fenced; 3]);
    assert_eq!(stored(home, 1).await.unwrap().epoch, 1);
    // Of two that expect the same, also in one transaction, one passes.
    let twice = vec![proceed(1, (1, 2), running), proceed(1, (1, 2), ExecutionStatus::Completed)];
    assert_eq!(apply(home, twice).await, [Verdict::Done, Verdict::Fenced]);
    assert_eq!(stored(home, 1).await.unwrap().execution.status, running);
    // And two steps of one execution may share a transaction.
    let both = vec![proceed(1, (2, 3), running), proceed(1, (3, 4), ExecutionStatus::Failed)];
    assert_eq!(apply(home, both).await, [Verdict::Done; 2]);
    assert_eq!(apply(home, vec![proceed(1, (4, 5), running)]).await, [Verdict::Fenced]);
}

async fn a_checkpoint_is_decided_once(home: &Home) {
    hosted(home).await;
    let mut unit = begin(1);
    unit.opened = vec![(checkpoint(1), 0), (checkpoint(2), 1)];
    apply(home, vec![unit]).await;
    let decide = |number| {
        let mut unit = Unit::new(tenant_id(1), at(2), Change::Keep { id: execution_id(1) });
        unit.decided = Some(decided(number));
        unit
    };
    let verdicts = apply(home, vec![decide(1), decide(1), decide(2)]).await;
    assert_eq!(verdicts, [Verdict::Done, Verdict::CheckpointDecided, Verdict::Done]);
    assert_eq!(apply(home, vec![decide(2)]).await, [Verdict::CheckpointDecided]);
    // What is decided is not cancelled by the end of its execution.
    let mut unit = proceed(1, (1, 2), ExecutionStatus::Cancelled);
    unit.abandoned = vec![checkpoint(1).id];
    assert_eq!(apply(home, vec![unit]).await, [Verdict::Done]);
    let mut c = home.read().await;
    let found = checkpoints::lookup(&mut c, of_tenant(1), checkpoint(1).id).await.unwrap().unwrap();
    assert_eq!(found.checkpoint.state, decided(1).state);
}

async fn an_update_of_what_has_changed_is_refused(home: &Home) {
    hosted(home).await;
    apply(home, vec![begin(1), begin(2), begin(3)]).await;
    let set = |number, value, expected| {
        let mut unit = Unit::new(tenant_id(1), at(5), Change::Keep { id: execution_id(number) });
        unit.memory = vec![write("m", "k", value, expected)];
        unit
    };
    // Nothing is there: the first that expects that writes, the second is refused.
    let verdicts = apply(home, vec![set(1, 1, Some(0)), set(2, 2, Some(0))]).await;
    assert_eq!(verdicts, [Verdict::Done, Verdict::MemoryChanged]);
    let version = async || {
        let mut c = home.read().await;
        memory::lookup(&mut c, of_tenant(1), variable("m"), "k").await.unwrap().unwrap().version
    };
    let seen = version().await;
    assert_eq!(apply(home, vec![set(1, 3, None), set(2, 4, Some(seen))]).await[1], Verdict::MemoryChanged);
    assert_eq!(apply(home, vec![set(3, 5, Some(version().await))]).await, [Verdict::Done]);
}

async fn of_two_nodes_that_find_nothing_the_first_writes(home: &Home) {
    hosted(home).await;
    apply(home, vec![begin(1), begin(2)]).await;
    // Whether the first one computed its value or just has one, the second one computed its own from nothing.
    for (key, expected) in [("computed", Some(0)), ("given", None)] {
        let set = |number, value, expected| {
            let mut unit = Unit::new(tenant_id(1), at(5), Change::Keep { id: execution_id(number) });
            unit.memory = vec![write("m", key, value, expected)];
            unit
        };
        let first = async {
            let mut tx = home.begin().await;
            let verdicts = commit::apply(&mut tx, vec![set(1, 1, expected)]).await.unwrap();
            // The other one has begun when this one ends.
            tokio::time::sleep(std::time::Duration::from_millis(120)).await;
            tx.commit().await.unwrap();
            verdicts
        };
        let second = async {
            tokio::time::sleep(std::time::Duration::from_millis(40)).await;
            apply(home, vec![set(2, 2, Some(0))]).await
        };
        assert_eq!(tokio::join!(first, second), (vec![Verdict::Done], vec![Verdict::MemoryChanged]));
        let mut c = home.read().await;
        let entry = memory::lookup(&mut c, of_tenant(1), variable("m"), key).await.unwrap().unwrap();
        assert_eq!(entry.value, Value::Int(1));
    }
}

async fn a_place_that_was_kept_is_seen_by_nobody(home: &Home) {
    hosted(home).await;
    apply(home, vec![begin(1)]).await;
    // Refused for its journal, so what it would have remembered is not written.
    let mut fenced = proceed(1, (7, 7), ExecutionStatus::Running);
    fenced.memory = vec![write("m", "k", 1, Some(0))];
    // Removes what is not there.
    let mut removes = Unit::new(tenant_id(1), at(5), Change::Keep { id: execution_id(1) });
    removes.memory = vec![MemoryWrite { value: None, ..write("m", "l", 0, Some(0)) }];
    assert_eq!(apply(home, vec![fenced, removes]).await, [Verdict::Fenced, Verdict::Done]);
    let mut c = home.read().await;
    let filter = EntryFilter::default();
    let entries = memory::list(&mut c, of_tenant(1), variable("m"), &filter, 9).await.unwrap();
    assert!(entries.is_empty(), "{entries:?}");
}

async fn what_comes_after_the_end_is_refused(home: &Home) {
    hosted(home).await;
    let nothing = || Unit::new(tenant_id(1), at(5), Change::Keep { id: execution_id(1) });
    let tell = || {
        let delivery = Delivery { to: execution_id(1), effect: 3, outcome: vec![1] };
        Unit { delivered: vec![delivery], ..nothing() }
    };
    apply(home, vec![begin(1)]).await;
    let end = proceed(1, (1, 2), ExecutionStatus::Completed);
    assert_eq!(apply(home, vec![tell(), end, tell()]).await[2], Verdict::Fenced);
    assert_eq!(apply(home, vec![tell(), nothing()]).await, [Verdict::Fenced, Verdict::Done]);
}

async fn memory_is_ordered_and_versions_never_come_back(home: &Home) {
    hosted(home).await;
    apply(home, vec![begin(1)]).await;
    let put = |seconds, writes| {
        let mut unit = Unit::new(tenant_id(1), at(seconds), Change::Keep { id: execution_id(1) });
        unit.memory = writes;
        unit
    };
    let keys = ["a", "b/1", "b/2", "c"];
    apply(home, vec![put(1, keys.iter().map(|key| write("m", key, 1, None)).collect())]).await;
    let list = async |prefix: Option<&str>, descending, rows| {
        let filter = EntryFilter { prefix: prefix.map(str::to_owned), descending, after: None };
        let mut c = home.read().await;
        let entries = memory::list(&mut c, of_tenant(1), variable("m"), &filter, rows).await.unwrap();
        entries.into_iter().map(|entry| entry.key).collect::<Vec<_>>()
    };
    assert_eq!(list(None, false, 3).await, ["a", "b/1", "b/2"]);
    assert_eq!(list(Some("b/"), true, 9).await, ["b/2", "b/1"]);
    let page = async |after: &str, descending| {
        let filter = EntryFilter { prefix: None, descending, after: Some(after.to_owned()) };
        let mut c = home.read().await;
        let entries = memory::list(&mut c, of_tenant(1), variable("m"), &filter, 2).await.unwrap();
        entries.into_iter().map(|entry| entry.key).collect::<Vec<_>>()
    };
    assert_eq!(page("a", false).await, ["b/1", "b/2"]);
    assert_eq!(page("b/2", false).await, ["c"]);
    assert_eq!(page("b/2", true).await, ["b/1", "a"]);
    let others = ["Z", "_", "z", "\u{e9}", "\u{fb01}", "\u{1f600}"];
    apply(home, vec![put(1, others.iter().rev().map(|key| write("o", key, 1, None)).collect())]).await;
    let mut c = home.read().await;
    let everything = EntryFilter::default();
    let listed = memory::list(&mut c, of_tenant(1), variable("o"), &everything, 9).await.unwrap();
    let listed: Vec<_> = listed.into_iter().map(|entry| entry.key).collect();
    assert_eq!(listed, others, "by code point");
    assert_eq!(memory::count(&mut c, of_tenant(1), variable("m")).await.unwrap(), 4);
    assert_eq!(memory::count(&mut c, of_tenant(2), variable("m")).await.unwrap(), 0);
    let some = ["a", "q", "c"];
    assert_eq!(memory::count_of(&mut c, of_tenant(1), variable("m"), &some).await.unwrap(), 2);
    assert_eq!(memory::count_of(&mut c, of_tenant(1), variable("m"), &[]).await.unwrap(), 0);
    drop(c);
    let most = memory::COUNTED_AT_MOST;
    let many = (0..=most).map(|key| write("many", &key.to_string(), 1, None)).collect();
    apply(home, vec![put(1, many)]).await;
    let mut c = home.read().await;
    let (names, place) = (["m", "many", "none"].map(str::to_owned), variable("m"));
    let counts =
        memory::counts(&mut c, of_tenant(1), (place.core_id, place.partition), &names).await.unwrap();
    let counts: Vec<_> = counts.iter().map(|(name, it)| (name.as_str(), it.entries, it.more)).collect();
    assert_eq!(counts, [("m", 4, false), ("many", most, true)], "no more than so many are counted");
    drop(c);
    let version = async || {
        let mut c = home.read().await;
        memory::lookup(&mut c, of_tenant(1), variable("m"), "a").await.unwrap().map(|entry| entry.version)
    };
    let first = version().await;
    let removed = MemoryWrite { value: None, ..write("m", "a", 0, None) };
    apply(home, vec![put(2, vec![removed])]).await;
    assert_eq!(version().await, None);
    apply(home, vec![put(3, vec![write("m", "a", 1, None)])]).await;
    assert!(version().await > first, "the entry is another one now");
}

async fn what_has_come_is_seen_before_waiting(home: &Home) {
    hosted(home).await;
    apply(home, vec![begin(1), begin(2)]).await;
    let to_parent = |effect| Delivery { to: execution_id(1), effect, outcome: vec![9] };
    // The child ends while the parent is running: the parent finds the answer when it would wait.
    apply(home, vec![proceed(1, (1, 2), ExecutionStatus::Running)]).await;
    let mut child = proceed(2, (1, 2), ExecutionStatus::Completed);
    child.delivered = vec![to_parent(3)];
    assert_eq!(apply(home, vec![child]).await, [Verdict::Done]);
    let waits = proceed(1, (2, 3), ExecutionStatus::Suspended);
    assert_eq!(apply(home, vec![waits]).await, [Verdict::Awaited]);
    assert_eq!(stored(home, 1).await.unwrap().execution.status, ExecutionStatus::Queued);
    let mut c = home.read().await;
    let inbox = executions::inbox(&mut c, of_tenant(1), execution_id(1)).await.unwrap();
    assert_eq!(inbox, [(3, vec![9])]);
    drop(c);
    // It takes the answer, and waits: nothing is left for it.
    let mut takes = proceed(1, (3, 4), ExecutionStatus::Suspended);
    takes.taken = vec![3];
    assert_eq!(apply(home, vec![takes]).await, [Verdict::Done]);
    // An answer to one that waits wakes it, once, and one to the ended is thrown away.
    let keep = |number| Unit::new(tenant_id(1), at(3), Change::Keep { id: execution_id(number) });
    let deliver = || Unit { delivered: vec![to_parent(5)], ..keep(1) };
    let to_the_ended = Unit { delivered: vec![Delivery { to: execution_id(2), ..to_parent(1) }], ..keep(2) };
    apply(home, vec![deliver(), deliver(), to_the_ended]).await;
    assert_eq!(stored(home, 1).await.unwrap().execution.status, ExecutionStatus::Queued);
    let mut c = home.read().await;
    assert_eq!(executions::inbox(&mut c, of_tenant(1), execution_id(1)).await.unwrap().len(), 1);
    assert!(executions::inbox(&mut c, of_tenant(1), execution_id(2)).await.unwrap().is_empty());
}

/// Takes all that is to be had for a node.
async fn claim(home: &Home, node: u128, seconds: i64) -> Vec<Claimed> {
    let mut c = home.read().await;
    let mut wanted = leases::orphans(&mut c, &SYSTEM, at(seconds), 10).await.unwrap();
    for tenant in leases::queued_tenants(&mut c, &SYSTEM, None, 10).await.unwrap() {
        let scope = SYSTEM.tenant(tenant);
        for core in leases::queued_cores(&mut c, scope, None, 10).await.unwrap() {
            wanted.extend(leases::queued(&mut c, scope, core, 10).await.unwrap());
        }
    }
    drop(c);
    let mut tx = home.begin().await;
    let claimed = leases::claim(&mut tx, &SYSTEM, node_id(node), at(seconds), &wanted).await.unwrap();
    tx.commit().await.unwrap();
    claimed
}

async fn executions_of_dead_nodes_are_taken_once(home: &Home) {
    hosted(home).await;
    let mut tx = home.begin().await;
    leases::register(&mut tx, node_id(1), at(0), at(10)).await.unwrap();
    leases::register(&mut tx, node_id(2), at(0), at(100)).await.unwrap();
    tx.commit().await.unwrap();
    let held = |number, node| {
        let mut unit = begin(number);
        if let Change::Begin { execution, progress } = &mut unit.change {
            execution.status = ExecutionStatus::Running;
            progress.owner = Some(node_id(node));
        }
        unit
    };
    let mut queued = begin(9);
    queued.started = vec![Execution { status: ExecutionStatus::Queued, ..execution(3) }];
    apply(home, vec![held(1, 1), held(2, 2), queued]).await;
    let claim = async |node, seconds| {
        let claimed = claim(home, node, seconds).await;
        claimed.into_iter().map(|one| one.id).collect::<Vec<_>>()
    };
    // While both live only what nobody holds is to be had.
    assert!(leases::waiting(&mut home.read().await, &SYSTEM, node_id(2)).await.unwrap());
    assert_eq!(claim(2, 5).await, [execution_id(3)]);
    assert!(claim(2, 5).await.is_empty());
    assert_eq!(claim(2, 11).await, [execution_id(1)], "its node is dead");
    let taken = stored(home, 1).await.unwrap();
    assert_eq!((taken.epoch, taken.owner), (2, Some(node_id(2))));
    assert_eq!(apply(home, vec![proceed(1, (1, 2), ExecutionStatus::Completed)]).await, [Verdict::Fenced]);
    // A node that says farewell leaves everything to the others.
    let mut tx = home.begin().await;
    leases::release(&mut tx, node_id(2)).await.unwrap();
    leases::register(&mut tx, node_id(3), at(12), at(100)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(claim(3, 12).await, [1, 2, 3].map(execution_id));
}

async fn what_has_got_something_meanwhile_is_not_believed_to_wait(home: &Home) {
    hosted(home).await;
    apply(home, vec![begin(1), begin(2)]).await;
    let delivery = Delivery { to: execution_id(1), effect: 3, outcome: vec![1] };
    let nothing = Unit::new(tenant_id(1), at(2), Change::Keep { id: execution_id(1) });
    apply(home, vec![Unit { delivered: vec![delivery], ..nothing }]).await;
    assert_eq!(stored(home, 1).await.unwrap().execution.status, ExecutionStatus::Queued);
    let step = |number| {
        let ends = proceed(number, (1, 2), ExecutionStatus::Completed);
        Unit { believed: Believed::Runs(core_id()), ..ends }
    };
    assert_eq!(apply(home, vec![step(1), step(2)]).await, [Verdict::Fenced, Verdict::Done]);
    // It is there for whoever takes it with what it was given.
    let taken = claim(home, 1, 4).await;
    assert_eq!(taken.iter().map(|one| one.id).collect::<Vec<_>>(), [execution_id(1)]);
}

async fn a_core_that_is_held_takes_nothing_and_its_executions_rest(home: &Home) {
    let core = hosted(home).await;
    let mut unit = begin(1);
    unit.started = vec![Execution { status: ExecutionStatus::Queued, ..execution(2) }];
    apply(home, vec![unit]).await;
    let goes_on = || proceed(1, (1, 2), ExecutionStatus::Suspended);
    let begins_a_step = || Unit { believed: Believed::Runs(core_id()), ..goes_on() };
    let (paused, _) = core.apply(Action::Pause, at(3)).unwrap();
    let mut tx = home.begin().await;
    let written = cores::save(&mut tx, of_tenant(1), &paused, 1, &vault()).await.unwrap();
    assert_eq!(written, scaigrid_persistence::Written::Done);
    tx.commit().await.unwrap();
    assert_eq!(apply(home, vec![begin(5)]).await, [Verdict::CoreNotRunning]);
    assert_eq!(apply(home, vec![begins_a_step()]).await, [Verdict::CoreNotRunning]);
    assert_eq!(
        apply(home, vec![goes_on()]).await,
        [Verdict::Done],
        "one that was under way comes to its rest"
    );
    assert!(!stored(home, 1).await.unwrap().core_runs);
    assert!(claim(home, 1, 4).await.is_empty());
    // What was seen before the Core was held is not taken either.
    let mut tx = home.begin().await;
    let seen = Claimed { tenant_id: tenant_id(1), core_id: core_id(), id: execution_id(2) };
    assert!(leases::claim(&mut tx, &SYSTEM, node_id(1), at(4), &[seen]).await.unwrap().is_empty());
}

async fn odd_texts_survive(home: &Home) {
    hosted(home).await;
    let mut unit = begin(1);
    if let Change::Begin { execution, .. } = &mut unit.change {
        execution.instance_key = Some("a\0b".into());
        execution.input = Value::from("n\0l \u{1f600}");
    }
    let mut odd = checkpoint(1);
    odd.question.prompt = "a\0b".into();
    odd.question.context = Arc::new(serde_json::json!({"k\0": ["\0", u64::MAX]}));
    unit.opened = vec![(odd, 0)];
    unit.memory = vec![write("m", "k\0", 1, Some(0))];
    assert_eq!(apply(home, vec![unit]).await, [Verdict::Done]);
    let found = stored(home, 1).await.unwrap().execution;
    assert_eq!(found.input, Value::from("n\0l \u{1f600}"), "values keep every character");
    assert_eq!(found.instance_key.as_deref(), Some("a\u{fffd}b"), "names do not");
    let mut c = home.read().await;
    let asked = checkpoints::lookup(&mut c, of_tenant(1), checkpoint(1).id).await.unwrap().unwrap();
    assert_eq!(asked.checkpoint.prompt, "a\u{fffd}b");
    assert!(memory::lookup(&mut c, of_tenant(1), variable("m"), "k\0").await.unwrap().is_some());
}

async fn another_tenant_sees_nothing(home: &Home) {
    hosted(home).await;
    let mut unit = begin(1);
    unit.opened = vec![(checkpoint(1), 0)];
    unit.memory = vec![write("m", "k", 1, None)];
    let child = Execution { parent: Some(Parent { execution: execution_id(1), effect: 0 }), ..execution(2) };
    unit.started = vec![child];
    apply(home, vec![unit]).await;
    let (mut c, foreign) = (home.read().await, of_tenant(2));
    assert!(executions::lookup(&mut c, foreign, execution_id(1)).await.unwrap().is_none());
    assert!(executions::load(&mut c, foreign, execution_id(1)).await.unwrap().is_none());
    assert!(executions::journal(&mut c, foreign, execution_id(1), 0, 9).await.unwrap().is_empty());
    assert!(executions::children(&mut c, foreign, execution_id(1)).await.unwrap().is_empty());
    assert!(executions::active(&mut c, foreign, core_id()).await.unwrap().is_empty());
    assert!(checkpoints::lookup(&mut c, foreign, checkpoint(1).id).await.unwrap().is_none());
    assert!(checkpoints::pending_of(&mut c, foreign, execution_id(1)).await.unwrap().is_empty());
    assert!(memory::lookup(&mut c, foreign, variable("m"), "k").await.unwrap().is_none());
    assert!(cores::lookup(&mut c, foreign, core_id(), &vault()).await.unwrap().is_none());
    assert!(cores::lookup_version(&mut c, foreign, core_id(), 1).await.unwrap().is_none());
    assert_eq!(executions::children(&mut c, of_tenant(1), execution_id(1)).await.unwrap().len(), 1);
}

async fn deleting_a_core_leaves_nothing_behind(home: &Home) {
    hosted(home).await;
    let mut unit = begin(1);
    unit.opened = vec![(checkpoint(1), 0)];
    unit.memory = vec![write("m", "k", 1, None)];
    apply(home, vec![unit]).await;
    let mut tx = home.begin().await;
    assert_eq!(cores::delete(&mut tx, of_tenant(2), core_id(), 1000).await.unwrap(), None);
    assert_eq!(cores::delete(&mut tx, of_tenant(1), core_id(), 1000).await.unwrap(), Some(true));
    tx.commit().await.unwrap();
    let mut c = home.read().await;
    assert!(stored(home, 1).await.is_none());
    assert!(executions::journal(&mut c, of_tenant(1), execution_id(1), 0, 9).await.unwrap().is_empty());
    assert!(checkpoints::lookup(&mut c, of_tenant(1), checkpoint(1).id).await.unwrap().is_none());
    assert!(memory::lookup(&mut c, of_tenant(1), variable("m"), "k").await.unwrap().is_none());
    assert!(cores::lookup_version(&mut c, of_tenant(1), core_id(), 1).await.unwrap().is_none());
    drop(c);
    // What was still under way finds nobody.
    let late = proceed(1, (1, 2), ExecutionStatus::Completed);
    assert_eq!(apply(home, vec![late, begin(2)]).await, [Verdict::Fenced, Verdict::CoreNotRunning]);
}
