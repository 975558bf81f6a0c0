//! Statistics of a tenant: figures that those who write keep (`crates/persistence/src/tallies.rs`), and the duty of drawing them
//! together.

use std::collections::BTreeMap;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use scaigrid_checkpoints::CheckpointStatus;
use scaigrid_cores::Status;
use scaigrid_persistence::tallies::{self, Counts};
use scaigrid_persistence::tenants;
use scaigrid_scope::{Authorized, Instant, LevelScope, perm};
use scaigrid_workspace::ParticipantKind;
use time::{Date, OffsetDateTime, Time};

use crate::{App, Error};

pub use scaigrid_persistence::tallies::{Usage, Used};

/// Rows of each kind that are drawn together in one transaction.
const AT_ONCE: i64 = 5_000;
/// Such transactions, one after the other.
const ROUNDS: u32 = 50;

/// A period: from an instant on, and before another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// Its first instant.
    pub since: Instant,
    /// The instant that it ends before.
    pub until: Instant,
}

impl Period {
    /// How long it may be.
    pub const LONGEST: Duration = Duration::from_hours(400 * 24);

    /// The period of a request. An end that is not given is that of the present calendar month in UTC.
    ///
    /// # Errors
    /// [`Error::Invalid`] for one that ends before it begins, or is longer than [`Self::LONGEST`].
    pub fn of(since: Option<Instant>, until: Option<Instant>, now: Instant) -> Result<Self, Error> {
        let (first, end) = month(now);
        let (since, until) = (since.unwrap_or(first), until.unwrap_or(end));
        if since >= until {
            return Err(Error::invalid("since", "must be before the end of the period"));
        }
        if until.since(since) > Self::LONGEST {
            return Err(Error::invalid(
                "until",
                "must be at most 400 days after the beginning of the period",
            ));
        }
        Ok(Self { since, until })
    }
}

/// The first instant of a calendar month in UTC, and that of the next.
fn month(now: Instant) -> (Instant, Instant) {
    let date = now.to_datetime().date();
    let next = date.month().next();
    let year = if date.month() == time::Month::December { date.year() + 1 } else { date.year() };
    let first = |year, month| Date::from_calendar_date(year, month, 1);
    let midnight = |date: Date| Instant::from_datetime(OffsetDateTime::new_utc(date, Time::MIDNIGHT));
    let begin = first(date.year(), date.month()).map_or(now, midnight);
    // There is none after the last month that can be told.
    (begin, first(year, next).map_or(now, midnight))
}

/// How many there are, and how many of each kind: all kinds that there can be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// All.
    pub total: u64,
    /// By kind.
    pub by: BTreeMap<String, u64>,
}

impl Counted {
    fn of(counts: Counts, kinds: impl IntoIterator<Item = &'static str>) -> Self {
        let mut by: BTreeMap<String, u64> = kinds.into_iter().map(|kind| (kind.to_owned(), 0)).collect();
        by.extend(counts);
        Self { total: by.values().sum(), by }
    }
}

/// What there is in a tenant, and what its calls of models have used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statistics {
    /// Rooms, by status.
    pub rooms: Counted,
    /// Participants, by kind.
    pub participants: Counted,
    /// Cores, by status.
    pub cores: Counted,
    /// Checkpoints, by status.
    pub checkpoints: Counted,
    /// Large values in the store, and pictures of Cores.
    pub objects: u64,
    /// The bytes of these.
    pub bytes: u64,
    /// How many bytes there may be; none where there is no limit.
    pub limit_bytes: Option<u64>,
    /// The period that the usage is of.
    pub period: Period,
    /// What was used in it.
    pub usage: Usage,
}

