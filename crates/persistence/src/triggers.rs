//! What was registered to start flows of Cores. Secrets of webhooks come and go sealed.

use std::collections::HashMap;

use async_recursion::async_recursion as boxed;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use scaigrid_cores::triggers::{Kind, Listens, Trigger};
use scaigrid_scope::{CoreId, Instant, Name, TenantScope, TriggerId};
use serde_json::Value;

use crate::database::{Connection, Transaction, rows, with};
use crate::error::{Error, Result, column};
use crate::instant::Stamp;
use crate::json::{storable, text_storable};
use crate::schema::core_triggers;
use crate::stable::among;
pub use crate::webhooks::PreviousSecret;

const TABLE: &str = "core_triggers";

/// What a webhook's secret is sealed for; its trigger by its id.
pub fn sealing_place(id: &str) -> String {
    format!("core_triggers/{id}/secret")
}

/// What the secret that a webhook had before is sealed for.
pub fn previous_place(id: &str) -> String {
    format!("core_triggers/{id}/previous_secret")
}

type Row = (String, String, String, String, String, Value, String, Stamp);

macro_rules! columns {
    () => {
        (
            core_triggers::id,
            core_triggers::core_id,
            core_triggers::name,
            core_triggers::kind,
            core_triggers::flow,
            core_triggers::config,
            core_triggers::created_by,
            core_triggers::created_at,
        )
    };
}

fn trigger((id, _, name, kind, flow, config, by, at): Row) -> Result<Trigger> {
    let bad = |column, reason: String| Error::inconsistent(TABLE, column, &id, reason);
    let kind: Kind = column(TABLE, "kind", &id, &kind)?;
    let config = config.as_object().ok_or_else(|| bad("config", "it is no object".to_owned()))?;
    let listens = Listens::parse(kind, config).map_err(|problems| {
        let first =
            problems.as_slice().first().map(|problem| format!("{} {}", problem.field, problem.message));
        bad("config", first.unwrap_or_default())
    })?;
    Ok(Trigger {
        id: column(TABLE, "id", &id, &id)?,
        name: Name::parse(&name).map_err(|error| bad("name", error.to_string()))?,
        flow,
        listens,
        created_by: column(TABLE, "created_by", &id, &by)?,
        created_at: at.into(),
    })
}

macro_rules! of_core {
    ($scope:expr, $core:expr) => {
        core_triggers::table
            .filter(core_triggers::tenant_id.eq($scope.tenant_id().to_string()))
            .filter(core_triggers::core_id.eq($core.to_string()))
    };
}

/// The triggers of a Core, oldest first; there are few.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn list(c: &mut Connection, scope: TenantScope, core: CoreId) -> Result<Vec<Trigger>> {
    let query = of_core!(scope, core).order(core_triggers::id).select(columns!());
    let rows: Vec<Row> = with!(c, c => query.load(c).await)?;
    rows.into_iter().map(trigger).collect()
}

/// Those of several Cores, by the ids of these.
pub(crate) async fn of_cores(
    c: &mut Connection,
    scope: TenantScope,
    cores: &[&str],
) -> Result<HashMap<String, Vec<Trigger>>> {
    let mut found: HashMap<String, Vec<Trigger>> = HashMap::new();
    if cores.is_empty() {
        return Ok(found);
    }
    let query = core_triggers::table
        .filter(core_triggers::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(among(core_triggers::core_id, cores.iter().copied()))
        .order(core_triggers::id)
        .select(columns!());
    let registered: Vec<Row> = rows!(c, query)?;
    for row in registered {
        let core = row.1.clone();
        found.entry(core).or_default().push(trigger(row)?);
    }
    Ok(found)
}

/// Keeps a trigger of a Core, and the sealed secret of a webhook.
///
/// # Errors
/// [`Error::Duplicate`] when the Core has one of that name.
#[boxed]
pub async fn add(
    tx: &mut Transaction,
    scope: TenantScope,
    core: CoreId,
    new: &Trigger,
    secret: Option<&str>,
) -> Result<()> {
    let row = (
        core_triggers::id.eq(new.id.to_string()),
        core_triggers::tenant_id.eq(scope.tenant_id().to_string()),
        core_triggers::core_id.eq(core.to_string()),
        core_triggers::name.eq(text_storable(new.name.to_string())),
        core_triggers::kind.eq(new.listens.kind().as_str()),
        core_triggers::flow.eq(text_storable(new.flow.clone())),
        core_triggers::config.eq(storable(Value::Object(new.listens.config()))),
        core_triggers::secret.eq(secret.map(str::to_owned)),
        core_triggers::created_by.eq(new.created_by.to_string()),
        core_triggers::created_at.eq(Stamp(new.created_at)),
    );
    with!(tx, c => diesel::insert_into(core_triggers::table).values(row).execute(c).await)?;
    Ok(())
}

/// Removes a trigger of a Core; whether there was one.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn remove(tx: &mut Transaction, scope: TenantScope, core: CoreId, id: TriggerId) -> Result<bool> {
    let target = of_core!(scope, core).filter(core_triggers::id.eq(id.to_string()));
    Ok(with!(tx, c => diesel::delete(target).execute(c).await)? == 1)
}

/// The sealed secret of a webhook, and the one that it had before.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn secrets(
    c: &mut Connection,
    scope: TenantScope,
    core: CoreId,
    id: TriggerId,
) -> Result<Option<(String, Option<PreviousSecret>)>> {
    let query = of_core!(scope, core).filter(core_triggers::id.eq(id.to_string())).select((
        core_triggers::secret,
        core_triggers::previous_secret,
        core_triggers::previous_until,
    ));
    let found: Option<(Option<String>, Option<String>, Option<Stamp>)> =
        with!(c, c => query.get_result(c).await.optional())?;
    Ok(found.and_then(|(secret, previous, until)| {
        let previous = previous.zip(until).map(|(sealed, Stamp(until))| PreviousSecret { sealed, until });
        secret.map(|secret| (secret, previous))
    }))
}

/// Gives a webhook another sealed secret, and keeps the one before beside it.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn rotate_secret(
    tx: &mut Transaction,
    scope: TenantScope,
    (core, id): (CoreId, TriggerId),
    secret: &str,
    previous: Option<(&str, Instant)>,
) -> Result<()> {
    let target = of_core!(scope, core).filter(core_triggers::id.eq(id.to_string()));
    let update = diesel::update(target).set((
        core_triggers::secret.eq(Some(secret.to_owned())),
        core_triggers::previous_secret.eq(previous.map(|(sealed, _)| sealed.to_owned())),
        core_triggers::previous_until.eq(previous.map(|(_, until)| Stamp(until))),
    ));
    with!(tx, c => update.execute(c).await)?;
    Ok(())
}
