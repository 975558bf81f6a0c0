//! Several nodes under load, for tests that disturb them, and what must be true afterwards.
//!
//! Each flow calls a plugin three times, once per class of effect that is not simply repeated, and some ask a person in between. It
//! counts itself and leaves its number in memory. Clients ask another node when one does not answer. A person looks after calls in
//! doubt, and believes the plugin's own books.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use scaigrid_tests::{
    Answer, Behaviour, CORES, Client, Launch, Place, Plugin, Request, SCAICORE, Server, eventually, programs,
};
use serde_json::{Value, json};

/// How long a client asks again before it gives up: longer than a lease lasts and a stuck connection is kept.
const PATIENCE: Duration = Duration::from_secs(45);
const CLIENTS: u64 = 4;
/// The pause of a client between two flows: enough nodes share two slow processors already.
const BREATH: Duration = Duration::from_millis(25);
/// Memory is read in so many parts: a list has an end.
const SHELVES: usize = 64;
/// What some flows keep that is too large for the database.
const PAGE: &str = "string(n + 10000).repeat(20000)";
/// How executions fail where what they called gave no answer, or where large values are kept did not. They can be tried again.
const PASSING: [&str; 4] = ["PLUGIN_TIMEOUT", "PLUGIN_UNREACHABLE", "PLUGIN_RESULT_INVALID", "STORAGE_ERROR"];

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
    /// Whether a person tries again what has failed in passing.
    patient: bool,
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

/// The program of a storm; `with_pages` has a few of its flows keep something large.
fn program(with_pages: bool) -> Value {
    let of_some = |then: Value| json!({"kind": "if", "condition": "n % 16 == 5", "then": then});
    let mut begin = vec![call("keep")];
    let mut end = vec![
        json!({"kind": "memory", "op": "update", "target": "count", "value": "c => (c ?? 0) + 1"}),
        call("shout"),
        call("pay"),
        json!({"kind": "memory", "op": "set", "target": "done", "value": "n",
            "key": format!("string(n % {SHELVES}) + '/' + execution.id")}),
        json!({"kind": "emit", "event": "worked", "data": {"n": "n"}}),
        json!({"kind": "return", "value": "n"}),
    ];
    if with_pages {
        let write =
            json!({"kind": "memory", "op": "set", "target": "pages", "key": "string(n)", "value": PAGE});
        begin.insert(0, of_some(json!([write])));
        end.insert(0, of_some(json!([
            {"kind": "memory", "op": "get", "target": "pages", "key": "string(n)", "result_binding": "page"},
            {"kind": "if", "condition": format!("page != {PAGE}"), "then": [{"kind": "fail", "code": "PAGE_LOST"}]},
        ])));
    }
    let mut program = calling(&json!([
        {"kind": "rigid", "statements": begin},
        {"kind": "checkpoint", "id": "ask", "checkpoint_type": "approval", "when": "n % 4 == 0",
            "present": {"prompt": "Shall it be?"}, "options": ["yes", "no"], "result_binding": "answer"},
        {"kind": "rigid", "statements": end},
    ]));
    program["memory"] = json!({
        "count": {"type": "int", "default": 0}, "done": {"type": "map[string, int]"}, "pages": {"type": "map[string, string]"},
    });
    let recall = json!([{"kind": "rigid", "statements": [
        {"kind": "memory", "op": "list", "target": "done", "prefix": "shelf", "limit": 1000, "result_binding": "found"},
        {"kind": "return", "value": "{count: memory.count, found: found}"},
    ]}]);
    let recall = programs::flow("recall", &json!([{"name": "shelf", "type": "string"}]), &recall);
    program["flows"].as_array_mut().unwrap().push(recall);
    program
}

impl Storm {
    /// Puts a load on nodes.
    pub(crate) fn rise(place: &Place, nodes: &[&Server]) -> Self {
        Self::begin(place, nodes, false)
    }

    /// The same where the plugin and the store of what is large may fail too: some flows keep something large, and the person tries
    /// again what has failed in passing.
    pub(crate) fn rise_amid_failures(place: &Place, nodes: &[&Server]) -> Self {
        Self::begin(place, nodes, true)
    }

