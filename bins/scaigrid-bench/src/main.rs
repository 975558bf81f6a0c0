//! The load generator: what a release server does per second, and what a bare program would do on the same machine.
//!
//! It starts the server itself, once per database, drives it over HTTP from one thread, and measures the floors (the
//! same bytes from a bare actix-web, the same rows from a bare handler, the same number of durable commits without our
//! code) in the same run. It prints tables and writes JSON and Markdown. Which of the house's targets the figures meet
//! is said in the report (`report/targets.rs`); a target that is missed does not fail the run, since on another machine
//! it may well be met.

mod child;
mod client;
mod floor;
mod load;
mod machine;
mod options;
mod probe;
mod report;
mod run;
mod scenario;
mod scratch;
mod stub;

use std::process::ExitCode;

use clap::Parser as _;

use crate::options::{Command, Line};

fn main() -> ExitCode {
    let outcome = match Line::parse() {
        Line { command: Some(Command::Instructions(options)), .. } => run::count(&options),
        Line { command: Some(Command::Functions(options)), .. } => run::list(&options),
        Line { command: Some(Command::FloorHttp(arguments)), .. } => floor::http::serve(&arguments),
        Line { command: Some(Command::FloorCommit(arguments)), .. } => floor::commit::serve(&arguments),
        Line { command: Some(Command::FloorRows(arguments)), .. } => floor::rows::serve(&arguments),
        Line { command: Some(Command::FloorSelect(arguments)), .. } => floor::select::serve(&arguments),
        Line { command: Some(Command::Stub), .. } => stub::serve(),
        Line { command: None, measure } => run::main(&measure),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("scaigrid-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
