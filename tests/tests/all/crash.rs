//! SIGKILL at random moments, while clients start executions and decide checkpoints.
//!
//! What was accepted ends exactly once with the right output; memory and events hold every approved report exactly once.
//! The seed of the moments is printed; `SCAIGRID_TEST_SEED` repeats a run as far as threads can be repeated.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use scaigrid_tests::{
    Answer, CORES, Client, Db, Dice, Place, Request, SCAICORE, Server, eventually, on, on_both_databases,
    programs,
};
use serde_json::{Value, json};

on_both_databases!(kills_at_random_moments_lose_nothing_and_repeat_nothing);

#[test]
fn kills_of_one_of_two_nodes_lose_nothing_and_repeat_nothing() {
    on(Db::Postgres, |place| storm(place, 2));
}

fn kills_at_random_moments_lose_nothing_and_repeat_nothing(place: &Place) {
    storm(place, 1);
}

const KILLS: usize = 10;
const CLIENTS: u64 = 5;
/// How long a client asks again before it gives up: longer than a dead node's lease lasts.
const PATIENCE: Duration = Duration::from_secs(30);
/// Above this a report needs a person.
const LIMIT: i64 = 1000;

/// What a client asks for.
struct Report {
    key: String,
    employee: String,
    total: i64,
    by_event: bool,
    wait_ms: u64,
}

/// What a client knows of a report that it has submitted.
struct Submitted {
    employee: String,
    total: i64,
    execution: String,
    by_event: bool,
    /// Whether the first request already got its answer.
    undisturbed: bool,
}

/// What was promised about a checkpoint.
#[derive(Default)]
struct Verdicts {
    /// The decision that was answered with 200, by checkpoint.
    taken: BTreeMap<String, String>,
    complaints: Vec<String>,
}

struct Shared {
    nodes: Mutex<Vec<SocketAddr>>,
    turn: AtomicUsize,
    key: String,
    core: String,
    stop: AtomicBool,
    submitted: Mutex<Vec<Submitted>>,
    verdicts: Mutex<Verdicts>,
}

impl Shared {
    /// A client of the node whose turn it is.
    fn client(&self) -> Client {
        let nodes = self.nodes.lock().unwrap();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        Client::new(nodes[turn % nodes.len()], Some(&self.key))
    }

    /// Asks until the server answers; and whether the first try did it.
    fn insist(&self, request: impl Fn(&Client) -> Request) -> (Answer, bool) {
        let begun = Instant::now();
        let mut first = true;
        loop {
            match request(&self.client()).send() {
                Ok(answer) if answer.status != 503 => return (answer, first),
                _ => first = false,
            }
            assert!(begun.elapsed() < PATIENCE, "no answer for {PATIENCE:?}");
            std::thread::sleep(Duration::from_millis(40));
        }
    }

    /// One report after the other, each with a key of its own, until told to stop.
    fn submit_and_decide(&self, me: u64, seed: u64) {
        let mut dice = Dice::of(seed ^ me.wrapping_mul(0x1_0001));
        let mut unanswered = Vec::new();
        let mut number = 0;
        while !self.stop.load(Ordering::SeqCst) {
            number += 1;
            let report = Report {
                key: format!("{me}-{number}"),
                employee: format!("client {me} report {number}"),
                total: i64::try_from(dice.roll(2000)).unwrap() + 1,
                by_event: dice.roll(5) == 0,
                wait_ms: [0, 50, 2000][usize::try_from(dice.roll(3)).unwrap()],
            };
            if !self.submit(&report, true) {
                unanswered.push(report);
            }
            // Some are left for later.
            if dice.roll(4) > 0 {
                self.decide_some(&mut dice);
            }
        }
        // The keys of requests that died with their server are free once its lease has ended.
        for report in unanswered {
            eventually("the key is free", PATIENCE, || self.submit(&report, false).then_some(()));
        }
    }

