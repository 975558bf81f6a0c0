//! The plugins of a workspace: what there is, what a tenant has enabled, and that AIs really call it.

use std::time::Duration;

use jsonwebtoken::jwk::JwkSet;
use scaigrid_tests::{
    Behaviour, Client, ModelServer, Place, Plugin, Question, Server, Told, eventually, on_both_databases,
};
use serde_json::{Value, json};

use crate::plugins::REGISTRY;
use crate::remote::verified;

on_both_databases!(
    what_ships_is_listed_in_pages,
    a_tenant_enables_and_disables_by_itself,
    what_is_registered_is_a_plugin_of_the_workspace,
    an_ai_is_given_plugins_that_there_are,
    a_registered_plugin_is_called_for_whoever_asks,
    a_plugin_that_is_disabled_meanwhile_is_not_called,
    what_is_to_be_remembered_is,
    pages_are_fetched_through_the_guard,
);

const PLUGINS: &str = "/v1/admin/plugins";

fn pages(client: &Client, limit: usize) -> Vec<Value> {
    let (mut all, mut path) = (Vec::new(), format!("{PLUGINS}?limit={limit}"));
    loop {
        let page = client.get(&path).answer(200).json();
        let items = page["data"].as_array().unwrap();
        assert!(items.len() <= limit);
        all.extend(items.iter().cloned());
        let meta = &page["meta"];
        assert_eq!(meta["has_more"], json!(meta["next_cursor"].is_string()));
        match meta["next_cursor"].as_str() {
            Some(next) => path = format!("{PLUGINS}?limit={limit}&cursor={next}"),
            None => return all,
        }
    }
}

fn ids(plugins: &[Value]) -> Vec<&str> {
    plugins.iter().map(|plugin| plugin["id"].as_str().unwrap()).collect()
}

fn one(client: &Client, id: &str) -> Value {
    pages(client, 100).into_iter().find(|plugin| plugin["id"] == id).unwrap()
}

/// What is said of a plugin's state.
fn state(plugin: &Value) -> (bool, &str, bool) {
    (
        plugin["enabled"].as_bool().unwrap(),
        plugin["source"].as_str().unwrap(),
        plugin["installed"].as_bool().unwrap(),
    )
}

fn switch(client: &Client, id: &str, action: &str) -> Value {
    client.post(&format!("{PLUGINS}/{id}/{action}")).answer(200).data()
}

fn records(client: &Client) -> Vec<(String, String)> {
    let log = client.pages("/v1/audit/events", "items");
    let told = log.iter().map(|record| {
        let text = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
        (text("action"), text("resource_id"))
    });
    told.filter(|(action, _)| action.starts_with("workspace_plugin.")).collect()
}

fn what_ships_is_listed_in_pages(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let all = pages(&admin, 5);
    let names = [
        "artifacts",
        "calculator",
        "calendar",
        "drive",
        "files",
        "knowledge",
        "memory",
        "notes",
        "scailink",
        "skills",
        "todos",
        "web",
        "web_search",
        "workspace_bridge",
    ];
    assert_eq!(ids(&all), names.map(|name| format!("scaiwave.{name}")));
    assert_eq!(pages(&admin, 100), all);
    let calculator = one(&admin, "scaiwave.calculator");
    assert_eq!(state(&calculator), (true, "default", true));
    assert_eq!(calculator["tools"][0]["name"], "calculate");
    assert_eq!(calculator["tools"][0]["parameters"]["required"], json!(["expression"]));
    let memory = one(&admin, "scaiwave.memory");
    assert_eq!((state(&memory), &memory["scope"]), ((false, "default", true), &json!("private")));
    assert_eq!(memory["injects_context"], true);
    // Nothing runs it here.
    assert_eq!(state(&one(&admin, "scaiwave.web_search")), (false, "default", false));

    let (_, key) = admin.user("ada@example.org", &["tenant_user"]);
    let user = server.client(&key);
    assert_eq!(user.pages("/v1/plugins", "items"), all);
    user.get(PLUGINS).refused(403, "SW_AUTH_INSUFFICIENT_PERMISSION");
    let enable = format!("{PLUGINS}/scaiwave.web/enable");
    user.post(&enable).refused(403, "SW_AUTH_INSUFFICIENT_PERMISSION");
    admin.get(&format!("{PLUGINS}?limit=0")).refused(422, "SW_VALIDATION_ERROR");
    admin.get(&format!("{PLUGINS}?cursor=x")).refused(422, "SW_VALIDATION_ERROR");
    server.stop();
}

