//! The module that Cores are hosted by: on, off, and on again.

use std::time::Duration;

use scaigrid_tests::{CORES, Place, SCAICORE, eventually, on_both_databases, programs};
use serde_json::{Value, json};

on_both_databases!(
    the_catalogue_ships,
    a_module_that_is_off_answers_nothing_and_runs_nothing,
    many_who_switch_at_once_leave_one_record,
    the_level_above_has_the_last_word,
    a_level_takes_its_word_back,
);

fn actions(client: &scaigrid_tests::Client, resource: &str) -> Vec<String> {
    let records = client.pages(&format!("/v1/audit/events?resource_id={resource}"), "items");
    records.iter().map(|record| record["action"].as_str().unwrap().to_owned()).collect()
}

fn the_catalogue_ships(place: &Place) {
    let server = place.start();
    let root = server.admin();
    let listed = root.get("/v1/modules").answer(200).data();
    let listed = listed.as_array().unwrap();
    assert_eq!(listed.len(), 12);
    for module in listed {
        let id = module["module_id"].as_str().unwrap();
        let path = format!("/v1/modules/{id}");
        assert_eq!(&root.get(&path).answer(200).data(), module, "one is as it is in the list");
        let here = id == "scaicore";
        assert_eq!(module["status"], if here { "active" } else { "available" }, "{id}");
        if !here {
            root.post(&format!("{path}/enable")).refused(409, "MODULE_NOT_INSTALLED");
            root.get(&format!("{path}/anything")).refused(403, "MODULE_NOT_ENABLED");
        }
    }
    let bot = listed.iter().find(|one| one["module_id"] == "scaibot").unwrap();
    assert_eq!(
        bot["admin_pages"],
        json!([{
            "page_id": "scaibot-bots", "title": "Bots", "icon": "message-square", "path": "/scaibot",
            "parent_nav": "Bots", "permission": "scaibot:bots:read"
        }])
    );
    assert_eq!(bot["frontend_url"], "/static/modules/scaibot/widget.js");
    // It can be switched off all the same: then it stays off when it is installed.
    assert_eq!(root.post("/v1/modules/scaibot/disable").answer(200).data()["status"], "disabled");
    root.delete("/v1/modules/scaibot/enablement").answer(204);
    assert_eq!(root.get("/v1/modules/scaibot").answer(200).data()["status"], "available");
    server.stop();
}

fn a_level_takes_its_word_back(place: &Place) {
    let server = place.start();
    let root = server.admin();
    let acme = root.tenant("acme");
    let (_, key) = root.in_tenant(&acme).user("boss@acme.example", &["tenant_admin"]);
    let (_, user) = root.in_tenant(&acme).user("user@acme.example", &["tenant_user"]);
    let boss = server.client(&key);
    let core = boss.run("Ask", &programs::asking(&json!({})));
    let path = format!("{SCAICORE}/enablement");
    server.client(&user).delete(&path).refused(403, "AUTHZ_PERMISSION_DENIED");
    boss.delete("/v1/modules/nothing/enablement").refused(404, "MODULE_NOT_FOUND");
    boss.delete(&path).answer(204);
    assert!(actions(&boss, "scaicore").is_empty(), "there was nothing to take back");
    boss.post("/v1/modules/scaicore/disable").answer(200);
    boss.get(CORES).refused(403, "MODULE_NOT_ENABLED");
    // What is spelt otherwise is no way around it: it is no route at all.
    for path in
        ["/v1/%6dodules/scaicore/cores", "/%76%31/modules/scaicore/cores", "/v1/modules/scaicore/%63ores"]
    {
        let refused = boss.get(path).exchange();
        assert!(matches!(refused.status, 403 | 404), "{path}: {refused}");
    }
    // It is reachable while the module is off, and what was held runs again.
    boss.delete(&path).answer(204);
    boss.delete(&path).answer(204);
    boss.status_becomes(&core, "running");
    assert_eq!(boss.get("/v1/modules/scaicore").answer(200).data()["status"], "active");
    assert_eq!(actions(&boss, "scaicore"), ["module.reset", "module.disable"]);
    assert_eq!(actions(&boss, &core), ["core.resume", "core.suspend", "core.start", "core.create"]);
    // The level above has its own word.
    root.post("/v1/modules/scaicore/disable").answer(200);
    boss.delete(&path).answer(204);
    eventually("it is off for the tenant", Duration::from_secs(2), || {
        (boss.get(CORES).exchange().code() == "MODULE_NOT_ENABLED").then_some(())
    });
    root.delete(&path).answer(204);
    boss.status_becomes_after_enabling(&core);
    server.stop();
}

