//! The limits of tenants and partners, which hold however many come at once; and partners, who see their own tenants and stand still
//! with them.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use scaigrid_tests::{
    Answer, CORES, Client, Place, Request, SCAICORE, ask, eventually, on_both_databases, programs,
};
use serde_json::{Value, json};

on_both_databases!(
    as_many_users_and_cores_as_may_be,
    as_many_tenants_and_users_as_the_partner_may_have,
    pictures_count_in_the_store,
    what_is_large_counts_in_the_store,
    a_month_has_so_many_tokens,
    a_suspended_partner_stands_still_with_its_tenants,
    a_partner_touches_no_other_tenants,
);

const AT_ONCE: usize = 12;
const CHAT: &str = "/v1/inference/chat";

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// A new tenant with limits; its id.
fn limited(root: &Client, slug: &str, limits: &Value) -> String {
    let body = json!({"slug": slug, "name": slug, "limits": limits});
    text(&root.post("/v1/admin/tenants").json(&body).answer(201).data()["id"])
}

/// Makes requests at once.
fn at_once(requests: impl Iterator<Item = Request>) -> Vec<Answer> {
    let running: Vec<_> = requests.map(|request| std::thread::spawn(move || request.exchange())).collect();
    running.into_iter().map(|one| one.join().unwrap()).collect()
}

/// So many of the requests were answered with 201, and the others with a limit.
fn succeed(answers: &[Answer], count: usize, code: &str) {
    let (made, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 201);
    assert_eq!(made.len(), count, "{answers:?}");
    for answer in refused {
        assert_eq!((answer.status, answer.code().as_str()), (409, code), "{answer}");
    }
}

fn as_many_users_and_cores_as_may_be(place: &Place) {
    let server = place.start();
    let root = server.admin();
    let tenant = limited(&root, "small", &json!({"max_users": 5, "max_cores": 3}));
    let inside = root.in_tenant("small");
    let user =
        |n: usize| inside.post("/v1/users").json(&json!({"email": format!("u{n}@x.example"), "roles": []}));
    succeed(&at_once((0..AT_ONCE).map(user)), 5, "TENANT_CAPACITY");
    let core = |n: usize| inside.post(CORES).json(&json!({"name": format!("Core {n}")}));
    succeed(&at_once((0..AT_ONCE).map(core)), 3, "TENANT_CAPACITY");
    let cores = inside.pages(CORES, "items");
    assert_eq!((inside.pages("/v1/users", "items").len(), cores.len()), (5, 3));
    // What is gone makes room, for one.
    inside.delete(&format!("{CORES}/{}", text(&cores[0]["id"]))).answer(204);
    succeed(&at_once((AT_ONCE..2 * AT_ONCE).map(core)), 1, "TENANT_CAPACITY");
    // A limit that is lowered takes nothing away and lets nothing in.
    root.put(&format!("/v1/admin/tenants/{tenant}"), &json!({"limits": {"max_cores": 1}})).answer(200);
    assert_eq!(inside.pages(CORES, "items").len(), 3);
    inside.post(CORES).json(&json!({"name": "Late"})).refused(409, "TENANT_CAPACITY");
    server.stop();
}

fn as_many_tenants_and_users_as_the_partner_may_have(place: &Place) {
    let server = place.start();
    let root = server.admin();
    let limits = json!({"max_tenants": 4, "max_users_per_tenant": 3});
    let body = json!({"slug": "north", "name": "North", "limits": limits});
    let north = text(&root.post("/v1/admin/partners").json(&body).answer(201).data()["id"]);
    let tenant = |n: usize| {
        let body = json!({"slug": format!("t{n}"), "name": "T", "partner_id": north});
        root.post("/v1/admin/tenants").json(&body)
    };
    let answers = at_once((0..AT_ONCE).map(tenant));
    succeed(&answers, 4, "SW_TENANT_CAPACITY");
    let one = answers.iter().find(|answer| answer.status == 201).unwrap().data();
    let inside = root.in_tenant(one["slug"].as_str().unwrap());
    // The narrower of two limits counts.
    root.put(&format!("/v1/admin/tenants/{}", text(&one["id"])), &json!({"limits": {"max_users": 10}}))
        .answer(200);
    let user =
        |n: usize| inside.post("/v1/users").json(&json!({"email": format!("u{n}@x.example"), "roles": []}));
    succeed(&at_once((0..AT_ONCE).map(user)), 3, "TENANT_CAPACITY");
    server.stop();
}