fn a_tenant_enables_and_disables_by_itself(place: &Place) {
    let server = place.start();
    let root = server.admin();
    let (one_tenant, other) = (root.tenant("one"), root.tenant("two"));
    let (first, second) = (root.in_tenant(&one_tenant), root.in_tenant(&other));
    let enabled = switch(&first, "scaiwave.web", "enable");
    assert_eq!(state(&enabled), (true, "tenant", true));
    assert_eq!(switch(&first, "scaiwave.web", "enable"), enabled);
    assert_eq!(one(&first, "scaiwave.web"), enabled);
    assert_eq!(state(&one(&second, "scaiwave.web")), (false, "default", true));
    let web = || "scaiwave.web".to_owned();
    assert_eq!(records(&first), [("workspace_plugin.enable".to_owned(), web())]);
    assert_eq!(state(&switch(&first, "scaiwave.web", "disable")), (false, "tenant", true));
    assert_eq!(state(&switch(&first, "scaiwave.web", "disable")), (false, "tenant", true));
    assert_eq!(state(&switch(&first, "scaiwave.calculator", "disable")), (false, "tenant", true));
    // It can be enabled before anything runs it.
    assert_eq!(state(&switch(&first, "scaiwave.drive", "enable")), (true, "tenant", false));
    let told = records(&first);
    assert_eq!(told.len(), 4, "{told:?}");
    assert_eq!(told.iter().filter(|(action, _)| action == "workspace_plugin.disable").count(), 2);
    assert!(records(&second).is_empty());
    for missing in ["scaiwave.nothing", "acme%2Fcrm", "a%20b"] {
        for action in ["enable", "disable"] {
            first.post(&format!("{PLUGINS}/{missing}/{action}")).refused(404, "SW_PLUGIN_NOT_FOUND");
        }
    }
    assert_eq!(records(&first).len(), 4);
    server.stop();
    let server = place.start();
    assert_eq!(state(&one(&server.admin().in_tenant("one"), "scaiwave.drive")), (true, "tenant", false));
    server.stop();
}

/// A server from which only these can be called.
fn launch(place: &Place, reachable: &[String]) -> Server {
    place.launch().set("SCAIGRID_EGRESS_ALLOW", &reachable.join(",")).start()
}

fn entry(name: &str, plugin: &Plugin) -> Value {
    json!({"plugin": name, "kind": "http", "endpoint": plugin.http(), "manifest": Plugin::manifest(),
        "credentials": {"type": "bearer", "token": "hush-hush"}})
}

