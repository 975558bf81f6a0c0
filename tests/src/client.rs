//! HTTP/1.1 by hand (RFC 9112), one connection per request: a test may send what no well-behaved client would, and knows
//! that nothing was sent twice.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// Longer than the server lets anyone wait.
const PATIENCE: Duration = Duration::from_secs(75);

/// Who asks whom.
#[derive(Debug, Clone)]
pub struct Client {
    address: SocketAddr,
    headers: Vec<(String, String)>,
    patience: Duration,
}

impl Client {
    /// A client of a server, with an API key or without.
    pub fn new(address: SocketAddr, key: Option<&str>) -> Self {
        let headers = key.map(|key| ("Authorization".to_owned(), format!("Bearer {key}")));
        Self { address, headers: headers.into_iter().collect(), patience: PATIENCE }
    }

    /// The same client, which waits only so long for each piece of an answer.
    #[must_use]
    pub fn patient_for(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The same client, of a server at another address.
    #[must_use]
    pub(crate) fn moved(&self, address: SocketAddr) -> Self {
        Self { address, ..self.clone() }
    }

    /// The same client, with a header on every request.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut headers = self.headers.clone();
        headers.push((name.to_owned(), value.to_owned()));
        Self { headers, ..self.clone() }
    }

    /// The same client, acting in a tenant.
    #[must_use]
    pub fn in_tenant(&self, tenant: &str) -> Self {
        self.with("X-Scaigrid-Tenant", tenant)
    }

    /// A request.
    pub fn request(&self, method: &str, path: &str) -> Request {
        Request {
            address: self.address,
            method: method.to_owned(),
            path: path.to_owned(),
            headers: self.headers.clone(),
            patience: self.patience,
            body: None,
        }
    }

    /// A GET.
    pub fn get(&self, path: &str) -> Request {
        self.request("GET", path)
    }

    /// A POST without a body.
    pub fn post(&self, path: &str) -> Request {
        self.request("POST", path)
    }

    /// A PUT.
    pub fn put(&self, path: &str, body: &Value) -> Request {
        self.request("PUT", path).json(body)
    }

    /// A DELETE.
    pub fn delete(&self, path: &str) -> Request {
        self.request("DELETE", path)
    }

    /// The pages of a list, one after the other: the items of all of them.
    pub fn pages(&self, path: &str, items: &str) -> Vec<Value> {
        let mut all = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let joint = if path.contains('?') { '&' } else { '?' };
            let more = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
            let page = self.get(&format!("{path}{joint}limit=100{more}")).answer(200).json();
            all.extend(page["data"][items].as_array().unwrap().iter().cloned());
            let paging = if page["pagination"].is_null() { &page["data"] } else { &page["pagination"] };
            match paging["next_cursor"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => return all,
            }
        }
    }
}

/// A request, before it is sent.
#[derive(Debug, Clone)]
pub struct Request {
    address: SocketAddr,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    patience: Duration,
    body: Option<Vec<u8>>,
}

impl Request {
    /// With a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a body of a media type.
    #[must_use]
    pub fn body(mut self, media_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self.header("Content-Type", media_type)
    }

