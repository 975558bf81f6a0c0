//! Conversations with published Cores, and what the row of a Core tells of its publication.

use rust_decimal::Decimal;
use scaigrid_cores::conversation::{Caller, Conversation, TurnStatus};
use scaigrid_cores::execution::ExecutionStatus;
use scaigrid_cores::logs::Level;
use scaigrid_cores::publication::Publication;
use scaigrid_persistence::commit::{self, Change, Mark, Unit};
use scaigrid_persistence::conversations::{self, Told, Turn};
use scaigrid_persistence::sealing::Vault;
use scaigrid_persistence::{Error, Written, cores, executions, logs, retention};
use scaigrid_scope::{BackendId, ConversationId, ModelId};
use serde_json::json;

use crate::commit::{apply, begin, core_id, execution_id, hosted, proceed};
use crate::home::Home;
use crate::logs::entry;
use crate::values::{at, of_tenant, tenant_id, ulid, user_id};

crate::on_both_databases! {
    a_publication_is_kept_with_its_core,
    a_conversation_is_kept_and_found_by_its_own_caller,
    an_answer_answers_all_turns_that_waited_for_it,
    an_erased_conversation_leaves_nothing_behind,
    what_was_said_goes_with_what_answered_it,
}

fn id(number: u128) -> ConversationId {
    ConversationId::from_ulid(ulid(number))
}

fn caller(number: u128) -> Caller {
    Caller::User(user_id(number))
}

fn conversation(number: u128) -> Conversation {
    Conversation {
        id: id(number),
        tenant_id: tenant_id(1),
        core_id: core_id(),
        caller_tenant: tenant_id(2),
        caller: caller(1),
        key: Some(format!("key {number}")),
        entity_id: Some("ada".to_owned()),
        status: TurnStatus::Running,
        turns: 0,
        created_at: at(1),
        updated_at: at(1),
    }
}

fn turn(number: u128, execution: u128) -> Turn {
    Turn {
        conversation: id(number),
        turn: 0,
        core_id: core_id(),
        caller: caller(1),
        execution_id: execution_id(execution),
        status: TurnStatus::Running,
        asked: vec![json!({"role": "user", "content": "a\0b"})],
        asked_print: "asked".to_owned(),
        answer: None,
        answer_print: None,
        told: Told::default(),
        created_at: at(2),
        ended_at: None,
    }
}

async fn a_publication_is_kept_with_its_core(home: &Home) {
    let mut core = hosted(home).await;
    let vault = Vault::parse("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").unwrap();
    let publication = Publication {
        model_id: ModelId::from_ulid(ulid(5)),
        backend_id: BackendId::from_ulid(ulid(6)),
        slug: "scaicore/tenant-1/a-core".to_owned(),
    };
    core.publication = Some(publication.clone());
    let mut tx = home.begin().await;
    assert_eq!(cores::save(&mut tx, of_tenant(1), &core, 1, &vault).await.unwrap(), Written::Done);
    tx.commit().await.unwrap();
    let found = cores::lookup(&mut home.read().await, of_tenant(1), core.id, &vault).await.unwrap().unwrap();
    assert_eq!((found.value, found.revision), (core.clone(), 2));
    let mut tx = home.begin().await;
    let held = cores::hold_publication(&mut tx, of_tenant(1), core.id).await.unwrap();
    assert_eq!(held, Some(publication));
    assert_eq!(cores::hold_publication(&mut tx, of_tenant(2), core.id).await.unwrap(), None);
    core.publication = None;
    assert_eq!(cores::save(&mut tx, of_tenant(1), &core, 2, &vault).await.unwrap(), Written::Done);
    assert_eq!(cores::hold_publication(&mut tx, of_tenant(1), core.id).await.unwrap(), None);
    tx.commit().await.unwrap();
}

