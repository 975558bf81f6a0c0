//! Somebody who is told: an HTTP server that keeps what it is sent and answers as it is bidden.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::eventually;

/// What was received.
#[derive(Debug, Clone)]
pub struct Received {
    /// When.
    pub at: Instant,
    /// The path that it was posted to.
    pub path: String,
    /// Its headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Its body as it came.
    pub body: Vec<u8>,
}

impl Received {
    /// A header that must be there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.headers))
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// What it tells of.
    pub fn event_type(&self) -> String {
        self.json()["event_type"].as_str().unwrap().to_owned()
    }

    /// Whether both seals vouch for it.
    pub fn verify(&self, secret: &str) {
        let other = standardwebhooks::Webhook::new(secret).unwrap();
        let seconds = self.header("webhook-timestamp").parse().unwrap();
        let signature = other.sign(self.header("webhook-id"), seconds, &self.body).unwrap();
        assert_eq!(self.header("webhook-signature"), signature);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        assert!(now.abs_diff(u64::try_from(seconds).unwrap()) < 60, "{seconds}");
        assert_eq!(self.json()["event_id"], self.header("webhook-id"));
        assert_eq!(self.header("content-type"), "application/json");
        assert!(self.header("x-scaigrid-signature").starts_with("sha256="));
    }
}

/// How an answer looks.
#[derive(Debug, Clone)]
pub enum Reaction {
    /// This status, with these further header lines.
    Answer(u16, String),
    /// Nothing, for so long.
    Silence(Duration),
    /// This status, after so long.
    Late(Duration, u16),
}

#[derive(Debug, Default)]
struct State {
    received: Vec<Received>,
    script: VecDeque<Reaction>,
    always: Option<Reaction>,
}

/// A receiver on this machine.
#[derive(Debug, Clone)]
pub struct Receiver {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Receiver {
    /// A receiver that answers 200 until told otherwise.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let kept = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let kept = Arc::clone(&kept);
                std::thread::spawn(move || {
                    let _ = serve(stream, &kept);
                });
            }
        });
        Self { address, state }
    }

    /// Where it is, as an allow-list names it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a path at it.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Has the next requests answered so, one after the other.
    pub fn then(&self, reactions: impl IntoIterator<Item = Reaction>) {
        self.state.lock().unwrap().script.extend(reactions);
    }

    /// Has all requests answered so that no other answer was asked for.
    pub fn always(&self, reaction: Reaction) {
        self.state.lock().unwrap().always = Some(reaction);
    }

    /// Everything so far.
    pub fn received(&self) -> Vec<Received> {
        self.state.lock().unwrap().received.clone()
    }

    /// Waits until so many have come, and gives them.
    pub fn wait_for(&self, count: usize, patience: Duration) -> Vec<Received> {
        eventually(&format!("{count} deliveries"), patience, || {
            let received = self.received();
            (received.len() >= count).then_some(received)
        })
    }
}

fn serve(mut stream: TcpStream, state: &Mutex<State>) -> io::Result<()> {
    let mut read = Vec::new();
    let mut buffer = [0; 16 * 1024];
    let received = loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        read.extend_from_slice(&buffer[..count]);
        if let Some(received) = parse(&read) {
            break received;
        }
    };
    let reaction = {
        let mut state = state.lock().unwrap();
        state.received.push(received);
        let next = state.script.pop_front();
        next.or_else(|| state.always.clone()).unwrap_or(Reaction::Answer(200, String::new()))
    };
    let reaction = match reaction {
        Reaction::Late(time, status) => {
            std::thread::sleep(time);
            Reaction::Answer(status, String::new())
        }
        other => other,
    };
    match reaction {
        Reaction::Answer(status, headers) => {
            let body = format!("heard, {status}");
            let length = body.len();
            write!(
                stream,
                "HTTP/1.1 {status} X\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
            )
        }
        Reaction::Silence(time) | Reaction::Late(time, _) => {
            std::thread::sleep(time);
            Ok(())
        }
    }
}

fn parse(read: &[u8]) -> Option<Received> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(head) = request.parse(read).unwrap() else { return None };
    let named = request
        .headers
        .iter()
        .map(|header| (header.name.to_lowercase(), String::from_utf8_lossy(header.value).into_owned()));
    let headers: BTreeMap<String, String> = named.collect();
    let length: usize = headers.get("content-length").map_or(0, |text| text.parse().unwrap());
    let body = read[head..].to_vec();
    let path = request.path.unwrap().to_owned();
    (body.len() >= length).then(|| Received { at: Instant::now(), path, headers, body })
}
