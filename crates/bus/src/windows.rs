//! Counts that several nodes share: two windows of a minute per name, kept in Redis, counted by one script per request.
//!
//! What the counts mean for a request is not decided here, but for one thing, which has to happen in the same step as the
//! counting: a request is counted at all of its names, or at none of them when one is used up.

use std::time::Duration;

use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::{RedisError as Failure, Script};
use deadpool_redis::{Config, Connection, Pool, Runtime};
use tokio::sync::Mutex;

use crate::RedisError;

/// How long Redis may take; a request waits no longer for its counts.
const PATIENCE: Duration = Duration::from_millis(250);
/// What the names begin with, so that whatever else is in the same Redis is left alone.
const PREFIX: &str = "scaigrid:limits:";

/// The windows are of 60 seconds. A name is forgotten when both of its windows are over. Numbers are written without an
/// exponent, which microseconds would get otherwise.
const SCRIPT: &str = r"
local window = 60000000
local now = tonumber(ARGV[1])
local begin = now - now % window
local found, refused = {}, 0
for i, key in ipairs(KEYS) do
  local stored = redis.call('HMGET', key, 's', 'b', 'p')
  local s, b, p = begin, 0, 0
  if stored[1] then
    s, b, p = tonumber(stored[1]), tonumber(stored[2]), tonumber(stored[3])
    if begin > s then
      if begin - s == window then b = p else b = 0 end
      s, p = begin, 0
    end
  end
  local left = math.max(0, math.min(window, s + window - now))
  local used = math.ceil(b * left / window) + p
  if used >= tonumber(ARGV[i + 1]) and refused == 0 then refused = i end
  found[i] = {s, b, p}
end
if refused == 0 then
  for i, key in ipairs(KEYS) do
    local w = found[i]
    redis.call('HSET', key, 's', string.format('%.0f', w[1]), 'b', w[2], 'p', w[3] + 1)
    redis.call('PEXPIRE', key, 125000)
  end
end
return {refused, found}
";

/// Redis cannot be asked at present.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Redis does not count: {0}")]
pub struct Away(String);

impl From<Failure> for Away {
    fn from(error: Failure) -> Self {
        Self(error.to_string())
    }
}

/// What was counted under a name before the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowCount {
    /// When the present minute began, in microseconds since 1970.
    pub start: i64,
    /// Requests of the minute before.
    pub before: u32,
    /// Requests of the present minute.
    pub present: u32,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// The first name that was used up; then the request was counted at none.
    pub refused: Option<usize>,
    /// What was found under each name.
    pub windows: Vec<WindowCount>,
}

/// The shared counts.
pub struct SharedWindows {
    pool: Pool,
    script: Script,
    /// All requests of a node go over one connection, which answers them in turn.
    connection: Mutex<Option<MultiplexedConnection>>,
}

impl std::fmt::Debug for SharedWindows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedWindows").finish_non_exhaustive()
    }
}

impl SharedWindows {
    /// Counts over Redis. It need not be there yet.
    ///
    /// # Errors
    /// When the URL is not one of Redis.
    pub fn over_redis(url: &str) -> Result<Self, RedisError> {
        let pool = Config::from_url(url).create_pool(Some(Runtime::Tokio1));
        let pool = pool.map_err(|error| RedisError(error.to_string()))?;
        Ok(Self { pool, script: Script::new(SCRIPT), connection: Mutex::default() })
    }

    /// Counts a request at `now`, in microseconds since 1970, under names that each have a limit per minute.
    ///
    /// # Errors
    /// [`Away`], within a quarter of a second. The request may have been counted all the same.
    pub async fn count(&self, names: &[(String, u32)], now: i64) -> Result<Counted, Away> {
        match tokio::time::timeout(PATIENCE, self.ask(names, now)).await {
            Ok(Ok(counted)) => Ok(counted),
            Ok(Err(away)) => {
                self.lose().await;
                Err(away)
            }
            Err(_) => {
                self.lose().await;
                Err(Away("no answer in time".to_owned()))
            }
        }
    }

    async fn ask(&self, names: &[(String, u32)], now: i64) -> Result<Counted, Away> {
        let mut connection = self.connect().await?;
        let mut call = self.script.prepare_invoke();
        call.arg(now);
        for (name, limit) in names {
            call.key(format!("{PREFIX}{name}")).arg(*limit);
        }
        let (refused, windows): (usize, Vec<(i64, u32, u32)>) = call.invoke_async(&mut connection).await?;
        let windows: Vec<_> = windows
            .into_iter()
            .map(|(start, before, present)| WindowCount { start, before, present })
            .collect();
        if windows.len() != names.len() {
            return Err(Away("it answers something else".to_owned()));
        }
        Ok(Counted { refused: refused.checked_sub(1), windows })
    }

    async fn connect(&self) -> Result<MultiplexedConnection, Away> {
        let mut held = self.connection.lock().await;
        if let Some(connection) = &*held {
            return Ok(connection.clone());
        }
        let made = self.pool.get().await.map_err(|error| Away(error.to_string()))?;
        let connection = Connection::take(made);
        *held = Some(connection.clone());
        Ok(connection)
    }

    /// Whatever is wrong, the next one begins with a new connection.
    async fn lose(&self) {
        *self.connection.lock().await = None;
    }
}
