//! Server-sent events (WHATWG HTML, 9.2), read as they come.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;

/// An event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Where to go on after it.
    pub id: Option<String>,
    /// Its type; none where it is a plain message.
    pub event: Option<String>,
    /// What it tells.
    pub data: Value,
}

/// A stream that is being read.
#[derive(Debug)]
pub struct EventStream {
    reader: BufReader<TcpStream>,
    /// What was read of the body and not yet understood.
    text: String,
}

impl EventStream {
    /// The stream of an answer whose head has not been read yet.
    ///
    /// # Errors
    /// The connection's; an answer that is no stream.
    pub(crate) fn of(stream: TcpStream) -> std::io::Result<Self> {
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while reader.read_line(&mut head)? > 2 {}
        if head.starts_with("HTTP/1.1 200 ") && head.to_ascii_lowercase().contains("text/event-stream") {
            return Ok(Self { reader, text: String::new() });
        }
        Err(std::io::Error::other(head))
    }

    /// The next event; none when nothing comes for so long, or the stream has ended.
    pub fn next(&mut self, patience: Duration) -> Option<Event> {
        let until = Instant::now() + patience;
        loop {
            while let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                if let Some(told) = understood(&block) {
                    return Some(told);
                }
            }
            if !self.read(until) {
                return None;
            }
        }
    }

    /// The next id, whether it comes with an event or alone; none when nothing comes for so long, or the stream has ended. An event
    /// that it comes with is not told by [`Self::next`] any more.
    pub fn next_id(&mut self, patience: Duration) -> Option<String> {
        let until = Instant::now() + patience;
        loop {
            while let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                if let Some(id) = field(&block, "id") {
                    return Some(id);
                }
            }
            if !self.read(until) {
                return None;
            }
        }
    }

    /// Events until there are so many.
    pub fn take(&mut self, count: usize, patience: Duration) -> Vec<Event> {
        let mut all = Vec::new();
        while all.len() < count {
            let next = self.next(patience);
            assert!(next.is_some(), "{} events of {count} came: {:?}", all.len(), all.last());
            all.extend(next);
        }
        all
    }

    /// Reads another chunk of the body (RFC 9112 section 7.1).
    fn read(&mut self, until: Instant) -> bool {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || self.reader.get_ref().set_read_timeout(Some(left)).is_err() {
            return false;
        }
        let mut line = String::new();
        if self.reader.read_line(&mut line).is_err() {
            return false;
        }
        let Ok(size) = usize::from_str_radix(line.trim(), 16) else { return false };
        let mut chunk = vec![0; size + 2];
        let patient = Some(Duration::from_secs(20));
        if size == 0
            || self.reader.get_ref().set_read_timeout(patient).is_err()
            || self.reader.read_exact(&mut chunk).is_err()
        {
            return false;
        }
        chunk.truncate(size);
        self.text.push_str(&String::from_utf8_lossy(&chunk));
        true
    }
}

fn field(block: &str, name: &str) -> Option<String> {
    block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).map(str::to_owned)
}

fn understood(block: &str) -> Option<Event> {
    let data = serde_json::from_str(&field(block, "data")?).unwrap();
    Some(Event { id: field(block, "id"), event: field(block, "event"), data })
}
