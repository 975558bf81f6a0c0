//! How answers look.

use scaigrid_http::health::Condition;
use serde_json::json;

use crate::support::{by, call, house};

const CORE: &str = "/v1/things/core_00000000000000000000000001";

#[actix_web::test]
async fn a_value_comes_in_the_envelope() {
    let app = app!(house(None, Condition::Ok));
    let request = by("admin", "POST", "/v1/things").insert_header(("X-Request-Id", "my-request-1"));
    let seen = send!(app, request.set_json(json!({ "name": "a" })));
    assert_eq!((seen.status, seen.header("location")), (201, "/v1/things/0"));
    assert_eq!(seen.header("x-request-id"), "my-request-1");
    let expected = json!({
        "status": "ok", "data": { "name": "a", "run": 0 }, "meta": { "request_id": "my-request-1" }
    });
    assert_eq!(seen.json(), expected);

    let seen = send!(app, by("admin", "DELETE", CORE));
    assert_eq!((seen.status, seen.body.len()), (204, 0));
}

#[actix_web::test]
async fn every_answer_carries_a_request_id_and_says_how_it_may_be_used() {
    let app = app!(house(None, Condition::Ok));
    for (path, bad) in [("/health", "a b"), ("/nowhere", "short"), ("/v1/things", "")] {
        let seen = send!(app, call("GET", path).insert_header(("X-Request-Id", bad)));
        assert!(seen.header("x-request-id").starts_with("req_"), "{path}");
        assert_eq!(seen.header("x-content-type-options"), "nosniff");
        assert!(seen.header("content-security-policy").starts_with("default-src 'none'"));
        assert_eq!(seen.header("cache-control") == "no-store", path.starts_with("/v1"), "{path}");
    }
}

#[actix_web::test]
async fn a_list_is_read_page_by_page() {
    let app = app!(house(None, Condition::Ok));
    let (mut cursor, mut items) = (String::new(), Vec::new());
    loop {
        let seen = send!(app, by("viewer", "GET", &format!("/v1/things?limit=2{cursor}"))).json();
        assert_eq!(seen["status"], "ok");
        items.extend(seen["data"]["items"].as_array().unwrap().iter().filter_map(serde_json::Value::as_i64));
        let next = &seen["pagination"]["next_cursor"];
        assert_eq!(seen["pagination"]["has_more"], next.is_string());
        let Some(next) = next.as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(items, [1, 2, 3, 4, 5]);

    let seen = send!(app, by("admin", "GET", "/v1/admin/things")).json();
    assert_eq!(seen["data"], json!([1, 2]));
    assert_eq!((&seen["meta"]["has_more"], &seen["meta"]["next_cursor"]), (&json!(false), &json!(null)));
    assert!(seen["meta"]["request_id"].is_string() && seen.get("pagination").is_none());
}

#[actix_web::test]
async fn a_cursor_is_good_for_its_list_and_tenant_only() {
    let app = app!(house(None, Condition::Ok));
    let first = send!(app, by("admin", "GET", "/v1/things?limit=1")).json();
    let cursor = first["pagination"]["next_cursor"].as_str().unwrap().to_owned();
    assert_eq!(send!(app, by("viewer", "GET", &format!("/v1/things?cursor={cursor}"))).status, 200);
    for (token, path) in [("foreigner", "/v1/things"), ("admin", "/v1/admin/things")] {
        let seen = send!(app, by(token, "GET", &format!("{path}?cursor={cursor}")));
        assert_eq!((seen.status, &seen.json()["error"]["details"][0]["field"]), (422, &json!("cursor")));
    }
    for query in ["limit=0", "limit=101", "limit=x"] {
        let seen = send!(app, by("admin", "GET", &format!("/v1/things?{query}")));
        assert_eq!((seen.status, seen.code().as_str()), (422, "VALIDATION_ERROR"), "{query}");
    }
}

#[actix_web::test]
async fn a_read_may_be_conditional_and_so_may_a_write() {
    let app = app!(house(None, Condition::Ok));
    let seen = send!(app, by("viewer", "GET", CORE));
    assert_eq!((seen.status, seen.header("etag")), (200, "\"r3\""));
    let seen = send!(app, by("viewer", "GET", CORE).insert_header(("If-None-Match", "W/\"r3\"")));
    assert_eq!((seen.status, seen.header("etag"), seen.body.len()), (304, "\"r3\"", 0));

    let put = |tag: &'static str| {
        by("admin", "PUT", CORE).insert_header(("If-Match", tag)).set_json(json!({ "name": "a" }))
    };
    assert_eq!(send!(app, put("\"r3\"")).header("etag"), "\"r4\"");
    let seen = send!(app, put("\"r2\""));
    assert_eq!((seen.status, seen.code().as_str()), (412, "PRECONDITION_FAILED"));
}

#[actix_web::test]
async fn machines_are_told_how_the_server_does() {
    let app = app!(house(None, Condition::Ok));
    assert_eq!(send!(app, call("GET", "/health")).json(), json!({ "status": "ok" }));
    let seen = send!(app, call("GET", "/health/ready"));
    let expected = json!({ "status": "ready", "checks": { "database": "ok", "bus": "degraded" } });
    assert_eq!((seen.status, seen.json()), (200, expected));
    let seen = send!(app, call("GET", "/metrics"));
    assert_eq!((seen.status, &seen.body[..]), (200, &b"up 1\n"[..]));
    assert!(seen.header("content-type").starts_with("text/plain"));

    let app = app!(house(None, Condition::Failing));
    let seen = send!(app, call("GET", "/health/ready"));
    let expected = json!({ "status": "not_ready", "checks": { "database": "failing", "bus": "degraded" } });
    assert_eq!((seen.status, seen.json()), (503, expected));
    assert_eq!(send!(app, call("HEAD", "/health")).status, 200);
}
