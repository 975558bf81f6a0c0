use scaigrid_ir::load;

use super::*;

fn module(triggers: &Value) -> std::sync::Arc<Module> {
    let flow = |name: &str, params: Value| json!({"name": name, "params": params, "body": []});
    let program = json!({
        "schema_version": "0.2", "name": "T", "version": "1.0.0", "triggers": triggers,
        "flows": [
            flow("any", json!([])),
            flow("order", json!([{"name": "id", "type": "int"}])),
            flow("hook", json!([{"name": "body", "type": "json"}, {"name": "note", "type": "string?"}])),
            flow("whole", json!([{"name": "request", "type": "json"}])),
        ],
    });
    load::module(&program).module.unwrap()
}

fn read(kind: Kind, config: &Value) -> Result<Listens, Vec<String>> {
    let fields = |problems: Vec<FieldProblem>| problems.into_iter().map(|problem| problem.field).collect();
    Listens::parse(kind, config.as_object().unwrap()).map_err(fields)
}

fn trigger(name: &str, flow: &str, kind: Kind, config: &Value) -> Trigger {
    Trigger {
        id: TriggerId::from_ulid(Ulid(7)),
        name: Name::parse(name).unwrap(),
        flow: flow.to_owned(),
        listens: read(kind, config).unwrap(),
        created_by: UserId::from_ulid(Ulid(1)),
        created_at: Instant::from_micros(0),
    }
}

#[test]
fn what_is_written_is_read_again() {
    for (kind, config) in [
        (Kind::Api, json!({"method": "GET", "path": "/orders/{id}"})),
        (Kind::Api, json!({"path": "/", "public": true})),
        (Kind::Webhook, json!({})),
        (Kind::Webhook, json!({"secret": "${env.HOOK}", "scheme": "github"})),
        (Kind::Schedule, json!({"cron": "0 9 * * 1-5", "timezone": "Europe/Berlin", "catch_up": "all"})),
        (Kind::Schedule, json!({"cron": "* * * * *"})),
        (Kind::Event, json!({"event": "order.*", "filter": "data.total > 5"})),
    ] {
        let listens = read(kind, &config).unwrap();
        assert_eq!(listens.kind(), kind);
        assert_eq!(Listens::parse(kind, &listens.config()).unwrap(), listens, "{config}");
        assert_eq!(kind.to_string().parse(), Ok(kind));
    }
}

#[test]
fn what_is_wrong_is_named() {
    for (kind, config, fields) in [
        (Kind::Api, json!({}), &["config.path"][..]),
        (Kind::Api, json!({"path": "orders"}), &["config.path"]),
        (Kind::Api, json!({"path": "/a", "method": "FETCH"}), &["config.method"]),
        (Kind::Api, json!({"path": "/a", "public": "yes"}), &["config.public"]),
        (Kind::Webhook, json!({"scheme": {"header": 1}}), &["config.scheme.header"]),
        (Kind::Webhook, json!({"secret": "${env.}"}), &["config.secret"]),
        (Kind::Schedule, json!({"cron": "* * *"}), &["config.cron"]),
        (Kind::Schedule, json!({"cron": "* * * * *", "timezone": "Mars/Base"}), &["config.timezone"]),
        (Kind::Schedule, json!({"cron": "* * * * *", "catch_up": "some"}), &["config.catch_up"]),
        (Kind::Event, json!({"event": ""}), &["config.event"]),
        (Kind::Event, json!({"event": "a", "filter": "data.("}), &["config.filter"]),
        (Kind::Event, json!({"event": "a", "filter": "nobody > 1"}), &["config.filter"]),
        (Kind::Event, json!({"event": "a", "filter": "now() != null"}), &["config.filter"]),
        (Kind::Event, json!({"event": 1, "more": 2}), &["config.more", "config.event"]),
    ] {
        assert_eq!(read(kind, &config).unwrap_err(), fields, "{config}");
    }
}

#[test]
fn a_flow_must_be_able_to_start_so() {
    let module = module(&json!([]));
    let starts = |flow: &str, kind: Kind, config: &Value| {
        starts(&module, flow, &read(kind, config).unwrap()).map_err(|problem| problem.field)
    };
    let hook = json!({});
    assert_eq!(starts("hook", Kind::Webhook, &hook), Ok(()));
    assert_eq!(starts("any", Kind::Webhook, &hook), Ok(()));
    assert_eq!(starts("order", Kind::Webhook, &hook), Err("flow".to_owned()));
    assert_eq!(starts("nothing", Kind::Webhook, &hook), Err("flow".to_owned()));
    assert_eq!(starts("order", Kind::Schedule, &json!({"cron": "* * * * *"})), Err("flow".to_owned()));
    assert_eq!(starts("order", Kind::Api, &json!({"path": "/orders/{id}"})), Ok(()));
    assert_eq!(starts("order", Kind::Api, &json!({"path": "/{x}"})), Err("config.path".to_owned()));
    assert_eq!(starts("whole", Kind::Api, &json!({"path": "/{x}"})), Ok(()));
}

#[test]
fn the_program_goes_before_what_was_registered() {
    let core = CoreId::from_ulid(Ulid(3));
    let module = module(&json!([
        {"kind": "api", "name": "get", "target_flow": "order", "method": "GET", "path": "/orders/{id}"},
        {"kind": "webhook", "name": "in", "target_flow": "hook", "secret": "${env.HOOK}", "scheme": "github"},
        {"kind": "webhook", "name": "bare", "target_flow": "hook"},
    ]));
    let registered = [
        trigger("get", "any", Kind::Schedule, &json!({"cron": "* * * * *"})),
        trigger("again", "order", Kind::Api, &json!({"method": "GET", "path": "/orders/{id}"})),
        trigger("post", "order", Kind::Api, &json!({"method": "POST", "path": "/orders/{id}"})),
        trigger("gone", "nothing", Kind::Event, &json!({"event": "e"})),
    ];
    let entries = entries(core, &module, &registered);
    let at_work: Vec<(&str, bool)> =
        entries.iter().map(|entry| (&*entry.name, entry.at_work().is_some())).collect();
    assert_eq!(
        at_work,
        [
            ("get", true),
            ("in", true),
            ("bare", false),
            ("get", false),
            ("again", false),
            ("post", true),
            ("gone", false)
        ]
    );
    assert_eq!(entries[0].id, declared_id(core, "get"));
    assert_ne!(entries[0].id, declared_id(CoreId::from_ulid(Ulid(4)), "get"));
    assert!(entries[6].problem().unwrap().starts_with("flow "), "{:?}", entries[6].problem());
}
