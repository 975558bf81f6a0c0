//! A remote module: an HTTP server on this machine that keeps what it is asked, and answers as its paths say.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tungstenite::handshake::server::{ErrorResponse, Request, Response};

/// What was asked.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The method.
    pub method: String,
    /// The target, as it stood in the request.
    pub target: String,
    /// The headers, names in lower case; of several of one name the last.
    pub headers: BTreeMap<String, String>,
    /// How long the body was, if all of it came.
    pub body: Option<usize>,
}

#[derive(Debug)]
struct State {
    seen: Mutex<Vec<Seen>>,
    health: AtomicU16,
    /// Requests that are under way.
    busy: AtomicUsize,
    /// Connections that there have been.
    connections: AtomicUsize,
    go_on: Mutex<Receiver<()>>,
}

/// A running upstream, at the path `/base`. It has:
///
/// - `/health`, which answers as it is told, and `/alive`, which is always well;
/// - `/echo`, which tells what was asked;
/// - `/pieces`, whose second piece comes once it is let go on;
/// - `/silent`, which answers nothing; `/stall`, `/half` and `/garbage`, which do not answer well;
/// - `/answer/{status}`, without a body; `/page`, with all kinds of headers;
/// - `/socket`, a WebSocket that gives back what it gets.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    state: Arc<State>,
    let_go: Sender<()>,
}

impl Upstream {
    /// Starts one.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (let_go, go_on) = channel();
        let state = Arc::new(State {
            seen: Mutex::default(),
            health: AtomicU16::new(200),
            busy: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            go_on: Mutex::new(go_on),
        });
        let kept = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let state = Arc::clone(&kept);
                std::thread::spawn(move || {
                    state.connections.fetch_add(1, Ordering::SeqCst);
                    // An error is a peer that went away.
                    let _ = serve(stream, &state);
                });
            }
        });
        Self { address, state, let_go }
    }

    /// Where it is, for a manifest.
    pub fn endpoint(&self) -> String {
        format!("http://{}/base", self.address)
    }

    /// The last thing that it was asked, but for its health.
    pub fn last(&self) -> Seen {
        self.state.seen.lock().unwrap().last().cloned().unwrap()
    }

    /// How many things it was asked, but for its health.
    pub fn count(&self) -> usize {
        self.state.seen.lock().unwrap().len()
    }

    /// How many connections there have been.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// How many requests are under way.
    pub fn busy(&self) -> usize {
        self.state.busy.load(Ordering::SeqCst)
    }

    /// What its health path answers from now on; 0 is nothing.
    pub fn set_health(&self, status: u16) {
        self.state.health.store(status, Ordering::SeqCst);
    }

    /// Lets the next piece go.
    pub fn let_go(&self) {
        self.let_go.send(()).unwrap();
    }
}

fn serve(stream: TcpStream, state: &State) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    loop {
        if reader.fill_buf()?.starts_with(b"GET /base/socket") {
            let _busy = Busy::with(state);
            socket(Both { reader, writer }, state);
            return Ok(());
        }
        let Some(mut seen) = head(&mut reader)? else { return Ok(()) };
        let path = seen.target.split('?').next().unwrap_or_default().to_owned();
        if path == "/base/health" {
            match state.health.load(Ordering::SeqCst) {
                0 => std::thread::sleep(Duration::from_secs(5)),
                status => write!(writer, "HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n")?,
            }
            continue;
        }
        if path == "/base/alive" {
            write!(writer, "HTTP/1.1 200 X\r\nContent-Length: 0\r\n\r\n")?;
            continue;
        }
        let _busy = Busy::with(state);
        if path == "/base/silent" {
            state.seen.lock().unwrap().push(seen);
            // Until whoever asked has gone.
            let _ = reader.read(&mut [0; 1]);
            return Ok(());
        }
        let small = body(&seen, &mut reader);
        seen.body = small.as_ref().ok().map(|(length, _)| *length);
        state.seen.lock().unwrap().push(seen.clone());
        let (_, text) = small?;
        if !answer(&mut writer, &seen, &path, &text, state)? {
            let _ = writer.shutdown(Shutdown::Both);
            return Ok(());
        }
    }
}

/// A request under way.
struct Busy<'a>(&'a State);