    /// Submits a report; not so when its key is still held by a request that died.
    fn submit(&self, report: &Report, fresh: bool) -> bool {
        let Report { key, employee, total, by_event, wait_ms } = report;
        let input = json!({"employee": employee, "lines": [{"label": "a", "amount": total}]});
        let (path, body) = if *by_event {
            ("events", json!({"event_name": "expense.submitted", "data": input}))
        } else {
            ("invoke", json!({"flow": "submit", "input": input, "wait_ms": wait_ms}))
        };
        let path = format!("{CORES}/{}/{path}", self.core);
        let (answer, first) =
            self.insist(|client| client.post(&path).json(&body).header("Idempotency-Key", key));
        match (answer.status, answer.code().as_str()) {
            (409, "IDEMPOTENCY_KEY_IN_USE") => return false,
            (200 | 202, _) => {
                let data = answer.data();
                let execution = if *by_event { &data["executions"][0] } else { &data["id"] };
                let execution = text(execution);
                let (employee, undisturbed) = (employee.clone(), fresh && first);
                let submitted =
                    Submitted { employee, total: *total, execution, by_event: *by_event, undisturbed };
                self.submitted.lock().unwrap().push(submitted);
            }
            _ => self.verdicts.lock().unwrap().complaints.push(answer.to_string()),
        }
        true
    }

    /// Decides what is in the inbox, perhaps at the same time as others do.
    fn decide_some(&self, dice: &mut Dice) {
        let path = format!("{SCAICORE}/checkpoints?limit=3");
        let (page, _) = self.insist(|client| client.get(&path));
        for item in page.data()["items"].as_array().unwrap() {
            self.decide(item["id"].as_str().unwrap(), dice);
        }
    }

    fn decide(&self, checkpoint: &str, dice: &mut Dice) {
        let decision = ["approve", "reject"][usize::try_from(dice.roll(2)).unwrap()];
        let mut body = json!({"decision": decision, "comment": format!("drawn {}", dice.roll(u64::MAX))});
        if dice.roll(2) == 0 {
            body["wait_ms"] = json!(100);
        }
        let path = format!("{SCAICORE}/checkpoints/{checkpoint}/resolve");
        let (answer, _) = self.insist(|client| client.post(&path).json(&body));
        let mut verdicts = self.verdicts.lock().unwrap();
        match (answer.status, answer.code().as_str()) {
            (200, _) => {
                if let Some(other) = verdicts.taken.insert(checkpoint.to_owned(), decision.to_owned()) {
                    verdicts
                        .complaints
                        .push(format!("{checkpoint} was decided twice, {other} and {decision}"));
                }
            }
            // Somebody was first; or this client was, and the answer was lost with the server.
            (409, "CHECKPOINT_ALREADY_RESOLVED") => {}
            _ => verdicts.complaints.push(answer.to_string()),
        }
    }
}

/// A node, the first one or a further one.
fn node(place: &Place, which: usize) -> Server {
    if which == 0 { place.start() } else { place.further_node(&format!("node-{which}")).start() }
}

