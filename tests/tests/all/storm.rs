//! Several nodes under load, for tests that disturb them, and what must be true afterwards.
//!
//! Each flow calls a plugin three times, once per class of effect that is not simply repeated, and some ask a person or a model in
//! between. It counts itself and leaves its number in memory. Clients ask another node when one does not answer. A person looks
//! after calls in doubt, and believes the plugin's own books.

mod check;
mod work;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use scaigrid_tests::{
    Answer, Behaviour, CORES, Client, Launch, ModelServer, Place, Plugin, Request, SCAICORE, Server, Told,
    eventually,
};
use serde_json::{Value, json};

pub(crate) use work::{call, calling, plugin};

/// How long a client asks again before it gives up: longer than a lease lasts and a stuck connection is kept.
const PATIENCE: Duration = Duration::from_secs(45);
const CLIENTS: u64 = 4;
/// The pause of a client between two flows: enough nodes share two slow processors already.
const BREATH: Duration = Duration::from_millis(25);
/// The pause before what has failed is tried again: a model that was left alone has its rest.
const SECOND_LOOK: Duration = Duration::from_millis(300);
/// How executions fail where what they called or asked gave no answer, or where large values are kept did not. They can be tried
/// again.
const PASSING: [&str; 7] = [
    "PLUGIN_TIMEOUT",
    "PLUGIN_UNREACHABLE",
    "PLUGIN_RESULT_INVALID",
    "MODEL_TIMEOUT",
    "MODEL_UNAVAILABLE",
    "MODEL_ERROR",
    "STORAGE_ERROR",
];

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
    /// Where much may fail, flows ask a model as well.
    model: Option<ModelServer>,
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

/// How a node of a storm is started: it may call the plugin and the model.
pub(crate) fn node<'a>(place: &'a Place, name: &str) -> Launch<'a> {
    let first = !place.data().join("master.key").exists();
    let launch = if first { place.launch() } else { place.further_node(name) };
    launch.set("SCAIGRID_EGRESS_ALLOW", "127.0.0.1")
}

impl Storm {
    /// Puts a load on nodes.
    pub(crate) fn rise(place: &Place, nodes: &[&Server]) -> Self {
        Self::begin(place, nodes, false)
    }

    /// The same where plugin, model and the store of what is large may fail too: some flows ask a model, some keep something large,
    /// and the person tries again what has failed in passing.
    pub(crate) fn rise_amid_failures(place: &Place, nodes: &[&Server]) -> Self {
        Self::begin(place, nodes, true)
    }

    fn begin(place: &Place, nodes: &[&Server], amid_failures: bool) -> Self {
        let admin = nodes[0].admin();
        let plugin = plugin(&admin);
        let model = amid_failures.then(|| work::model(&admin));
        let shared = Arc::new(Shared {
            nodes: Mutex::new(nodes.iter().map(|node| node.address()).collect()),
            turn: AtomicUsize::new(0),
            numbers: AtomicU64::new(0),
            key: place.admin_key(),
            core: admin.run("Work", &work::program(amid_failures)),
            plugin,
            model,
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

    /// The model that flows ask where much may fail.
    pub(crate) fn model(&self) -> &ModelServer {
        self.shared.model.as_ref().unwrap()
    }

    /// Has the model answer the next questions so, and waits until it has.
    pub(crate) fn model_fails(&self, answers: Vec<Told>) {
        self.model().then(answers);
        eventually("the model fails", PATIENCE, || self.model().obeyed().then_some(()));
    }

    /// Waits until nothing that has failed in passing is left to be tried again: one person has to see to all that has failed meanwhile.
    pub(crate) fn mends(&self) {
        let shared = &self.shared;
        let (mut fewest, mut since) = (usize::MAX, Instant::now());
        loop {
            let failed = shared.calm_client().pages(&shared.failed(), "items");
            let left = failed.iter().filter(|execution| shared.may_be_tried_again(execution)).count();
            if left == 0 {
                return;
            }
            if left < fewest {
                (fewest, since) = (left, Instant::now());
            }
            assert!(since.elapsed() < PATIENCE, "{left} that have failed in passing are not tried again");
            std::thread::sleep(BREATH);
        }
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
            let told = match request(&self.client()).send() {
                // 408 is what one that stood still says to whoever came meanwhile, before it reads what they asked, and 502 that
                // the store of large values does not do its work.
                Ok(answer)
                    if matches!(answer.status, 408 | 502 | 503)
                        || answer.code() == "IDEMPOTENCY_KEY_IN_USE" =>
                {
                    answer.to_string()
                }
                Ok(answer) => return (answer, first),
                Err(error) => error.to_string(),
            };
            first = false;
            assert!(begun.elapsed() < PATIENCE, "no answer for {PATIENCE:?}, but {told}");
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
        let mut tried = Instant::now();
        // Until everything has ended.
        while self.numbers.load(Ordering::SeqCst) != u64::MAX {
            let (page, _) = self
                .insist(|client| client.get(&format!("{SCAICORE}/checkpoints/all?status=pending&limit=50")));
            for one in page.data()["items"].as_array().unwrap() {
                self.decide_one(one);
            }
            if self.patient && tried.elapsed() >= SECOND_LOOK {
                self.try_again();
                tried = Instant::now();
            }
            std::thread::sleep(2 * BREATH);
        }
    }

    /// Where executions are listed that have failed.
    fn failed(&self) -> String {
        format!("{CORES}/{}/executions?status=failed", self.core)
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
        let (page, _) = self.insist(|client| client.get(&format!("{}&limit=50", self.failed())));
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
}
