//! Models called by Cores: the roles of their programs, their own budgets, and the secrets of their environments.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use scaigrid_app::catalog::{ModelCall, NewBackend, NewModel, UsageFilter};
use scaigrid_catalog::{
    Capabilities, Mapping, Modality, ModelSlug, ModelStatus, Parameters, Priority, ProviderType, Weight,
};
use scaigrid_cores::NewCore;
use scaigrid_engine::{Asking, CallError, Completion, HostedCore, Inside, Models};
use scaigrid_ir::{Module, Value, load};
use scaigrid_runtime::{ModelAnswer, ModelCallRequest};
use scaigrid_scope::{Role, TenantLimits, TenantScope};
use serde_json::json;

use crate::house::{FULL, House, house, nobody};

fn module(models: &serde_json::Value) -> Module {
    let program = json!({
        "schema_version": "0.2", "name": "asks", "version": "1.0.0", "models": models,
        "flows": [{"name": "main", "params": [], "body": [{"kind": "rigid", "statements": [{"kind": "return", "value": "1"}]}]}],
    });
    let loaded = load::module(&program);
    assert!(loaded.module.is_some(), "{:?}", loaded.diagnostics);
    Arc::unwrap_or_clone(loaded.module.unwrap())
}

fn request(content: &str) -> ModelCallRequest {
    ModelCallRequest {
        role: "primary".into(),
        messages: Value::from_json(&json!([{"role": "user", "content": content}])),
        schema: None,
        params: Value::from_json(&json!({"seed": 7, "stream": true})),
        max_output_tokens: None,
        max_cost: None,
        timeout: None,
    }
}

/// A Core of a tenant of its own, ready to ask; its tenant, and an admin of that.
async fn core(house: &House, new: NewCore) -> (TenantScope, Arc<HostedCore>, String) {
    house.add_tenant("acme", TenantLimits::default()).await.unwrap();
    let (_, key) = house.join("acme", "ada@acme.example", Role::TenantAdmin).await;
    let by = house.caller(&key, None).await.unwrap();
    let made = house.app.create_core(&by.authorize().unwrap(), &nobody(), new).await.unwrap();
    let hosted = HostedCore {
        core: Arc::new(made.core),
        env: Value::object(BTreeMap::default()),
        inside: Inside::default(),
    };
    (by.tenant_scope(), Arc::new(hosted), key)
}

async fn ask_model(models: &Models, scope: TenantScope, call: ModelCall) -> Result<ModelAnswer, CallError> {
    models.chat(scope, call).await.map(Completion::into_answer)
}

