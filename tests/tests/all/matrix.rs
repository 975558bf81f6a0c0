//! Who may do what: every role against every operation, as a table that a reviewer reads.
//!
//! What is read is asked for as it exists, so that the table also tells what is hidden. What is written is asked for
//! something that does not exist, with an empty body: a right that is missing is told before anything else, so whatever is
//! not a refusal of the right means that the right is there, and nothing is changed.

use std::fmt::Write as _;

use scaigrid_tests::{Db, on};

use crate::strangers::{Existing, PASSED_ON, operations, plausible};

const ROLES: [&str; 7] =
    ["super_admin", "partner_admin", "partner_viewer", "tenant_admin", "tenant_user", "tenant_viewer", ""];

/// A path with ids in it that nothing has.
pub(crate) fn to_nothing(template: &str) -> String {
    // That a module does not exist is told before the right to call one.
    if template == PASSED_ON {
        return "/v1/modules/scaicore/nothing".to_owned();
    }
    let ids = [
        ("{core_id}", "core_01J00000000000000000000000"),
        ("{execution_id}", "exec_01J00000000000000000000000"),
        ("{checkpoint_id}", "01900000-0000-0000-0000-000000000000"),
        ("{conversation_id}", "conv_01J00000000000000000000000"),
        ("{tenant_id}", "ten_01J00000000000000000000000"),
        ("{partner_id}", "prt_01J00000000000000000000000"),
        ("{module_id}", "nothing"),
        ("{webhook_id}", "whk_01J00000000000000000000000"),
        ("{delivery_id}", "del_01J00000000000000000000000"),
        ("{version}", "7"),
        ("{plugin}", "no.plugin"),
        ("{plugin_alias}", "nobody"),
        ("{slug}", "no-such-model"),
        ("{backend_id}", "be_01J00000000000000000000000"),
        ("{model_group_id}", "mg_01J00000000000000000000000"),
        ("{trigger_id}", "01900000-0000-0000-0000-000000000000"),
        ("{path}", "nothing"),
        ("{breakpoint_id}", "bp_01J00000000000000000000000"),
        ("{delegation_id}", "dlg_01J00000000000000000000000"),
        ("{user_id}", "usr_01J00000000000000000000000"),
        ("{participant_id}", "par_01J00000000000000000000000"),
        ("{room_id}", "room_01J00000000000000000000000"),
        ("{plugin_id}", "no.plugin"),
        ("{memory_id}", "fact_01J00000000000000000000000"),
        ("{target}", "nothing"),
    ];
    // What `{id}` names is told by the family.
    let families = [
        ("/v1/users/", "usr_"),
        ("/v1/groups/", "grp_"),
        ("/v1/iam/custom-roles/", "role_"),
        ("/v1/api-keys/", "apikey_"),
    ];
    let own = families.iter().find(|(family, _)| template.starts_with(family));
    let own = own.map_or(String::new(), |(_, prefix)| format!("{prefix}01J00000000000000000000000"));
    let path = ids.iter().fold(template.to_owned(), |path, (name, id)| path.replace(name, id));
    let path = path.replace("{id}", &own);
    assert!(!path.contains('{'), "{path}: no id is known for it");
    path
}

#[test]
fn every_role_may_do_what_the_table_says() {
    on(Db::Sqlite, |place| {
        let server = place.start();
        let root = server.admin();
        // What a caller has of a partner's level is seen best from a partner of their own.
        let partner = serde_json::json!({"slug": "p", "name": "P"});
        let partner = root.post("/v1/admin/partners").json(&partner).answer(201).data();
        let tenant = serde_json::json!({"slug": "t", "name": "T", "partner_id": partner["id"]});
        root.post("/v1/admin/tenants").json(&tenant).answer(201);
        let inside = root.in_tenant("t");
        let clients = ROLES.map(|role| {
            let roles: Vec<&str> = if role.is_empty() { Vec::new() } else { vec![role] };
            let email = format!("{}@example.org", if role.is_empty() { "none" } else { role });
            server.client(&inside.user(&email, &roles).1)
        });

        let owner = server.client(&inside.user("owner@example.org", &["tenant_admin"]).1);
        let existing = Existing::make(&owner, &root);
        let document = root.get("/openapi.json").answer(200).json();
        let mut table = format!("{:28}", "operation");
        for role in ROLES {
            write!(table, " {:14}", if role.is_empty() { "(none)" } else { role }).unwrap();
        }
        for operation in operations(&document).iter().filter(|operation| !operation.public) {
            write!(table, "\n{:28}", operation.id).unwrap();
            // A stream has no end to wait for.
            let reads = operation.method == "GET" && !operation.id.starts_with("stream_");
            let path = if reads { existing.path(&operation.path) } else { to_nothing(&operation.path) };
            for client in &clients {
                let request = plausible(client.request(operation.method, &path), operation);
                // One that would begin is refused for the place that it is to go on from, after the right.
                let request = if operation.id.starts_with("stream_") {
                    request.header("Last-Event-ID", "nowhere")
                } else {
                    request
                };
                let answer = request.exchange();
                assert!(answer.status < 500 && answer.status != 401, "{answer}");
                let told = match answer.status {
                    403 => "-",
                    404 if reads => "hidden",
                    _ => "yes",
                };
                write!(table, " {told:14}").unwrap();
            }
        }
        let table: Vec<&str> = table.lines().map(str::trim_end).collect();
        insta::assert_snapshot!("roles_and_operations", table.join("\n"));
        server.stop();
    });
}
