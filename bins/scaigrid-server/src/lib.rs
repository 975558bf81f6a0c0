//! The server's program: settings, and what is put together from them.
//!
//! Composition only: adapters are opened, the engine and the application stand on them, the edge on those. What any of
//! them does is decided in its own room.

mod admin;
pub mod clock;
mod compose;
mod files;
pub mod limits;
mod logging;
mod manifests;
mod measuring;
mod serve;
pub mod settings;

use std::process::ExitCode;

use anyhow::Context as _;

use settings::{Command, Invocation};

/// Does what the command line asks for; the exit code is 2 for what the operator must put right before a start, and 1 for
/// what went wrong while running.
pub fn run(invocation: Invocation) -> ExitCode {
    let Invocation { command, settings, warnings } = invocation;
    let outcome = match command {
        Command::Openapi => print_document(),
        Command::Migrate => in_runtime(compose::migrate(&settings)),
        Command::Serve => {
            logging::start(&settings);
            for warning in warnings {
                tracing::warn!("{warning}");
            }
            in_runtime(serve::serve(&settings))
        }
        Command::Admin { json, key, task } => in_runtime(admin::administer(&settings, key, json, task)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(if error.is::<files::Unusable>() { 2 } else { 1 })
        }
    }
}

fn in_runtime(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.context("the runtime cannot be started")?.block_on(work)
}

fn print_document() -> anyhow::Result<()> {
    let document = scaigrid_http::openapi::document(scaigrid_http::routes::all)?;
    println!("{}", document.to_pretty_json()?);
    Ok(())
}