fn a_module_that_is_off_answers_nothing_and_runs_nothing(place: &Place) {
    let server = place.start();
    let root = server.admin();
    let acme = root.tenant("acme");
    let (_, key) = root.in_tenant(&acme).user("boss@acme.example", &["tenant_admin"]);
    let boss = server.client(&key);
    let listed = boss.get("/v1/modules").answer(200).data();
    let listed = listed.as_array().unwrap().iter().find(|one| one["module_id"] == "scaicore").unwrap();
    assert_eq!(listed["status"], "active", "a new tenant has it on");
    boss.get("/v1/modules/nothing").refused(404, "MODULE_NOT_FOUND");
    boss.post("/v1/modules/nothing/enable").refused(404, "MODULE_NOT_FOUND");

    let runs = boss.run("Runs", &programs::asking(&json!({})));
    let paused = boss.run("Paused", &programs::echo(1));
    boss.act(&paused, "pause");
    let (execution, checkpoint) = boss.invoke_to_checkpoint(&runs, "ask", &json!({}));

    let off = boss.post("/v1/modules/scaicore/disable").answer(200).data();
    assert_eq!(off["status"], "disabled");
    boss.get(CORES).refused(403, "MODULE_NOT_ENABLED");
    boss.get(&format!("{CORES}/{runs}")).refused(403, "MODULE_NOT_ENABLED");
    boss.post(&format!("{CORES}/{runs}/resume")).refused(403, "MODULE_NOT_ENABLED");
    boss.get(&format!("{SCAICORE}/checkpoints/{checkpoint}")).refused(403, "MODULE_NOT_ENABLED");
    boss.get("/v1/modules/scaicore").answer(200);
    boss.get("/v1/users").answer(200);
    // Others have it still.
    root.get(CORES).answer(200);
    assert_eq!(actions(&boss, &runs), ["core.suspend", "core.start", "core.create"]);
    // Disabling twice is disabling once.
    boss.post("/v1/modules/scaicore/disable").answer(200);
    assert_eq!(actions(&boss, "scaicore"), ["module.disable"]);

    // A restart of the server changes none of it.
    server.kill();
    let server = place.start();
    let boss = server.client(&key);
    boss.get(CORES).refused(403, "MODULE_NOT_ENABLED");
    assert_eq!(boss.post("/v1/modules/scaicore/enable").answer(200).data()["status"], "active");
    boss.status_becomes(&runs, "running");
    assert_eq!(boss.status(&paused), "paused", "what somebody has paused stays paused");
    assert_eq!(actions(&boss, &runs), ["core.resume", "core.suspend", "core.start", "core.create"]);
    assert_eq!(boss.execution(&execution)["status"], "suspended");
    assert_eq!(boss.resolve(&checkpoint, "ok")["execution"]["status"], "completed");
    server.stop();
}

fn many_who_switch_at_once_leave_one_record(place: &Place) {
    let server = place.start();
    let root = server.admin();
    let records = || root.pages("/v1/audit/events?resource_id=scaicore", "items").len();
    for (round, word) in ["disable", "enable", "disable"].iter().enumerate() {
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| root.post(&format!("/v1/modules/scaicore/{word}")).answer(200));
            }
        });
        assert_eq!(records(), round + 1, "{word}");
    }
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| root.delete("/v1/modules/scaicore/enablement").answer(204));
        }
    });
    let all = root.pages("/v1/audit/events?resource_id=scaicore", "items");
    assert_eq!(all.len(), 4);
    assert_eq!(all[0]["changes"]["enablement"], json!({"before": "disabled", "after": null}));
    server.stop();
}

fn the_level_above_has_the_last_word(place: &Place) {
    let server = place.start();
    let root = server.admin();
    let acme = root.tenant("acme");
    let (_, key) = root.in_tenant(&acme).user("boss@acme.example", &["tenant_admin"]);
    let boss = server.client(&key);
    let (_, viewer) = root.in_tenant(&acme).user("viewer@acme.example", &["tenant_user"]);
    let core = boss.run("Ask", &programs::asking(&json!({})));
    let (_, checkpoint) = boss.invoke_to_checkpoint(&core, "ask", &json!({}));

    server.client(&viewer).post("/v1/modules/scaicore/disable").refused(403, "AUTHZ_PERMISSION_DENIED");
    assert_eq!(root.post("/v1/modules/scaicore/disable").answer(200).data()["status"], "disabled");
    eventually("it is off for the tenant", Duration::from_secs(2), || {
        (boss.get(CORES).exchange().code() == "MODULE_NOT_ENABLED").then_some(())
    });
    // The tenant may say what it likes; the platform's word holds.
    let said = boss.post("/v1/modules/scaicore/enable").exchange();
    assert!(said.status == 200 || said.status == 409, "{said}");
    boss.get(CORES).refused(403, "MODULE_NOT_ENABLED");
    assert_eq!(boss.get("/v1/modules/scaicore").answer(200).data()["status"], "disabled");
    assert_eq!(root.post("/v1/modules/scaicore/enable").answer(200).data()["status"], "active");
    boss.status_becomes_after_enabling(&core);
    assert_eq!(boss.resolve(&checkpoint, "ok")["execution"]["status"], "completed");
    // By header, a level above acts in the tenant.
    let off = root.in_tenant("acme").post("/v1/modules/scaicore/disable").answer(200).data();
    assert_eq!(off["status"], "disabled");
    boss.get(CORES).refused(403, "MODULE_NOT_ENABLED");
    root.get(CORES).answer(200);
    server.stop();
}

trait Patience {
    fn status_becomes_after_enabling(&self, core: &str);
}

impl Patience for scaigrid_tests::Client {
    /// The module's state may be believed for up to a second on a node that did not change it.
    fn status_becomes_after_enabling(&self, core: &str) {
        eventually("the Core runs again", Duration::from_secs(5), || {
            let answer = self.get(&format!("{CORES}/{core}")).exchange();
            (answer.status == 200 && answer.data()["status"] == "running").then_some(Value::Null)
        });
    }
}
