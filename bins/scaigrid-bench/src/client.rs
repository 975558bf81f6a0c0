//! A lean HTTP/1.1 client: one connection, one request at a time.
//!
//! The generator shares its processors with what it measures, so it does the least that is still honest: it writes
//! prepared bytes, and reads the status and the whole body. It knows no redirects, no compression and no TLS.

mod events;

use std::io::Write as _;
use std::net::SocketAddr;

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub(crate) use events::Events;

/// The most bytes of one answer; more is a fault of the server. The longest is a bundle of ten megabytes as JSON.
const ANSWER_LIMIT: usize = 24 << 20;
/// Headers in an answer.
const HEADER_LIMIT: usize = 48;
/// What is asked of the system at once.
const READ: usize = 16 << 10;

/// Whom requests go to, and who sends them.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// Where the server listens.
    pub(crate) address: SocketAddr,
    /// The API key; empty for none.
    pub(crate) key: String,
}

impl Target {
    /// Puts a GET request into `request`.
    pub(crate) fn get(&self, request: &mut Vec<u8>, path: &str) {
        self.begin(request, "GET", path);
        request.extend_from_slice(b"\r\n");
    }

    /// Puts a POST request with a JSON body into `request`.
    pub(crate) fn post(&self, request: &mut Vec<u8>, path: &str, body: &[u8]) {
        self.send(request, "POST", path, body);
    }

    /// Puts a PUT request with a JSON body into `request`.
    pub(crate) fn put(&self, request: &mut Vec<u8>, path: &str, body: &[u8]) {
        self.send(request, "PUT", path, body);
    }

    /// Puts a POST request with a form into `request` whose one part is a file.
    pub(crate) fn upload(&self, request: &mut Vec<u8>, path: &str, file: &[u8]) {
        // Twenty letters in a row that no file of ours holds.
        const BOUNDARY: &str = "sgboundarysgboundary";
        let mut body = Vec::with_capacity(file.len() + 256);
        put(
            &mut body,
            format_args!(
                "--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"file\"; filename=\"bundle\"\r\n\
                 content-type: application/octet-stream\r\n\r\n"
            ),
        );
        body.extend_from_slice(file);
        put(&mut body, format_args!("\r\n--{BOUNDARY}--\r\n"));
        self.begin(request, "POST", path);
        put(
            request,
            format_args!(
                "content-type: multipart/form-data; boundary={BOUNDARY}\r\ncontent-length: {}\r\n\r\n",
                body.len()
            ),
        );
        request.extend_from_slice(&body);
    }

    fn send(&self, request: &mut Vec<u8>, method: &str, path: &str, body: &[u8]) {
        self.begin(request, method, path);
        put(
            request,
            format_args!("content-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len()),
        );
        request.extend_from_slice(body);
    }

    fn begin(&self, request: &mut Vec<u8>, method: &str, path: &str) {
        request.clear();
        put(request, format_args!("{method} {path} HTTP/1.1\r\nhost: {}\r\n", self.address));
        if !self.key.is_empty() {
            put(request, format_args!("authorization: Bearer {}\r\n", self.key));
        }
    }
}

/// Writes text behind the bytes.
pub(crate) fn put(bytes: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to a vector cannot fail.
    let _ = bytes.write_fmt(text);
}

/// What a server answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer<'a> {
    /// The status code.
    pub(crate) status: u16,
    /// The body.
    pub(crate) body: &'a [u8],
}

impl Answer<'_> {
    /// Fails, and quotes the answer, unless it has this status.
    pub(crate) fn expect(self, status: u16) -> anyhow::Result<Self> {
        ensure!(self.status == status, "expected status {status}, got {}: {}", self.status, self.excerpt());
        Ok(self)
    }

    /// Reads the body as JSON.
    pub(crate) fn json<'de, T: serde::Deserialize<'de>>(&'de self) -> anyhow::Result<T> {
        serde_json::from_slice(self.body)
            .with_context(|| format!("not the answer expected: {}", self.excerpt()))
    }

    /// The beginning of the body, for errors.
    pub(crate) fn excerpt(&self) -> String {
        String::from_utf8_lossy(&self.body[..self.body.len().min(600)]).into_owned()
    }
}

