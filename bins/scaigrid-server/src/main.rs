//! The server's program. What it does is in the library beside it.

use std::process::ExitCode;

use scaigrid_server::settings::{self, Surroundings};

/// Half of what the server allocates ends in another thread than it began, which the C library's allocator is slow at. How it is
/// set is said in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match settings::load(std::env::args_os(), &Surroundings::of_process()) {
        Ok(invocation) => scaigrid_server::run(invocation),
        Err(stop) => stop.report(),
    }
}
