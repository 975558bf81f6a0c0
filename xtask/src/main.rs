//! Development tasks: `cargo xtask <task>`.
//!
//! This crate stays small so that it builds in seconds. It knows cargo, the two services that the tests need,
//! and the layers of the house; it does not link any crate of the house, and what is heavy (the server, the
//! load generator) it runs as a program of its own.

mod admin;
mod bench;
mod chaos;
mod check;
mod conformance;
mod docs;
mod fuzz;
mod layers;
mod links;
mod process;
mod release;
mod services;
mod steps;
mod test;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::process::Signals;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Development tasks of scaigrid")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Format check, lints, layers, links, and every test on SQLite and PostgreSQL
    Test(test::Arguments),
    /// Format check, lints, layers and links
    Check,
    /// The dependency rules of the house
    Layers(layers::Arguments),
    /// PostgreSQL and Redis for tests
    #[command(subcommand)]
    Services(services::Task),
    /// The Rust documentation and docs/openapi.json
    Docs(docs::Arguments),
    /// The server's program as it is installed: optimised, what it runs beside each other
    Release(release::Arguments),
    /// The load generator against that program
    Bench(bench::Arguments),
    /// Faults of all kinds under load, drawn from a seed
    Chaos(chaos::Arguments),
    /// The fuzz targets, for as long as wanted
    Fuzz(fuzz::Arguments),
    /// Schemathesis over the whole API, with as many examples as wanted
    Conformance(conformance::Arguments),
    /// The administration of the server's program, built first
    Admin(admin::Arguments),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.task) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> anyhow::Result<ExitCode> {
    let signals = Signals::install()?;
    match task {
        Task::Test(arguments) => test::run(&arguments, &signals),
        Task::Check => Ok(check::run(&signals)),
        Task::Layers(arguments) => layers::run(&arguments),
        Task::Services(task) => services::run(&task, &signals),
        Task::Docs(arguments) => docs::run(&arguments, &signals),
        Task::Release(arguments) => release::run(&arguments, &signals),
        Task::Bench(arguments) => bench::run(&arguments, &signals),
        Task::Chaos(arguments) => chaos::run(&arguments, &signals),
        Task::Fuzz(arguments) => fuzz::run(&arguments, &signals),
        Task::Conformance(arguments) => conformance::run(&arguments, &signals),
        Task::Admin(arguments) => admin::run(&arguments, &signals),
    }
}
