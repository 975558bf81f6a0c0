//! Nodes whose machines have clocks that differ by minutes, on one database whose clock counts.

use std::sync::Arc;
use std::time::{Duration, Instant as Moment};

use scaigrid_cores::execution::ExecutionStatus;
use scaigrid_engine::{AgreedClock, Engine, Invocation};
use scaigrid_ir::Value;
use scaigrid_persistence::executions;
use scaigrid_scope::{Clock, ExecutionId, Instant};
use serde_json::json;

use crate::home::{Home, core, program, scope};

const MINUTES: Duration = Duration::from_mins(5);

/// A machine's clock that is wrong by so much.
struct Wrong {
    ahead: bool,
}

impl Clock for Wrong {
    fn now(&self) -> Instant {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let now = Instant::from_micros(i64::try_from(since.as_micros()).unwrap());
        if self.ahead { now.plus(MINUTES) } else { now.minus(MINUTES) }
    }
}

async fn work(home: &Home, ahead: bool) -> Engine {
    let engine = home.node_by(Arc::new(AgreedClock::new(Arc::new(Wrong { ahead })))).await;
    let working = engine.clone();
    tokio::spawn(async move { working.run(std::future::pending()).await });
    engine
}

/// Goes round so often, and sleeps a second.
fn busy(rounds: u32) -> serde_json::Value {
    let flow = json!({"name": "main", "params": [], "body": [
        {"kind": "rigid", "statements": [{"kind": "let", "name": "i", "value": "0"}]},
        {"kind": "while", "condition": format!("i < {rounds}"), "max_iterations": 100_000, "body": [
            {"kind": "rigid", "statements": [
                {"kind": "assign", "target": "i", "value": "i + 1"},
                {"kind": "log", "message": "round"}]}]},
        {"kind": "rigid", "statements": [
            {"kind": "sleep", "duration": "1s"},
            {"kind": "return", "value": "i"}]}]});
    program(&[flow], &json!({}))
}

async fn begin(home: &Home, node: &Engine, name: &str, rounds: u32) -> ExecutionId {
    let id = home.host(node, core(name, busy(rounds))).await;
    let call = Invocation { flow: None, input: Value::Null, instance_key: None, wait: None, by: None };
    node.invoke(scope(), id, call).await.unwrap().execution.id
}

async fn epoch(home: &Home, id: ExecutionId) -> (i64, ExecutionStatus) {
    let mut connection = home.database.read().await.unwrap();
    let stored = executions::load(&mut connection, scope(), id).await.unwrap().unwrap();
    (stored.epoch, stored.execution.status)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_takes_what_is_in_good_hands_and_nobody_wakes_early() {
    let Some(home) = Home::postgres("clocks").await else { return };
    let (early, late) = (work(&home, false).await, work(&home, true).await);
    // Long enough to be looked at by the other one, and by far not five minutes.
    let begun = Moment::now();
    for (number, node) in [&early, &late, &early, &late].into_iter().enumerate() {
        let sleeper = begin(&home, node, &format!("Sleep {number}"), 1).await;
        let asleep = Moment::now();
        let runner = begin(&home, node, &format!("Run {number}"), 4_000).await;
        let ended = loop {
            let (of_sleeper, of_runner) = (epoch(&home, sleeper).await, epoch(&home, runner).await);
            if of_sleeper.1.is_final() && of_runner.1.is_final() {
                // Once to begin with, and once when it woke.
                assert_eq!((of_sleeper.0, of_runner.0), (2, 2), "nobody has taken it from who had it");
                break of_sleeper.1;
            }
            assert!(begun.elapsed() < Duration::from_mins(1), "{of_sleeper:?} {of_runner:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        assert_eq!(ended, ExecutionStatus::Completed);
        assert!(asleep.elapsed() >= Duration::from_millis(900), "{:?}", asleep.elapsed());
    }
    home.remove().await;
}
