//! Several nodes under load, for tests that disturb them, and what must be true afterwards.
//!
//! Each flow calls a plugin three times, once per class of effect that is not simply repeated, and some ask a person in between.
//! Clients ask another node when one does not answer. A person looks after calls in doubt, and believes the plugin's own books.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use scaigrid_tests::{Answer, CORES, Client, Launch, Place, Plugin, Request, SCAICORE, Server, eventually};
use serde_json::{Value, json};

/// How long a client asks again before it gives up: longer than a lease lasts and a stuck connection is kept.
const PATIENCE: Duration = Duration::from_secs(45);
const CLIENTS: u64 = 4;
/// The pause of a client between two flows: enough nodes share two slow processors already.
const BREATH: Duration = Duration::from_millis(25);

/// A flow that was accepted.
struct Accepted {
    execution: String,
    number: i64,
    /// Whether the first request already got its answer.
    undisturbed: bool,
}

struct Shared {
    nodes: Mutex<Vec<SocketAddr>>,
    turn: AtomicUsize,
    numbers: AtomicU64,
    key: String,
    core: String,
    plugin: Plugin,
    stop: AtomicBool,
    accepted: Mutex<Vec<Accepted>>,
    /// The decision that was answered with 200, by checkpoint.
    decided: Mutex<BTreeMap<String, String>>,
    complaints: Mutex<Vec<String>>,
}

/// A load on nodes, until it is calmed.
pub(crate) struct Storm {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
    person: JoinHandle<()>,
}

/// How a node of a storm is started: it may call the plugin.
pub(crate) fn node<'a>(place: &'a Place, name: &str) -> Launch<'a> {
    let first = !place.data().join("master.key").exists();
    let launch = if first { place.launch() } else { place.further_node(name) };
    launch.set("SCAIGRID_EGRESS_ALLOW", "127.0.0.1")
}

/// A plugin, registered.
pub(crate) fn plugin(admin: &Client) -> Plugin {
    let plugin = Plugin::start();
    let entry = json!({"plugin": "acme/stub", "kind": "http", "endpoint": plugin.http(), "manifest": Plugin::manifest()});
    admin.post(&format!("{SCAICORE}/plugins/registry")).json(&entry).answer(201);
    plugin
}

/// A program that calls the plugin.
pub(crate) fn calling(body: &Value) -> Value {
    json!({
        "schema_version": "0.2", "name": "Caller", "version": "1.0.0",
        "plugins": [{"alias": "stub", "plugin": "acme/stub", "config": {}, "required": true}],
        "flows": [{"name": "work", "params": [{"name": "n", "type": "int"}], "body": body}],
    })
}

/// A call of the plugin.
pub(crate) fn call(method: &str) -> Value {
    json!({"kind": "plugin_call", "alias": "stub", "method": method, "args": {"n": "n"}, "result_binding": method})
}

fn program() -> Value {
    calling(&json!([
        {"kind": "rigid", "statements": [call("keep")]},
        {"kind": "checkpoint", "id": "ask", "checkpoint_type": "approval", "when": "n % 4 == 0",
            "present": {"prompt": "Shall it be?"}, "options": ["yes", "no"], "result_binding": "answer"},
        {"kind": "rigid", "statements": [
            call("shout"), call("pay"),
            {"kind": "emit", "event": "worked", "data": {"n": "n"}},
            {"kind": "return", "value": "n"},
        ]},
    ]))
}

impl Storm {
    /// Puts a load on nodes.
    pub(crate) fn rise(place: &Place, nodes: &[&Server]) -> Self {
        let admin = nodes[0].admin();
        let plugin = plugin(&admin);
        let shared = Arc::new(Shared {
            nodes: Mutex::new(nodes.iter().map(|node| node.address()).collect()),
            turn: AtomicUsize::new(0),
            numbers: AtomicU64::new(0),
            key: place.admin_key(),
            core: admin.run("Work", &program()),
            plugin,
            stop: AtomicBool::new(false),
            accepted: Mutex::default(),
            decided: Mutex::default(),
            complaints: Mutex::default(),
        });
        let begin = |work: fn(&Shared)| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || work(&shared))
        };
        let clients = (0..CLIENTS).map(|_| begin(Shared::submit)).collect();
        let person = begin(Shared::decide);
        Self { shared, clients, person }
    }

    /// How many flows were accepted so far.
    pub(crate) fn accepted(&self) -> usize {
        self.shared.accepted.lock().unwrap().len()
    }

    /// Waits until so many more flows were accepted.
    pub(crate) fn goes_on(&self, flows: usize) {
        let before = self.accepted();
        eventually("flows are accepted", PATIENCE, || (self.accepted() >= before + flows).then_some(()));
    }

    /// Has clients ask these nodes from now on.
    pub(crate) fn ask(&self, nodes: &[&Server]) {
        *self.shared.nodes.lock().unwrap() = nodes.iter().map(|node| node.address()).collect();
    }

    /// Ends the load, waits until all is done, and checks what came of it; how many flows there were.
    pub(crate) fn calm(self) -> usize {
        self.shared.stop.store(true, Ordering::SeqCst);
        for client in self.clients {
            client.join().unwrap();
        }
        let shared = &self.shared;
        eventually("everything ends", Duration::from_mins(1), || {
            // Whoever decides is at it still.
            shared.calm_client().all_ended(&shared.core).then_some(())
        });
        shared.numbers.store(u64::MAX, Ordering::SeqCst);
        self.person.join().unwrap();
        let complaints = shared.complaints.lock().unwrap();
        assert!(complaints.is_empty(), "{complaints:#?}");
        shared.check();
        shared.accepted.lock().unwrap().len()
    }
}

