//! What models say is heard while they say it, and what they have answered is durable with its bill.

use scaigrid_catalog::{
    Backend, Capabilities, ConnectionConfig, Mapping, Modality, Model, ModelSlug, ModelStatus, Parameters,
    Priority, ProviderType, Weight,
};
use scaigrid_cores::execution::ExecutionStatus;
use scaigrid_engine::{Invocation, Said};
use scaigrid_ir::Value;
use scaigrid_persistence::{backends, executions, model_usage, models};
use scaigrid_scope::{BackendId, Level, LevelScope, ModelId, Name, SystemScope};
use serde_json::json;
use std::time::Duration;

use crate::home::{Home, core, program, scope};

crate::on_both_databases! {
    a_model_is_heard_while_it_answers,
    what_is_answered_waits_for_those_who_run,
}

/// A model `echo` that everybody has.
async fn add_echo(home: &Home) {
    let level = LevelScope::Platform(SystemScope::for_the_process().platform());
    let (now, config) = (home.now(), json!({"chunk_chars": 3}));
    let backend = Backend {
        id: BackendId::from_ulid(home.ids.draw(now)),
        owner: Level::Platform,
        name: Name::parse("B").unwrap(),
        model: "b".parse().unwrap(),
        config: ConnectionConfig::read(ProviderType::Echo, config.as_object().unwrap(), None).unwrap(),
        revision: 1,
        created_at: now,
        updated_at: now,
    };
    let model = Model {
        id: ModelId::from_ulid(home.ids.draw(now)),
        owner: Level::Platform,
        slug: ModelSlug::parse("echo").unwrap(),
        display_name: Name::parse("M").unwrap(),
        description: None,
        modality: Modality::Chat,
        context_window: None,
        max_output_tokens: None,
        input_price: None,
        output_price: None,
        default_params: Parameters::default(),
        capabilities: Capabilities::default(),
        status: ModelStatus::Active,
        avatar_url: None,
        global: true,
        default_enabled: true,
        revision: 1,
        created_at: now,
        updated_at: now,
    };
    let mapping =
        Mapping { backend_id: backend.id, priority: Priority::default(), weight: Weight::default() };
    let mut tx = home.database.begin().await.unwrap();
    backends::add(&mut tx, level, &backend, home.vault(), now).await.unwrap();
    models::add(&mut tx, level, &model).await.unwrap();
    models::set_mappings(&mut tx, model.id, &[mapping]).await.unwrap();
    tx.commit().await.unwrap();
}

fn asking() -> serde_json::Value {
    let call = json!({"kind": "model_call", "id": "said", "role": "primary", "prompt": "Over the hills",
        "result_binding": "said"});
    let flow = json!({"name": "go", "params": [], "body": [
        call, {"kind": "rigid", "statements": [{"kind": "return", "value": "said"}]}]});
    let more = json!({"models": [{"role": "primary", "provider": "scaigrid", "model": "echo"}]});
    program(&[flow], &more)
}

async fn a_model_is_heard_while_it_answers(home: &Home) {
    add_echo(home).await;
    let node = home.node().await;
    let core_id = home.host(&node, core("Asking", asking())).await;
    let id = node.execution_id();
    let (mut heard, mut other) = (node.listen_to(id), node.listen_to(node.execution_id()));
    let invocation = Invocation {
        flow: None,
        input: Value::object(std::collections::BTreeMap::default()),
        instance_key: None,
        wait: Some(Duration::from_secs(30)),
        by: None,
    };
    let ended = node.invoke_as(scope(), core_id, id, invocation).await.unwrap();
    assert_eq!((ended.execution.id, ended.execution.status), (id, ExecutionStatus::Completed));
    assert_eq!(ended.execution.output, Some(Value::from("Over the hills")));
    let said: Vec<Said> = std::iter::from_fn(|| heard.ready()).collect();
    let Some(Said::Began { role, model, .. }) = said.first() else { unreachable!("{said:?}") };
    assert_eq!((&**role, model.as_str()), ("primary", "echo"));
    assert!(matches!(said.last(), Some(Said::Ended { .. })), "{said:?}");
    let pieces: Vec<&str> = said
        .iter()
        .filter_map(|said| if let Said::Text { text, .. } = said { Some(&**text) } else { None })
        .collect();
    assert_eq!(pieces, ["Ove", "r t", "he ", "hil", "ls"]);
    assert_eq!(other.ready(), None);
    // The bill names the step, and the answer waits in no inbox any more.
    let mut connection = home.database.read().await.unwrap();
    let filter = model_usage::UsageFilter { core_id: Some(core_id), ..Default::default() };
    let used = model_usage::list(&mut connection, scope(), &filter, None, 10).await.unwrap();
    assert_eq!((used.len(), used[0].execution_id), (1, Some(id)));
    assert!(used[0].effect.is_some());
    assert!(home.inbox(id).await.is_empty());
}

async fn what_is_answered_waits_for_those_who_run(home: &Home) {
    add_echo(home).await;
    let node = home.node().await;
    let core_id = home.host(&node, core("Asking", asking())).await;
    let invocation = Invocation {
        flow: None,
        input: Value::object(std::collections::BTreeMap::default()),
        instance_key: None,
        wait: Some(Duration::from_secs(30)),
        by: None,
    };
    let ended = node.invoke(scope(), core_id, invocation).await.unwrap().execution;
    // Nobody waits for the answer of a call whose execution has ended, nor in another tenant.
    let mut tx = home.database.begin().await.unwrap();
    executions::leave_outcome(&mut tx, scope(), ended.id, 3, b"late").await.unwrap();
    tx.commit().await.unwrap();
    assert!(home.inbox(ended.id).await.is_empty());
    let running = crate::timers::waiting(home, core_id, |_, _| {}).await;
    let mut tx = home.database.begin().await.unwrap();
    executions::leave_outcome(&mut tx, scope(), running, 3, b"nobody runs it").await.unwrap();
    tx.commit().await.unwrap();
    assert!(home.inbox(running).await.is_empty(), "one that waits has no call under way");
}