fn pictures_count_in_the_store(place: &Place) {
    let server = place.start();
    let root = server.admin();
    let tenant = limited(&root, "small", &json!({"max_storage_bytes": 10_000}));
    let inside = root.in_tenant("small");
    let picture = |bytes: usize, fill: u8| {
        let mut picture = b"\x89PNG\r\n\x1a\n".to_vec();
        picture.resize(bytes, fill);
        picture
    };
    let avatar = |core: &str| format!("{CORES}/{core}/avatar");
    let cores: Vec<String> = (0..8).map(|n| inside.host(&format!("Core {n}"), &json!({}))).collect();
    let requests = cores.iter().map(|core| inside.post(&avatar(core)).form(&picture(3_000, 1), &[]));
    let answers = at_once(requests);
    let made = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(made, 3, "{answers:?}");
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!((answer.status, answer.code().as_str()), (409, "TENANT_CAPACITY"), "{answer}");
    }
    // What was refused is not there, and a Core is not made without the picture that it was to have.
    let shown =
        cores.iter().filter(|core| server.anyone().get(&avatar(core)).exchange().status == 200).count();
    assert_eq!(shown, 3);
    let new = json!({"name": "Late", "avatar_b64": STANDARD.encode(picture(3_000, 2)), "avatar_content_type": "image/png"});
    inside.post(CORES).json(&new).refused(409, "TENANT_CAPACITY");
    assert_eq!(inside.pages(CORES, "items").len(), 8);
    // What takes the place of another picture makes room of it.
    let at = answers.iter().position(|answer| answer.status == 200).unwrap();
    inside.post(&avatar(&cores[at])).form(&picture(4_001, 3), &[]).refused(409, "TENANT_CAPACITY");
    inside.post(&avatar(&cores[at])).form(&picture(4_000, 3), &[]).answer(200);
    inside.post(&avatar(&cores[at])).form(&picture(100, 3), &[]).answer(200);
    let other = answers.iter().position(|answer| answer.status != 200).unwrap();
    inside.post(&avatar(&cores[other])).form(&picture(3_000, 3), &[]).answer(200);
    // What goes with its Core makes room at once.
    let another = answers.iter().rposition(|answer| answer.status != 200).unwrap();
    inside.post(&avatar(&cores[another])).form(&picture(3_800, 3), &[]).refused(409, "TENANT_CAPACITY");
    inside.delete(&format!("{CORES}/{}", cores[other])).answer(204);
    inside.post(&avatar(&cores[another])).form(&picture(3_800, 3), &[]).answer(200);
    root.put(&format!("/v1/admin/tenants/{tenant}"), &json!({"limits": {}})).answer(200);
    inside.post(&avatar(&cores[at])).form(&picture(100_000, 3), &[]).answer(200);
    server.stop();
}

/// A flow that keeps what it is given until somebody decides, and one that makes something large of nothing.
fn heavy() -> Value {
    let rigid = |statements: Value| json!({"kind": "rigid", "statements": statements});
    let keep = json!([programs::checkpoint(&json!({})), rigid(json!([{"kind": "return", "value": "1"}])),]);
    let grow = json!([
        rigid(json!([{"kind": "let", "name": "s", "value": "'x'"}, {"kind": "let", "name": "i", "value": "0"}])),
        {"kind": "while", "condition": "i < 17", "max_iterations": 20, "body": [rigid(json!([
            {"kind": "assign", "target": "i", "value": "i + 1"}, {"kind": "assign", "target": "s", "value": "s + s"}
        ]))]},
        rigid(json!([{"kind": "return", "value": "s"}])),
    ]);
    programs::program(
        "Heavy",
        &[
            programs::flow("keep", &json!([{"name": "value", "type": "string"}]), &keep),
            programs::flow("grow", &json!([]), &grow),
        ],
    )
}