impl Shared {
    /// A client of the node whose turn it is.
    fn client(&self) -> Client {
        let nodes = self.nodes.lock().unwrap();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        // One that stands still is not waited for long.
        Client::new(nodes[turn % nodes.len()], Some(&self.key)).patient_for(Duration::from_secs(5))
    }

    /// A client of a node that is well.
    fn calm_client(&self) -> Client {
        Client::new(self.nodes.lock().unwrap()[0], Some(&self.key))
    }

    /// Asks until a node answers; and whether the first try did it.
    fn insist(&self, request: impl Fn(&Client) -> Request) -> (Answer, bool) {
        let begun = Instant::now();
        let mut first = true;
        loop {
            match request(&self.client()).send() {
                Ok(answer) if answer.status != 503 && answer.code() != "IDEMPOTENCY_KEY_IN_USE" => {
                    return (answer, first);
                }
                _ => first = false,
            }
            assert!(begun.elapsed() < PATIENCE, "no answer for {PATIENCE:?}");
            std::thread::sleep(Duration::from_millis(40));
        }
    }

    fn complain(&self, answer: &Answer) {
        self.complaints.lock().unwrap().push(answer.to_string());
    }

    fn submit(&self) {
        let path = format!("{CORES}/{}/invoke", self.core);
        while !self.stop.load(Ordering::SeqCst) {
            let number = i64::try_from(self.numbers.fetch_add(1, Ordering::SeqCst)).unwrap();
            let wait = [0, 20, 1000][usize::try_from(number % 3).unwrap()];
            let body = json!({"flow": "work", "input": {"n": number}, "wait_ms": wait});
            let key = format!("number-{number}");
            let (answer, undisturbed) =
                self.insist(|client| client.post(&path).json(&body).header("Idempotency-Key", &key));
            if matches!(answer.status, 200 | 202) {
                let execution = answer.data()["id"].as_str().unwrap().to_owned();
                self.accepted.lock().unwrap().push(Accepted { execution, number, undisturbed });
            } else {
                self.complain(&answer);
            }
            std::thread::sleep(BREATH);
        }
    }

    fn decide(&self) {
        // Until everything has ended.
        while self.numbers.load(Ordering::SeqCst) != u64::MAX {
            let (page, _) = self
                .insist(|client| client.get(&format!("{SCAICORE}/checkpoints/all?status=pending&limit=50")));
            for one in page.data()["items"].as_array().unwrap() {
                self.decide_one(one);
            }
            std::thread::sleep(2 * BREATH);
        }
    }

    fn decide_one(&self, checkpoint: &Value) {
        let id = checkpoint["id"].as_str().unwrap();
        let decision = if checkpoint["checkpoint_type"] == "call_in_doubt" {
            let key = checkpoint["context"]["idempotency_key"].as_str().unwrap();
            let made = self.plugin.calls().iter().any(|call| call.key() == key);
            if made { "completed" } else { "retry" }
        } else {
            ["yes", "no"][usize::from(id.ends_with(['0', '2', '4', '6', '8']))]
        };
        let path = format!("{SCAICORE}/checkpoints/{id}/resolve");
        let (answer, _) = self.insist(|client| client.post(&path).json(&json!({"decision": decision})));
        match (answer.status, answer.code().as_str()) {
            (200, _) => {
                let before = self.decided.lock().unwrap().insert(id.to_owned(), decision.to_owned());
                assert_eq!(before, None, "{id} was decided twice");
            }
            // This client was first, and the answer was lost.
            (409, "CHECKPOINT_ALREADY_RESOLVED") => {}
            _ => self.complain(&answer),
        }
    }

