//! Plugins: registered by use cases, called by the engine, against a server on this machine.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use scaigrid_app::Error;
use scaigrid_app::plugins::{NewPlugin, PluginChanges};
use scaigrid_cores::plugins::{EffectClass, PluginKind};
use scaigrid_cores::{Core, CoreIdentity, Delegation, NewCore};
use scaigrid_engine::plugins::{Asked, CallError};
use scaigrid_ir::Value as IrValue;
use scaigrid_ir::module::PluginDecl;
use scaigrid_runtime::effect::PluginCallRequest;
use scaigrid_scope::{Authorized, Clock as _, Permission, Principal, perm};
use serde_json::{Value, json};

use crate::house::{House, house, nobody};
use crate::stub::{Behaviour, Plugin};

/// A house with a plugin and a Core, which means it by `stub`.
struct Room {
    house: House,
    plugin: Plugin,
    root: Arc<Principal>,
    core: Core,
}

const TOKEN: &str = "hush-hush-token";

async fn room() -> Room {
    let house = house().await;
    let root = house.root().await;
    let environment = json!({"TOKEN": {"type": "secret", "value": TOKEN}, "REGION": "eu"});
    let new = NewCore {
        plugins: vec![json!({"alias": "stub", "plugin": "stub", "config": {"region": "${env.REGION}"}})],
        environment: environment.as_object().unwrap().clone(),
        ..NewCore::named("Caller")
    };
    let core = house.app.create_core(&root.authorize().unwrap(), &nobody(), new).await.unwrap().core;
    Room { house, plugin: Plugin::start(), root, core }
}

fn call(method: &str, args: &Value) -> PluginCallRequest {
    PluginCallRequest {
        alias: "stub".into(),
        method: method.into(),
        args: IrValue::from_json(args),
        timeout: Some(Duration::from_secs(5)),
        approved_by: None,
        approved_until: None,
    }
}

impl Room {
    fn admin(&self) -> Authorized<perm::CoresAdmin> {
        self.root.authorize().unwrap()
    }

    async fn register(&self, kind: PluginKind) {
        let endpoint = match kind {
            PluginKind::Http => self.plugin.http(),
            PluginKind::OpenApi => self.plugin.openapi(),
            PluginKind::Mcp => self.plugin.mcp(),
        };
        let new = NewPlugin {
            plugin: "stub".parse().unwrap(),
            kind,
            endpoint: endpoint.parse().unwrap(),
            credentials: Some(json!({"type": "bearer", "token": "${env.TOKEN}"})),
            manifest: (kind == PluginKind::Http).then(Plugin::manifest),
        };
        self.house.app.register_plugin(&self.admin(), &nobody(), new).await.unwrap();
    }

    async fn call_with(&self, request: &PluginCallRequest, key: &str) -> Result<Value, CallError> {
        let plugins = self.house.app.engine().plugins();
        let called = plugins.call(self.root.tenant_scope(), &self.core, &[], request, key).await;
        called.map(|value| value.to_json())
    }

    async fn call(&self, method: &str, args: &Value) -> Result<Value, CallError> {
        self.call_with(&call(method, args), "exec_1:1").await
    }

    async fn fails(&self, method: &str, args: &Value) -> (String, bool, bool) {
        let error =
            self.call_with(&call(method, args), &format!("exec_1:{}", self.plugin.calls().len())).await;
        let error = error.unwrap_err();
        (error.failure.code.to_string(), error.sent, error.retryable)
    }
}

fn code(error: &CallError) -> &str {
    &error.failure.code
}