async fn a_conversation_is_kept_and_found_by_its_own_caller(home: &Home) {
    hosted(home).await;
    let (scope, core) = (of_tenant(1), core_id());
    let first = conversation(1);
    let mut tx = home.begin().await;
    conversations::add(&mut tx, scope, &first).await.unwrap();
    conversations::add(&mut tx, scope, &conversation(2)).await.unwrap();
    let other = Conversation { id: id(3), caller: caller(2), ..conversation(1) };
    conversations::add(&mut tx, scope, &other).await.unwrap();
    let unnamed = Conversation { id: id(5), caller: caller(3), key: None, ..conversation(1) };
    conversations::add(&mut tx, scope, &unnamed).await.unwrap();
    let asked = Turn { caller: caller(3), ..turn(5, 7) };
    assert_eq!(conversations::begin_turn(&mut tx, scope, &asked).await.unwrap(), Some(1));
    assert_eq!(conversations::begin_turn(&mut tx, scope, &turn(1, 1)).await.unwrap(), Some(1));
    assert_eq!(conversations::begin_turn(&mut tx, scope, &turn(1, 2)).await.unwrap(), Some(2));
    assert_eq!(conversations::begin_turn(&mut tx, scope, &turn(9, 2)).await.unwrap(), None);
    assert_eq!(conversations::begin_turn(&mut tx, of_tenant(2), &turn(1, 2)).await.unwrap(), None);
    let told = Told { input_tokens: 3, output_tokens: 4, cost: Decimal::new(15, 4) };
    let ended = Turn {
        turn: 1,
        status: TurnStatus::Answered,
        answer: Some("Hello".to_owned()),
        answer_print: Some("answer".to_owned()),
        told,
        ended_at: Some(at(3)),
        ..turn(1, 1)
    };
    assert!(conversations::end_turn(&mut tx, scope, &ended).await.unwrap());
    tx.commit().await.unwrap();
    let mut tx = home.begin().await;
    let twice = conversations::add(&mut tx, scope, &Conversation { id: id(4), ..conversation(1) }).await;
    assert!(matches!(twice, Err(Error::Duplicate(_))), "{twice:?}");
    drop(tx);

    let mut c = home.read().await;
    let c = &mut c;
    let found = conversations::lookup(c, scope, id(1)).await.unwrap().unwrap();
    let expected =
        Conversation { status: TurnStatus::Answered, turns: 2, updated_at: at(3), ..first.clone() };
    assert_eq!(found, expected);
    assert_eq!(conversations::lookup(c, of_tenant(2), id(1)).await.unwrap(), None);
    let by_key = async |c: &mut _, by, key| {
        conversations::find_by_key(c, scope, core, by, key).await.unwrap().map(|it| it.id)
    };
    assert_eq!(by_key(c, caller(1), "key 1").await, Some(id(1)));
    assert_eq!(by_key(c, caller(2), "key 1").await, Some(id(3)));
    assert_eq!(by_key(c, caller(2), "key 2").await, None);
    // The youngest of the entity.
    let by_entity = conversations::find_by_entity(c, scope, core, caller(1), "ada").await.unwrap();
    assert_eq!(by_entity, Some(id(2)));
    assert_eq!(conversations::find_by_entity(c, scope, core, caller(1), "bob").await.unwrap(), None);

    let shown = conversations::turns(c, scope, id(1), 10).await.unwrap();
    let asked = vec![json!({"role": "user", "content": "a\u{fffd}b"})];
    assert_eq!(shown, [Turn { asked: asked.clone(), ..ended }, Turn { turn: 2, asked, ..turn(1, 2) }]);
    assert_eq!(conversations::turns(c, scope, id(1), 1).await.unwrap()[0].turn, 2);
    assert_eq!(conversations::last_turn(c, scope, id(1)).await.unwrap().unwrap().turn, 2);
    // What is owed an answer, and what was answered.
    let by_question = async |c: &mut _, by, entity| {
        conversations::turn_by_question(c, scope, (core, by), entity, "asked").await.unwrap()
    };
    // Those of a conversation that has a name are asked for by that.
    assert_eq!(by_question(c, caller(1), Some("ada")).await, None);
    assert_eq!(by_question(c, caller(1), None).await, None);
    let unnamed = by_question(c, caller(3), Some("ada")).await.unwrap();
    assert_eq!((unnamed.conversation, unnamed.turn), (id(5), 1));
    assert_eq!(by_question(c, caller(3), None).await, None);
    assert_eq!(by_question(c, caller(3), Some("bob")).await, None);
    let by_answer = async |c: &mut _, by, entity| {
        conversations::turn_by_answer(c, scope, (core, by), entity, "answer").await.unwrap()
    };
    assert_eq!(by_answer(c, caller(1), None).await.unwrap().turn, 1);
    assert_eq!(by_answer(c, caller(1), Some("ada")).await.unwrap().turn, 1);
    assert_eq!(by_answer(c, caller(1), Some("bob")).await, None);
    assert_eq!(by_answer(c, caller(2), None).await, None);
    assert_eq!(conversations::told(c, scope, execution_id(1)).await.unwrap(), told);
    assert_eq!(conversations::told_in_all(c, scope, id(1)).await.unwrap(), told);
    let by = conversations::asked_by(c, scope, execution_id(1)).await.unwrap();
    assert_eq!(by, Some((caller(1), tenant_id(2))));
    let page = conversations::list(c, scope, core, Some(id(3)), 1).await.unwrap();
    assert_eq!(page.iter().map(|it| it.id).collect::<Vec<_>>(), [id(2)]);
    assert!(conversations::list(c, of_tenant(2), core, None, 10).await.unwrap().is_empty());
}

