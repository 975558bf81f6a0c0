//! The routes of the module `scaicore`: Cores, their executions, their checkpoints.

mod api;
mod avatar;
mod checkpoint_views;
mod checkpoints;
mod conversations;
mod cores;
mod debug;
mod delegation;
mod events;
mod executions;
mod forms;
mod handling;
mod installed;
mod lifecycle;
mod links;
mod logs;
mod memory;
mod plugins;
mod progress;
mod publication;
mod triggers;
mod versions;
mod wire;

pub(super) use api::texts;

use crate::openapi::ServiceConfig;

/// Every route of the module.
pub(crate) fn routes(config: &mut ServiceConfig<'_>) {
    config
        // What programs call all the time comes first.
        .service(executions::invoke)
        .service(checkpoints::resolve)
        .service(executions::get)
        // Before `cores/{core_id}`, which would take these words for ids.
        .service(cores::parse_bundle)
        .service(cores::create)
        .service(cores::list)
        .service(cores::get)
        .service(cores::replace)
        .service(cores::delete)
        .service(lifecycle::start)
        .service(lifecycle::stop)
        .service(lifecycle::restart)
        .service(lifecycle::pause)
        .service(lifecycle::resume)
        .service(lifecycle::state)
        .service(avatar::set)
        .service(avatar::get)
        .service(delegation::delegate)
        .service(delegation::get)
        .service(delegation::replace)
        .service(delegation::revoke)
        .service(publication::publish)
        .service(publication::unpublish)
        .service(publication::sync)
        .service(conversations::list)
        .service(conversations::get)
        .service(conversations::erase)
        .service(versions::list)
        .service(versions::get)
        .service(versions::roll_back)
        .service(executions::list)
        .service(executions::cancel)
        .service(executions::history)
        .service(progress::stream)
        .service(debug::state)
        .service(debug::retry)
        .service(debug::fork)
        .service(logs::of_execution)
        .service(logs::of_core)
        .service(logs::stream)
        .service(memory::list)
        .service(memory::get)
        .service(debug::set)
        .service(debug::list)
        .service(debug::remove)
        .service(debug::step)
        .service(debug::inspect)
        .service(events::send)
        .service(events::history)
        .service(checkpoints::all)
        .service(handling::stream)
        .service(handling::bulk)
        .service(handling::claim)
        .service(handling::release)
        .service(handling::decision_record)
        .service(links::make)
        .service(links::show)
        .service(links::resolve)
        .service(checkpoints::inbox)
        .service(checkpoints::get)
        .service(checkpoints::cancel)
        .service(checkpoints::reassign)
        .service(checkpoints::history)
        .service(plugins::available)
        .service(plugins::list)
        .service(plugins::register)
        .service(plugins::get)
        .service(plugins::update)
        .service(plugins::remove)
        .service(plugins::refresh)
        .service(plugins::accept)
        .service(installed::list)
        .service(installed::install)
        .service(installed::update)
        .service(installed::uninstall)
        .service(triggers::register)
        .service(triggers::list)
        .service(triggers::get)
        .service(triggers::remove)
        .service(triggers::rotate_secret)
        .service(api::spec)
        .service(api::document)
        .service(api::call_get)
        .service(api::call_post)
        .service(api::call_put)
        .service(api::call_patch)
        .service(api::call_delete);
}