fn what_is_registered_is_a_plugin_of_the_workspace(place: &Place) {
    let stub = Plugin::start();
    let server = launch(place, &[stub.address().to_string()]);
    let admin = server.admin();
    for name in ["acme/crm", "scaiwave.web_search"] {
        admin.post(REGISTRY).json(&entry(name, &stub)).answer(201);
    }
    let crm = one(&admin, "acme/crm");
    assert_eq!((state(&crm), &crm["version"]), ((false, "default", true), &json!("1.0.0")));
    let tools: Vec<&str> =
        crm["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(tools, ["echo", "keep", "pay", "status", "shout", "add"]);
    assert_eq!(crm["tools"][5]["parameters"]["required"], json!(["a", "b"]));
    let search = one(&admin, "scaiwave.web_search");
    assert_eq!((state(&search), &search["name"]), ((false, "default", true), &json!("Web search")));
    assert_eq!(search["tools"], crm["tools"]);
    assert_eq!(pages(&admin, 3).len(), 15);
    assert_eq!(state(&switch(&admin, "acme%2Fcrm", "enable")), (true, "tenant", true));
    assert_eq!(state(&switch(&admin, "acme/crm", "enable")), (true, "tenant", true));

    // Another tenant has not registered it.
    let other = root_of(&server, "other");
    other.post(&format!("{PLUGINS}/acme%2Fcrm/enable")).refused(404, "SW_PLUGIN_NOT_FOUND");
    assert_eq!(pages(&other, 100).len(), 14);
    assert_eq!(state(&one(&other, "scaiwave.web_search")), (false, "default", false));

    // Credentials of a Core cannot be shown without one.
    let needs = json!({"plugin": "needy", "kind": "http", "endpoint": stub.http(), "manifest": Plugin::manifest(),
        "credentials": {"type": "bearer", "token": "${env.KEY}"}});
    admin.post(REGISTRY).json(&needs).answer(201);
    assert_eq!(state(&one(&admin, "needy")), (false, "default", false));

    // Another one of the same name is another one.
    admin.delete(&format!("{REGISTRY}/acme%2Fcrm")).answer(204);
    admin.post(&format!("{PLUGINS}/acme%2Fcrm/disable")).refused(404, "SW_PLUGIN_NOT_FOUND");
    admin.post(REGISTRY).json(&entry("acme/crm", &stub)).answer(201);
    assert_eq!(state(&one(&admin, "acme/crm")), (false, "default", true));
    assert_eq!(stub.calls().len(), 0);
    server.stop();
}

fn root_of(server: &Server, tenant: &str) -> Client {
    let root = server.admin();
    let tenant = root.tenant(tenant);
    root.in_tenant(&tenant)
}

fn an_ai_is_given_plugins_that_there_are(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let ai = |plugins: Value| json!({"model": "echo", "local_id": "helpful", "display_name": "Helpful", "plugins": plugins});
    let new = "/v1/admin/participants/model";
    let refused = admin.post(new).json(&ai(json!(["scaiwave.web", "acme/crm", "scaiwave.nothing"])));
    let refused = refused.refused(422, "SW_VALIDATION_ERROR");
    assert_eq!(refused.fields(), ["plugins[1]", "plugins[2]"], "{refused}");
    let made = admin.post(new).json(&ai(json!(["scaiwave.web", "scaiwave.drive"]))).answer(201).data();
    assert_eq!(made["plugins"], json!(["scaiwave.web", "scaiwave.drive"]));
    server.stop();
}

/// A tenant with an AI in a room, and what it is asked by.
struct Scene {
    server: Server,
    admin: Client,
    model: ModelServer,
    room: String,
}

impl Scene {
    fn begin(place: &Place, plugin: Option<&Plugin>) -> Self {
        let model = ModelServer::start();
        let mut reachable = vec![model.address().to_string()];
        reachable.extend(plugin.map(|plugin| plugin.address().to_string()));
        let server = launch(place, &reachable);
        let admin = server.admin();
        let config = json!({"base_url": model.base_url(), "api_key": "sk-x"});
        let backend = admin.backend("openai", &config);
        admin.global_model("clever", &[json!({"backend_id": backend})]);
        admin.enable_model("clever");
        if let Some(plugin) = plugin {
            admin.post(REGISTRY).json(&entry("acme/crm", plugin)).answer(201);
            switch(&admin, "acme/crm", "enable");
        }
        let ai = json!({"model": "clever", "local_id": "clever", "display_name": "Clever",
            "default_response_mode": "conversational"});
        let ai = admin.post("/v1/admin/participants/model").json(&ai).answer(201).data();
        let room = json!({"name": "Room", "participants": [ai["id"]]});
        let room = admin.post("/v1/rooms").json(&room).answer(201).data();
        let room = format!("/v1/rooms/{}", room["id"].as_str().unwrap());
        Self { server, admin, model, room }
    }

    /// What the AI says when this is said.
    fn said(&self, text: &str) -> String {
        let before = self.messages().len();
        self.admin.post(&format!("{}/messages", self.room)).json(&json!({"text": text})).answer(201);
        let answered = || {
            let messages = self.messages();
            (messages.len() >= before + 2)
                .then(|| messages.last().unwrap()["text"].as_str().unwrap().to_owned())
        };
        eventually("an answer", Duration::from_secs(20), answered)
    }

    /// The messages of the room, the oldest first.
    fn messages(&self) -> Vec<Value> {
        let mut all = self.admin.pages(&format!("{}/messages", self.room), "items");
        all.sort_by_key(|message| message["seq"].as_i64().unwrap());
        all
    }

    fn last_question(&self) -> Question {
        self.model.asked().last().unwrap().clone()
    }

    /// What the model was last told of calls of tools.
    fn told(&self) -> Vec<String> {
        let question = self.last_question();
        let messages = question.body["messages"].as_array().unwrap().clone();
        let results = messages.iter().filter(|message| message["role"] == "tool");
        results.map(|message| message["content"].as_str().unwrap().to_owned()).collect()
    }

    fn offered(&self) -> Vec<String> {
        let question = self.last_question();
        let tools = question.body["tools"].as_array().cloned().unwrap_or_default();
        tools.iter().map(|tool| tool["function"]["name"].as_str().unwrap().to_owned()).collect()
    }
}

/// An answer that calls a tool.
fn calls(name: &str, arguments: &Value) -> Told {
    let function = json!({"name": name, "arguments": arguments.to_string()});
    let call = json!({"id": "call_1", "type": "function", "function": function});
    let message = json!({"role": "assistant", "content": null, "tool_calls": [call]});
    let choice = json!({"index": 0, "message": message, "finish_reason": "tool_calls"});
    let usage = json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15});
    let body = json!({"id": "x", "object": "chat.completion", "created": 1, "model": "upstream",
        "choices": [choice], "usage": usage});
    Told::Raw(body.to_string())
}

