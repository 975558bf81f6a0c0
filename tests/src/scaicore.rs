//! What most tests do with Cores, users and keys, in a call each.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{Client, eventually};

/// Where the module's routes are.
pub const SCAICORE: &str = "/v1/modules/scaicore";
/// Where Cores are.
pub const CORES: &str = "/v1/modules/scaicore/cores";

/// How long an invocation waits for its end or for its first checkpoint.
const WAIT_MS: u64 = 30_000;

impl Client {
    /// A new Core; its id.
    pub fn host(&self, name: &str, program: &Value) -> String {
        let made = self.post(CORES).json(&json!({"name": name, "source": program})).answer(201).data();
        made["id"].as_str().unwrap().to_owned()
    }

    /// A new Core that runs; its id.
    pub fn run(&self, name: &str, program: &Value) -> String {
        let core = self.host(name, program);
        self.act(&core, "start");
        self.status_becomes(&core, "running");
        core
    }

    /// Does something with a Core that must be legal; the status after it.
    pub fn act(&self, core: &str, action: &str) -> String {
        let core = self.post(&format!("{CORES}/{core}/{action}")).answer(200).data();
        core["status"].as_str().unwrap().to_owned()
    }

    /// The status of a Core.
    pub fn status(&self, core: &str) -> String {
        let state = self.get(&format!("{CORES}/{core}/state")).answer(200).data();
        state["status"].as_str().unwrap().to_owned()
    }

    /// Waits until a Core has a status.
    pub fn status_becomes(&self, core: &str, status: &str) {
        eventually(&format!("{core} is {status}"), Duration::from_secs(15), || {
            (self.status(core) == status).then_some(())
        });
    }

    /// Whether every execution of a Core has ended. Each is looked at by itself: of three questions, one for each state that is
    /// not an end, an execution that calls another can slip through between.
    pub fn all_ended(&self, core: &str) -> bool {
        let executions = self.pages(&format!("{CORES}/{core}/executions"), "items");
        let ends = ["completed", "failed", "cancelled"];
        executions.iter().all(|execution| ends.contains(&execution["status"].as_str().unwrap()))
    }

    /// Starts a flow and waits until it ends or waits for a person; the execution.
    pub fn invoke(&self, core: &str, flow: &str, input: &Value) -> Value {
        let body = json!({"flow": flow, "input": input, "wait_ms": WAIT_MS});
        let answer = self.post(&format!("{CORES}/{core}/invoke")).json(&body).exchange();
        assert!(answer.status == 200 || answer.status == 202, "{answer}");
        answer.data()
    }

    /// Starts a flow that must wait for one person; the execution's id and the checkpoint's.
    pub fn invoke_to_checkpoint(&self, core: &str, flow: &str, input: &Value) -> (String, String) {
        let execution = self.invoke(core, flow, input);
        assert_eq!(execution["status"], "suspended", "{execution}");
        let checkpoints = execution["checkpoints"].as_array().unwrap();
        assert_eq!(checkpoints.len(), 1, "{execution}");
        (execution["id"].as_str().unwrap().to_owned(), checkpoints[0].as_str().unwrap().to_owned())
    }

    /// Decides a checkpoint and waits until its execution ends or waits again; the checkpoint with its execution.
    pub fn resolve(&self, checkpoint: &str, decision: &str) -> Value {
        let body = json!({"decision": decision, "wait_ms": WAIT_MS});
        self.post(&format!("{SCAICORE}/checkpoints/{checkpoint}/resolve")).json(&body).answer(200).data()
    }

    /// An execution.
    pub fn execution(&self, id: &str) -> Value {
        self.get(&format!("{SCAICORE}/executions/{id}")).answer(200).data()
    }

    /// Waits until an execution has a status.
    pub fn execution_becomes(&self, id: &str, status: &str) -> Value {
        let mut last = Value::Null;
        for _ in 0..2000 {
            last = self.execution(id);
            if last["status"] == status {
                return last;
            }
            std::thread::sleep(Duration::from_millis(15));
        }
        panic!("it does not become {status}: {last}")
    }

    /// A checkpoint.
    pub fn checkpoint(&self, id: &str) -> Value {
        self.get(&format!("{SCAICORE}/checkpoints/{id}")).answer(200).data()
    }

    /// A new user of the tenant that the client acts in; their id, and a key of theirs.
    pub fn user(&self, email: &str, roles: &[&str]) -> (String, String) {
        let user = self.post("/v1/users").json(&json!({"email": email, "roles": roles})).answer(201).data();
        let id = user["id"].as_str().unwrap().to_owned();
        let key = json!({"name": "for a test", "assigned_user_id": id});
        let key = self.post("/v1/api-keys").json(&key).answer(201).data();
        (id, key["key"].as_str().unwrap().to_owned())
    }

    /// A new tenant; its id.
    pub fn tenant(&self, slug: &str) -> String {
        let made = self.post("/v1/admin/tenants").json(&json!({"slug": slug, "name": slug})).answer(201);
        made.data()["id"].as_str().unwrap().to_owned()
    }
}