impl App {
    /// The statistics of the caller's tenant, with what was used in a period.
    ///
    /// # Errors
    /// As [`Period::of`]; the database's.
    #[boxed]
    pub async fn statistics(
        &self,
        caller: &Authorized<perm::AdminAccess>,
        since: Option<Instant>,
        until: Option<Instant>,
    ) -> Result<Statistics, Error> {
        let period = Period::of(since, until, self.now())?;
        let scope = caller.tenant_scope();
        let mut connection = self.0.database.read().await?;
        let figures = tallies::read(&mut connection, scope).await?;
        let usage = tallies::usage(&mut connection, scope, period.since, period.until).await?;
        let level = LevelScope::Tenant(scope);
        let tenant = tenants::lookup(&mut connection, level, scope.tenant_id()).await?;
        Ok(Statistics {
            rooms: Counted::of(figures.rooms, ["open", "archived"]),
            participants: Counted::of(
                figures.participants,
                ParticipantKind::ALL.iter().map(|kind| kind.as_str()),
            ),
            cores: Counted::of(figures.cores, Status::ALL.iter().map(|status| status.as_str())),
            checkpoints: Counted::of(
                figures.checkpoints,
                CheckpointStatus::ALL.iter().map(|status| status.as_str()),
            ),
            objects: figures.objects,
            bytes: figures.bytes,
            limit_bytes: tenant.and_then(|tenant| tenant.limits.max_storage_bytes),
            period,
            usage,
        })
    }

    /// Draws together what writers have added to figures since, as far as that is done soon; how many rows that were. All nodes may do
    /// so at the same time.
    ///
    /// # Errors
    /// The database's. What was drawn together until then stays so.
    #[boxed]
    pub async fn fold_figures(&self) -> Result<u64, Error> {
        // The writer of a file folds as it writes.
        if !self.0.database.is_shared() {
            return Ok(0);
        }
        let mut all = 0;
        for _ in 0..ROUNDS {
            let mut tx = self.0.database.begin().await?;
            let folded = tallies::fold(&mut tx, &self.0.system, AT_ONCE).await?;
            tx.commit().await?;
            all += folded as u64;
            if i64::try_from(folded).is_ok_and(|folded| folded < AT_ONCE) {
                break;
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Instant {
        Instant::parse(text).unwrap()
    }

    #[test]
    fn what_is_not_said_is_the_present_month() {
        let of =
            |since: Option<&str>, until: Option<&str>, now| Period::of(since.map(at), until.map(at), at(now));
        let november = Period { since: at("2026-11-01T00:00:00Z"), until: at("2026-12-01T00:00:00Z") };
        for now in ["2026-11-01T00:00:00Z", "2026-11-30T23:59:59.999999Z", "2026-12-01T00:30:00+01:00"] {
            assert_eq!(of(None, None, now).unwrap(), november, "{now}");
        }
        let december = of(None, None, "2026-12-31T12:00:00Z").unwrap();
        assert_eq!((december.since, december.until), (november.until, at("2027-01-01T00:00:00Z")));
        let since = of(Some("2026-10-15T10:00:00Z"), None, "2026-11-05T00:00:00Z").unwrap();
        assert_eq!((since.since, since.until), (at("2026-10-15T10:00:00Z"), november.until));
    }

    #[test]
    fn a_period_goes_forward_and_ends() {
        let day = Duration::from_hours(24);
        let now = at("2026-11-05T00:00:00Z");
        let of = |since, until| Period::of(Some(since), Some(until), now);
        assert!(of(now, now).is_err());
        assert!(of(now.plus(day), now).is_err());
        assert!(of(now, now.plus(Duration::from_micros(1))).is_ok());
        assert!(of(now, now.plus(400 * day)).is_ok());
        assert!(of(now, now.plus(400 * day).plus(Duration::from_micros(1))).is_err());
        assert!(
            Period::of(None, Some(at("2026-10-01T00:00:00Z")), now).is_err(),
            "it has ended before the month"
        );
    }

    #[test]
    fn kinds_that_there_are_none_of_are_told() {
        let counts = Counts::from([("a".to_owned(), 2), ("unknown".to_owned(), 1)]);
        let counted = Counted::of(counts, ["a", "b"]);
        assert_eq!(counted.total, 3);
        assert_eq!(
            counted.by,
            BTreeMap::from([("a".to_owned(), 2), ("b".to_owned(), 0), ("unknown".to_owned(), 1)])
        );
    }
}
