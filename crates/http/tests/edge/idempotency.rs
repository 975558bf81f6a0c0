//! A POST that is sent again.

use std::sync::atomic::Ordering;
use std::time::Duration;

use actix_web::test::TestRequest;
use scaigrid_http::health::Condition;
use serde_json::json;

use crate::support::{LOST, by, house, seen};

fn post(token: &str, key: &str, name: &str) -> TestRequest {
    by(token, "POST", "/v1/things").insert_header(("Idempotency-Key", key)).set_json(json!({ "name": name }))
}

#[actix_web::test]
async fn the_same_request_runs_once_and_gets_the_same_answer() {
    let house = house(None, Condition::Ok);
    let app = app!(house);
    let first = send!(app, post("admin", "k", "a"));
    let again = send!(app, post("admin", "k", "a"));
    assert_eq!((first.status, again.status), (201, 201));
    assert_eq!(first.json()["data"], again.json()["data"]);
    assert_eq!(
        (again.header("location"), again.header("content-type")),
        ("/v1/things/0", "application/json")
    );
    assert_eq!((first.header("idempotency-replayed"), again.header("idempotency-replayed")), ("", "true"));
    assert_ne!(first.header("x-request-id"), again.header("x-request-id"));
    assert_eq!(house.runs.0.load(Ordering::SeqCst), 1);

    assert_eq!(send!(app, post("admin", "k2", "a")).json()["data"]["run"], 1);
    // The key is the tenant's: a stranger's is another one.
    assert_eq!(send!(app, post("foreigner", "k", "a")).json()["data"]["run"], 2);
}

#[actix_web::test]
async fn a_claim_whose_answer_was_lost_does_not_hold_its_key() {
    let house = house(None, Condition::Ok);
    let app = app!(house);
    assert_eq!(send!(app, post("admin", LOST, "a")).status, 503);
    assert_eq!(send!(app, post("admin", LOST, "a")).code(), "IDEMPOTENCY_KEY_IN_USE");
    for _ in 0..500 {
        if house.claims.is_empty() {
            break;
        }
        actix_web::rt::time::sleep(Duration::from_millis(20)).await;
    }
    let again = send!(app, post("admin", LOST, "a"));
    assert_eq!((again.status, again.header("idempotency-replayed")), (201, ""));
    assert_eq!(house.runs.0.load(Ordering::SeqCst), 1);
}

#[actix_web::test]
async fn another_request_may_not_use_the_key() {
    let app = app!(house(None, Condition::Ok));
    assert_eq!(send!(app, post("admin", "k", "a")).status, 201);
    for other in
        [post("admin", "k", "b"), post("colleague", "k", "a"), post("admin", "k", "a").uri("/v1/things?x=1")]
    {
        let seen = send!(app, other);
        assert_eq!((seen.status, seen.code().as_str()), (422, "IDEMPOTENCY_KEY_REUSED"));
    }
    for bad in ["", "a b", &"k".repeat(256)] {
        let seen = send!(app, post("admin", bad, "a"));
        assert_eq!((seen.status, seen.code().as_str()), (422, "VALIDATION_ERROR"), "{bad}");
    }
}

#[actix_web::test]
async fn refusals_are_kept_and_failures_are_not() {
    let house = house(None, Condition::Ok);
    let app = app!(house);
    for _ in 0..2 {
        let seen = send!(app, post("admin", "k", "taken"));
        assert_eq!((seen.status, seen.code().as_str()), (409, "SLUG_CONFLICT"));
    }
    assert_eq!(house.runs.0.load(Ordering::SeqCst), 1);

    let house = self::house(None, Condition::Ok);
    let app = app!(house);
    assert_eq!(send!(app, post("viewer", "k", "a")).status, 403);
    assert_eq!(send!(app, post("admin", "k", "broken")).status, 500);
    let seen = send!(app, post("admin", "k", "panic"));
    assert_eq!((seen.status, seen.code().as_str()), (500, "INTERNAL_ERROR"));
    assert_eq!(seen.json()["meta"]["request_id"], seen.header("x-request-id"));
    assert_eq!(send!(app, post("nobody", "k", "a")).status, 401);
    assert!(house.claims.is_empty());
    assert_eq!(send!(app, post("admin", "k", "a")).status, 201);
}

#[actix_web::test]
async fn while_it_runs_the_key_is_in_use() {
    let app = app!(house(None, Condition::Ok));
    let (first, second) = futures_util::future::join(
        async {
            seen(actix_web::test::try_call_service(&app, post("admin", "k", "slow").to_request()).await).await
        },
        async {
            seen(actix_web::test::try_call_service(&app, post("admin", "k", "slow").to_request()).await).await
        },
    )
    .await;
    assert_eq!((first.status, second.status), (202, 409));
    assert_eq!(second.code(), "IDEMPOTENCY_KEY_IN_USE");
}

#[actix_web::test]
async fn a_client_that_hangs_up_finds_the_answer_later() {
    let house = house(None, Condition::Ok);
    let app = app!(house);
    let call = actix_web::test::try_call_service(&app, post("admin", "k", "slow").to_request());
    let hung_up = actix_web::rt::time::timeout(Duration::from_millis(5), call).await;
    assert!(hung_up.is_err());
    actix_web::rt::time::sleep(Duration::from_millis(200)).await;
    let seen = send!(app, post("admin", "k", "slow"));
    assert_eq!((seen.status, seen.header("idempotency-replayed")), (202, "true"));
    assert_eq!(house.runs.0.load(Ordering::SeqCst), 1);
}

#[actix_web::test]
async fn an_answer_too_large_to_keep_is_given_once() {
    let house = house(None, Condition::Ok);
    let app = app!(house);
    let seen = send!(app, post("admin", "k", "large"));
    assert_eq!((seen.status, seen.body.len() > 2 << 20), (200, true));
    let seen = send!(app, post("admin", "k", "large"));
    assert_eq!((seen.status, seen.code().as_str()), (409, "CONFLICT"));
    assert_eq!(house.runs.0.load(Ordering::SeqCst), 1);
}
