//! What must be true once a storm has calmed: what a simple model of it says.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use scaigrid_tests::{CORES, Client, SCAICORE, eventually};
use serde_json::{Value, json};

use super::work::{SHELVES, asker, asks};
use super::{Accepted, Shared};

/// How many journals are read at most: they are many pages, and so many of them tell.
const JOURNALS: usize = 200;
/// What cannot be billed at once is tried again every minute at the latest.
const BILLED: Duration = Duration::from_mins(2);
/// The tokens of an answer of which nothing was lost: those that are read, and those that are written.
const TOKENS: (u64, u64) = (10, 6);

/// What memory holds.
struct Memory {
    count: usize,
    /// The numbers that were left on the shelves, by their keys.
    done: BTreeMap<String, Value>,
}

impl Shared {
    /// What a simple model of it says: each flow that was accepted ended once and rightly, each call was made once.
    pub(super) fn check(&self) {
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
        let memory = self.recall(&admin);
        check_memory(&memory, &by_id);
        let mut counted = BTreeSet::new();
        for execution in executions.iter().step_by(executions.len().div_ceil(JOURNALS).max(1)) {
            let count = check_journal(&admin, execution, self.model.is_some(), &memory);
            assert!(counted.insert(count), "two have counted {count}");
        }
        self.check_questions(&admin, &by_id);
    }

    /// What memory holds, as the program tells it.
    fn recall(&self, admin: &Client) -> Memory {
        let (mut counts, mut done) = (BTreeSet::new(), BTreeMap::new());
        for shelf in 0..SHELVES {
            let recalled = admin.invoke(&self.core, "recall", &json!({"shelf": format!("{shelf}/")}));
            counts.insert(recalled["output"]["count"].as_u64().unwrap());
            for entry in recalled["output"]["found"].as_array().unwrap() {
                done.insert(entry["key"].as_str().unwrap().to_owned(), entry["value"].clone());
            }
        }
        assert_eq!(counts.len(), 1, "nobody counts any more: {counts:?}");
        Memory { count: usize::try_from(counts.pop_last().unwrap()).unwrap(), done }
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

    /// Asking a model changes nothing but the bill, and may be done again: each question is of an execution that asks, each of those
    /// has asked, and is billed, for no more answers than it had questions.
    fn check_questions(&self, admin: &Client, by_id: &BTreeMap<&str, &Value>) {
        let Some(model) = &self.model else { return };
        let mut questions: BTreeMap<String, usize> = BTreeMap::new();
        for question in model.asked() {
            let said = question.body["messages"][0]["content"].as_str().unwrap();
            *questions.entry(asker(said).to_owned()).or_default() += 1;
        }
        let asking: BTreeSet<&str> =
            by_id.iter().filter(|(_, execution)| asks(execution)).map(|(id, _)| *id).collect();
        let have_asked: BTreeSet<&str> = questions.keys().map(String::as_str).collect();
        assert_eq!(have_asked, asking, "who asks has asked");
        let bills = eventually("every answer is billed", BILLED, || {
            let bills = admin.pages(&format!("/v1/accounting/usage?core_id={}", self.core), "items");
            // Of a call whose node has died meanwhile it is not known what came of it.
            let mut open = asking.clone();
            for bill in &bills {
                if bill["status"] == "completed" || bill["status"] == "unknown" {
                    open.remove(bill["execution_id"].as_str().unwrap());
                }
            }
            open.is_empty().then_some(bills)
        });
        let mut answers: BTreeMap<&str, usize> = BTreeMap::new();
        for bill in bills.iter().filter(|bill| bill["status"] == "completed") {
            *answers.entry(bill["execution_id"].as_str().unwrap()).or_default() += 1;
            let tokens = (bill["tokens_in"].as_u64().unwrap(), bill["tokens_out"].as_u64().unwrap());
            assert!(bill["estimated"] == true || tokens == TOKENS, "{bill}");
        }
        for (id, billed) in answers {
            let asked = questions.get(id).copied().unwrap_or_default();
            assert!(billed <= asked, "{id} has asked {asked} times and pays for {billed} answers");
        }
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

/// Memory is what the executions have written: each its number, and one in the count.
fn check_memory(memory: &Memory, by_id: &BTreeMap<&str, &Value>) {
    assert_eq!(memory.count, by_id.len(), "each has counted itself once");
    let found: BTreeMap<&str, &Value> =
        memory.done.iter().map(|(key, number)| (key.split_once('/').unwrap().1, number)).collect();
    let expected: BTreeMap<&str, &Value> =
        by_id.iter().map(|(id, execution)| (*id, &execution["input"]["n"])).collect();
    assert_eq!(found, expected, "each has left its number");
}

/// Numbers without gaps, one beginning, one end; one answer of the model, where that was asked; and one writing of what is in memory, as
/// that has it. What it has counted itself as.
fn check_journal(admin: &Client, execution: &Value, with_model: bool, memory: &Memory) -> usize {
    let id = execution["id"].as_str().unwrap();
    let journal = admin.pages(&format!("{SCAICORE}/executions/{id}/history"), "items");
    let seqs: Vec<i64> = journal.iter().map(|entry| entry["seq"].as_i64().unwrap()).collect();
    assert!(seqs.iter().copied().eq(0..i64::try_from(seqs.len()).unwrap()), "{id}: {seqs:?}");
    let count = |kind: &str| journal.iter().filter(|entry| entry["type"] == kind).count();
    assert_eq!((count("started"), count("completed")), (1, 1), "{id}: {journal:#?}");
    assert_eq!(journal.last().unwrap()["type"], "completed");

    let questions: Vec<&Value> =
        journal.iter().filter(|entry| entry["kind"] == "model_call").map(|entry| &entry["effect"]).collect();
    let answers = journal
        .iter()
        .filter(|entry| questions.contains(&&entry["effect"]) && entry["outcome"]["value"].is_object())
        .count();
    assert_eq!(answers, usize::from(with_model && asks(execution)), "{id}: {journal:#?}");

    let written = |op: &str, target: &str| {
        let requests =
            journal.iter().filter(|entry| entry["kind"] == "memory").map(|entry| &entry["request"]);
        let found: Vec<&Value> =
            requests.filter(|request| request["op"] == *op && request["target"] == *target).collect();
        assert_eq!(found.len(), 1, "{id} writes {target} once: {journal:#?}");
        found[0]
    };
    let left = written("set", "done");
    assert_eq!(left["value"], execution["input"]["n"], "{id}");
    assert_eq!(memory.done.get(left["key"].as_str().unwrap()), Some(&left["value"]), "{id}: {left}");
    let counted = usize::try_from(written("update", "count")["value"].as_u64().unwrap()).unwrap();
    assert!((1..=memory.count).contains(&counted), "{id} has counted {counted} of {}", memory.count);
    counted
}
