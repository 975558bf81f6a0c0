//! Search over memory and reference: words, ranks, bounds.

use scaigrid_tests::{CORES, Place, on_both_databases, programs};
use serde_json::{Value, json};

use super::operations::{core, output};

on_both_databases!(memory_is_searched_by_words, references_are_searched_alike,);

fn memory_is_searched_by_words(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let memory = json!({
        "cases": {"type": "map[string, json]"}, "notes": {"type": "array[string]"}, "any": {"type": "json"},
    });
    let core = core(
        &admin,
        &memory,
        &[
            (
                "fill",
                json!([
                    {"kind": "memory", "op": "set", "target": "cases", "key": "'c-1'", "value": "{title: 'Refund for the Straße order', lines: [4711]}"},
                    {"kind": "memory", "op": "set", "target": "cases", "key": "'c-2'", "value": "{title: 'Order is late', title2: 'the carrier'}"},
                    {"kind": "memory", "op": "set", "target": "cases", "key": "'c-3'", "value": "{title: 'Refunds: how long?'}"},
                    {"kind": "memory", "op": "set", "target": "cases", "key": "'c-4'", "value": "{title: 'Preorder'}"},
                    {"kind": "memory", "op": "add", "target": "notes", "value": "'the cat'"},
                    {"kind": "memory", "op": "add", "target": "notes", "value": "'concatenation'"},
                    {"kind": "memory", "op": "add", "target": "notes", "value": "'a Cat and a dog'"},
                    {"kind": "memory", "op": "set", "target": "any", "value": "{a: 'one cat', b: 'no'}"},
                ]),
            ),
            (
                "cases",
                json!([
                    {"kind": "memory", "op": "search", "target": "cases", "query": "n.query", "limit": "n.limit",
                     "min_similarity": "n.min", "result_binding": "found"},
                    {"kind": "return", "value": "found.map(f => [f.key, f.similarity])"},
                ]),
            ),
            (
                "notes",
                json!([
                    {"kind": "memory", "op": "add", "target": "notes", "value": "'cat'"},
                    {"kind": "let", "name": "found", "value": "memory.notes.search(n, limit = 2)"},
                    {"kind": "memory", "op": "update", "target": "notes", "value": "xs => xs.take(3)"},
                    {"kind": "return", "value": "found"},
                ]),
            ),
            ("any", json!([{"kind": "return", "value": "memory.any.search('cat')"}])),
            ("wrong", json!([{"kind": "return", "value": "memory.notes.search('cat', min_similarity = n)"}])),
        ],
    );
    output(&admin, &core, "fill", &Value::Null);
    let cases = |query: &str| output(&admin, &core, "cases", &json!({"query": query}));
    let keys = |found: &Value| -> Vec<String> {
        found.as_array().unwrap().iter().map(|pair| pair[0].as_str().unwrap().to_owned()).collect()
    };
    let refund = cases("REFUND order ");
    assert_eq!(keys(&refund), ["c-1", "c-2"], "words, not parts of words: {refund}");
    assert_eq!(refund[0][1], 1.0, "{refund}");
    assert!(refund[1][1].as_f64().unwrap() < 0.6, "{refund}");
    assert_eq!(keys(&cases("refund")), ["c-1", "c-3"], "the last word may be unfinished");
    assert_eq!(keys(&cases("STRASSE")), ["c-1"]);
    assert_eq!(keys(&cases("4711")), ["c-1"]);
    assert_eq!(keys(&cases("title ")), [""; 0], "names of fields are no text");
    assert_eq!(keys(&cases("")), [""; 0]);
    assert_eq!(keys(&output(&admin, &core, "cases", &json!({"query": "refund order ", "min": 1}))), ["c-1"]);
    assert_eq!(keys(&output(&admin, &core, "cases", &json!({"query": "refund", "limit": 1}))), ["c-1"]);
    let notes = output(&admin, &core, "notes", &json!("cat"));
    let expected = json!([
        {"key": 3, "value": "cat", "similarity": 1.0}, {"key": 0, "value": "the cat", "similarity": 1.0},
    ]);
    assert_eq!(notes, expected, "its own writes are found, and the denser comes first");
    assert_eq!(
        output(&admin, &core, "any", &Value::Null),
        json!([{"key": "a", "value": "one cat", "similarity": 1.0}])
    );
    let wrong = admin.invoke(&core, "wrong", &json!({"n": 2}));
    assert_eq!(wrong["error"]["code"], "INVALID_VALUE", "{wrong}");
    server.stop();
}

fn references_are_searched_alike(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let statements = json!([{"kind": "return", "value": "{faq: reference.faq.search(query = 'vat invoice', limit = 1), \
        one: reference.codes.get('4711'), none: reference.codes.get('1', 'unknown'), direct: reference.codes['4711'], \
        names: questions, found: reference.codes.search('travel', min_similarity = 1), sum: reference.rates.sum()}"}]);
    let body = json!([
        {"kind": "foreach", "items": "reference.faq", "var": "entry", "result_binding": "questions", "body": [
            {"kind": "rigid", "statements": [{"kind": "expression", "value": "entry.q"}]},
        ]},
        {"kind": "rigid", "statements": statements},
    ]);
    let mut program = programs::program("Reference", &[programs::flow("main", &json!([]), &body)]);
    program["reference"] = json!({
        "faq": [{"q": "Where is my order?", "a": "On its way."}, {"q": "Is VAT on the invoice?", "a": "Yes."}],
        "codes": {"4711": "Travel expenses", "4712": "Travelling salesmen"},
        "rates": [1, 2, 3],
    });
    let core = admin.run("Reference", &program);
    let done = admin.invoke(&core, "main", &json!({}));
    assert_eq!(done["status"], "completed", "{done:#}");
    let output = &done["output"];
    assert_eq!(output["faq"][0]["key"], 1, "{output:#}");
    assert_eq!(output["faq"][0]["value"]["a"], "Yes.");
    assert_eq!((&output["one"], &output["direct"]), (&json!("Travel expenses"), &json!("Travel expenses")));
    assert_eq!(output["none"], "unknown");
    assert_eq!(output["names"], json!(["Where is my order?", "Is VAT on the invoice?"]));
    assert_eq!(output["found"], json!([{"key": "4711", "value": "Travel expenses", "similarity": 1.0}]));
    assert_eq!(output["sum"], 6);
    program["reference"]["rates"] = json!({"$object": "rates.json"});
    let refused = admin.post(CORES).json(&json!({"name": "Object", "source": program})).answer(201).data();
    assert_eq!(refused["diagnostics"][0]["pointer"], "/reference/rates", "{refused}");
    server.stop();
}