fn asking(core: &Arc<HostedCore>) -> Asking {
    Asking { core: Some(Arc::clone(core)), ..Asking::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_core_asks_by_role_and_within_its_own_budget() {
    let house = house().await;
    let mut new = NewCore::named("Ledger");
    new.resource_limits = json!({"monthly_tokens": 30}).as_object().unwrap().clone();
    let (scope, core, key) = core(&house, new).await;
    let models = house.app.engine().models();
    // The first is none that there is; the next one answers.
    let module = module(&json!([{"provider": "openai", "model": "gpt-9", "temperature": 0.5,
        "system_context": "Be brief.", "fallback": [{"model": "echo"}]}]));
    let call = ModelCall::of_core(&request("Hello"), &module, asking(&core)).unwrap();
    assert_eq!(call.models.iter().map(ModelSlug::as_str).collect::<Vec<_>>(), ["openai/gpt-9", "echo"]);
    // What the role says is among the messages already, where the machine has put it.
    assert_eq!(serde_json::Value::Array(call.messages.clone()), request("Hello").messages.to_json());
    assert_eq!(serde_json::Value::Object(call.params.clone()), json!({"seed": 7, "temperature": 0.5}));
    let answer = ask_model(models, scope, call.clone()).await.unwrap();
    assert_eq!((&*answer.content, &*answer.model, &*answer.finish_reason), ("Hello", "echo", "stop"));
    assert_eq!((answer.input_tokens, answer.output_tokens), (2, 2));

    let by = house.caller(&key, None).await.unwrap();
    let filter = UsageFilter { core_id: Some(core.core.id), ..UsageFilter::default() };
    let used = house.app.model_usage(&by.authorize().unwrap(), filter, &FULL).await.unwrap().items;
    assert_eq!((used.len(), used[0].user_id, used[0].core_id), (1, None, Some(core.core.id)));
    // What is left does not do for a longer question.
    let long = ModelCall::of_core(&request(&"word ".repeat(30)), &module, asking(&core)).unwrap();
    let refused = ask_model(models, scope, long).await.unwrap_err();
    assert!(matches!(refused, CallError::BudgetExceeded { of: "the Core" }), "{refused}");
    assert_eq!(refused.to_failure().unwrap().code.as_ref(), "BUDGET_EXCEEDED");
    // The tenant's other callers are not bound by it.
    let theirs = Asking { user_id: Some(by.user_id()), ..Asking::default() };
    let theirs = ModelCall::of_core(&request(&"word ".repeat(30)), &module, theirs).unwrap();
    ask_model(models, scope, theirs).await.unwrap();
    // Next month there is a new one.
    house.pass(32 * 24 * 3600);
    ask_model(models, scope, call).await.unwrap();

    let unknown = ModelCallRequest { role: "critic".into(), ..request("x") };
    let missing = ModelCall::of_core(&unknown, &module, asking(&core)).unwrap_err();
    assert_eq!(missing.to_failure().unwrap().code.as_ref(), "MODEL_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_costs_no_more_than_it_may() {
    let house = house().await;
    let (scope, core, _) = core(&house, NewCore::named("Ledger")).await;
    let root = house.root().await;
    let root = root.authorize_at_level().unwrap();
    let new = NewBackend {
        name: "B".parse().unwrap(),
        provider_type: ProviderType::Echo,
        model: "m".parse().unwrap(),
        config: serde_json::Map::new(),
    };
    let backend = house.app.create_backend(&root, &nobody(), new).await.unwrap();
    add_model(&house, backend.id).await;
    let module = module(&json!([{"model": "dear"}]));
    let ask = |cost: &str| {
        let max_cost = Some(Value::Money(cost.parse().unwrap()));
        ModelCall::of_core(
            &ModelCallRequest { max_cost, ..request(&"x".repeat(400)) },
            &module,
            asking(&core),
        )
    };
    let models = house.app.engine().models();
    // About 110 tokens to read cost 0.00011, and each to write 0.001.
    let answer = ask_model(models, scope, ask("0.0102").unwrap()).await.unwrap();
    assert_eq!((answer.output_tokens, &*answer.finish_reason), (10, "length"));
    assert!(answer.cost <= "0.0102".parse().unwrap(), "{}", answer.cost);
    let refused = ask_model(models, scope, ask("0.0001").unwrap()).await.unwrap_err();
    assert!(matches!(refused, CallError::BudgetExceeded { of: "the call" }), "{refused}");
}

async fn add_model(house: &House, backend_id: scaigrid_scope::BackendId) {
    let root = house.root().await;
    let model = NewModel {
        slug: "dear".parse().unwrap(),
        display_name: "Dear".parse().unwrap(),
        description: None,
        modality: Modality::Chat,
        context_window: None,
        max_output_tokens: None,
        input_price: Some("1".parse().unwrap()),
        output_price: Some("1000".parse().unwrap()),
        default_params: Parameters::default(),
        capabilities: Capabilities::default(),
        status: ModelStatus::Active,
        global: true,
        backends: vec![Mapping { backend_id, priority: Priority::default(), weight: Weight::default() }],
    };
    house.app.create_model(&root.authorize_at_level().unwrap(), &nobody(), model).await.unwrap();
    let inside = house.caller(&house.root, Some("acme")).await.unwrap();
    let which = scaigrid_app::catalog::ModelRef::Slug("dear".parse().unwrap());
    house.app.set_model_access(&inside.authorize().unwrap(), &nobody(), &which, true).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_gets_the_secret_of_the_core_that_asks() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut length, mut key, mut line) = (0, String::new(), String::new());
            while reader.read_line(&mut line).unwrap() > 2 {
                let (name, value) = line.split_once(':').unwrap_or_default();
                match name.to_ascii_lowercase().as_str() {
                    "content-length" => length = value.trim().parse().unwrap(),
                    "authorization" => key = value.trim().to_owned(),
                    _ => {}
                }
                line.clear();
            }
            reader.read_exact(&mut vec![0; length]).unwrap();
            tell.send(key).unwrap();
            let body =
                r#"{"choices":[{"message":{"role":"assistant","content":"well"},"finish_reason":"stop"}]}"#;
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            (&stream).write_all(format!("{head}{body}").as_bytes()).unwrap();
        }
    });
    let house = house().await;
    let mut new = NewCore::named("Ledger");
    new.environment = json!({"KEY": {"type": "secret", "value": "of-the-core"}}).as_object().unwrap().clone();
    let (scope, core, _) = core(&house, new).await;
    let config = json!({"base_url": base_url, "api_key": "${env.KEY}"});
    let new = NewBackend {
        name: "B".parse().unwrap(),
        provider_type: ProviderType::OpenAi,
        model: "m".parse().unwrap(),
        config: config.as_object().unwrap().clone(),
    };
    let root = house.root().await;
    let backend =
        house.app.create_backend(&root.authorize_at_level().unwrap(), &nobody(), new).await.unwrap();
    add_model(&house, backend.id).await;
    let module = module(&json!([{"model": "dear"}]));
    let models = house.app.engine().models();
    let call = ModelCall::of_core(&request("x"), &module, asking(&core)).unwrap();
    let answer = ask_model(models, scope, call).await;
    assert_eq!(&*answer.unwrap().content, "well");
    assert_eq!(told.recv_timeout(Duration::from_secs(5)).unwrap(), "Bearer of-the-core");
    // Nobody else has it, and nothing is sent without it.
    let other = ModelCall::of_core(&request("x"), &module, Asking::default()).unwrap();
    let refused = ask_model(models, scope, other).await.unwrap_err();
    assert!(refused.to_string().contains("${env.KEY}"), "{refused}");
    assert!(told.try_recv().is_err());
}
