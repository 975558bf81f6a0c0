//! An SMTP server as a child process; see `tests/mail/server.py`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;

use crate::database;

/// A running server. Dropped, it is killed.
#[derive(Debug)]
pub struct Mailbox {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
    /// Where it is: `smtp://127.0.0.1:PORT`.
    pub url: String,
}

impl Mailbox {
    /// A server of the test's own; none where its package is not there, which is said.
    pub fn start() -> Option<Self> {
        let folder = database::service("SCAIGRID_TEST_MAIL", "folder with aiosmtpd for Python")?;
        let python = Path::new(&folder).join("bin/python");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("mail/server.py");
        let mut child = Command::new(python)
            .arg(script)
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
        let mut mailbox = Self { child, stdin, lines, url: String::new() };
        let port = mailbox.told("port ", Duration::from_secs(30)).unwrap();
        mailbox.url = format!("smtp://127.0.0.1:{port}");
        Some(mailbox)
    }

    fn told(&self, beginning: &str, patience: Duration) -> Option<String> {
        loop {
            let line = self.lines.recv_timeout(patience).ok()?;
            if let Some(rest) = line.strip_prefix(beginning) {
                return Some(rest.to_owned());
            }
        }
    }

    /// The next mail, with what was answered to it; none when none comes for so long.
    pub fn next(&self, patience: Duration) -> Option<Value> {
        self.told("mail ", patience).map(|text| serde_json::from_str(&text).unwrap())
    }

    /// What is answered to the next mail.
    pub fn answer(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").unwrap();
        self.told("noted", Duration::from_secs(30)).unwrap();
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