impl<'a> Busy<'a> {
    fn with(state: &'a State) -> Self {
        state.busy.fetch_add(1, Ordering::SeqCst);
        Self(state)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Both halves of a connection, of which something may have been read already.
struct Both {
    reader: BufReader<TcpStream>,
    writer: TcpStream,
}

impl Read for Both {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }
}

impl Write for Both {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

fn head(reader: &mut BufReader<TcpStream>) -> io::Result<Option<Seen>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut parts = line.split_whitespace();
    let mut part = || parts.next().unwrap_or_default().to_owned();
    let mut seen = Seen { method: part(), target: part(), headers: BTreeMap::new(), body: None };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { return Ok(Some(seen)) };
        seen.headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
}

/// Reads the body: how long it is, and what it says if it is short.
fn body(seen: &Seen, reader: &mut BufReader<TcpStream>) -> io::Result<(usize, String)> {
    let mut small = Vec::new();
    let mut take = |reader: &mut BufReader<TcpStream>, mut left: usize| -> io::Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        while left > 0 {
            let most = left.min(buffer.len());
            let count = reader.read(&mut buffer[..most])?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            left -= count;
            if small.len() < 4096 {
                small.extend_from_slice(&buffer[..count]);
            }
        }
        Ok(())
    };
    let mut length = 0;
    if let Some(given) = seen.headers.get("content-length") {
        length = given.parse().unwrap();
        take(reader, length)?;
    } else if seen.headers.contains_key("transfer-encoding") {
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Ok(size) = usize::from_str_radix(line.trim(), 16) else {
                return Err(io::ErrorKind::UnexpectedEof.into());
            };
            take(reader, size)?;
            reader.read_line(&mut line)?;
            length += size;
            if size == 0 {
                break;
            }
        }
    }
    Ok((length, String::from_utf8_lossy(&small).into_owned()))
}

/// Answers, and says whether the connection is of use still.
fn answer(writer: &mut TcpStream, seen: &Seen, path: &str, body: &str, state: &State) -> io::Result<bool> {
    match path {
        "/base/pieces" => {
            let head =
                "HTTP/1.1 200 X\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
            write!(writer, "{head}c\r\ndata: one\n\n\n\r\n")?;
            if state.go_on.lock().unwrap().recv_timeout(Duration::from_secs(20)).is_err() {
                return Ok(false);
            }
            write!(writer, "c\r\ndata: two\n\n\n\r\n0\r\n\r\n")?;
        }
        "/base/stall" => {
            write!(writer, "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")?;
            let mut left = writer.try_clone()?;
            // Until whoever asked has gone.
            let _ = left.read(&mut [0; 1]);
            return Ok(false);
        }
        "/base/half" => {
            write!(writer, "HTTP/1.1 200 X\r\nContent-Length: 10\r\n\r\none")?;
            return Ok(false);
        }
        "/base/garbage" => {
            write!(writer, "what?\r\n\r\n")?;
            return Ok(false);
        }
        "/base/page" => {
            let head = "HTTP/1.1 200 X\r\nContent-Type: text/html\r\nContent-Length: 5\r\nETag: \"e\"\r\n\
                        Set-Cookie: a=b\r\nConnection: X-Own\r\nX-Own: 1\r\nStrict-Transport-Security: max-age=1\r\n\
                        X-Request-Id: theirs-theirs\r\nX-Scaigrid-Ratelimit-Limit: 7\r\nCache-Control: max-age=9\r\n\
                        Access-Control-Allow-Origin: *\r\n\r\n";
            let content = if seen.method == "HEAD" { "" } else { "hello" };
            write!(writer, "{head}{content}")?;
        }
        _ if path.starts_with("/base/answer/") => {
            let status = &path["/base/answer/".len()..];
            let length = if matches!(status, "204" | "304") { "" } else { "Content-Length: 0\r\n" };
            write!(writer, "HTTP/1.1 {status} X\r\n{length}ETag: \"e\"\r\n\r\n")?;
        }
        _ => {
            let told = json!({
                "method": seen.method, "target": seen.target, "headers": seen.headers, "body": body,
                "length": seen.body,
            });
            let told = told.to_string();
            let shown = if seen.method == "HEAD" { "" } else { &told };
            let length = told.len();
            write!(
                writer,
                "HTTP/1.1 200 X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{shown}"
            )?;
        }
    }
    Ok(true)
}

/// A WebSocket, by somebody else's code.
#[expect(clippy::result_large_err, reason = "the library wants it so")]
fn socket(stream: Both, state: &State) {
    let note = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
        let line = |(name, value): (&tungstenite::http::HeaderName, &tungstenite::http::HeaderValue)| {
            (name.as_str().to_owned(), value.to_str().unwrap_or_default().to_owned())
        };
        state.seen.lock().unwrap().push(Seen {
            method: request.method().to_string(),
            target: request.uri().to_string(),
            headers: request.headers().iter().map(line).collect(),
            body: None,
        });
        if let Some(first) = request.headers().get("sec-websocket-protocol") {
            let first = first.to_str().unwrap_or_default().split(',').next().unwrap_or_default().to_owned();
            response.headers_mut().insert("sec-websocket-protocol", first.parse().unwrap());
        }
        Ok(response)
    };
    let Ok(mut socket) = tungstenite::accept_hdr(stream, note) else { return };
    while let Ok(message) = socket.read() {
        if (message.is_text() || message.is_binary()) && socket.send(message).is_err() {
            return;
        }
    }
}