fn a_registered_plugin_is_called_for_whoever_asks(place: &Place) {
    let stub = Plugin::start();
    let scene = Scene::begin(place, Some(&stub));
    scene.model.then([calls("acme_crm_add", &json!({"a": 20, "b": 22})), Told::Text("It is 42".into())]);
    assert_eq!(scene.said("What is 20 and 22?"), "It is 42");
    assert!(scene.offered().contains(&"acme_crm_add".to_owned()), "{:?}", scene.offered());
    assert!(scene.offered().contains(&"scaiwave_calculator_calculate".to_owned()));
    assert_eq!(scene.told(), [json!({"sum": 42}).to_string()]);
    let call = stub.calls().pop().unwrap();
    assert_eq!((call.method.as_str(), &call.args), ("add", &json!({"a": 20, "b": 22})));
    assert_eq!(call.headers["authorization"], "Bearer hush-hush");
    assert!(call.key().starts_with("ans_"), "{}", call.key());
    let keys = scene.server.anyone().get("/.well-known/jwks.json").answer(200);
    let keys: JwkSet = serde_json::from_value(keys.json()).unwrap();
    let claims = verified(&keys, &call.headers["x-scaigrid-identity"], "acme/crm");
    let me = scene.admin.get("/v1/me").answer(200).data();
    assert_eq!(claims["sub"], me["user"]["id"]);
    assert!(claims["act"]["sub"].as_str().unwrap().starts_with("par_"), "{claims}");
    assert_eq!((&claims["method"], claims.get("core_id")), (&json!("add"), None));
    assert_eq!(format!("/v1/rooms/{}", claims["room_id"].as_str().unwrap()), scene.room);

    // What does not fit the method's schema does not go out; the model is told.
    scene.model.then([calls("acme_crm_add", &json!({"a": "x"})), Told::Text("Sorry".into())]);
    assert_eq!(scene.said("And x?"), "Sorry");
    assert!(scene.told().last().unwrap().starts_with("error: "), "{:?}", scene.told());
    assert_eq!(stub.calls().len(), 1);
    // A secret that comes back is not told.
    stub.then([Behaviour::Value(json!({"your": "hush-hush"}))]);
    scene.model.then([calls("acme_crm_echo", &json!({})), Told::Text("Hm".into())]);
    assert_eq!(scene.said("Echo"), "Hm");
    assert_eq!(scene.told().last().unwrap(), &json!({"your": "***"}).to_string());

    switch(&scene.admin, "acme/crm", "disable");
    scene.model.then([calls("acme_crm_echo", &json!({})), Told::Text("I cannot".into())]);
    assert_eq!(scene.said("Again"), "I cannot");
    assert!(!scene.offered().iter().any(|name| name.starts_with("acme")), "{:?}", scene.offered());
    assert!(scene.told().last().unwrap().starts_with("error: "));
    assert_eq!(stub.calls().len(), 2);
    scene.server.stop();
}

