//! The search for Cores finds what a look at each of them would find, page by page.

use scaigrid_tests::{CORES, Client, Place, on_both_databases, programs};
use serde_json::{Value, json};

on_both_databases!(what_is_found_is_what_a_look_at_each_finds, who_is_renamed_is_found_by_the_new_name);

/// Names of Cores, of which many hold the same texts.
const NAMES: [&str; 8] = [
    "aba bab",
    "Invoice Approval",
    "100%_sure \\ or not",
    "Ünïcode Ä\u{1F980} ß",
    "x",
    "AbAb",
    "Order intake",
    "Order approval",
];

/// What is looked for: long and short, frequent and rare, with what patterns would read otherwise.
const SOUGHT: [&str; 28] = [
    "a",
    "A",
    "x",
    "-",
    " ",
    "ab",
    "AB",
    "ba",
    "r 1",
    "abab",
    "ABAB",
    "aba bab",
    "invoice",
    "Invoice approval 1",
    "order a",
    "order-a",
    "100%",
    "%",
    "_",
    "\\",
    "_sure",
    "Ä",
    "ä",
    "\u{1F980} ß",
    "ß 4",
    "nowhere",
    "approval-12",
    "zz",
];

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |text, byte| text + &format!("%{byte:02X}"))
}

/// The ids of the Cores that are found, with so many on a page.
fn found(client: &Client, q: &str, more: &str, limit: usize) -> Vec<String> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("{CORES}?q={}{more}&limit={limit}{cursor}", encoded(q));
        let page = client.get(&path).answer(200).json();
        let items = page["data"]["items"].as_array().unwrap();
        assert!(items.len() <= limit);
        all.extend(items.iter().map(|core| core["id"].as_str().unwrap().to_owned()));
        match page["pagination"]["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

/// What a look at each would find.
fn looked_for<'a>(cores: &'a [Value], q: &'a str) -> impl Iterator<Item = &'a Value> {
    let q = q.to_ascii_lowercase();
    cores.iter().filter(move |core| {
        let (name, slug) = (core["name"].as_str().unwrap(), core["slug"].as_str().unwrap());
        name.to_ascii_lowercase().contains(&q) || slug.contains(&q)
    })
}

fn ids<'a>(cores: impl Iterator<Item = &'a Value>) -> Vec<String> {
    cores.map(|core| core["id"].as_str().unwrap().to_owned()).collect()
}

fn what_is_found_is_what_a_look_at_each_finds(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    for number in 0..120 {
        let name = format!("{} {number}", NAMES[number % NAMES.len()]);
        // Without a program a Core is in another status.
        let source = if number % 10 == 0 { json!({}) } else { programs::echo(1) };
        admin.host(&name, &source);
    }
    // Another tenant's are not among them.
    admin.tenant("acme");
    admin.in_tenant("acme").host("aba bab 7", &json!({}));
    let cores = admin.pages(CORES, "items");
    assert_eq!(cores.len(), 120);
    for q in SOUGHT {
        let expected = ids(looked_for(&cores, q));
        for limit in [1, 3, 100] {
            // Page by page of one it takes long, where nearly all are found.
            if limit == 1 && expected.len() > 20 {
                continue;
            }
            assert_eq!(found(&admin, q, "", limit), expected, "{q:?}, {limit} on a page");
        }
        for status in ["configuring", "created", "running"] {
            let expected = ids(looked_for(&cores, q).filter(|core| core["status"] == status));
            assert_eq!(found(&admin, q, &format!("&status={status}"), 7), expected, "{q:?}, {status}");
        }
    }
    assert_eq!(found(&admin, "", "", 100).len(), 120, "who looks for nothing finds all");
    // No name is as long, and none holds such a character.
    assert_eq!(found(&admin, &"a".repeat(201), "", 10), Vec::<String>::new());
    let refused = admin.get(&format!("{CORES}?q=a%00b")).refused(422, "VALIDATION_ERROR");
    assert_eq!(refused.fields(), ["q"]);
    server.stop();
}

fn who_is_renamed_is_found_by_the_new_name(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let one = admin.host("Before it", &json!({}));
    let two = admin.host("Before too", &json!({}));
    let path = format!("{CORES}/{one}");
    admin.put(&path, &json!({"name": "Afterwards"})).answer(200);
    assert_eq!(found(&admin, "AFTER", "", 10), std::slice::from_ref(&one));
    assert_eq!(found(&admin, "rwa", "", 10), std::slice::from_ref(&one));
    assert_eq!(found(&admin, "efore ", "", 10), std::slice::from_ref(&two));
    // The slug stays what it was.
    assert_eq!(found(&admin, "before", "", 10), [two.clone(), one.clone()]);
    admin.delete(&path).answer(204);
    assert_eq!(found(&admin, "before", "", 10), [two]);
    assert_eq!(found(&admin, "after", "", 10), Vec::<String>::new());
    server.stop();
}
