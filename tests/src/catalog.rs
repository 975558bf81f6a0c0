//! What most tests do with models, in a call each.

use serde_json::{Value, json};

use crate::Client;

impl Client {
    /// A new backend; its id.
    pub fn backend(&self, provider_type: &str, config: &Value) -> String {
        let body = json!({"name": "B", "provider_type": provider_type, "model": "upstream", "connection_config": config});
        let made = self.post("/v1/backends").json(&body).answer(201).data();
        made["id"].as_str().unwrap().to_owned()
    }

    /// A new model at the platform's level that these backends answer for, shown to every tenant.
    pub fn global_model(&self, slug: &str, backends: &[Value]) -> Value {
        let body = json!({"slug": slug, "display_name": slug, "modality": "chat", "global": true, "backends": backends,
            "input_price_per_mtok": "2", "output_price_per_mtok": "10"});
        self.post("/v1/models").json(&body).answer(201).data()
    }

    /// Enables a model in the tenant that the client acts in.
    pub fn enable_model(&self, slug: &str) {
        let enabled = self.request("PUT", &format!("/v1/model-access/{slug}")).answer(200).data();
        assert_eq!(enabled["enabled"], true, "{enabled}");
    }

    /// The records of calls, newest first.
    pub fn usage(&self) -> Vec<Value> {
        self.pages("/v1/accounting/usage", "items")
    }
}

/// A question to a model, of one message.
pub fn ask(model: &str, content: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": content}]})
}

/// The events of a stream: what is told, without what says that it is done; and whether that was said.
pub fn events(text: &str) -> (Vec<Value>, bool) {
    let told: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    let done = told.last() == Some(&"[DONE]");
    let values = told.iter().filter(|data| **data != "[DONE]");
    (values.map(|data| serde_json::from_str(data).unwrap()).collect(), done)
}

/// The text that the events of a stream tell.
pub fn told(events: &[Value]) -> String {
    events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect()
}