async fn an_answer_answers_all_turns_that_waited_for_it(home: &Home) {
    hosted(home).await;
    let scope = of_tenant(1);
    let mut tx = home.begin().await;
    conversations::add(&mut tx, scope, &conversation(1)).await.unwrap();
    for (number, execution) in [(1, 1), (2, 1), (3, 2)] {
        conversations::begin_turn(&mut tx, scope, &turn(1, execution)).await.unwrap();
        let waits =
            Turn { turn: number, status: TurnStatus::Waiting, ended_at: Some(at(3)), ..turn(1, execution) };
        conversations::end_turn(&mut tx, scope, &waits).await.unwrap();
    }
    conversations::begin_turn(&mut tx, scope, &turn(1, 1)).await.unwrap();
    let last = Turn { turn: 4, status: TurnStatus::Answered, ended_at: Some(at(4)), ..turn(1, 1) };
    conversations::end_turn(&mut tx, scope, &last).await.unwrap();
    tx.commit().await.unwrap();
    let turns = conversations::turns(&mut home.read().await, scope, id(1), 10).await.unwrap();
    let statuses: Vec<TurnStatus> = turns.iter().map(|turn| turn.status).collect();
    let (answered, waiting) = (TurnStatus::Answered, TurnStatus::Waiting);
    assert_eq!(statuses, [answered, answered, waiting, answered]);
}

