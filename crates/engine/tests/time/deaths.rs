//! Workers that die while slots of instances are held, a thousand times over. No slot leaks and no step is done twice.
//!
//! A life is a runtime of its own, with several nodes on one pool. It ends by being torn down wherever its tasks stand, and nothing
//! of it runs on; that the leases of the dead have ended is said by taking them away.

use std::collections::BTreeMap;
use std::time::Duration;

use scaigrid_cores::execution::{Execution, ExecutionStatus};
use scaigrid_cores::{ConcurrencyMode, NewCore};
use scaigrid_engine::{Engine, Invocation};
use scaigrid_ir::Value;
use scaigrid_persistence::{Database, DatabaseUrl, executions, leases};
use scaigrid_scope::{CoreId, Instant, NodeId};
use serde_json::json;

use crate::home::{Home, core, program, scope};

/// Deaths of workers where several can share a database, and where not.
const DEATHS: (usize, usize) = (1_000, 400);
/// The workers of a life, likewise. Those of one process die together.
const WORKERS: (usize, usize) = (8, 1);
/// Executions that are there to be taken, at least.
const WORK: usize = 12;
const ENTITIES: usize = 4;
/// Steps of an execution.
const STEPS: i64 = 3;

#[test]
fn on_sqlite() {
    a_thousand_deaths(async { Some(Home::sqlite().await) });
}

#[test]
fn on_postgresql() {
    a_thousand_deaths(Home::postgres("deaths"));
}

/// Counts its steps by entity, neither guarded nor atomic, and sleeps in between: each step is taken, and holds a slot, anew.
fn stepping(name: &str, instance: &serde_json::Value) -> NewCore {
    let flow = json!({"name": "step", "params": [{"name": "who", "type": "string"}], "body": [
        {"kind": "rigid", "statements": [{"kind": "let", "name": "i", "value": "0"}]},
        {"kind": "while", "condition": format!("i < {STEPS}"), "max_iterations": 100, "body": [
            {"kind": "rigid", "statements": [
                {"kind": "memory", "op": "get", "target": "steps", "result_binding": "before"},
                {"kind": "memory", "op": "set", "target": "steps", "value": "before + 1"},
                {"kind": "assign", "target": "i", "value": "i + 1"},
                {"kind": "sleep", "duration": "1ms"}]}]},
        {"kind": "rigid", "statements": [
            {"kind": "memory", "op": "get", "target": "steps", "result_binding": "after"},
            {"kind": "return", "value": "after"}]}]});
    let more = json!({"memory": {"steps": {"type": "int", "default": 0}}, "instance": instance});
    core(name, program(&[flow], &more))
}

/// What is hosted, and how many executions were begun of each.
struct Hosted {
    entity: CoreId,
    singleton: CoreId,
    begun: usize,
}

impl Hosted {
    async fn begin(&mut self, engine: &Engine) {
        let core = if self.begun.is_multiple_of(4) { self.singleton } else { self.entity };
        let who = Value::from(format!("entity {}", self.begun % ENTITIES).as_str());
        let call = Invocation {
            flow: None,
            input: Value::from([("who", who)]),
            instance_key: None,
            wait: None,
            by: None,
        };
        engine.invoke(scope(), core, call).await.unwrap();
        self.begun += 1;
    }
}

async fn unended(home: &Home, hosted: &Hosted) -> Vec<Execution> {
    let mut all = home.executions(hosted.entity).await;
    all.extend(home.executions(hosted.singleton).await);
    all.into_iter().filter(|execution| !execution.status.is_final()).collect()
}

/// How many slots these nodes hold.
async fn held(home: &Home, hosted: &Hosted, nodes: &[NodeId]) -> usize {
    let mut held = 0;
    for execution in unended(home, hosted).await {
        let mut connection = home.database.read().await.unwrap();
        let stored = executions::load(&mut connection, scope(), execution.id).await.unwrap().unwrap();
        let runs = stored.execution.status == ExecutionStatus::Running;
        held += usize::from(runs && stored.owner.is_some_and(|owner| nodes.contains(&owner)));
    }
    held
}

/// The leases of all who have died are over.
async fn leases_end(database: &Database) {
    let mut tx = database.begin().await.unwrap();
    leases::forget(&mut tx, Instant::MAX).await.unwrap();
    tx.commit().await.unwrap();
}

