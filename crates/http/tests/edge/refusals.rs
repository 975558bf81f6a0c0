//! How refusals look, and in what order reasons are told.

use scaigrid_http::health::Condition;
use serde_json::json;

use crate::support::{by, call, house};

const CORE: &str = "/v1/things/core_00000000000000000000000001";

#[actix_web::test]
async fn whoever_is_not_known_is_told_why() {
    let app = app!(house(None, Condition::Ok));
    for (authorization, code, challenge) in [
        (None, "AUTH_TOKEN_MISSING", "Bearer"),
        (Some("Bearer nobody"), "AUTH_TOKEN_INVALID", "Bearer error=\"invalid_token\""),
        (Some("Bearer expired"), "AUTH_TOKEN_INVALID", "Bearer error=\"invalid_token\""),
        (Some("Basic YTpi"), "AUTH_TOKEN_INVALID", "Bearer error=\"invalid_token\""),
        (Some("Bearer "), "AUTH_TOKEN_INVALID", "Bearer error=\"invalid_token\""),
    ] {
        let mut request = call("GET", "/v1/things");
        if let Some(authorization) = authorization {
            request = request.insert_header(("Authorization", authorization));
        }
        let seen = send!(app, request);
        assert_eq!((seen.status, seen.code().as_str()), (401, code), "{authorization:?}");
        assert_eq!(seen.header("www-authenticate"), challenge);
        assert_eq!(seen.json()["meta"]["request_id"], seen.header("x-request-id"));
    }
    assert_eq!(send!(app, by("expired", "GET", "/v1/admin/things")).code(), "SW_AUTH_EXPIRED_TOKEN");
    let elsewhere = by("admin", "GET", "/v1/things").insert_header(("X-Scaigrid-Tenant", "elsewhere"));
    let seen = send!(app, elsewhere);
    assert_eq!((seen.status, seen.code().as_str()), (404, "TENANT_NOT_FOUND"));
}

#[actix_web::test]
async fn missing_rights_are_told_before_mistakes() {
    let app = app!(house(None, Condition::Ok));
    let seen = send!(app, by("viewer", "POST", "/v1/things").set_payload("nonsense"));
    assert_eq!((seen.status, seen.code().as_str()), (403, "AUTHZ_PERMISSION_DENIED"));
    assert_eq!(seen.json()["error"]["details"][0]["message"], "users:manage");
    let seen = send!(app, by("viewer", "PUT", "/v1/things/nonsense"));
    assert_eq!(seen.status, 403);
    let seen = send!(app, by("scoped", "POST", "/v1/things").set_payload("nonsense"));
    assert_eq!((seen.status, seen.code().as_str()), (403, "AUTH_INSUFFICIENT_SCOPE"));
    let seen = send!(app, by("viewer", "GET", "/v1/admin/things?limit=0"));
    assert_eq!((seen.status, seen.code().as_str()), (403, "SW_AUTH_INSUFFICIENT_PERMISSION"));
    // What is not there is told before the mistakes in the body.
    let seen = send!(app, by("admin", "PUT", "/v1/things/nonsense").set_payload("nonsense"));
    assert_eq!((seen.status, seen.code().as_str()), (404, "CORE_NOT_FOUND"));
}

#[actix_web::test]
async fn a_broken_body_is_refused_by_its_fields() {
    let app = app!(house(None, Condition::Ok));
    let post = || by("admin", "POST", "/v1/things");
    let seen = send!(app, post().set_payload("{}"));
    assert_eq!((seen.status, seen.code().as_str()), (415, "UNSUPPORTED_MEDIA_TYPE"));
    let json = |body: String| post().insert_header(("Content-Type", "application/json")).set_payload(body);
    let seen = send!(app, json(format!("{{\"name\":\"{}\"}}", "a".repeat(1 << 20))));
    assert_eq!((seen.status, seen.code().as_str()), (413, "PAYLOAD_TOO_LARGE"));
    let seen = send!(app, json("{\"name\":\"\",\"nmae\":1}".to_owned()));
    let details = &seen.json()["error"]["details"];
    assert_eq!(
        (seen.status, details),
        (422, &json!([{ "field": "nmae", "message": "is not a field of this request" }]))
    );
    let seen = send!(app, json("{\"name\":\"\"}".to_owned()));
    assert_eq!(
        seen.json()["error"]["details"],
        json!([{ "field": "name", "message": "must be 1 to 10 long" }])
    );
}

#[actix_web::test]
async fn the_wrong_path_and_the_wrong_method_are_told_apart() {
    let app = app!(house(None, Condition::Ok));
    for (method, path, allow) in [
        ("PATCH", "/v1/things", "GET, HEAD, POST"),
        ("POST", CORE, "DELETE, GET, HEAD, PUT"),
        ("DELETE", "/health", "GET, HEAD"),
        ("OPTIONS", "/v1/admin/things", "GET, HEAD"),
        ("POST", "/openapi.json", "GET, HEAD"),
        ("POST", "/docs/", "GET, HEAD"),
        ("POST", "/", "GET, HEAD"),
    ] {
        let seen = send!(app, by("admin", method, path));
        assert_eq!((seen.status, seen.header("allow")), (405, allow), "{method} {path}");
        assert!(seen.code().ends_with("METHOD_NOT_ALLOWED"), "{method} {path}");
    }
    for path in ["/v1", "/v1/thing", "/v1/things/", "/v1/things/a/b", "/docs/no-such-file"] {
        let seen = send!(app, by("admin", "GET", path));
        assert_eq!((seen.status, seen.code().as_str()), (404, "NOT_FOUND"), "{path}");
    }
    let seen = send!(app, by("admin", "GET", "/v1/admin/nothing"));
    assert_eq!((seen.status, seen.code().as_str()), (404, "SW_NOT_FOUND"));
    // What the framework refuses by itself wears the envelope too.
    let seen = send!(app, by("admin", "GET", "/v1/numbers?number=many"));
    assert_eq!((seen.status, seen.code().as_str()), (422, "VALIDATION_ERROR"));
}

#[actix_web::test]
async fn what_breaks_inside_is_not_told() {
    let app = app!(house(None, Condition::Ok));
    let post = by("admin", "POST", "/v1/things").set_json(json!({ "name": "broken" }));
    for request in [post, by("broken", "GET", "/v1/things")] {
        let seen = send!(app, request);
        assert_eq!((seen.status, seen.code().as_str()), (500, "INTERNAL_ERROR"));
        assert!(!String::from_utf8_lossy(&seen.body).contains("hunter2"));
    }
}

#[actix_web::test]
async fn a_module_that_is_off_is_closed_but_for_its_administration() {
    let app = app!(house(None, Condition::Ok));
    let thing = "/v1/modules/scaicore/things";
    assert_eq!(send!(app, by("admin", "GET", thing)).status, 200);
    let seen = send!(app, by("foreigner", "GET", thing));
    assert_eq!((seen.status, seen.code().as_str()), (403, "MODULE_NOT_ENABLED"));
    assert_eq!(send!(app, by("foreigner", "GET", "/v1/modules/scaicore")).status, 200);
    assert_eq!(send!(app, call("GET", thing)).code(), "AUTH_TOKEN_MISSING");
    assert_eq!(send!(app, by("viewer", "GET", thing)).code(), "AUTHZ_PERMISSION_DENIED");
}