async fn an_erased_conversation_leaves_nothing_behind(home: &Home) {
    hosted(home).await;
    let scope = of_tenant(1);
    let mut tx = home.begin().await;
    // Each has run for so long that its state was kept beside the journal, and has said something.
    let long = |number| Unit {
        mark: Some(Mark { seq: 2, machine: vec![9], keep_from: 0 }),
        core_id: Some(core_id()),
        logs: vec![entry(1, Level::Info)],
        ..begin(number)
    };
    commit::apply(&mut tx, vec![long(1), long(2)]).await.unwrap();
    for number in [1, 2] {
        conversations::add(&mut tx, scope, &conversation(number)).await.unwrap();
        conversations::begin_turn(&mut tx, scope, &turn(number, number)).await.unwrap();
    }
    assert!(conversations::hold(&mut tx, scope, id(1)).await.unwrap());
    assert!(!conversations::hold(&mut tx, of_tenant(2), id(1)).await.unwrap());
    let run = conversations::executions_of(&mut tx, scope, id(1)).await.unwrap();
    assert_eq!(run, [execution_id(1)]);
    // In another tenant there is nothing to erase.
    conversations::erase(&mut tx, of_tenant(2), &[id(1)], &run).await.unwrap();
    assert!(conversations::lookup(&mut tx, scope, id(1)).await.unwrap().is_some());
    conversations::erase(&mut tx, scope, &[id(1)], &run).await.unwrap();
    tx.commit().await.unwrap();
    let mut c = home.read().await;
    let c = &mut c;
    assert_eq!(conversations::lookup(c, scope, id(1)).await.unwrap(), None);
    assert!(conversations::turns(c, scope, id(1), 10).await.unwrap().is_empty());
    assert_eq!(executions::lookup(c, scope, execution_id(1)).await.unwrap(), None);
    assert!(executions::journal(c, scope, execution_id(1), 0, 10).await.unwrap().is_empty());
    let kept = async |c: &mut _, number| {
        let machine = executions::kept_machine(c, scope, execution_id(number), 9).await.unwrap();
        let said = logs::of_execution(c, scope, execution_id(number), None, 9).await.unwrap();
        (machine.is_some(), said.len())
    };
    assert_eq!(kept(c, 1).await, (false, 0));
    // The other one is as it was.
    assert_eq!(kept(c, 2).await, (true, 1));
    assert!(executions::lookup(c, scope, execution_id(2)).await.unwrap().is_some());
    assert_eq!(executions::journal(c, scope, execution_id(2), 0, 10).await.unwrap().len(), 1);
    assert_eq!(conversations::turns(c, scope, id(2), 10).await.unwrap().len(), 1);
}

async fn what_was_said_goes_with_what_answered_it(home: &Home) {
    hosted(home).await;
    let scope = of_tenant(1);
    let end = |number, seconds| {
        let mut unit = proceed(number, (1, 2), ExecutionStatus::Completed);
        if let Change::Proceed { finished_at, .. } = &mut unit.change {
            *finished_at = Some(at(seconds));
        }
        unit
    };
    apply(home, vec![begin(1), begin(2), begin(3)]).await;
    apply(home, vec![end(1, 10), end(2, 10), end(3, 1000)]).await;
    let mut tx = home.begin().await;
    // One of old turns, one of an old and a young one, one that has none.
    for number in [1, 2, 3] {
        conversations::add(&mut tx, scope, &conversation(number)).await.unwrap();
    }
    for (number, execution) in [(1, 1), (1, 2), (2, 2), (2, 3)] {
        assert!(conversations::begin_turn(&mut tx, scope, &turn(number, execution)).await.unwrap().is_some());
    }
    tx.commit().await.unwrap();
    let purge = async || {
        let mut tx = home.begin().await;
        let gone = retention::purge_executions(&mut tx, scope, at(500), 100).await.unwrap();
        tx.commit().await.unwrap();
        gone
    };
    if home.database.is_shared() {
        // What somebody is at is left to the next time, and not waited for.
        let mut held = home.begin().await;
        assert!(conversations::hold(&mut held, scope, id(1)).await.unwrap());
        assert_eq!(purge().await, 0, "both have answered in it");
        held.rollback().await.unwrap();
    }
    assert_eq!(purge().await, 2);
    let mut c = home.read().await;
    let c = &mut c;
    assert_eq!(conversations::lookup(c, scope, id(1)).await.unwrap(), None);
    assert!(conversations::turns(c, scope, id(1), 10).await.unwrap().is_empty());
    let left = conversations::turns(c, scope, id(2), 10).await.unwrap();
    assert_eq!(left.iter().map(|turn| turn.execution_id).collect::<Vec<_>>(), [execution_id(3)]);
    assert!(conversations::lookup(c, scope, id(2)).await.unwrap().is_some());
    assert!(conversations::lookup(c, scope, id(3)).await.unwrap().is_some());
}
