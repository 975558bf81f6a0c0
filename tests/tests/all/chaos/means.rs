//! What a run has at hand, and so which faults it can have.

use std::path::PathBuf;

use scaigrid_tests::{Db, Launch, ObjectServer, Place, Replicated};

use super::fault::Kind;

/// Names the kinds of faults that are wanted, with commas in between; all where it names none.
const KINDS: &str = "SCAIGRID_CHAOS_KINDS";
/// Says where the library is that shows a program another time than it is.
const FAKE_TIME: &str = "SCAIGRID_CHAOS_FAKE_TIME";

/// What there is.
#[derive(Debug)]
pub(super) struct Means<'a> {
    db: Db,
    /// The database, where it has a replica.
    pub(super) replicated: Option<&'a Replicated>,
    /// The URL of Redis.
    pub(super) redis: Option<String>,
    /// The program of an S3 server, where large values are kept by one.
    pub(super) object_server: Option<PathBuf>,
    /// Whether the database's server is nobody else's, and the run may take long.
    thorough: bool,
    /// Whether a disk can be made to look full.
    full_disk: bool,
    /// The library that fakes time.
    pub(super) fake_time: Option<PathBuf>,
}

impl<'a> Means<'a> {
    /// What there is for a run in a place.
    pub(super) fn of(place: &Place, replicated: Option<&'a Replicated>) -> Self {
        let (db, thorough) =
            (place.db(), std::env::var("SCAIGRID_CHAOS_PRIVATE").is_ok_and(|told| told == "1"));
        Self {
            db,
            replicated,
            redis: if db == Db::Postgres { Place::redis() } else { None },
            object_server: if db == Db::Postgres { ObjectServer::program() } else { None },
            thorough,
            full_disk: db == Db::Sqlite && Launch::can_limit_files(),
            fake_time: std::env::var_os(FAKE_TIME).filter(|file| !file.is_empty()).map(PathBuf::from),
        }
    }

    /// Whether nodes are started so that their files can be limited.
    pub(super) fn limits_files(&self) -> bool {
        self.full_disk
    }

    /// The kinds of faults that there can be, of those that are wanted. What is left out for want of something is said.
    pub(super) fn kinds(&self) -> Vec<Kind> {
        let concerned = wanted().into_iter().filter(|kind| self.concerns(*kind));
        let missing = |kind: &Kind| {
            self.missing(*kind).inspect(|reason| println!("skipped: {}: {reason}", kind.name())).is_some()
        };
        concerned.filter(|kind| !missing(kind)).collect()
    }

    /// Whether platforms on this database can have such a fault.
    fn concerns(&self, kind: Kind) -> bool {
        match kind {
            Kind::DatabaseCut
            | Kind::DatabaseStalled
            | Kind::DatabaseMuted
            | Kind::DatabaseHalfClosed
            | Kind::SessionsEnded
            | Kind::DatabaseCrashed
            | Kind::DatabaseLost
            | Kind::RedisCut
            | Kind::ObjectsFailing
            | Kind::ObjectsSlow
            | Kind::ObjectsHalf => self.db == Db::Postgres,
            Kind::ObjectsAway => self.object_server.is_none(),
            Kind::DiskFull => self.db == Db::Sqlite,
            _ => true,
        }
    }

    /// Why there is no such fault.
    fn missing(&self, kind: Kind) -> Option<&'static str> {
        match kind {
            Kind::RedisCut if self.redis.is_none() => Some("there is no Redis"),
            Kind::ObjectsFailing | Kind::ObjectsSlow | Kind::ObjectsHalf if self.object_server.is_none() => {
                Some("there is no S3 server")
            }
            Kind::DatabaseCrashed if !self.thorough => Some("others use the same PostgreSQL"),
            Kind::DatabaseLost if self.replicated.is_none() => {
                Some("only `cargo xtask chaos` makes a replica, where there is `pg_basebackup`")
            }
            Kind::PluginHung if !self.thorough => Some("it takes long"),
            Kind::DiskFull if !self.full_disk => {
                Some("there is no `prlimit`, or no `env` that ignores signals")
            }
            Kind::ClockStepped if !self.thorough => Some("only `cargo xtask chaos` fakes time"),
            Kind::ClockStepped if self.fake_time.is_none() => Some("there is no libfaketime"),
            _ => None,
        }
    }
}

/// The kinds of faults that are asked for.
fn wanted() -> Vec<Kind> {
    let named = std::env::var(KINDS).unwrap_or_default();
    let known = |name: &str| {
        let found = Kind::ALL.into_iter().find(|kind| kind.name() == name);
        found.unwrap_or_else(|| panic!("there is no fault {name:?}"))
    };
    if named.is_empty() { Kind::ALL.to_vec() } else { named.split(',').map(known).collect() }
}
