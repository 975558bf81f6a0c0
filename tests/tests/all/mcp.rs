//! Servers of the Model Context Protocol, by its official SDK for Python: what they offer is read as it is.

use scaigrid_tests::{Db, McpServer, on};
use serde_json::{Value, json};

use crate::plugins::REGISTRY;

fn methods(plugin: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let listed = plugin["methods"].as_array().unwrap();
    listed.iter().map(|method| (text(&method["name"]), text(&method["effect"]))).collect()
}

/// What a server of each kind offers, and what becomes of it when a tool changes.
#[test]
fn tools_are_read_and_pinned() {
    on(Db::Sqlite, |place| {
        let arguments: [&[&str]; 3] = [&[], &["--stateless"], &["--stateless", "--json"]];
        let mut servers: Vec<McpServer> =
            arguments.iter().filter_map(|them| McpServer::start(them)).collect();
        if servers.is_empty() {
            return;
        }
        let server = place.launch().set("SCAIGRID_EGRESS_ALLOW", "127.0.0.1").start();
        let admin = server.admin();
        for (number, mcp) in servers.iter_mut().enumerate() {
            let name = format!("tests.{number}");
            let new = json!({"plugin": name, "kind": "mcp", "endpoint": mcp.endpoint});
            let made = admin.post(REGISTRY).json(&new).answer(201).data();
            let wanted = [
                ("add", "idempotent"),
                ("greet", "unsafe"),
                ("plain", "unsafe"),
                ("fail", "unsafe"),
                ("tell", "idempotent"),
            ];
            let wanted: Vec<(String, String)> =
                wanted.iter().map(|(name, effect)| ((*name).to_owned(), (*effect).to_owned())).collect();
            assert_eq!((methods(&made), &made["status"]), (wanted, &json!("ready")));
            assert_eq!(made["methods"][0]["description"], "Adds.");
            assert_eq!(made["methods"][0]["input_schema"]["required"], json!(["a", "b"]));
            assert!(made["methods"][0]["output_schema"].is_object());

            mcp.describe("Adds, and more.");
            let one = format!("{REGISTRY}/{name}");
            let drifted = admin.post(&format!("{one}/refresh")).answer(200).data();
            assert_eq!(
                (&drifted["status"], &drifted["methods"][0]["status"]),
                (&json!("drifted"), &json!("changed"))
            );
            assert_eq!(drifted["drift"]["changed"][0]["description"], "Adds, and more.");
            let accepted = admin.post(&format!("{one}/accept")).answer(200).data();
            assert_eq!((&accepted["status"], &accepted["drift"]), (&json!("ready"), &Value::Null));
        }
        server.stop();
    });
}
