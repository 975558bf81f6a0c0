//! An answer that goes on: server-sent events, in chunks.
//!
//! Of the format (WHATWG HTML, 9.2) it knows what the server writes: fields with a space behind the colon, each on a line of
//! its own, and an empty line behind every event.

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{ANSWER_LIMIT, Answer, Connection, Framing, Head, Target};

/// What is asked of the system at once: there may be thousands of streams.
const READ: usize = 4 << 10;

/// A stream of events that is being listened to.
#[derive(Debug)]
pub(crate) struct Events {
    stream: TcpStream,
    /// What came and is not unpacked yet: the beginning of a chunk.
    packed: Vec<u8>,
    /// What was in the chunks and is not taken yet: the beginning of an event.
    text: Vec<u8>,
}

impl Events {
    /// Asks for a stream; fails, and quotes the answer, where there is none.
    pub(crate) async fn open(target: &Target, path: &str) -> anyhow::Result<Self> {
        let mut request = Vec::new();
        target.get(&mut request, path);
        let Connection { mut stream, .. } = Connection::open(target.address).await?;
        stream.write_all(&request).await.context("cannot ask for a stream")?;
        let mut packed = Vec::new();
        let head = loop {
            receive(&mut stream, &mut packed).await?;
            if let Some(head) = Head::parse(&packed)? {
                break head;
            }
        };
        if head.status != 200 || head.framing != Framing::Chunked {
            let body = packed.get(head.length..).unwrap_or_default();
            bail!("no stream but status {}: {}", head.status, Answer { status: head.status, body }.excerpt());
        }
        packed.drain(..head.length);
        let mut events = Self { stream, packed, text: Vec::new() };
        ensure!(!events.unpack()?, "a stream that ended at once");
        Ok(events)
    }

    /// Gives every event that is whole to `hear`, and waits for more where there is none. False when the answer has ended.
    pub(crate) async fn next(
        &mut self,
        mut hear: impl FnMut(Event<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<bool> {
        let mut count = self.hand_over(&mut hear)?;
        while count == 0 {
            receive(&mut self.stream, &mut self.packed).await?;
            let ended = self.unpack()?;
            count = self.hand_over(&mut hear)?;
            if ended {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn hand_over(&mut self, hear: &mut impl FnMut(Event<'_>) -> anyhow::Result<()>) -> anyhow::Result<usize> {
        let (mut from, mut count) = (0, 0);
        while let Some(length) = self.text[from..].windows(2).position(|pair| pair == b"\n\n") {
            let text = std::str::from_utf8(&self.text[from..from + length]).context("a broken event")?;
            from += length + 2;
            count += 1;
            hear(Event::parse(text))?;
        }
        self.text.drain(..from);
        Ok(count)
    }

    /// Moves what whole chunks hold to the text; whether the last of them has come.
    fn unpack(&mut self) -> anyhow::Result<bool> {
        let mut at = 0;
        let ended = loop {
            let Ok(status) = httparse::parse_chunk_size(&self.packed[at..]) else {
                bail!("a broken chunk in a stream");
            };
            let httparse::Status::Complete((skip, size)) = status else { break false };
            let (begin, size) = (at + skip, usize::try_from(size)?);
            ensure!(size <= ANSWER_LIMIT, "a chunk of {size} bytes");
            if self.packed.len() < begin + size + 2 {
                break false;
            }
            self.text.extend_from_slice(&self.packed[begin..begin + size]);
            at = begin + size + 2;
            if size == 0 {
                break true;
            }
        };
        self.packed.drain(..at);
        Ok(ended)
    }
}

async fn receive(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> anyhow::Result<()> {
    ensure!(bytes.len() < ANSWER_LIMIT, "a chunk beyond {ANSWER_LIMIT} bytes");
    bytes.reserve(READ);
    let count = stream.read_buf(bytes).await.context("cannot read a stream")?;
    ensure!(count > 0, "the server closed the connection within a stream");
    Ok(())
}

/// An event, as far as it says something.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Event<'a> {
    /// What it is called; nothing, as most are, is a message.
    pub(crate) name: Option<&'a str>,
    /// Where to go on after it.
    pub(crate) id: Option<&'a str>,
    /// What it tells.
    pub(crate) data: Option<&'a str>,
}

impl<'a> Event<'a> {
    fn parse(text: &'a str) -> Self {
        let mut event = Self::default();
        for line in text.lines() {
            match line.split_once(": ") {
                Some(("event", name)) => event.name = Some(name),
                Some(("id", id)) => event.id = Some(id),
                Some(("data", data)) => event.data = Some(data),
                // Comments, and how soon to come again.
                _ => {}
            }
        }
        event
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// A server that says these pieces to whoever comes, one by one, and leaves.
    async fn saying(pieces: &'static [&'static str]) -> Target {
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
        Target { address, key: String::new() }
    }

    #[tokio::test]
    async fn events_are_put_together_of_chunks() {
        let target = saying(&[
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n15\r\nretry: 1000\nid: 0.1\n\n\r\n",
            "11\r\nid: 0.2\ndata: {\"a\r\ne\r\n\":1}\n\n: here\n\n\r\n",
            "0\r\n\r\n",
        ])
        .await;
        let mut events = Events::open(&target, "/").await.unwrap();
        let mut seen = Vec::new();
        let mut on = true;
        while on {
            on = events
                .next(|event| {
                    seen.push((event.id.map(str::to_owned), event.data.map(str::to_owned)));
                    Ok(())
                })
                .await
                .unwrap();
        }
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(seen, [(text("0.1"), None), (text("0.2"), text("{\"a\":1}")), (None, None)]);
    }

    #[tokio::test]
    async fn a_refusal_is_quoted_and_a_cut_is_an_error() {
        let target = saying(&["HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nfull"]).await;
        let error = Events::open(&target, "/").await.unwrap_err().to_string();
        assert!(error.contains("503") && error.contains("full"), "{error}");
        let target = saying(&["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nid"]).await;
        let mut events = Events::open(&target, "/").await.unwrap();
        assert!(events.next(|_| Ok(())).await.is_err());
    }
}
