//! Which rows may be written in one round.

use serde_json::Value;

use super::*;

fn execution(id: &str) -> ExecutionRow {
    ExecutionRow {
        id: id.into(),
        tenant_id: String::new(),
        core_id: String::new(),
        flow: String::new(),
        source_version: 1,
        status: String::new(),
        origin: String::new(),
        instance_key: None,
        parent_id: None,
        parent_effect: None,
        depth: 0,
        input: Vec::new(),
        output: None,
        error: None,
        snapshot: None,
        next_seq: 0,
        snapshot_seq: 0,
        owner: None,
        epoch: 0,
        started_at: Stamp(Instant::default()),
        finished_at: None,
        slots: None,
        debugging: None,
        trace: None,
        delegation_id: None,
        requested_by: None,
    }
}

fn proceeded(id: &str) -> Proceeded {
    Proceeded {
        id: id.into(),
        status: "running",
        output: None,
        error: None,
        finished_at: None,
        keep_snapshot: true,
        snapshot: None,
        next_seq: 1,
        owner: None,
        epoch: 1,
        debugging: None,
    }
}

fn checkpoint(id: &str) -> CheckpointRow {
    CheckpointRow {
        id: id.into(),
        tenant_id: String::new(),
        core_id: String::new(),
        execution_id: String::new(),
        effect: 0,
        flow_name: String::new(),
        block_id: String::new(),
        instance_key: None,
        checkpoint_type: String::new(),
        prompt: String::new(),
        options: Value::Null,
        context: Value::Null,
        assignee_raw: None,
        assignee_type: String::new(),
        assignee_value: None,
        priority: String::new(),
        status: String::new(),
        expires_at: None,
        expiry_action: String::new(),
        escalation_target: None,
        decision: None,
        response_data: None,
        comment: None,
        resolved_by: None,
        resolved_at: None,
        history: Value::Null,
        created_at: Stamp(Instant::default()),
        updated_at: Stamp(Instant::default()),
        rules: None,
        standing: None,
        excluded: None,
        revision: 0,
    }
}

fn abandoned(id: &str) -> Abandoned {
    Abandoned { id: id.into(), at: Stamp(Instant::default()) }
}

fn wait(id: &str) -> WaitRow {
    WaitRow {
        tenant_id: String::new(),
        execution_id: id.into(),
        effect: 0,
        core_id: String::new(),
        name: String::new(),
        source_version: 1,
        pointer: String::new(),
        captured: None,
    }
}

fn unwaited(id: &str) -> Unwaited {
    Unwaited { tenant_id: String::new(), execution_id: id.into(), effect: 0 }
}

fn taken(id: &str) -> Taken {
    Taken { tenant_id: String::new(), execution_id: id.into(), effect: 0 }
}

fn inbox(id: &str) -> Inbox {
    Inbox { tenant_id: String::new(), execution_id: id.into(), effect: 1, outcome: Vec::new() }
}

/// One of each kind, no two of which touch the same row.
fn apart() -> Rows {
    Rows {
        begun: vec![execution("begins")],
        proceeded: vec![proceeded("goes on")],
        woken: vec!["waits".into(), "waits".into()],
        opened: vec![checkpoint("new")],
        decided: vec![checkpoint("decided")],
        abandoned: vec![abandoned("left")],
        waits: vec![wait("begins")],
        unwaited: vec![unwaited("goes on")],
        taken: vec![taken("goes on")],
        inbox: vec![inbox("waits")],
        ..Rows::default()
    }
}

#[test]
fn rows_that_are_touched_once_are_apart() {
    assert!(apart().are_apart());
    assert!(Rows::default().are_apart());
}

#[test]
fn rows_that_are_touched_twice_are_not() {
    let marked = Marked {
        tenant_id: String::new(),
        execution_id: "goes on".into(),
        seq: 1,
        machine: Vec::new(),
        keep_from: 1,
    };
    let reference = Reference {
        tenant_id: String::new(),
        hash: String::new(),
        object_id: String::new(),
        kind: "journal",
        holder: String::new(),
        place: String::new(),
    };
    let touched_twice = [
        ("begins and goes on", Rows { proceeded: vec![proceeded("begins")], ..apart() }),
        ("begins and is woken", Rows { woken: vec!["begins".into()], ..apart() }),
        ("goes on and is woken", Rows { woken: vec!["goes on".into()], ..apart() }),
        ("opened and decided", Rows { decided: vec![checkpoint("new")], ..apart() }),
        ("opened and abandoned", Rows { abandoned: vec![abandoned("new")], ..apart() }),
        ("decided and abandoned", Rows { abandoned: vec![abandoned("decided")], ..apart() }),
        ("waits and waits no more", Rows { unwaited: vec![unwaited("begins")], ..apart() }),
        ("taken and delivered", Rows { inbox: vec![inbox("goes on")], ..apart() }),
        ("cut behind a mark", Rows { marks: vec![marked], ..apart() }),
        ("stored for a reference", Rows { references: vec![reference], ..apart() }),
    ];
    for (what, rows) in touched_twice {
        assert!(!rows.are_apart(), "{what}");
    }
}
