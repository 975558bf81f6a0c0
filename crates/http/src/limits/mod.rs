//! Rate limits: how often a key, a user, a tenant, a partner and an unknown address may ask.
//!
//! Four levels count a known caller independently, and all must let it pass; whoever is not known counts by
//! address. Where the counts are kept is behind [`RateLimiter`]: in this process ([`Windows`]), or in a store
//! that several nodes share.

mod settings;
mod shared;
mod window;

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use futures_util::future::BoxFuture;
use scaigrid_app as app;
use scaigrid_scope::{ApiKeyId, Credential, Instant, PartnerId, Principal, TenantId, UserId};

use crate::auth;
use crate::request;
use crate::server::{self, Edge};

pub use settings::{InvalidRateLimits, RateLimits};
pub use shared::{Answer, Counts, Shared, SharedCounts};
pub use window::Windows;

/// Who is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subject {
    /// An API key.
    ApiKey(ApiKeyId),
    /// A user, by whatever credential.
    User(UserId),
    /// A tenant, all of its users together.
    Tenant(TenantId),
    /// A partner, all of its tenants together.
    Partner(PartnerId),
    /// An address that nobody known calls from. Of IPv6 the network, since a client has all of a /64.
    Address(IpAddr),
}

/// A subject, and how many requests it has per minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Who is counted.
    pub subject: Subject,
    /// Requests per minute; at least one.
    pub limit: u32,
}

/// What a request was told about the limits: of the level that is nearest to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Requests per minute at that level.
    pub limit: u32,
    /// How many are left.
    pub remaining: u32,
    /// When all of them are there again, if nobody asks meanwhile.
    pub reset: Instant,
    /// When the request may be tried again; `None` if it passes.
    pub retry_after: Option<Duration>,
}

impl Verdict {
    /// The one with less left; the first of two that have the same.
    fn tighter(self, other: Self) -> Self {
        if other.remaining < self.remaining { other } else { self }
    }
}

/// Counts requests over the last 60 seconds.
pub trait RateLimiter: Send + Sync + 'static {
    /// Counts a request against all of the quotas, or against none of them when one is used up. `None` when
    /// there are no quotas, or when the counts cannot be reached: a limiter that fails lets pass.
    fn take<'a>(&'a self, quotas: &'a [Quota], now: Instant) -> BoxFuture<'a, Option<Verdict>>;
}

const LIMIT: HeaderName = HeaderName::from_static("x-scaigrid-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-scaigrid-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-scaigrid-ratelimit-reset");

/// Counts the requests of the API and refuses those that are too many.
pub(crate) async fn limit(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let edge = Edge::of(request.request())?;
    let Some(limits) = edge.limits.filter(|_| server::is_api(request.path())) else {
        return Ok(next.call(request).await?.map_into_boxed_body());
    };
    let quotas = match auth::known(request.request()) {
        Some(principal) => quotas_of(&principal, &limits),
        None => {
            request::peer_of(request.peer_addr()).map(|peer| of_address(peer, &limits)).into_iter().collect()
        }
    };
    let now = edge.clock.now();
    let Some(verdict) = edge.limiter.take(&quotas, now).await else {
        return Ok(next.call(request).await?.map_into_boxed_body());
    };
    let mut response = match verdict.retry_after {
        Some(retry_after) => server::refuse(request, app::Error::RateLimited { retry_after }.into()),
        None => next.call(request).await?.map_into_boxed_body(),
    };
    tell(&verdict, response.headers_mut());
    Ok(response)
}

/// Counts a call of somebody unknown against a tenant that it concerns, beside the caller's address.
///
/// # Errors
/// The tenant's calls of this minute are used up.
pub(crate) async fn count_for(edge: &Edge, tenant: TenantId) -> Result<(), app::Error> {
    let Some(limits) = edge.limits else { return Ok(()) };
    let quotas = [Quota { subject: Subject::Tenant(tenant), limit: limits.tenant }];
    let verdict = edge.limiter.take(&quotas, edge.clock.now()).await;
    match verdict.and_then(|verdict| verdict.retry_after) {
        Some(retry_after) => Err(app::Error::RateLimited { retry_after }),
        None => Ok(()),
    }
}

fn quotas_of(principal: &Principal, limits: &RateLimits) -> Vec<Quota> {
    // The caller's own tenant pays, wherever they act.
    let identity = principal.identity();
    let mut quotas = Vec::with_capacity(4);
    let mut add = |subject, limit| quotas.push(Quota { subject, limit });
    match identity.credential {
        Credential::ApiKey { id, .. } => add(Subject::ApiKey(id), limits.key),
        // A token lives for an hour or less; its holder is counted.
        Credential::Token { .. } => {}
    }
    add(Subject::User(identity.user_id), limits.user);
    add(Subject::Tenant(identity.home.id), limits.tenant);
    add(Subject::Partner(identity.home.partner_id), limits.partner);
    quotas
}

fn of_address(address: IpAddr, limits: &RateLimits) -> Quota {
    let address = match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        v4 @ IpAddr::V4(_) => v4,
    };
    Quota { subject: Subject::Address(address), limit: limits.address }
}

fn tell(verdict: &Verdict, headers: &mut HeaderMap) {
    // Up to the next whole second, so that a client that waits for it is not early.
    let reset = verdict.reset.unix_millis().div_ceil(1000);
    headers.insert(LIMIT, HeaderValue::from(verdict.limit));
    headers.insert(REMAINING, HeaderValue::from(verdict.remaining));
    headers.insert(RESET, HeaderValue::from(reset));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_does_not_escape_within_its_network() {
        let limits = RateLimits::default();
        let of = |text: &str| of_address(text.parse().unwrap(), &limits);
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
