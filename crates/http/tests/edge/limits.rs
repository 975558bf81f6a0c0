//! Rate limits, as callers meet them.

use std::sync::atomic::Ordering;

use scaigrid_http::health::Condition;
use scaigrid_http::limits::RateLimits;

use crate::support::{by, call, house};

const FEW: RateLimits = RateLimits { key: 3, user: 3, tenant: 4, partner: 100, address: 2 };

#[actix_web::test]
async fn the_tightest_level_counts_and_is_told() {
    let house = house(Some(FEW), Condition::Ok);
    let app = app!(house);
    let get = |token| by(token, "GET", "/v1/things");
    for left in ["2", "1", "0"] {
        let seen = send!(app, get("admin"));
        assert_eq!((seen.status, seen.header("x-scaigrid-ratelimit-remaining")), (200, left));
        assert_eq!(seen.header("x-scaigrid-ratelimit-limit"), "3");
    }
    let seen = send!(app, get("admin"));
    assert_eq!((seen.status, seen.code().as_str()), (429, "RATE_LIMITED"));
    let retry_after: i64 = seen.header("retry-after").parse().unwrap();
    assert_eq!(seen.json()["error"]["retry_after"], retry_after);
    let reset: i64 = seen.header("x-scaigrid-ratelimit-reset").parse().unwrap();
    assert!(reset * 1_000_000 > house.clock.0.load(Ordering::SeqCst));

    // A colleague has a key and a name of their own, but the tenant has one request left.
    assert_eq!(send!(app, get("viewer")).header("x-scaigrid-ratelimit-limit"), "4");
    assert_eq!(send!(app, get("viewer")).status, 429);
    // Another tenant of the same partner goes on.
    assert_eq!(send!(app, get("foreigner")).status, 200);

    house.clock.0.fetch_add(retry_after * 1_000_000, Ordering::SeqCst);
    assert_eq!(send!(app, get("admin")).status, 200);
}

#[actix_web::test]
async fn whoever_is_not_known_counts_by_address() {
    let app = app!(house(Some(FEW), Condition::Ok));
    let from = |address: &str| {
        let request = if address.ends_with('1') {
            call("GET", "/v1/things")
        } else {
            by("nobody", "GET", "/v1/things")
        };
        request.peer_addr(format!("{address}:1234").parse().unwrap())
    };
    assert_eq!(send!(app, from("192.0.2.1")).status, 401);
    assert_eq!(send!(app, from("192.0.2.1")).header("x-scaigrid-ratelimit-remaining"), "0");
    assert_eq!(send!(app, from("192.0.2.1")).status, 429);
    assert_eq!(send!(app, from("192.0.2.2")).status, 401);
}

#[actix_web::test]
async fn health_is_not_counted_and_limits_may_be_off() {
    let app = app!(house(Some(FEW), Condition::Ok));
    for _ in 0..10 {
        let request = call("GET", "/health").peer_addr("192.0.2.1:1".parse().unwrap());
        let seen = send!(app, request);
        assert_eq!((seen.status, seen.header("x-scaigrid-ratelimit-limit")), (200, ""));
    }
    let app = app!(house(None, Condition::Ok));
    for _ in 0..10 {
        let seen = send!(app, by("admin", "GET", "/v1/things"));
        assert_eq!((seen.status, seen.header("x-scaigrid-ratelimit-limit")), (200, ""));
    }
}