    /// What a simple model of it says: each flow that was accepted ended once and rightly, each call was made once.
    fn check(&self) {
        let admin = self.calm_client();
        let executions = admin.pages(&format!("{CORES}/{}/executions", self.core), "items");
        let by_id: BTreeMap<&str, &Value> =
            executions.iter().map(|execution| (execution["id"].as_str().unwrap(), execution)).collect();
        assert_eq!(by_id.len(), executions.len(), "no execution is listed twice");
        let mut by_number: BTreeMap<i64, u32> = BTreeMap::new();
        for execution in &executions {
            assert_eq!(execution["status"], "completed", "{execution}");
            let number = execution["input"]["n"].as_i64().unwrap();
            assert_eq!(execution["output"], number, "{execution}");
            *by_number.entry(number).or_default() += 1;
        }
        for accepted in self.accepted.lock().unwrap().iter() {
            let Accepted { execution, number, undisturbed } = accepted;
            let found = by_id.get(execution.as_str()).unwrap_or_else(|| panic!("{execution} was lost"));
            assert_eq!(found["input"]["n"], *number);
            // A request whose answer was lost may have been carried out before it was carried out again.
            let times = by_number[number];
            assert!(if *undisturbed { times == 1 } else { times >= 1 }, "{number} ran {times} times");
        }
        self.check_calls(&by_id);
        self.check_checkpoints(&admin, &by_id);
        let told = admin.pages(&format!("{CORES}/{}/events/history?type=worked", self.core), "events");
        let by: BTreeSet<&str> =
            told.iter().map(|event| event["payload"]["execution_id"].as_str().unwrap()).collect();
        assert_eq!((told.len(), by.len()), (executions.len(), executions.len()), "one event for each");
        // Journals are many pages; a few of them tell.
        for execution in executions.iter().step_by(executions.len().div_ceil(20).max(1)) {
            check_journal(&admin, execution["id"].as_str().unwrap());
        }
    }

    /// Each call was carried out once; unsafe ones and those that can be asked about were not even asked for twice.
    fn check_calls(&self, by_id: &BTreeMap<&str, &Value>) {
        let mut times: BTreeMap<(String, String), usize> = BTreeMap::new();
        for call in self.plugin.calls().into_iter().filter(|call| call.method != "status") {
            *times.entry((call.method.clone(), call.key())).or_default() += 1;
        }
        for ((method, key), count) in &times {
            let execution = key.split(':').next().unwrap();
            assert!(by_id.contains_key(execution), "{method} for {key}, which nobody knows");
            assert!(method == "keep" || *count == 1, "{method} was called {count} times for {key}");
        }
        for method in ["keep", "shout", "pay"] {
            let keys = times.keys().filter(|(of, _)| of == method).count();
            assert_eq!(keys, by_id.len(), "{method}: one key for each execution");
        }
        assert_eq!(self.plugin.carried_out(), 3 * by_id.len(), "each call was carried out once");
    }

    fn check_checkpoints(&self, admin: &Client, by_id: &BTreeMap<&str, &Value>) {
        let checkpoints = admin.pages(&format!("{SCAICORE}/checkpoints/all"), "items");
        let decided = self.decided.lock().unwrap();
        let mut asked: BTreeMap<&str, u32> = BTreeMap::new();
        for checkpoint in &checkpoints {
            assert_eq!(checkpoint["status"], "resolved", "{checkpoint}");
            if let Some(confirmed) = decided.get(checkpoint["id"].as_str().unwrap()) {
                assert_eq!(&checkpoint["resolution"]["decision"], confirmed, "{checkpoint}");
            }
            if checkpoint["checkpoint_type"] == "approval" {
                *asked.entry(checkpoint["execution_id"].as_str().unwrap()).or_default() += 1;
            }
        }
        for (id, execution) in by_id {
            let expected = u32::from(execution["input"]["n"].as_i64().unwrap() % 4 == 0);
            assert_eq!(asked.get(id).copied().unwrap_or_default(), expected, "{execution}");
        }
    }
}

/// Numbers without gaps, one beginning, one end.
fn check_journal(admin: &Client, id: &str) {
    let journal = admin.pages(&format!("{SCAICORE}/executions/{id}/history"), "items");
    let seqs: Vec<i64> = journal.iter().map(|entry| entry["seq"].as_i64().unwrap()).collect();
    assert!(seqs.iter().copied().eq(0..i64::try_from(seqs.len()).unwrap()), "{id}: {seqs:?}");
    let count = |kind: &str| journal.iter().filter(|entry| entry["type"] == kind).count();
    assert_eq!((count("started"), count("completed")), (1, 1), "{id}: {journal:#?}");
    assert_eq!(journal.last().unwrap()["type"], "completed");
}
