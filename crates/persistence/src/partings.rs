//! What executions of other Cores are told when a Core is deleted: those that have called it wait for no answer any more, and those
//! that it has called answer nobody.

use async_recursion::async_recursion as boxed;
use diesel::sql_types::{BigInt, Binary, Integer, Text};
use diesel_async::RunQueryDsl;
use scaigrid_scope::{CoreId, TenantScope};

use crate::database::{Engine, Transaction, with};
use crate::error::Result;

/// Outcomes, encoded.
#[derive(Debug, Clone)]
pub struct Parting {
    /// What a call comes to whose execution goes.
    pub to_callers: Vec<u8>,
    /// The effect, and the outcome, by which an execution learns that nobody waits for it any more.
    pub to_called: (u32, Vec<u8>),
}

/// Tells executions of other Cores that the first `most` of a Core's are about to go: the same that
/// [`retention::remove_rows`](crate::retention::remove_rows) removes next in the same transaction, in which the Core must be held or
/// gone already.
#[boxed]
pub async fn tell_others(
    tx: &mut Transaction,
    scope: TenantScope,
    core: CoreId,
    most: i64,
    parting: &Parting,
) -> Result<()> {
    let (tenant, id) = (scope.tenant_id().to_string(), core.to_string());
    if let Engine::Postgres(c) = tx.engine()? {
        // All together in the order of their ids, as everybody locks: whoever delivers something holds who gets it.
        let hold = "SELECT id FROM executions WHERE tenant_id = $1 AND id IN (\
                    SELECT id FROM (SELECT id FROM executions WHERE tenant_id = $1 AND core_id = $2 \
                    ORDER BY id LIMIT $3) AS going \
                    UNION SELECT parent_id FROM (SELECT parent_id FROM executions \
                    WHERE tenant_id = $1 AND core_id = $2 ORDER BY id LIMIT $3) AS calling \
                    UNION SELECT id FROM executions WHERE tenant_id = $1 AND finished_at IS NULL \
                    AND parent_id IS NOT NULL AND parent_id IN (SELECT id FROM executions \
                    WHERE tenant_id = $1 AND core_id = $2 ORDER BY id LIMIT $3)) ORDER BY id FOR UPDATE";
        let hold = diesel::sql_query(hold)
            .bind::<Text, _>(tenant.clone())
            .bind::<Text, _>(id.clone())
            .bind::<BigInt, _>(most);
        hold.execute(c).await?;
    }
    tell_callers(tx, (&tenant, &id, most), &parting.to_callers).await?;
    tell_called(tx, (&tenant, &id, most), &parting.to_called).await
}

/// Answers the calls that executions of a Core were to answer.
async fn tell_callers(
    tx: &mut Transaction,
    (tenant, core, most): (&str, &str, i64),
    outcome: &[u8],
) -> Result<()> {
    let answers = "INSERT INTO execution_inbox (tenant_id, execution_id, effect, outcome) \
                   SELECT caller.tenant_id, caller.id, called.parent_effect, $1 FROM executions AS called \
                   JOIN executions AS caller \
                   ON caller.id = called.parent_id AND caller.tenant_id = called.tenant_id \
                   WHERE called.id IN (SELECT id FROM executions WHERE tenant_id = $2 AND core_id = $3 \
                   ORDER BY id LIMIT $4) AND called.finished_at IS NULL \
                   AND called.parent_effect IS NOT NULL AND caller.core_id <> $3 \
                   AND caller.finished_at IS NULL ON CONFLICT DO NOTHING";
    let answers = diesel::sql_query(answers)
        .bind::<Binary, _>(outcome.to_vec())
        .bind::<Text, _>(tenant.to_owned())
        .bind::<Text, _>(core.to_owned())
        .bind::<BigInt, _>(most);
    if with!(tx, c => answers.execute(c).await)? == 0 {
        return Ok(());
    }
    let wake = "UPDATE executions SET status = 'queued' WHERE tenant_id = $1 AND core_id <> $2 \
                AND status = 'suspended' AND id IN (SELECT parent_id FROM executions WHERE id IN (\
                SELECT id FROM executions WHERE tenant_id = $1 AND core_id = $2 ORDER BY id LIMIT $3) \
                AND parent_id IS NOT NULL AND finished_at IS NULL)";
    let wake = diesel::sql_query(wake)
        .bind::<Text, _>(tenant.to_owned())
        .bind::<Text, _>(core.to_owned())
        .bind::<BigInt, _>(most);
    with!(tx, c => wake.execute(c).await)?;
    Ok(())
}

/// Tells executions that those of a Core have called that they are to end.
async fn tell_called(
    tx: &mut Transaction,
    (tenant, core, most): (&str, &str, i64),
    (effect, outcome): &(u32, Vec<u8>),
) -> Result<()> {
    let wishes = "INSERT INTO execution_inbox (tenant_id, execution_id, effect, outcome) \
                  SELECT tenant_id, id, $1, $2 FROM executions \
                  WHERE tenant_id = $3 AND parent_id IS NOT NULL AND parent_id IN (\
                  SELECT id FROM executions WHERE tenant_id = $3 AND core_id = $4 ORDER BY id LIMIT $5) \
                  AND core_id <> $4 AND finished_at IS NULL ON CONFLICT DO NOTHING";
    let wishes = diesel::sql_query(wishes)
        .bind::<Integer, _>(effect.cast_signed())
        .bind::<Binary, _>(outcome.clone())
        .bind::<Text, _>(tenant.to_owned())
        .bind::<Text, _>(core.to_owned())
        .bind::<BigInt, _>(most);
    if with!(tx, c => wishes.execute(c).await)? == 0 {
        return Ok(());
    }
    let wake = "UPDATE executions SET status = 'queued' WHERE tenant_id = $1 AND core_id <> $2 \
                AND status = 'suspended' AND parent_id IS NOT NULL AND parent_id IN (SELECT id FROM executions \
                WHERE tenant_id = $1 AND core_id = $2 ORDER BY id LIMIT $3)";
    let wake = diesel::sql_query(wake)
        .bind::<Text, _>(tenant.to_owned())
        .bind::<Text, _>(core.to_owned())
        .bind::<BigInt, _>(most);
    with!(tx, c => wake.execute(c).await)?;
    Ok(())
}
