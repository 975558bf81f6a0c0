//! How the node does, for those who look after it.
use scaigrid_http_macros::get;

use crate::openapi::ServiceConfig;
use actix_web::web;
use scaigrid_app::App;
use scaigrid_scope::{Instant, perm};
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::Allowed;
use crate::envelope::{DataOf, Reply};
use crate::error::Error;

/// How the node does that answered.
#[derive(Debug, Serialize, ToSchema)]
struct DetailedHealth {
    /// The node that answered.
    #[schema(example = "node_01JZ8QZ5T0000000000000000A")]
    node: String,
    /// The version of the program.
    version: &'static str,
    /// The node's clock.
    #[schema(value_type = String, format = DateTime)]
    now: Instant,
    database: DatabaseHealth,
    object_store: ObjectStoreHealth,
    bus: BusHealth,
    /// How many modules there are.
    modules: usize,
}

/// How the database does.
#[derive(Debug, Serialize, ToSchema)]
struct DatabaseHealth {
    /// `sqlite` or `postgresql`.
    kind: &'static str,
    /// Whether it answers.
    reachable: bool,
    /// Whether other nodes can use it too.
    shared: bool,
}

/// How the object store does.
#[derive(Debug, Serialize, ToSchema)]
struct ObjectStoreHealth {
    /// Whether objects can be kept at present.
    reachable: bool,
}

/// How the bus does.
#[derive(Debug, Serialize, ToSchema)]
struct BusHealth {
    /// Whether other nodes can be heard at present.
    connected: bool,
}

/// How the node does, in detail.
#[utoipa::path(
    tag = "operations",
    operation_id = "health_detailed",
    responses((status = 200, body = DataOf<DetailedHealth>))
)]
#[get("/health/detailed")]
async fn health_detailed(
    caller: Allowed<perm::AdminAccess>,
    app: web::Data<App>,
) -> Result<Reply<DetailedHealth>, Error> {
    let found = app.detailed_standing(&caller).await;
    Ok(Reply::ok(DetailedHealth {
        node: found.node.to_string(),
        version: env!("CARGO_PKG_VERSION"),
        now: found.now,
        database: DatabaseHealth {
            kind: found.database_kind,
            reachable: found.standing.database,
            shared: found.shared,
        },
        object_store: ObjectStoreHealth { reachable: found.standing.objects },
        bus: BusHealth { connected: found.standing.bus },
        modules: found.standing.modules,
    }))
}

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config.service(health_detailed);
}