fn a_plugin_that_is_disabled_meanwhile_is_not_called(place: &Place) {
    let stub = Plugin::start();
    let scene = Scene::begin(place, Some(&stub));
    stub.then([Behaviour::Late(Duration::from_secs(3))]);
    let again = calls("acme_crm_echo", &json!({"again": true}));
    scene.model.then([calls("acme_crm_echo", &json!({})), again, Told::Text("No more".into())]);
    let body = json!({"text": "Do it twice"});
    scene.admin.post(&format!("{}/messages", scene.room)).json(&body).answer(201);
    eventually("the call", Duration::from_secs(20), || (stub.calls().len() == 1).then_some(()));
    switch(&scene.admin, "acme/crm", "disable");
    let ended = || scene.messages().iter().any(|message| message["text"] == "No more").then_some(());
    eventually("the answer", Duration::from_secs(30), ended);
    let told = scene.told();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[1].contains("not enabled any more"), "{told:?}");
    assert_eq!(stub.calls().len(), 1);
    scene.server.stop();
}

fn what_is_to_be_remembered_is(place: &Place) {
    let scene = Scene::begin(place, None);
    switch(&scene.admin, "scaiwave.memory", "enable");
    let remember = |fact: &str| calls("scaiwave_memory_remember", &json!({"fact": fact}));
    scene.model.then([remember("Likes green tea."), Told::Text("Noted".into())]);
    assert_eq!(scene.said("I like green tea"), "Noted");
    let told = scene.told().pop().unwrap();
    let fact = told.split(['(', ')']).nth(1).unwrap().to_owned();
    assert!(fact.starts_with("fact_"), "{told}");
    // Once is enough.
    scene.model.then([remember("Likes green tea."), Told::Text("I know".into())]);
    assert_eq!(scene.said("I like green tea!"), "I know");
    assert!(scene.told().pop().unwrap().contains(&fact));

    let known = || {
        let question = scene.last_question();
        let messages = question.body["messages"].as_array().unwrap().clone();
        let told = |message: &&Value| {
            message["role"] == "system" && message.to_string().contains("Likes green tea.")
        };
        messages.iter().filter(told).count()
    };
    scene.model.then([calls("scaiwave_memory_recall", &json!({"query": "TEA"})), Told::Text("Tea".into())]);
    assert_eq!(scene.said("What do I drink?"), "Tea");
    assert_eq!(scene.told().pop().unwrap(), format!("- Likes green tea. ({fact})"));
    assert_eq!(known(), 1);

    // Nobody else is told.
    let (_, key) = scene.admin.user("ada@example.org", &["tenant_user"]);
    let ada = scene.server.client(&key);
    let ai = scene.admin.get("/v1/admin/participants?limit=100").answer(200).json();
    let ai = ai["data"].as_array().unwrap().iter().find(|one| one["local_id"] == "clever").unwrap().clone();
    let room = ada.post("/v1/rooms").json(&json!({"name": "Mine", "participants": [ai["id"]]})).answer(201);
    let room = format!("/v1/rooms/{}/messages", room.data()["id"].as_str().unwrap());
    let asked = scene.model.asked().len();
    ada.post(&room).json(&json!({"text": "Hello"})).answer(201);
    eventually("a question", Duration::from_secs(20), || (scene.model.asked().len() > asked).then_some(()));
    assert!(!scene.last_question().body.to_string().contains("green tea"));
    eventually("an answer", Duration::from_secs(20), || (ada.pages(&room, "items").len() == 2).then_some(()));

    // It is open to whoever it is of, and to nobody else.
    let kept = scene.admin.pages("/v1/memories", "items");
    assert_eq!(kept.len(), 1);
    assert_eq!((&kept[0]["id"], &kept[0]["text"]), (&json!(fact), &json!("Likes green tea.")));
    assert!(ada.pages("/v1/memories", "items").is_empty());
    ada.delete(&format!("/v1/memories/{fact}")).refused(404, "MEMORY_NOT_FOUND");

    let forget = calls("scaiwave_memory_forget", &json!({"fact_id": fact}));
    scene.model.then([forget, Told::Text("Gone".into())]);
    assert_eq!(scene.said("Forget it"), "Gone");
    assert_eq!(scene.told().pop().unwrap(), "Forgotten.");
    assert_eq!(scene.said("And now?"), "well");
    assert_eq!(known(), 0);
    scene.admin.delete(&format!("/v1/memories/{fact}")).refused(404, "MEMORY_NOT_FOUND");
    scene.model.then([remember("Has a dog."), Told::Text("Nice".into())]);
    assert_eq!(scene.said("I have a dog"), "Nice");
    let dog = scene.admin.pages("/v1/memories", "items").pop().unwrap();
    scene.admin.delete(&format!("/v1/memories/{}", dog["id"].as_str().unwrap())).answer(204);
    assert!(scene.admin.pages("/v1/memories", "items").is_empty());
    let mut log = scene.admin.pages("/v1/audit/events", "items");
    log.retain(|record| record["action"] == "workspace_memory.delete");
    assert_eq!((log.len(), &log[0]["resource_id"]), (1, &dog["id"]));
    assert!(!log[0].to_string().contains("a dog"), "what was remembered is in no record: {log:?}");
    scene.server.stop();
}

fn pages_are_fetched_through_the_guard(place: &Place) {
    let inside = Plugin::start();
    let scene = Scene::begin(place, None);
    switch(&scene.admin, "scaiwave.web", "enable");
    for url in [inside.openapi(), "http://169.254.169.254/latest".to_owned(), "file:///etc/passwd".to_owned()]
    {
        scene.model.then([calls("scaiwave_web_fetch", &json!({"url": url})), Told::Text("No".into())]);
        assert_eq!(scene.said("Read it"), "No");
        let told = scene.told().pop().unwrap();
        assert!(told.starts_with("error: EGRESS_DENIED"), "{url}: {told}");
    }
    assert_eq!(inside.calls().len(), 0);
    let at_model = format!("http://{}/nothing", scene.model.address());
    scene.model.then([calls("scaiwave_web_fetch", &json!({"url": at_model})), Told::Text("page".into())]);
    // What is asked for the page is answered by the script, too; then it answers the question.
    assert_eq!(scene.said("Read this"), "well");
    assert!(scene.told().pop().unwrap().contains("page"));
    scene.server.stop();
}
