//! Updates of memory, and where the commits of a long run fall.

use std::time::Duration;

use scaigrid_engine::Invocation;
use scaigrid_ir::Value;
use scaigrid_persistence::executions;
use scaigrid_runtime::EffectKind;
use scaigrid_runtime::journal::{self, Entry};
use serde_json::json;

use crate::home::{Home, core, program, scope};

crate::on_both_databases! {
    both_halves_of_an_update_are_in_one_commit,
}

/// Notes a number of lines and then counts, so that the two thousandth entry of the journal is wherever one likes.
fn noting(lines: usize) -> serde_json::Value {
    let log = json!({"kind": "log", "message": "line"});
    let mut statements = vec![log; lines];
    statements
        .push(json!({"kind": "memory", "op": "update", "target": "total", "value": "n => (n ?? 0) + 1"}));
    statements.push(json!({"kind": "log", "message": "counted"}));
    let flow = json!({"name": "main", "params": [], "body": [{"kind": "rigid", "statements": statements}]});
    program(&[flow], &json!({"memory": {"total": {"type": "int", "default": 0}}}))
}

async fn both_halves_of_an_update_are_in_one_commit(home: &Home) {
    let node = home.node().await;
    let mut cut = 0;
    for lines in 1_996..2_000 {
        let id = home.host(&node, core(&format!("Note {lines}"), noting(lines))).await;
        let call = Invocation {
            flow: None,
            input: Value::Null,
            instance_key: None,
            wait: Some(Duration::from_secs(30)),
            by: None,
        };
        let standing = node.invoke(scope(), id, call).await.unwrap();
        let mut connection = home.database.read().await.unwrap();
        let chunks =
            executions::journal(&mut connection, scope(), standing.execution.id, 0, 100).await.unwrap();
        cut += chunks.len() - 1;
        for (_, bytes) in chunks {
            let entries = journal::decode_chunk(&bytes).unwrap();
            let half = matches!(entries.last(), Some(Entry::Effect { effect, .. })
                if matches!(&effect.kind, EffectKind::Memory(request) if request.for_update));
            assert!(!half, "a commit between the halves, after {lines} lines");
        }
    }
    assert!(cut >= 3, "the runs were long enough to be cut");
}