fn what_is_large_counts_in_the_store(place: &Place) {
    let server = place.start();
    let root = server.admin();
    let tenant = limited(&root, "small", &json!({}));
    let path = format!("/v1/admin/tenants/{tenant}");
    let (_, key) = root.in_tenant("small").user("boss@small.example", &["tenant_admin"]);
    let inside = server.client(&key);
    let core = inside.run("Heavy", &heavy());
    let (kept, checkpoint) =
        inside.invoke_to_checkpoint(&core, "keep", &json!({"value": "y".repeat(200_000)}));
    root.put(&path, &json!({"limits": {"max_storage_bytes": 250_000}})).answer(200);
    // What comes with a call is refused, and what a program makes fails it; nothing hangs.
    let begin = |flow: &str, input: &Value| {
        inside.post(&format!("{CORES}/{core}/invoke")).json(&json!({"flow": flow, "input": input}))
    };
    begin("keep", &json!({"value": "z".repeat(200_000)})).refused(409, "TENANT_CAPACITY");
    let grown = text(&begin("grow", &json!({})).answer(202).data()["id"]);
    let failed = inside.execution_becomes(&grown, "failed");
    assert_eq!(failed["error"]["code"], "TENANT_CAPACITY", "{failed}");
    // What is small goes on, and what was kept is there.
    let small = inside.invoke(&core, "keep", &json!({"value": "small"}));
    assert_eq!(small["status"], "suspended", "{small}");
    assert_eq!(inside.execution(&kept)["input"]["value"].as_str().unwrap().len(), 200_000);
    inside.resolve(&checkpoint, "approved");
    inside.execution_becomes(&kept, "completed");
    // With more room the same is done.
    root.put(&path, &json!({"limits": {"max_storage_bytes": 2_000_000}})).answer(200);
    let grown = text(&begin("grow", &json!({})).answer(202).data()["id"]);
    inside.execution_becomes(&grown, "completed");
    // Many at once do not get past it together either.
    let used = inside.get("/v1/admin/stats").answer(200).data()["storage"]["bytes"].as_u64().unwrap();
    root.put(&path, &json!({"limits": {"max_storage_bytes": used + 850_000}})).answer(200);
    let one = |n: usize| begin("keep", &json!({"value": format!("{n:02}").repeat(100_000)}));
    let answers = at_once((0..AT_ONCE).map(one));
    let taken = answers.iter().filter(|answer| answer.status == 202).count();
    // Each needs its 200,000 bytes once or twice, as far as it comes.
    assert!((1..=4).contains(&taken), "{taken}");
    let now = inside.get("/v1/admin/stats").answer(200).data()["storage"]["bytes"].as_u64().unwrap();
    assert!((used + 200_000..=used + 850_000).contains(&now), "{used} {now}");
    for answer in answers.iter().filter(|answer| answer.status != 202) {
        assert_eq!((answer.status, answer.code().as_str()), (409, "TENANT_CAPACITY"), "{answer}");
    }
    server.stop();
}

fn a_month_has_so_many_tokens(place: &Place) {
    const LIMIT: u64 = 100;
    let server = place.start();
    let root = server.admin();
    limited(&root, "small", &json!({"monthly_ai_tokens": LIMIT}));
    let inside = root.in_tenant("small");
    let question = |n: usize| {
        let mut question = ask("echo", &format!("one two three four five {n}"));
        question["max_tokens"] = json!(20);
        inside.post(CHAT).json(&question)
    };
    let mut refused = 0;
    for _ in 0..4 {
        for answer in at_once((0..AT_ONCE).map(question)) {
            if answer.status != 200 {
                assert_eq!((answer.status, answer.code().as_str()), (429, "BUDGET_EXCEEDED"), "{answer}");
                refused += 1;
            }
        }
    }
    assert!(refused > 0, "48 questions are more than {LIMIT} tokens");
    let spent = || {
        let of =
            |record: &Value| record["tokens_in"].as_u64().unwrap() + record["tokens_out"].as_u64().unwrap();
        inside.usage().iter().map(of).sum::<u64>()
    };
    eventually("something was spent", Duration::from_secs(15), || (spent() > 0).then_some(()));
    assert!(spent() <= LIMIT, "{}", spent());
    server.stop();
}

