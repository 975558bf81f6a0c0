//! The server's program. What it does is in the library beside it.

use std::process::ExitCode;

use scaigrid_server::settings::{self, Surroundings};

fn main() -> ExitCode {
    match settings::load(std::env::args_os(), &Surroundings::of_process()) {
        Ok(invocation) => scaigrid_server::run(invocation),
        Err(stop) => stop.report(),
    }
}
