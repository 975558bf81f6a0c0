//! Rate limits, by one suite for both places where requests are counted: this process, and the Redis that
//! `SCAIGRID_TEST_REDIS_URL` names. Without the variable the second says that it was skipped; with
//! `SCAIGRID_TEST_REQUIRE_ALL=1` it fails.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use scaigrid_bus::SharedWindows;
use scaigrid_http::limits::{Quota, RateLimiter, Shared, Subject, Windows};
use scaigrid_scope::{Instant, PartnerId, TenantId, UserId};
use scaigrid_server::limits::OverRedis;

const MINUTE: i64 = 60_000_000;
const START: Instant = Instant::from_micros(30_000_000 * MINUTE);

/// The limiters to try, by name.
fn limiters() -> Vec<(&'static str, Arc<dyn RateLimiter>)> {
    let mut all: Vec<(&'static str, Arc<dyn RateLimiter>)> = vec![("here", Arc::new(Windows::default()))];
    if let Ok(url) = std::env::var("SCAIGRID_TEST_REDIS_URL") {
        let counts = OverRedis(SharedWindows::over_redis(&url).unwrap());
        all.push(("Redis", Arc::new(Shared::new(Arc::new(counts)))));
    } else {
        let required = std::env::var("SCAIGRID_TEST_REQUIRE_ALL").is_ok_and(|value| value == "1");
        assert!(!required, "SCAIGRID_TEST_REDIS_URL is not set");
        println!("skipped: limits on Redis, for SCAIGRID_TEST_REDIS_URL is not set");
    }
    all
}

/// Someone whom nobody has counted yet.
fn somebody(limit: u32) -> Quota {
    Quota { subject: Subject::User(UserId::from_ulid(ulid::Ulid(rand::random::<u128>() >> 8))), limit }
}

async fn passes(limiter: &dyn RateLimiter, quotas: &[Quota], now: Instant) -> bool {
    limiter.take(quotas, now).await.unwrap().retry_after.is_none()
}

#[tokio::test]
async fn a_minute_holds_as_many_as_the_limit_says() {
    for (name, limiter) in limiters() {
        let limiter = limiter.as_ref();
        let quotas = [somebody(5)];
        for left in (0..5).rev() {
            let verdict = limiter.take(&quotas, START).await.unwrap();
            assert_eq!((verdict.remaining, verdict.retry_after), (left, None), "{name}");
        }
        let refused = limiter.take(&quotas, START).await.unwrap();
        let retry_after = refused.retry_after.unwrap();
        assert_eq!((refused.limit, refused.remaining), (5, 0), "{name}");
        let early = START.plus(retry_after.saturating_sub(Duration::from_millis(1)));
        assert!(!passes(limiter, &quotas, early).await, "{name}");
        assert!(passes(limiter, &quotas, START.plus(retry_after)).await, "{name}");
        assert!(!passes(limiter, &quotas, START.plus(retry_after)).await, "{name}");
        assert!(passes(limiter, &[somebody(5)], START).await, "{name}");
    }
}

#[tokio::test]
async fn after_two_silent_minutes_everything_is_there_again() {
    for (name, limiter) in limiters() {
        let quotas = [somebody(5)];
        while passes(limiter.as_ref(), &quotas, START).await {}
        let reset = limiter.take(&quotas, START).await.unwrap().reset;
        assert_eq!(limiter.take(&quotas, reset).await.unwrap().remaining, 4, "{name}");
    }
}

#[tokio::test]
async fn a_refusal_at_one_level_costs_nothing_at_the_others() {
    for (name, limiter) in limiters() {
        let (wide, narrow) = (somebody(10), somebody(1));
        assert_eq!(limiter.take(&[wide, narrow], START).await.unwrap().remaining, 0, "{name}");
        for _ in 0..20 {
            assert!(!passes(limiter.as_ref(), &[wide, narrow], START).await, "{name}");
        }
        assert_eq!(limiter.take(&[wide], START).await.unwrap().remaining, 8, "{name}");
    }
}

#[tokio::test]
async fn requests_at_once_pass_no_more_than_one_after_the_other() {
    for (name, limiter) in limiters() {
        let quotas = [somebody(1000), somebody(7), somebody(1000)];
        let mut asking = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let limiter = Arc::clone(&limiter);
            asking.spawn(async move { passes(limiter.as_ref(), &quotas, START).await });
        }
        let passed = asking.join_all().await.into_iter().filter(|passed| *passed).count();
        assert_eq!(passed, 7, "{name}");
    }
}

#[tokio::test]
async fn both_tell_the_same_whatever_happens() {
    let all = limiters();
    for _ in 0..20 {
        // The four levels of a caller, whose limits are of any order.
        let id = ulid::Ulid(rand::random::<u128>() >> 8);
        let subjects = [
            somebody(1).subject,
            Subject::Tenant(TenantId::from_ulid(id)),
            Subject::Partner(PartnerId::from_ulid(id)),
        ];
        let quotas = subjects.map(|subject| Quota { subject, limit: rand::random_range(1..30) });
        let mut now = START.micros();
        for _ in 0..60 {
            now += rand::random_range(0..4_000_000);
            if rand::random_ratio(1, 20) {
                now += rand::random_range(0..3 * MINUTE);
            }
            let mut told = Vec::new();
            for (name, limiter) in &all {
                told.push((*name, limiter.take(&quotas, Instant::from_micros(now)).await));
            }
            assert!(told.windows(2).all(|pair| pair[0].1 == pair[1].1), "{now}: {told:?}");
        }
    }
}

#[tokio::test]
async fn nodes_on_one_redis_count_together() {
    let nodes: Vec<_> = [limiters(), limiters()].into_iter().filter_map(|mut all| all.pop()).collect();
    if nodes.iter().any(|(name, _)| *name != "Redis") {
        return;
    }
    let quotas = [somebody(5)];
    let mut passed = 0;
    for n in 0..20 {
        passed += usize::from(passes(nodes[n % 2].1.as_ref(), &quotas, START).await);
    }
    assert_eq!(passed, 5);
}

#[tokio::test]
async fn without_redis_a_node_counts_alone() {
    // Nobody listens there.
    let counts = OverRedis(SharedWindows::over_redis("redis://127.0.0.1:1/0").unwrap());
    let limiter = Shared::new(Arc::new(counts));
    let quotas = [somebody(3)];
    let begun = std::time::Instant::now();
    for (n, seconds) in (0..6).enumerate() {
        let now = START.plus(Duration::from_secs(seconds));
        assert_eq!(passes(&limiter, &quotas, now).await, n < 3, "{n}");
    }
    assert!(begun.elapsed() < Duration::from_secs(3), "nobody waits long for it");
    assert!(SharedWindows::over_redis("http://127.0.0.1").is_err());
}
