//! A real S3 server of a test's own, and somebody in between who does harm to what it answers.

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::child;
use crate::database::service;

/// Names the server's program.
const VARIABLE: &str = "SCAIGRID_TEST_S3";
const ACCESS: &str = "scaigrid-test";
const SECRET: &str = "a-secret-of-the-tests";
const BUCKET: &str = "objects";
/// How long it may take to answer.
const START: Duration = Duration::from_secs(20);
/// In how many pieces a slow answer comes.
const PIECES: usize = 4;
/// What a store says that fails.
const COMPLAINT: &str = "<?xml version=\"1.0\"?><Error><Code>InternalError</Code></Error>";

/// What becomes of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// They arrive.
    None,
    /// The server is not even asked, and is said to fail.
    Failing,
    /// They come in four pieces, each of them so late.
    Slow(Duration),
    /// What was asked is done; the connection ends in the midst of the body, or of the head where there is no body.
    Half,
}

#[derive(Debug)]
struct Between {
    server: SocketAddr,
    harm: Mutex<Harm>,
    /// How many answers were harmed.
    harmed: AtomicUsize,
}

/// A running server with a bucket. Dropped, it is killed.
#[derive(Debug)]
pub struct ObjectServer {
    child: Child,
    /// Where to connect: to whoever is in between.
    address: SocketAddr,
    between: Arc<Between>,
}

impl ObjectServer {
    /// The server's program; none where there is none, which is printed.
    pub fn program() -> Option<PathBuf> {
        service(VARIABLE, "S3 server").map(Into::into)
    }

    /// Starts the server, with its files in a folder.
    pub fn start(program: &Path, folder: &Path) -> Self {
        std::fs::create_dir_all(folder.join(BUCKET)).unwrap();
        // Another test may take the port in between; then there is another port.
        for _ in 0..10 {
            let server = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let port = server.port().to_string();
            let mut words = vec![OsString::from(program)];
            words.extend(["--host", "127.0.0.1", "--port", &port].map(OsString::from));
            words.extend(["--access-key", ACCESS, "--secret-key", SECRET].map(OsString::from));
            words.push(folder.into());
            let mut command = child::command(&words, None, "KILL");
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            if answers(&mut child, server) {
                let between =
                    Arc::new(Between { server, harm: Mutex::new(Harm::None), harmed: AtomicUsize::new(0) });
                return Self { child, address: stand_between(Arc::clone(&between)), between };
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("the S3 server does not start")
    }

    /// What a node has to be told to keep its objects there.
    pub fn settings(&self) -> [(&'static str, String); 4] {
        [
            ("SCAIGRID_OBJECT_STORE", format!("s3://{BUCKET}")),
            ("SCAIGRID_S3_ENDPOINT", format!("http://{}", self.address)),
            ("SCAIGRID_S3_ACCESS_KEY_ID", ACCESS.to_owned()),
            ("SCAIGRID_S3_SECRET_ACCESS_KEY", SECRET.to_owned()),
        ]
    }

    /// Has harm done to all that is asked from now on, or none.
    pub fn harm(&self, harm: Harm) {
        *self.between.harm.lock().unwrap() = harm;
    }

    /// How many answers were harmed so far.
    pub fn harmed(&self) -> usize {
        self.between.harmed.load(Ordering::SeqCst)
    }
}

impl Drop for ObjectServer {
    fn drop(&mut self) {
        // Failing means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn answers(child: &mut Child, server: SocketAddr) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < START && child.try_wait().unwrap().is_none() {
        if TcpStream::connect(server).is_ok() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

fn stand_between(between: Arc<Between>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let between = Arc::clone(&between);
            // An error is one of the two that went away.
            std::thread::spawn(move || drop(between.pass_on(client)));
        }
    });
    address
}

impl Between {
    fn pass_on(&self, mut client: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        let Some(request) = receive(&mut client)? else { return Ok(()) };
        let harm = *self.harm.lock().unwrap();
        if harm != Harm::None {
            self.harmed.fetch_add(1, Ordering::SeqCst);
        }
        if harm == Harm::Failing {
            let length = COMPLAINT.len();
            return write!(
                client,
                "HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/xml\r\nContent-Length: {length}\r\n\
                 Connection: close\r\n\r\n{COMPLAINT}"
            );
        }
        let mut server = TcpStream::connect(self.server)?;
        server.write_all(&request)?;
        let mut answer = Vec::new();
        server.read_to_end(&mut answer)?;
        match harm {
            Harm::None | Harm::Failing => client.write_all(&answer),
            Harm::Slow(pause) => {
                for piece in answer.chunks(answer.len().div_ceil(PIECES).max(1)) {
                    std::thread::sleep(pause);
                    client.write_all(piece)?;
                }
                Ok(())
            }
            Harm::Half => client.write_all(&answer[..half(&answer)]),
        }
    }
}

/// A request, made to be the only one of its connection, so that the answer to it ends where that does. The signature does not cover
/// this.
fn receive(client: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let (mut read, mut piece) = (Vec::new(), [0; 16 * 1024]);
    loop {
        let count = client.read(&mut piece)?;
        if count == 0 {
            return Ok(None);
        }
        read.extend_from_slice(&piece[..count]);
        let Some(end) = end_of_head(&read) else { continue };
        if read.len() >= end + 4 + length_of_body(&read[..end]) {
            drop(read.splice(end..end, *b"\r\nConnection: close"));
            return Ok(Some(read));
        }
    }
}

/// Where the empty line is that ends a head.
fn end_of_head(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n")
}

/// How long a head says that the body is behind it.
fn length_of_body(head: &[u8]) -> usize {
    let head = String::from_utf8_lossy(head);
    let mut named = head.lines().filter_map(|line| line.split_once(':'));
    let length = named.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    length.and_then(|(_, text)| text.trim().parse().ok()).unwrap_or_default()
}

/// How much of an answer is half of it: of its body, where it has one.
fn half(answer: &[u8]) -> usize {
    match end_of_head(answer).map(|end| end + 4) {
        Some(body) if body < answer.len() => body + (answer.len() - body) / 2,
        _ => answer.len() / 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_an_answer_is_no_answer() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody";
        assert_eq!(&whole[..half(whole)], b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbo");
        let bare = b"HTTP/1.1 204 No\r\n\r\n";
        assert_eq!(&bare[..half(bare)], &bare[..9]);
    }
}
