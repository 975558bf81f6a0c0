//! Instants in SQL: `timestamptz` on PostgreSQL, integer microseconds since the Unix epoch on SQLite.

use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::pg::{Pg, PgValue};
use diesel::query_builder::QueryId;
use diesel::serialize::{self, IsNull, Output, ToSql};
use diesel::sql_types::{BigInt, SqlType};
use diesel::sqlite::{Sqlite, SqliteValue};
use scaigrid_scope::Instant;

/// The SQL type of instants.
#[derive(Debug, Clone, Copy, Default, SqlType, QueryId)]
#[diesel(postgres_type(oid = 1184, array_oid = 1185))]
#[diesel(sqlite_type(name = "Long"))]
pub struct Moment;

/// An [`Instant`] on its way to or from a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, AsExpression, FromSqlRow)]
#[diesel(sql_type = Moment)]
pub(crate) struct Stamp(pub(crate) Instant);

impl From<Instant> for Stamp {
    fn from(instant: Instant) -> Self {
        Self(instant)
    }
}

impl From<Stamp> for Instant {
    fn from(stamp: Stamp) -> Self {
        stamp.0
    }
}

/// PostgreSQL counts microseconds from the beginning of the year 2000, UTC.
const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;

impl ToSql<Moment, Pg> for Stamp {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        // An instant is at most the year 9999: the difference cannot overflow.
        let micros = self.0.micros() - POSTGRES_EPOCH_MICROS;
        <i64 as ToSql<BigInt, Pg>>::to_sql(&micros, &mut out.reborrow())
    }
}

impl FromSql<Moment, Pg> for Stamp {
    fn from_sql(bytes: PgValue<'_>) -> deserialize::Result<Self> {
        let micros = <i64 as FromSql<BigInt, Pg>>::from_sql(bytes)?;
        Ok(Self(Instant::from_micros(micros.saturating_add(POSTGRES_EPOCH_MICROS))))
    }
}

impl ToSql<Moment, Sqlite> for Stamp {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        out.set_value(self.0.micros());
        Ok(IsNull::No)
    }
}

impl FromSql<Moment, Sqlite> for Stamp {
    fn from_sql(value: SqliteValue<'_, '_, '_>) -> deserialize::Result<Self> {
        let micros = <i64 as FromSql<BigInt, Sqlite>>::from_sql(value)?;
        Ok(Self(Instant::from_micros(micros)))
    }
}