/// The claims of a token, which others verify.
fn claims(token: &str) -> Value {
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[tokio::test]
async fn a_call_tells_who_calls_with_what_key_and_credentials() {
    let room = room().await;
    room.register(PluginKind::Http).await;
    let value = room.call("echo", &json!({"a": [1, "x", null]})).await.unwrap();
    assert_eq!(value, json!({"method": "echo", "args": {"a": [1, "x", null]}}));
    let calls = room.plugin.calls();
    let headers = &calls[0].headers;
    assert_eq!(headers["idempotency-key"], "exec_1:1");
    assert_eq!(headers["authorization"], format!("Bearer {TOKEN}"));
    let config = URL_SAFE_NO_PAD.decode(&headers["x-scaigrid-config"]).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&config).unwrap(), json!({"region": "eu"}));
    let claims = claims(&headers["x-scaigrid-identity"]);
    let wanted = json!({"iss": "scaigrid", "aud": "stub", "sub": room.core.id.to_string(), "method": "echo",
        "core_id": room.core.id.to_string(), "tenant_id": room.root.tenant().id.to_string(), "idempotency_key": "exec_1:1"});
    for (name, value) in wanted.as_object().unwrap() {
        assert_eq!(&claims[name], value, "{name}");
    }
    // It says nothing of what there is not.
    let mut names: Vec<&str> = wanted.as_object().unwrap().keys().map(String::as_str).collect();
    names.extend(["core", "jti", "iat", "exp"]);
    names.sort_unstable();
    assert_eq!(claims.as_object().unwrap().keys().collect::<Vec<_>>(), names);
}

#[tokio::test]
async fn whoever_a_core_acts_for_is_the_subject_as_long_as_it_may() {
    let mut room = room().await;
    room.register(PluginKind::Http).await;
    let (user, now) = (room.root.user_id(), room.house.clock.now());
    room.core.identity = CoreIdentity::UserDelegated(Delegation {
        id: "dlg_00000000000000000000000001".parse().unwrap(),
        user_id: user,
        scopes: [Permission::ModelsUse, Permission::ScaicoreView].into_iter().collect(),
        expires_at: Some(now.plus(Duration::from_secs(5))),
        granted_by: user,
        granted_at: now,
        revoked_at: None,
    });
    room.call("echo", &json!({})).await.unwrap();
    let claims = claims(&room.plugin.calls()[0].headers["x-scaigrid-identity"]);
    let core = room.core.id.to_string();
    assert_eq!((&claims["sub"], &claims["act"]), (&json!(user), &json!({"sub": core})));
    assert_eq!((&claims["core_id"], &claims["scope"]), (&json!(core), &json!("models:use scaicore:view")));
    assert_eq!(claims["exp"].as_i64(), Some(now.micros().div_euclid(1_000_000) + 5));
}

#[tokio::test]
async fn what_goes_out_and_comes_in_is_as_the_schemas_say() {
    let room = room().await;
    room.register(PluginKind::Http).await;
    assert_eq!(room.call("add", &json!({"a": 1, "b": 2})).await.unwrap(), json!({"sum": 3}));
    let error = room.call("add", &json!({"a": 1})).await.unwrap_err();
    assert_eq!((code(&error), error.sent, error.retryable), ("PLUGIN_ERROR", false, false));
    assert!(error.failure.message.contains("an object with b"), "{error}");
    assert_eq!(room.plugin.calls().len(), 1, "nothing went out");
    room.plugin.then([Behaviour::Value(json!({"sum": "many"}))]);
    let error = room.call_with(&call("add", &json!({"a": 1, "b": 2})), "exec_1:2").await.unwrap_err();
    assert_eq!((code(&error), error.sent, error.retryable), ("PLUGIN_RESULT_INVALID", true, false));
    assert_eq!(error.failure.details[0].path, "/sum");
    for (method, wanted) in [("none", "PLUGIN_NOT_FOUND"), ("echo", "PLUGIN_NOT_FOUND")] {
        let mut request = call(method, &json!({}));
        request.alias = if method == "echo" { "other".into() } else { request.alias };
        assert_eq!(code(&room.call_with(&request, "k").await.unwrap_err()), wanted);
    }
    let error = room.call("echo", &json!([1])).await.unwrap_err();
    assert_eq!((code(&error), error.sent), ("PLUGIN_ERROR", false));
}