/// A connection that is kept.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    /// The body of a chunked answer, put together.
    assembled: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream =
            TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Vec::with_capacity(READ), assembled: Vec::new() })
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<Answer<'_>> {
        self.received.clear();
        self.stream.write_all(request).await.context("cannot send a request")?;
        let head = loop {
            self.fill().await?;
            if let Some(head) = Head::parse(&self.received)? {
                break head;
            }
        };
        match head.framing {
            Framing::Length(length) => {
                ensure!(length <= ANSWER_LIMIT, "an answer of {length} bytes");
                let end = head.length + length;
                while self.received.len() < end {
                    self.fill().await?;
                }
                ensure!(self.received.len() == end, "bytes behind the end of an answer");
                Ok(Answer { status: head.status, body: &self.received[head.length..end] })
            }
            Framing::Chunked => {
                self.assemble(head.length).await?;
                Ok(Answer { status: head.status, body: &self.assembled })
            }
        }
    }

    async fn fill(&mut self) -> anyhow::Result<()> {
        ensure!(self.received.len() < ANSWER_LIMIT, "an answer beyond {ANSWER_LIMIT} bytes");
        self.received.reserve(READ);
        let count = self.stream.read_buf(&mut self.received).await.context("cannot read an answer")?;
        ensure!(count > 0, "the server closed the connection within an answer");
        Ok(())
    }

    async fn assemble(&mut self, mut at: usize) -> anyhow::Result<()> {
        self.assembled.clear();
        loop {
            let (skip, size) = loop {
                match httparse::parse_chunk_size(&self.received[at..]) {
                    Ok(httparse::Status::Complete((skip, size))) => break (skip, usize::try_from(size)?),
                    Ok(httparse::Status::Partial) => self.fill().await?,
                    Err(_) => bail!("a broken chunk in an answer"),
                }
            };
            ensure!(size <= ANSWER_LIMIT, "a chunk of {size} bytes");
            let begin = at + skip;
            while self.received.len() < begin + size + 2 {
                self.fill().await?;
            }
            self.assembled.extend_from_slice(&self.received[begin..begin + size]);
            at = begin + size + 2;
            if size == 0 {
                return Ok(());
            }
        }
    }
}

/// How the end of a body is told.
#[derive(Debug, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
}

/// What an answer begins with.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    /// Bytes up to the body.
    length: usize,
    framing: Framing,
}

impl Head {
    fn parse(bytes: &[u8]) -> anyhow::Result<Option<Self>> {
        let mut headers = [httparse::EMPTY_HEADER; HEADER_LIMIT];
        let mut response = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(length) = response.parse(bytes).context("a broken answer")? else {
            return Ok(None);
        };
        let status = response.code.context("an answer without a status")?;
        let mut framing = None;
        for header in response.headers.iter() {
            if header.name.eq_ignore_ascii_case("content-length") {
                let text = std::str::from_utf8(header.value)?;
                framing = Some(Framing::Length(text.trim().parse().context("a broken content-length")?));
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                ensure!(header.value.eq_ignore_ascii_case(b"chunked"), "an unknown transfer-encoding");
                framing = Some(Framing::Chunked);
            }
        }
        let framing = match (framing, status) {
            (_, 204 | 304) => Framing::Length(0),
            (Some(framing), _) => framing,
            (None, _) => bail!("an answer whose end is not told"),
        };
        Ok(Some(Self { status, length, framing }))
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Answers one connection with these pieces, one by one.
    async fn answering(pieces: &'static [&'static str]) -> Connection {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await.unwrap();
            for piece in pieces {
                stream.write_all(piece.as_bytes()).await.unwrap();
                stream.flush().await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        Connection::open(address).await.unwrap()
    }

    #[tokio::test]
    async fn a_body_of_known_length_is_read_whole() {
        let mut connection = answering(&["HTTP/1.1 200 OK\r\nContent-", "Length: 5\r\n\r\nhe", "llo"]).await;
        let answer = connection.exchange(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        assert_eq!(answer, Answer { status: 200, body: b"hello" });
    }

    #[tokio::test]
    async fn a_chunked_body_is_put_together() {
        let mut connection = answering(&[
            "HTTP/1.1 202 Accepted\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2",
            "\r\nlo\r\n0\r",
            "\n\r\n",
        ])
        .await;
        let answer = connection.exchange(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        assert_eq!(answer, Answer { status: 202, body: b"hello" });
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_is_an_error() {
        let mut connection = answering(&["HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe"]).await;
        assert!(connection.exchange(b"GET / HTTP/1.1\r\n\r\n").await.is_err());
        let mut connection = answering(&["HTTP/1.1 200 OK\r\n\r\n"]).await;
        assert!(connection.exchange(b"GET / HTTP/1.1\r\n\r\n").await.is_err());
    }

    #[test]
    fn a_file_travels_in_a_form() {
        let target = Target { address: "127.0.0.1:80".parse().unwrap(), key: String::new() };
        let mut request = Vec::new();
        target.upload(&mut request, "/v1/x", b"SCIR");
        let text = String::from_utf8(request).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{head}");
        assert!(body.contains("name=\"file\"") && body.contains("\r\n\r\nSCIR\r\n--"), "{body}");
    }

    #[test]
    fn requests_say_who_sends_them() {
        let target = Target { address: "127.0.0.1:80".parse().unwrap(), key: "sgk_x".to_owned() };
        let mut request = b"left over".to_vec();
        target.post(&mut request, "/v1/x", b"{}");
        let text = String::from_utf8(request).unwrap();
        assert_eq!(
            text,
            "POST /v1/x HTTP/1.1\r\nhost: 127.0.0.1:80\r\nauthorization: Bearer sgk_x\r\n\
             content-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
        );
    }
}