fn a_thousand_deaths(home: impl Future<Output = Option<Home>>) {
    let ground = runtime();
    let Some(mut home) = ground.block_on(home) else { return };
    let mut hosted = ground.block_on(async {
        let node = home.node().await;
        let entity = home.host(&node, stepping("Each", &json!({"mode": "entity", "key": "who"}))).await;
        let one = stepping("One", &json!({"mode": "stateless"}));
        let one = NewCore { concurrency_mode: ConcurrencyMode::Singleton, ..one };
        Hosted { entity, singleton: home.host(&node, one).await, begun: 0 }
    });
    // A pool belongs to the runtime on which it was opened; one of the dead is of no use to others.
    let url = home.url.clone();
    let (mut deaths, mut with_slots, mut in_vain, mut life) = (0, 0, 0, 0_u64);
    let shared = home.database.is_shared();
    let (most, workers) = if shared { (DEATHS.0, WORKERS.0) } else { (DEATHS.1, WORKERS.1) };
    while deaths < most {
        let world = runtime();
        let (with, last) = world.block_on(live(&home, &url, workers, life, &mut hosted));
        // Torn down wherever it stands; what blocks a thread comes to its end.
        drop(last);
        world.shutdown_timeout(Duration::from_secs(10));
        deaths += workers;
        with_slots += with;
        in_vain += usize::from(with == 0);
        life += 1;
    }
    let lives = usize::try_from(life).unwrap();
    assert!(in_vain * 10 < lives, "in {in_vain} of {lives} lives nobody held a slot");
    ground.block_on(async {
        home.reopen(&url).await;
        leases_end(&home.database).await;
        let engine = home.node().await;
        let working = engine.clone();
        let work = tokio::spawn(async move { working.run(std::future::pending()).await });
        let begun = std::time::Instant::now();
        while !unended(&home, &hosted).await.is_empty() {
            home.pass(Duration::from_millis(50));
            engine.fire_what_is_due().await.unwrap();
            assert!(begun.elapsed() < Duration::from_mins(1), "{:?}", unended(&home, &hosted).await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        work.abort();
        check(&home, &hosted).await;
        println!("{deaths} deaths, {with_slots} slots held by the dead, {} executions", hosted.begun);
        home.remove().await;
    });
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// A life of some nodes, up to a moment in which they hold slots; how many, and what of it is left.
async fn live(
    home: &Home,
    url: &DatabaseUrl,
    workers: usize,
    life: u64,
    hosted: &mut Hosted,
) -> (usize, impl Sized) {
    let home = home.again(url).await;
    leases_end(&home.database).await;
    home.pass(Duration::from_millis(5));
    let mut nodes = Vec::new();
    for _ in 0..workers {
        nodes.push(home.node().await);
    }
    let first = nodes[0].clone();
    for _ in unended(&home, hosted).await.len()..WORK {
        hosted.begin(&first).await;
    }
    let ids: Vec<NodeId> = nodes.iter().map(Engine::node).collect();
    for node in nodes {
        tokio::spawn(async move { node.run(std::future::pending()).await });
    }
    // Time goes on, so that sleepers wake, for as long as it takes until somebody holds a slot.
    let mut holding = 0;
    let wanted = if workers > 1 { 1 + usize::try_from(life % 4).unwrap() } else { 1 };
    for _ in 0..60 {
        home.pass(Duration::from_millis(5));
        tokio::time::sleep(Duration::from_micros(300 + 400 * (life % 7))).await;
        holding = held(&home, hosted, &ids).await;
        if holding >= wanted {
            break;
        }
    }
    (holding, (home, first))
}

/// What was begun has ended as it should, and each entity has counted each of its steps once.
async fn check(home: &Home, hosted: &Hosted) {
    let mut by_instance: BTreeMap<(CoreId, String), Vec<Value>> = BTreeMap::new();
    let mut all = home.executions(hosted.entity).await;
    all.extend(home.executions(hosted.singleton).await);
    assert_eq!(all.len(), hosted.begun);
    for execution in all {
        assert_eq!(execution.status, ExecutionStatus::Completed, "{execution:?}");
        let key = execution.instance_key.as_deref().unwrap_or_default().to_owned();
        by_instance.entry((execution.core_id, key)).or_default().push(execution.output.unwrap());
    }
    for ((_, key), outputs) in by_instance {
        let most = outputs.iter().map(|output| if let Value::Int(count) = output { *count } else { 0 }).max();
        let steps = STEPS * i64::try_from(outputs.len()).unwrap();
        assert_eq!(most, Some(steps), "{key}: as many as there were, none twice and none lost");
    }
}