fn a_suspended_partner_stands_still_with_its_tenants(place: &Place) {
    let server = place.start();
    let root = server.admin();
    let north = json!({"slug": "north", "name": "North"});
    let north = text(&root.post("/v1/admin/partners").json(&north).answer(201).data()["id"]);
    let settle = |slug: &str, partner: &Value| {
        let body = json!({"slug": slug, "name": slug, "partner_id": partner});
        root.post("/v1/admin/tenants").json(&body).answer(201);
        let (_, key) = root.in_tenant(slug).user(&format!("boss@{slug}.example"), &["tenant_admin"]);
        let boss = server.client(&key);
        let core = boss.run("Asking", &programs::asking(&json!({"timeout": "1h"})));
        let (execution, checkpoint) = boss.invoke_to_checkpoint(&core, "ask", &json!({}));
        (boss, core, execution, checkpoint)
    };
    let mut theirs = vec![settle("one", &json!(north)), settle("two", &json!(north))];
    let other = settle("three", &Value::Null);
    // One that was suspended by itself stays so.
    let two = text(&root.in_tenant("two").get("/v1/me").answer(200).data()["tenant"]["id"]);
    root.put(&format!("/v1/admin/tenants/{two}"), &json!({"status": "suspended"})).answer(200);

    let own = format!("/v1/admin/partners/{north}");
    root.put(&own, &json!({"status": "suspended"})).answer(200);
    for (boss, core, _, checkpoint) in &theirs {
        boss.get("/v1/me").refused(403, "TENANT_SUSPENDED");
        boss.post(CHAT).json(&ask("echo", "x")).refused(403, "TENANT_SUSPENDED");
        boss.post(&format!("{CORES}/{core}/invoke"))
            .json(&json!({"flow": "ask", "input": {}}))
            .refused(403, "TENANT_SUSPENDED");
        boss.post(&format!("{SCAICORE}/checkpoints/{checkpoint}/resolve"))
            .json(&json!({"decision": "x"}))
            .refused(403, "TENANT_SUSPENDED");
    }
    let (boss, core, execution, checkpoint) = &other;
    assert_eq!(boss.status(core), "running");
    boss.resolve(checkpoint, "x");
    boss.execution_becomes(execution, "completed");

    root.put(&own, &json!({"status": "active"})).answer(200);
    let (suspended, ..) = theirs.pop().unwrap();
    suspended.get("/v1/me").refused(403, "TENANT_SUSPENDED");
    let (boss, core, execution, checkpoint) = theirs.pop().unwrap();
    boss.status_becomes(&core, "running");
    let records = boss.pages(&format!("/v1/audit/events?resource_id={core}"), "items");
    let actions: Vec<String> = records.iter().map(|record| text(&record["action"])).collect();
    assert_eq!(actions, ["core.resume", "core.suspend", "core.start", "core.create"]);
    boss.resolve(&checkpoint, "x");
    boss.execution_becomes(&execution, "completed");
    server.stop();
}

fn a_partner_touches_no_other_tenants(place: &Place) {
    let server = place.start();
    let root = server.admin();
    let mut partners = Vec::new();
    for slug in ["north", "south"] {
        let made =
            root.post("/v1/admin/partners").json(&json!({"slug": slug, "name": slug})).answer(201).data();
        let body = json!({"slug": format!("in-{slug}"), "name": slug, "partner_id": made["id"]});
        let tenant = text(&root.post("/v1/admin/tenants").json(&body).answer(201).data()["id"]);
        let (_, key) = root.in_tenant(&tenant).user(&format!("pa@{slug}.example"), &["partner_admin"]);
        partners.push((text(&made["id"]), tenant, server.client(&key)));
    }
    for (at, (own, _, client)) in partners.iter().enumerate() {
        let (other, foreign, _) = &partners[1 - at];
        let listed = client.get("/v1/admin/tenants").answer(200).json();
        let listed = listed["data"].as_array().unwrap();
        assert!(listed.len() == 1 && listed[0]["partner_id"] == json!(own), "{listed:?}");
        // Nor are they shown who asks for them by name.
        let asked = client.get(&format!("/v1/admin/tenants?partner_id={other}")).answer(200);
        assert_eq!(asked.json()["data"], json!([]));
        let asked = client.get(&format!("/v1/admin/tenants?partner_id={own}")).answer(200);
        assert_eq!(asked.json()["data"].as_array().unwrap().len(), 1);
        let asked = root.get(&format!("/v1/admin/tenants?partner_id={other}")).answer(200).json();
        assert!(asked["data"].as_array().unwrap().iter().all(|tenant| tenant["partner_id"] == json!(other)));
        let path = format!("/v1/admin/tenants/{foreign}");
        client.get(&path).refused(404, "SW_TENANT_NOT_FOUND");
        for body in
            [json!({"name": "Mine"}), json!({"status": "suspended"}), json!({"limits": {"max_users": 0}})]
        {
            client.put(&path, &body).refused(404, "SW_TENANT_NOT_FOUND");
        }
        let body = json!({"slug": "taken", "name": "T", "partner_id": other});
        client.post("/v1/admin/tenants").json(&body).refused(404, "SW_PARTNER_NOT_FOUND");
        client
            .put(&format!("/v1/admin/partners/{other}"), &json!({"name": "x"}))
            .refused(404, "SW_PARTNER_NOT_FOUND");
        client.in_tenant(foreign).get(CORES).refused(404, "TENANT_NOT_FOUND");
        // Their own they run.
        let made = client.post("/v1/admin/tenants").json(&json!({"slug": format!("new-{at}"), "name": "N"}));
        let made = made.answer(201).data();
        assert_eq!(made["partner_id"], json!(own));
        client
            .put(&format!("/v1/admin/tenants/{}", text(&made["id"])), &json!({"status": "suspended"}))
            .answer(200);
    }
    server.stop();
}