#[tokio::test]
async fn every_way_of_failing_says_whether_the_plugin_may_have_heard() {
    let room = room().await;
    room.register(PluginKind::Http).await;
    let status = |status, headers: &str| {
        Behaviour::Status(status, headers.to_owned(), r#"{"message":"no"}"#.to_owned())
    };
    room.plugin.then([status(429, "Retry-After: 7\r\n"), status(400, ""), status(503, "")]);
    let error = room.call("shout", &json!({})).await.unwrap_err();
    assert_eq!((code(&error), error.sent, error.retryable), ("PLUGIN_ERROR", true, true));
    assert_eq!(error.retry_after, Some(Duration::from_secs(7)));
    assert_eq!(&*error.failure.message, "the plugin stub: HTTP 429: no");
    assert_eq!(room.fails("shout", &json!({})).await, ("PLUGIN_ERROR".to_owned(), true, false));
    assert_eq!(room.fails("shout", &json!({})).await, ("PLUGIN_ERROR".to_owned(), true, true));
    for behaviour in [Behaviour::Cut, Behaviour::Half, Behaviour::Garbage] {
        room.plugin.then([behaviour.clone()]);
        let failed = room.fails("shout", &json!({})).await;
        assert_eq!(failed, ("PLUGIN_UNREACHABLE".to_owned(), true, true), "{behaviour:?}");
    }
    room.plugin.then([Behaviour::Hang]);
    let mut slow = call("shout", &json!({}));
    slow.timeout = Some(Duration::from_millis(200));
    let error = room.call_with(&slow, "exec_1:9").await.unwrap_err();
    assert_eq!((code(&error), error.sent, error.retryable), ("PLUGIN_TIMEOUT", true, true));
    hung_up(&room.plugin, 1).await;

    // A port where nobody listens, and a place where nobody may go.
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let admin = room.admin();
    let stub = "stub".parse().unwrap();
    let endpoint = Some(format!("http://{gone}").parse().unwrap());
    let moved = PluginChanges { endpoint, ..PluginChanges::default() };
    room.house.app.change_plugin(&admin, &nobody(), &stub, None, moved).await.unwrap();
    assert_eq!(room.fails("shout", &json!({})).await, ("PLUGIN_UNREACHABLE".to_owned(), false, true));
    let endpoint = Some("https://10.1.2.3/".parse().unwrap());
    let moved = PluginChanges { endpoint, ..PluginChanges::default() };
    let denied = room.house.app.change_plugin(&admin, &nobody(), &stub, None, moved).await;
    assert!(matches!(denied, Err(Error::EgressDenied { calling: false, .. })), "{denied:?}");
}

async fn hung_up(plugin: &Plugin, count: usize) {
    for _ in 0..100 {
        if plugin.hung_up() == count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(plugin.hung_up(), count, "connections that were closed");
}

#[tokio::test]
async fn whoever_drops_a_call_closes_its_connection() {
    for (kind, count) in [(PluginKind::Http, 1), (PluginKind::Mcp, 1)] {
        let room = room().await;
        room.register(kind).await;
        room.plugin.then([Behaviour::Hang]);
        let request = call("shout", &json!({}));
        let called = tokio::time::timeout(Duration::from_millis(500), room.call_with(&request, "k")).await;
        assert!(called.is_err(), "{called:?}");
        assert_eq!(room.plugin.calls().len(), 1);
        hung_up(&room.plugin, count).await;
    }
}

#[tokio::test]
async fn a_repetition_costs_what_the_manifest_says() {
    for kind in [PluginKind::Http, PluginKind::Mcp] {
        let room = room().await;
        room.register(kind).await;
        let (plugins, scope) = (room.house.app.engine().plugins(), room.root.tenant_scope());
        let classes = [
            ("echo", EffectClass::Idempotent),
            ("keep", EffectClass::Keyed),
            ("pay", EffectClass::Queryable),
            ("shout", EffectClass::Unsafe),
        ];
        for (method, class) in classes {
            let found = plugins.effect_class(scope, &room.core, &[], &call(method, &json!({}))).await;
            assert_eq!(found.unwrap(), class, "{kind} {method}");
        }
        // The answer is lost, the call is made again with its key, and done once.
        room.plugin.then([Behaviour::Cut]);
        let keep = call("keep", &json!({"n": 1}));
        assert!(room.call_with(&keep, "exec_1:5").await.unwrap_err().sent);
        assert_eq!(room.call_with(&keep, "exec_1:5").await.unwrap()["args"], json!({"n": 1}));
        assert_eq!(room.plugin.carried_out(), 1);
        // The answer is lost, and what became of the call is asked.
        room.plugin.then([Behaviour::Cut]);
        let pay = call("pay", &json!({"n": 2}));
        assert!(room.call_with(&pay, "exec_1:6").await.unwrap_err().sent);
        let asked = plugins.query(scope, &room.core, &[], &pay, "exec_1:6").await.unwrap();
        let Asked::Done(result) = asked else { panic!("{asked:?}") };
        assert_eq!(result.to_json(), json!({"method": "pay", "args": {"n": 2}}));
        let asked = plugins.query(scope, &room.core, &[], &pay, "exec_1:7").await.unwrap();
        assert_eq!(asked, Asked::Unknown);
        assert_eq!(room.plugin.carried_out(), 2);
        let error = plugins.query(scope, &room.core, &[], &keep, "exec_1:5").await.unwrap_err();
        assert_eq!(code(&error), "PLUGIN_NOT_FOUND");
    }
}

#[tokio::test]
async fn secrets_do_not_come_back() {
    let room = room().await;
    room.register(PluginKind::Http).await;
    room.plugin.then([
        Behaviour::Value(json!({"told": [format!("it is {TOKEN}")]})),
        Behaviour::Status(400, String::new(), format!("{{\"message\": \"bad {TOKEN}\"}}")),
    ]);
    assert_eq!(room.call("shout", &json!({})).await.unwrap(), json!({"told": ["it is ***"]}));
    let error = room.call("shout", &json!({})).await.unwrap_err();
    assert_eq!(&*error.failure.message, "the plugin stub: HTTP 400: bad ***");
    // A Core without the secret cannot show it.
    let bare = NewCore { plugins: room.core.plugins.to_vec(), ..NewCore::named("Bare") };
    let bare = NewCore { environment: json!({"REGION": "x"}).as_object().unwrap().clone(), ..bare };
    let made = room.house.app.create_core(&room.root.authorize().unwrap(), &nobody(), bare).await.unwrap();
    let plugins = room.house.app.engine().plugins();
    let scope = room.root.tenant_scope();
    let error = plugins.call(scope, &made.core, &[], &call("echo", &json!({})), "k").await.unwrap_err();
    assert_eq!((code(&error), error.sent), ("PLUGIN_ERROR", false));
    assert!(error.failure.message.contains("${env.TOKEN} is not in"), "{error}");
}

#[tokio::test]
async fn a_tool_that_changes_is_not_called_until_it_is_accepted() {
    let room = room().await;
    room.register(PluginKind::Mcp).await;
    assert_eq!(room.call("add", &json!({"a": 1, "b": 2})).await.unwrap(), json!({"sum": 3}));
    let listed = room.plugin.spoken("tools/list");
    room.call_with(&call("echo", &json!({})), "exec_1:2").await.unwrap();
    assert_eq!(room.plugin.spoken("tools/list"), listed, "they were looked at a moment ago");

    room.plugin.change_tools(|tool| {
        if tool["name"] == "add" {
            tool["description"] = "Adds, and tells everybody".into();
        }
        if tool["name"] == "keep" {
            *tool = Value::Null;
        }
    });
    room.house.pass(61);
    let calls = room.plugin.calls().len();
    let error = room.call_with(&call("add", &json!({"a": 1, "b": 2})), "exec_1:3").await.unwrap_err();
    assert_eq!((code(&error), error.sent, error.retryable), ("PLUGIN_TOOL_CHANGED", false, false));
    assert_eq!(room.plugin.calls().len(), calls, "it was not called");
    // Known now, without asking; the others go on.
    let (echo, keep) = (call("echo", &json!({})), call("keep", &json!({})));
    assert_eq!(code(&room.call_with(&keep, "exec_1:4").await.unwrap_err()), "PLUGIN_TOOL_CHANGED");
    room.call_with(&echo, "exec_1:5").await.unwrap();
    assert_eq!(room.house.audit(&room.root).await[0], "plugin.refresh");

    let stub = "stub".parse().unwrap();
    let seen = room.house.app.plugin(&room.root, &stub).await.unwrap();
    let drift = seen.value.drift();
    assert_eq!((drift.changed.len(), drift.removed.len(), drift.added.len()), (1, 1, 0));
    let stale = room.house.app.accept_plugin(&room.admin(), &nobody(), &stub, Some(&[1])).await;
    assert!(matches!(stale, Err(Error::PreconditionFailed)), "{stale:?}");
    room.house.app.accept_plugin(&room.admin(), &nobody(), &stub, Some(&[2])).await.unwrap();
    assert_eq!(room.house.audit(&room.root).await[0], "plugin.accept");
    room.call_with(&call("add", &json!({"a": 1, "b": 2})), "exec_1:6").await.unwrap();
    assert_eq!(code(&room.call_with(&keep, "exec_1:7").await.unwrap_err()), "PLUGIN_NOT_FOUND");
    // Nothing waits any more: nothing changes.
    let again = room.house.app.accept_plugin(&room.admin(), &nobody(), &stub, None).await.unwrap();
    assert_eq!(again.revision, 3);
}

#[tokio::test]
async fn a_server_may_answer_by_events_and_break_off() {
    let room = room().await;
    room.plugin.answer_by_events();
    room.register(PluginKind::Mcp).await;
    assert_eq!(room.call("add", &json!({"a": 1, "b": 2})).await.unwrap(), json!({"sum": 3}));
    let meta = room.plugin.calls()[0].meta.clone();
    assert_eq!(
        (&meta["scaigrid/idempotency-key"], &meta["scaigrid/config"]),
        (&json!("exec_1:1"), &json!({"region": "eu"}))
    );
    room.plugin.then([Behaviour::Late(Duration::from_millis(1200))]);
    room.call_with(&call("keep", &json!({})), "exec_1:2").await.unwrap();
    for behaviour in [Behaviour::Half, Behaviour::Cut, Behaviour::Garbage] {
        room.plugin.then([behaviour.clone()]);
        let failed = room.fails("keep", &json!({})).await;
        assert_eq!(failed, ("PLUGIN_UNREACHABLE".to_owned(), true, true), "{behaviour:?}");
    }
    room.plugin.then([Behaviour::Status(429, "Retry-After: 3\r\n".to_owned(), String::new())]);
    let error = room.call_with(&call("keep", &json!({})), "exec_1:8").await.unwrap_err();
    assert_eq!(
        (code(&error), error.sent, error.retry_after),
        ("PLUGIN_ERROR", true, Some(Duration::from_secs(3)))
    );
}

#[tokio::test]
async fn a_service_is_called_as_its_document_says() {
    let room = room().await;
    room.register(PluginKind::OpenApi).await;
    let value = room.call("getItem", &json!({"id": "a/b", "depth": 2})).await.unwrap();
    assert_eq!(value["method"], "getItem");
    assert_eq!(room.plugin.calls()[0].target, "/plugin/items/a%2Fb?depth=2");
    let error = room.call("getItem", &json!({"id": "x", "more": 1})).await.unwrap_err();
    assert_eq!((code(&error), error.sent), ("PLUGIN_ERROR", false));
    let sum = room.call_with(&call("add", &json!({"body": {"a": 1, "b": 5}})), "exec_1:2").await.unwrap();
    assert_eq!(sum, json!({"sum": 6}));
    room.plugin.change_document(|document| document["servers"][0]["url"] = "/elsewhere".into());
    let stub = "stub".parse().unwrap();
    let read = room.house.app.refresh_plugin(&room.admin(), &nobody(), &stub).await.unwrap();
    assert_eq!(read.value.drift().changed.len(), 4);
    assert_eq!(room.fails("add", &json!({"body": {}})).await.0, "PLUGIN_TOOL_CHANGED");
    room.plugin.change_document(|document| document["servers"][0]["url"] = "/plugin".into());
    room.house.app.refresh_plugin(&room.admin(), &nobody(), &stub).await.unwrap();
    room.call_with(&call("add", &json!({"body": {}})), "exec_1:3").await.unwrap();
    room.plugin.change_document(|document| document["openapi"] = "2.0".into());
    let unread = room.house.app.refresh_plugin(&room.admin(), &nobody(), &stub).await;
    assert!(matches!(unread, Err(Error::PluginUnreachable { .. })), "{unread:?}");
}

#[tokio::test]
async fn the_configuration_fills_in_what_a_call_leaves_out() {
    let room = room().await;
    let declared = PluginDecl {
        alias: "math".into(),
        plugin: "stub".into(),
        config: IrValue::from_json(&json!({"a": 40, "note": "${env.TOKEN}"})),
        required: true,
    };
    room.register(PluginKind::Http).await;
    let (plugins, scope) = (room.house.app.engine().plugins(), room.root.tenant_scope());
    let mut request = call("add", &json!({"b": 2}));
    request.alias = "math".into();
    let value =
        plugins.call(scope, &room.core, std::slice::from_ref(&declared), &request, "k1").await.unwrap();
    assert_eq!(value.to_json(), json!({"sum": 42}));
    request.args = IrValue::from_json(&json!({"a": 1, "b": 2}));
    let value =
        plugins.call(scope, &room.core, std::slice::from_ref(&declared), &request, "k2").await.unwrap();
    assert_eq!(value.to_json(), json!({"sum": 3}));
    let lacking = plugins.lacking(scope, &room.core, std::slice::from_ref(&declared)).await.unwrap();
    assert_eq!(lacking, scaigrid_engine::plugins::Lacking::default());
    let other = PluginDecl { plugin: "none".into(), alias: "x".into(), ..declared.clone() };
    let optional = PluginDecl { required: false, alias: "y".into(), ..other.clone() };
    let lacking = plugins.lacking(scope, &room.core, &[other, optional]).await.unwrap();
    assert_eq!(lacking.plugins.len(), 1);
    assert_eq!(
        (lacking.plugins[0].field.as_str(), lacking.plugins[0].message.as_str()),
        ("plugins.x", "none is not registered")
    );
}

/// A server by the official SDK for Python; see `tests/mcp/server.py`. Dropped, it is killed.
struct Official(Child, String);

impl Official {
    /// None where the SDK is not there, which is said.
    fn start(arguments: &[&str]) -> Option<Self> {
        const FOLDER: &str = "SCAIGRID_TEST_MCP";
        let Some(folder) = std::env::var_os(FOLDER).filter(|folder| !folder.is_empty()) else {
            let required = std::env::var("SCAIGRID_TEST_REQUIRE_ALL").is_ok_and(|value| value == "1");
            assert!(!required, "{FOLDER} is not set");
            eprintln!("skipped: {FOLDER} is not set");
            return None;
        };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/mcp/server.py");
        let mut child = Command::new(Path::new(&folder).join("bin/python"))
            .arg(script)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let endpoint = line.trim().strip_prefix("endpoint ").unwrap().to_owned();
        Some(Self(child, endpoint))
    }
}

impl Drop for Official {
    fn drop(&mut self) {
        // Failing means that it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn servers_of_the_official_sdk_are_called() {
    for arguments in [&[][..], &["--stateless"], &["--stateless", "--json"]] {
        let Some(official) = Official::start(arguments) else { return };
        let room = room().await;
        let new = NewPlugin {
            plugin: "stub".parse().unwrap(),
            kind: PluginKind::Mcp,
            endpoint: official.1.parse().unwrap(),
            credentials: Some(json!({"type": "bearer", "token": "${env.TOKEN}"})),
            manifest: None,
        };
        let made = room.house.app.register_plugin(&room.admin(), &nobody(), new).await.unwrap();
        assert_eq!(made.value.accepted.methods().len(), 5, "{arguments:?}");
        let value = room.call("add", &json!({"a": 40, "b": 2})).await.unwrap();
        assert_eq!(value, json!({"sum": 42}), "{arguments:?}");
        assert_eq!(
            room.call("greet", &json!({"name": "Ada"})).await.unwrap(),
            json!({"result": "Hello, Ada"})
        );
        assert_eq!(room.call("plain", &json!({"text": "as it is"})).await.unwrap(), json!("as it is"));
        let told = room.call("tell", &json!({})).await.unwrap();
        assert_eq!(told, json!("exec_1:1 Bearer 3"), "the key, the credentials, the identity");
        let error = room.call("fail", &json!({})).await.unwrap_err();
        assert_eq!((code(&error), error.sent, error.retryable), ("PLUGIN_ERROR", true, false));
        assert!(error.failure.message.contains("this does not work"), "{error}");
    }
}
