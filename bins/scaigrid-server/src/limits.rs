//! Where requests are counted: in this process, or in the Redis that several nodes share.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use scaigrid_bus::{SharedWindows, WindowCount};
use scaigrid_http::limits::{Answer, Counts, RateLimiter, Shared, SharedCounts, Windows};

use crate::files::Unusable;
use crate::settings::Settings;

/// What counts requests: all nodes together over Redis, or this one alone.
pub(crate) fn limiter(settings: &Settings) -> anyhow::Result<Arc<dyn RateLimiter>> {
    let Some(url) = settings.redis_url.as_ref().filter(|_| settings.rate_limits.is_some()) else {
        return Ok(Arc::new(Windows::default()));
    };
    let counts = SharedWindows::over_redis(url.reveal());
    let counts = counts.map_err(|error| Unusable(format!("SCAIGRID_REDIS_URL: {error}")))?;
    Ok(Arc::new(Shared::new(Arc::new(OverRedis(counts)))))
}

/// Redis, as the edge asks it.
#[derive(Debug)]
pub struct OverRedis(pub SharedWindows);

impl SharedCounts for OverRedis {
    fn count<'a>(&'a self, names: &'a [(String, u32)], now: i64) -> BoxFuture<'a, Answer> {
        let counted = async move {
            let counted = self.0.count(names, now).await.map_err(|away| away.to_string())?;
            let counts = counted.windows.into_iter().map(|window| {
                let WindowCount { start, before, present } = window;
                Counts { start, before, present }
            });
            Ok((counted.refused, counts.collect()))
        };
        counted.boxed()
    }
}