    fn begin(place: &Place, nodes: &[&Server], amid_failures: bool) -> Self {
        let admin = nodes[0].admin();
        let plugin = plugin(&admin);
        let shared = Arc::new(Shared {
            nodes: Mutex::new(nodes.iter().map(|node| node.address()).collect()),
            turn: AtomicUsize::new(0),
            numbers: AtomicU64::new(0),
            key: place.admin_key(),
            core: admin.run("Work", &program(amid_failures)),
            plugin,
            patient: amid_failures,
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

    /// The plugin that the flows call.
    pub(crate) fn plugin(&self) -> &Plugin {
        &self.shared.plugin
    }

    /// The Core whose flows they are.
    pub(crate) fn core(&self) -> &str {
        &self.shared.core
    }

    /// Has the plugin answer the next calls so, and waits until it has.
    pub(crate) fn plugin_fails(&self, behaviours: Vec<Behaviour>) {
        self.shared.plugin.then(behaviours);
        eventually("the plugin fails", PATIENCE, || self.shared.plugin.obeyed().then_some(()));
    }

    /// Waits until nothing that has failed in passing is left to be tried again.
    pub(crate) fn mends(&self) {
        let failed = || {
            self.shared.failed_in_passing(&self.shared.calm_client().get(&self.shared.failed()).answer(200))
        };
        eventually("all is tried again", PATIENCE, || failed().is_empty().then_some(()));
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
            shared.all_is_over().then_some(())
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
                // 408 is what one that stood still says to whoever came meanwhile, before it reads what they asked, and 502 that
                // the store of large values does not do its work.
                Ok(answer) if matches!(answer.status, 408 | 502 | 503) => first = false,
                Ok(answer) if answer.code() != "IDEMPOTENCY_KEY_IN_USE" => {
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
            if self.patient {
                self.try_again();
            }
            std::thread::sleep(2 * BREATH);
        }
    }

    /// Where executions are listed that have failed.
    fn failed(&self) -> String {
        format!("{CORES}/{}/executions?status=failed&limit=50", self.core)
    }

    /// Which of them can be tried again.
    fn failed_in_passing(&self, page: &Answer) -> Vec<String> {
        let failed = page.data()["items"].as_array().cloned().unwrap();
        let passing = failed.iter().filter(|execution| self.may_be_tried_again(execution));
        passing.map(|execution| execution["id"].as_str().unwrap().to_owned()).collect()
    }

    fn may_be_tried_again(&self, execution: &Value) -> bool {
        self.patient && execution["error"]["code"].as_str().is_some_and(|code| PASSING.contains(&code))
    }

    fn try_again(&self) {
        let (page, _) = self.insist(|client| client.get(&self.failed()));
        for id in self.failed_in_passing(&page) {
            let path = format!("{SCAICORE}/executions/{id}/retry");
            let (answer, _) = self.insist(|client| client.post(&path));
            // 409: it is at it already, and the answer that said so was lost.
            if !matches!(answer.status, 202 | 409) {
                self.complain(&answer);
            }
        }
    }

    /// Whether every execution has ended, and none is to be tried again.
    fn all_is_over(&self) -> bool {
        let executions = self.calm_client().pages(&format!("{CORES}/{}/executions", self.core), "items");
        executions.iter().all(|execution| match execution["status"].as_str().unwrap() {
            "completed" | "cancelled" => true,
            "failed" => !self.may_be_tried_again(execution),
            _ => false,
        })
    }

    fn decide_one(&self, checkpoint: &Value) {
        let id = checkpoint["id"].as_str().unwrap();
        let decision = if checkpoint["checkpoint_type"] == "call_in_doubt" {
            let key = checkpoint["context"]["idempotency_key"].as_str().unwrap();
            let made = self.plugin.calls().iter().any(|call| call.method != "status" && call.key() == key);
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
            check_journal(&admin, execution);
        }
        self.check_memory(&admin, &by_id);
    }

    /// Memory is what the executions have written: each its number, and one in the count.
    fn check_memory(&self, admin: &Client, by_id: &BTreeMap<&str, &Value>) {
        let mut found: BTreeMap<String, Value> = BTreeMap::new();
        for shelf in 0..SHELVES {
            let recalled = admin.invoke(&self.core, "recall", &json!({"shelf": format!("{shelf}/")}));
            assert_eq!(recalled["output"]["count"], by_id.len(), "each has counted itself once: {recalled}");
            for entry in recalled["output"]["found"].as_array().unwrap() {
                let (_, id) = entry["key"].as_str().unwrap().split_once('/').unwrap();
                found.insert(id.to_owned(), entry["value"].clone());
            }
        }
        let expected =
            by_id.iter().map(|(id, execution)| ((*id).to_owned(), execution["input"]["n"].clone()));
        assert_eq!(found, expected.collect(), "each has left its number");
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

/// Numbers without gaps, one beginning, one end; and one writing of what is in memory.
fn check_journal(admin: &Client, execution: &Value) {
    let id = execution["id"].as_str().unwrap();
    let journal = admin.pages(&format!("{SCAICORE}/executions/{id}/history"), "items");
    let seqs: Vec<i64> = journal.iter().map(|entry| entry["seq"].as_i64().unwrap()).collect();
    assert!(seqs.iter().copied().eq(0..i64::try_from(seqs.len()).unwrap()), "{id}: {seqs:?}");
    let count = |kind: &str| journal.iter().filter(|entry| entry["type"] == kind).count();
    assert_eq!((count("started"), count("completed")), (1, 1), "{id}: {journal:#?}");
    assert_eq!(journal.last().unwrap()["type"], "completed");
    let requests = journal.iter().filter(|entry| entry["kind"] == "memory").map(|entry| &entry["request"]);
    let written: Vec<&Value> =
        requests.filter(|request| request["op"] == "set" && request["target"] == "done").collect();
    assert_eq!(written.len(), 1, "{id}: {journal:#?}");
    assert_eq!(written[0]["value"], execution["input"]["n"], "{id}");
    assert!(written[0]["key"].as_str().unwrap().ends_with(id), "{id}: {}", written[0]);
}
