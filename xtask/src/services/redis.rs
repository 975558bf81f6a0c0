//! A private Redis that keeps nothing.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use super::server::{self, Lifetime, Plan, Server};
use crate::process;

/// Redis's program.
pub(super) fn find() -> Option<PathBuf> {
    process::find_program("redis-server")
}

/// Starts Redis with its working folder in `folder`.
pub(super) fn start(program: &Path, folder: &Path, lifetime: Lifetime) -> anyhow::Result<Server> {
    let password = server::password()?;
    let port = server::free_port()?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut command = server::command(program, None, lifetime, "TERM");
    // The settings come on standard input, where the password is not seen by other users.
    command.arg("-");
    Server::start(Plan {
        name: "Redis",
        command,
        log: folder.join("redis.log"),
        farewell: Signal::TERM,
        url: format!("redis://default:{password}@{address}/0"),
        input: format!(
            "bind {}\nport {port}\nrequirepass {password}\nsave \"\"\nappendonly no\ndir \"{}\"\n",
            Ipv4Addr::LOCALHOST,
            folder.display()
        ),
        ready: &|| answers(address, &password),
    })
}

fn answers(address: SocketAddr, password: &str) -> bool {
    let limit = Duration::from_secs(1);
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, limit)?;
        stream.set_read_timeout(Some(limit))?;
        stream.write_all(format!("AUTH default {password}\r\nPING\r\nQUIT\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.take(256).read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.contains("+PONG"))
}
