//! What the programs of Cores declare about times, as it was when they last started or were given a new one, and the last
//! point in time of each that was served.

use async_recursion::async_recursion as boxed;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use scaigrid_ir::module::CatchUp;
use scaigrid_scope::{CoreId, Instant, TenantScope};

use crate::database::{Connection, Transaction, with};
use crate::error::{Error, Result};
use crate::instant::Stamp;
use crate::schema::core_schedules;

const TABLE: &str = "core_schedules";

/// A schedule of a Core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSchedule {
    /// The trigger's name.
    pub name: String,
    /// The flow that it starts.
    pub flow: String,
    /// The cron pattern.
    pub cron: String,
    /// The time zone.
    pub timezone: String,
    /// What becomes of points in time that were missed.
    pub catch_up: CatchUp,
    /// The last point in time that was served.
    pub last_slot: Option<Instant>,
}

const WAYS: [(CatchUp, &str); 3] =
    [(CatchUp::Skip, "skip"), (CatchUp::Latest, "latest"), (CatchUp::All, "all")];

type Row = (String, String, String, String, String, Option<Stamp>);

fn schedule((name, flow, cron, timezone, catch_up, last_slot): Row) -> Result<StoredSchedule> {
    let way = WAYS.iter().find(|(_, text)| *text == catch_up).map(|(way, _)| *way);
    let catch_up =
        way.ok_or_else(|| Error::inconsistent(TABLE, "catch_up", &name, "there is no such way"))?;
    Ok(StoredSchedule { name, flow, cron, timezone, catch_up, last_slot: last_slot.map(Instant::from) })
}

macro_rules! of_core {
    ($scope:expr, $core:expr) => {
        core_schedules::table
            .filter(core_schedules::tenant_id.eq($scope.tenant_id().to_string()))
            .filter(core_schedules::core_id.eq($core.to_string()))
    };
}

macro_rules! columns {
    () => {
        (
            core_schedules::name,
            core_schedules::flow,
            core_schedules::cron,
            core_schedules::timezone,
            core_schedules::catch_up,
            core_schedules::last_slot,
        )
    };
}

/// The schedules of a Core, by name.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn list(c: &mut Connection, scope: TenantScope, core: CoreId) -> Result<Vec<StoredSchedule>> {
    let query = of_core!(scope, core).order(core_schedules::name).limit(10_000).select(columns!());
    let rows: Vec<Row> = with!(c, c => query.load(c).await)?;
    rows.into_iter().map(schedule).collect()
}

/// A schedule by its name.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn lookup(
    c: &mut Connection,
    scope: TenantScope,
    core: CoreId,
    name: &str,
) -> Result<Option<StoredSchedule>> {
    let query = of_core!(scope, core).filter(core_schedules::name.eq(name.to_owned())).select(columns!());
    let row: Option<Row> = with!(c, c => query.get_result(c).await.optional())?;
    row.map(schedule).transpose()
}

/// Replaces the schedules of a Core.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn replace(
    tx: &mut Transaction,
    scope: TenantScope,
    core: CoreId,
    schedules: &[StoredSchedule],
) -> Result<()> {
    let old = of_core!(scope, core);
    with!(tx, c => diesel::delete(old).execute(c).await)?;
    for schedule in schedules {
        let way = WAYS.iter().find(|(way, _)| *way == schedule.catch_up).map_or("latest", |(_, text)| text);
        let row = (
            core_schedules::tenant_id.eq(scope.tenant_id().to_string()),
            core_schedules::core_id.eq(core.to_string()),
            core_schedules::name.eq(schedule.name.clone()),
            core_schedules::flow.eq(schedule.flow.clone()),
            core_schedules::cron.eq(schedule.cron.clone()),
            core_schedules::timezone.eq(schedule.timezone.clone()),
            core_schedules::catch_up.eq(way),
            core_schedules::last_slot.eq(schedule.last_slot.map(Stamp)),
        );
        with!(tx, c => diesel::insert_into(core_schedules::table).values(row).execute(c).await)?;
    }
    Ok(())
}

/// Notes the last point in time of a schedule that was served.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn served(
    tx: &mut Transaction,
    scope: TenantScope,
    core: CoreId,
    name: &str,
    slot: Instant,
) -> Result<()> {
    let target = of_core!(scope, core).filter(core_schedules::name.eq(name.to_owned()));
    let update = diesel::update(target).set(core_schedules::last_slot.eq(Some(Stamp(slot))));
    with!(tx, c => update.execute(c).await)?;
    Ok(())
}
