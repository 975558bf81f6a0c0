//! The gauges of the metrics that need the database, and those that need a look at something: set from time to time,
//! whether or not anybody reads them, so that reading costs nothing.

use async_recursion::async_recursion as boxed;
use metrics::gauge;
use scaigrid_persistence::gauges::{self, Gauges};
use scaigrid_scope::Instant;

use crate::{App, Error};

impl App {
    /// Looks how the installation stands and sets the gauges. Costs a dozen looks into indexes, however much there is.
    ///
    /// # Errors
    /// The database's; gauges that need it keep what they said then.
    #[boxed]
    pub async fn measure(&self) -> Result<(), Error> {
        let pool = self.0.database.pool();
        set("scaigrid_database_connections", "open", pool.open);
        set("scaigrid_database_connections", "idle", pool.idle);
        set("scaigrid_database_connections", "most", pool.most);
        gauge!("scaigrid_database_waiting").set(precise(pool.waiting));
        let breakers = self.0.engine.models().breakers();
        set("scaigrid_model_breakers", "open", breakers.open);
        set("scaigrid_model_breakers", "half_open", breakers.half_open);
        let mut connection = self.0.database.read().await?;
        let found = gauges::look(&mut connection, &self.0.system, self.now()).await?;
        drop(connection);
        show(&found, self.now());
        Ok(())
    }
}

fn show(found: &Gauges, now: Instant) {
    let ago = |at: Option<Instant>| at.map_or(0.0, |at| now.since(at).as_secs_f64());
    count("scaigrid_executions", "queued", found.queued);
    count("scaigrid_executions", "running", found.running);
    gauge!("scaigrid_queue_oldest_seconds").set(ago(found.oldest_queued));
    gauge!("scaigrid_checkpoints_open").set(whole(found.open_checkpoints));
    gauge!("scaigrid_checkpoints_oldest_seconds").set(ago(found.oldest_checkpoint));
    gauge!("scaigrid_timers_due").set(whole(found.timers_due));
    gauge!("scaigrid_timers_late_seconds").set(ago(found.first_timer));
    gauge!("scaigrid_webhook_deliveries_due").set(whole(found.deliveries_due));
    gauge!("scaigrid_webhook_deliveries_late_seconds").set(ago(found.first_delivery));
    gauge!("scaigrid_audit_unsealed").set(whole(found.unsealed));
    gauge!("scaigrid_nodes").set(whole(found.nodes));
    gauge!("scaigrid_leases_overdue_seconds").set(ago(found.first_lease));
}

fn set(name: &'static str, state: &'static str, number: usize) {
    gauge!(name, "state" => state).set(precise(number));
}

fn count(name: &'static str, status: &'static str, number: i64) {
    gauge!(name, "status" => status).set(whole(number));
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
const fn precise(number: usize) -> f64 {
    number as f64
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
const fn whole(number: i64) -> f64 {
    number as f64
}