fn storm(place: &Place, nodes: usize) {
    let (seed, mut dice) = Dice::seeded_by("SCAIGRID_TEST_SEED");

    let mut servers: Vec<Option<Server>> = (0..nodes).map(|which| Some(node(place, which))).collect();
    let admin = servers[0].as_ref().unwrap().admin();
    let core = admin.run("Expenses", &programs::expenses_with_ledger());
    let shared = Arc::new(Shared {
        nodes: Mutex::new(servers.iter().flatten().map(Server::address).collect()),
        turn: AtomicUsize::new(0),
        key: place.admin_key(),
        core: core.clone(),
        stop: AtomicBool::new(false),
        submitted: Mutex::default(),
        verdicts: Mutex::default(),
    });
    let clients: Vec<_> = (0..CLIENTS)
        .map(|me| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || shared.submit_and_decide(me, seed))
        })
        .collect();
    for kill in 0..KILLS {
        std::thread::sleep(Duration::from_millis(50 + dice.roll(900)));
        let which = kill % nodes;
        servers[which].take().unwrap().kill();
        let server = node(place, which);
        shared.nodes.lock().unwrap()[which] = server.address();
        servers[which] = Some(server);
    }
    shared.stop.store(true, Ordering::SeqCst);
    for client in clients {
        client.join().unwrap();
    }

    // What is still open is decided; then everything must come to its end.
    let admin = servers[nodes - 1].as_ref().unwrap().admin();
    eventually("every execution ends", Duration::from_secs(30), || {
        shared.decide_some(&mut dice);
        admin.all_ended(&core).then_some(())
    });
    let submitted = shared.submitted.lock().unwrap();
    let verdicts = shared.verdicts.lock().unwrap();
    assert!(verdicts.complaints.is_empty(), "{:#?}", verdicts.complaints);
    println!("{} reports were accepted, {} checkpoints decided", submitted.len(), verdicts.taken.len());
    check(&admin, &core, &submitted, &verdicts.taken);
    servers.into_iter().flatten().for_each(Server::stop);
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn check(admin: &Client, core: &str, submitted: &[Submitted], taken: &BTreeMap<String, String>) {
    let executions = admin.pages(&format!("{CORES}/{core}/executions"), "items");
    let checkpoints = admin.pages(&format!("{SCAICORE}/checkpoints/all"), "items");
    let by_id: BTreeMap<String, &Value> = executions.iter().map(|it| (text(&it["id"]), it)).collect();
    assert_eq!(by_id.len(), executions.len(), "no execution is listed twice");

    // Every decision that was confirmed is the one that stands.
    let mut decisions: BTreeMap<String, String> = BTreeMap::new();
    for checkpoint in &checkpoints {
        assert_eq!(checkpoint["status"], "resolved", "its execution has ended: {checkpoint}");
        let decision = text(&checkpoint["resolution"]["decision"]);
        if let Some(confirmed) = taken.get(checkpoint["id"].as_str().unwrap()) {
            assert_eq!(&decision, confirmed, "{checkpoint}");
        }
        let before = decisions.insert(text(&checkpoint["execution_id"]), decision);
        assert_eq!(before, None, "two checkpoints of one execution: {checkpoint}");
    }

    let mut booked = BTreeMap::new();
    let mut by_employee: BTreeMap<String, u32> = BTreeMap::new();
    for execution in &executions {
        let id = text(&execution["id"]);
        assert_eq!(execution["status"], "completed", "{execution}");
        if execution["flow"] != "submit" {
            continue;
        }
        let (employee, total) = (&execution["input"]["employee"], &execution["input"]["lines"][0]["amount"]);
        *by_employee.entry(text(employee)).or_default() += 1;
        let asked = total.as_i64().unwrap() > LIMIT;
        assert_eq!(decisions.contains_key(&id), asked, "{execution}");
        let decision = decisions.get(&id).map_or("approve", String::as_str);
        assert_eq!(execution["output"], json!({"decision": decision, "total": total}), "{execution}");
        if decision == "approve" {
            booked.insert(id.clone(), json!({"employee": employee, "total": total}));
        }
        check_journal(admin, &id, asked);
    }

    for report in submitted {
        let execution = by_id.get(&report.execution);
        assert!(execution.is_some(), "{} was accepted and is lost", report.execution);
        if !report.by_event {
            assert_eq!(execution.unwrap()["input"]["employee"], json!(report.employee));
            assert_eq!(execution.unwrap()["input"]["lines"][0]["amount"], json!(report.total));
        }
        let count = by_employee.get(&report.employee).copied().unwrap_or_default();
        // A request whose answer was lost may have been carried out before it was carried out again.
        let right = if report.undisturbed { count == 1 } else { count >= 1 };
        assert!(right, "{} ran {count} times", report.employee);
    }

    let ledger = admin.invoke(core, "ledger", &json!({}))["output"].clone();
    assert_eq!(ledger, json!(booked), "memory holds what was approved, once each");
    let events = admin.pages(&format!("{CORES}/{core}/events/history?type=expense.booked"), "events");
    let told: BTreeSet<String> = events.iter().map(|event| text(&event["payload"]["execution_id"])).collect();
    assert_eq!(events.len(), told.len(), "an event was told twice");
    assert_eq!(told, booked.keys().cloned().collect(), "one event for each that was booked");
}

/// Numbers without gaps, one beginning, one answer where one was asked for, one end.
fn check_journal(admin: &Client, id: &str, asked: bool) {
    let journal = admin.pages(&format!("{SCAICORE}/executions/{id}/history"), "items");
    let seqs: Vec<i64> = journal.iter().map(|entry| entry["seq"].as_i64().unwrap()).collect();
    assert!(seqs.iter().copied().eq(0..i64::try_from(seqs.len()).unwrap()), "{id}: {seqs:?}");
    let count = |kind: &str| journal.iter().filter(|entry| entry["type"] == kind).count();
    let answers = usize::from(asked);
    assert_eq!(
        (count("started"), count("outcome"), count("completed")),
        (1, answers, 1),
        "{id}: {journal:#?}"
    );
    assert_eq!(journal.last().unwrap()["type"], "completed");
}