    /// With a JSON body.
    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        self.body("application/json", serde_json::to_vec(body).unwrap())
    }

    /// With a form (RFC 7578) of a file and of texts.
    #[must_use]
    pub fn form(self, file: &[u8], fields: &[(&str, &str)]) -> Self {
        const BOUNDARY: &str = "-scaigrid-test-boundary-";
        let mut body = Vec::new();
        for (name, value) in fields {
            let head =
                format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
            body.extend_from_slice(head.as_bytes());
        }
        let head = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"program\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(file);
        body.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
        self.body(&format!("multipart/form-data; boundary={BOUNDARY}"), body)
    }

    /// Sends it and hangs up after a while, without reading.
    pub fn abandon(&self, after: Duration) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.write_all(&self.bytes()).unwrap();
        std::thread::sleep(after);
    }

    fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nHost: {}\r\n", self.method, self.path, self.address);
        for (name, value) in &self.headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        if let Some(body) = &self.body {
            head.extend(["Content-Length: ", &body.len().to_string(), "\r\n"]);
        }
        head.push_str("Connection: close\r\n\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        bytes
    }

    /// Sends it and gives what came back, if something whole did.
    pub fn send(&self) -> io::Result<Answer> {
        let mut stream = TcpStream::connect_timeout(&self.address, Duration::from_secs(10))?;
        stream.set_read_timeout(Some(self.patience))?;
        stream.set_nodelay(true)?;
        // A server that refuses a body may answer and close before it has all of it: the answer counts.
        let sent = stream.write_all(&self.bytes());
        let mut received = Vec::new();
        match stream.read_to_end(&mut received) {
            Ok(_) => {}
            Err(_) if !received.is_empty() => {}
            Err(error) => return Err(sent.err().unwrap_or(error)),
        }
        Answer::parse(self, &received)
    }

    /// Sends it and listens to what comes; anything but a stream of events is a failure.
    pub fn listen(&self) -> crate::EventStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&self.bytes()).unwrap();
        crate::EventStream::of(stream)
            .unwrap_or_else(|error| panic!("{} {}: {error}", self.method, self.path))
    }

    /// Sends it; no whole answer is a failure.
    pub fn exchange(&self) -> Answer {
        self.send().unwrap_or_else(|error| panic!("{} {}: {error}", self.method, self.path))
    }

    /// Sends it; any other status is a failure.
    pub fn answer(&self, status: u16) -> Answer {
        let answer = self.exchange();
        assert_eq!(answer.status, status, "{answer}");
        answer
    }

    /// Sends it; anything but a refusal with this status and code is a failure.
    pub fn refused(&self, status: u16, code: &str) -> Answer {
        let answer = self.answer(status);
        let body = answer.json();
        assert_eq!(body["error"]["code"], code, "{answer}");
        assert_eq!(body["status"], "error", "{answer}");
        assert!(!body["error"]["message"].as_str().unwrap().is_empty(), "{answer}");
        assert_eq!(body["meta"]["request_id"].as_str(), answer.header("x-request-id"), "{answer}");
        answer
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers, by lower-case names.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    asked: String,
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = String::from_utf8_lossy(&self.body);
        let text: String = text.chars().take(2000).collect();
        write!(f, "{} → {}: {text}", self.asked, self.status)
    }
}

impl Answer {
    fn parse(request: &Request, received: &[u8]) -> io::Result<Self> {
        let short = || io::Error::new(io::ErrorKind::UnexpectedEof, "the answer is not whole");
        let wrong = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut parsed = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(length) = parsed.parse(received).map_err(wrong)? else {
            return Err(short());
        };
        let status = parsed.code.ok_or_else(short)?;
        let headers: Vec<(String, String)> = parsed
            .headers
            .iter()
            .map(|header| {
                (header.name.to_ascii_lowercase(), String::from_utf8_lossy(header.value).into_owned())
            })
            .collect();
        let asked = format!("{} {}", request.method, request.path);
        let mut answer = Self { status, headers, body: Vec::new(), asked };
        let rest = &received[length..];
        let bodiless = request.method == "HEAD" || status == 204 || status == 304;
        answer.body = if bodiless {
            Vec::new()
        } else if answer.header("transfer-encoding") == Some("chunked") {
            unchunked(rest).ok_or_else(short)?
        } else if let Some(length) = answer.header("content-length") {
            let length: usize = length.parse().map_err(|_| short())?;
            rest.get(..length).ok_or_else(short)?.to_vec()
        } else {
            rest.to_vec()
        };
        Ok(answer)
    }

    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("no JSON ({error}): {self}"))
    }

    /// What is in the envelope.
    pub fn data(&self) -> Value {
        let mut body = self.json();
        assert_eq!(body["status"], "ok", "{self}");
        // An answer that is given again is the first one to the byte, with the first request's id in it.
        if self.header("idempotency-replayed").is_none() {
            assert_eq!(body["meta"]["request_id"].as_str(), self.header("x-request-id"), "{self}");
        }
        body["data"].take()
    }

    /// The code of a refusal.
    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }

    /// The fields that a refusal names, sorted.
    pub fn fields(&self) -> Vec<String> {
        let body = self.json();
        let details = body["error"]["details"].as_array().cloned().unwrap_or_default();
        let mut fields: Vec<String> =
            details.iter().map(|detail| detail["field"].as_str().unwrap_or_default().to_owned()).collect();
        fields.sort();
        fields
    }
}

/// The content of a chunked body (RFC 9112 section 7.1).
fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
        let line = std::str::from_utf8(&rest[..end]).ok()?;
        let size = usize::from_str_radix(line.split(';').next()?.trim(), 16).ok()?;
        rest = &rest[end + 2..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size + 2..)?;
    }
}
