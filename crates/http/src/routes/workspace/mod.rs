//! ScaiWave: its administration under `/v1/admin`, and the rooms, notes and prompts that the settings act on.

mod ai_config;
mod audit;
mod catalog;
mod helpers;
mod memories;
mod notes;
mod participants;
mod plugins;
mod rooms;
mod stats;
mod studio;
mod studio_run;

use crate::openapi::ServiceConfig;

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    ai_config::routes(config);
    stats::routes(config);
    audit::routes(config);
    studio::routes(config);
    studio_run::routes(config);
    notes::routes(config);
    catalog::routes(config);
    plugins::routes(config);
    memories::routes(config);
    participants::routes(config);
    helpers::routes(config);
    rooms::routes(config);
}
