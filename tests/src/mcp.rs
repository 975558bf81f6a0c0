//! A server of the Model Context Protocol as a child process; see `tests/mcp/server.py`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::database;

/// A running server. Dropped, it is killed.
#[derive(Debug)]
pub struct McpServer {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
    /// Where it is.
    pub endpoint: String,
}

impl McpServer {
    /// A server of the test's own; none where its package is not there, which is said. `--stateless` has it keep no
    /// sessions, `--json` answer without events.
    pub fn start(arguments: &[&str]) -> Option<Self> {
        let folder = database::service("SCAIGRID_TEST_MCP", "folder with the MCP SDK for Python")?;
        let python = Path::new(&folder).join("bin/python");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("mcp/server.py");
        let setpriv = Path::new("/usr/bin/setpriv");
        let mut command = if setpriv.is_file() {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL", "--"]).arg(python);
            command
        } else {
            Command::new(python)
        };
        let mut child = command
            .arg(script)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (told, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = told.send(line);
            }
        });
        let mut server = Self { child, stdin, lines, endpoint: String::new() };
        server.endpoint = server.told("endpoint ");
        Some(server)
    }

    fn told(&self, beginning: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(Duration::from_secs(30)).unwrap();
            if let Some(rest) = line.strip_prefix(beginning) {
                return rest.to_owned();
            }
        }
    }

    /// Changes what its tool `add` says of itself.
    pub fn describe(&mut self, text: &str) {
        writeln!(self.stdin, "describe {text}").unwrap();
        self.told("described");
    }
}

impl Drop for McpServer {
    fn drop(&mut self) {
        // Failing means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
