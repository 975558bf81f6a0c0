//! A store that does not do its work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What it answers with when it does.
pub(crate) const BODY: &[u8] = b"what was kept";

/// How it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// It says so.
    Failing,
    /// It ends the connection.
    HangingUp,
    /// It ends the connection in the middle of its answer.
    HalfABody,
    /// It says nothing.
    Silent,
}

/// The store, for as long as it lives.
pub(crate) struct Faulty {
    pub(crate) endpoint: String,
    asked: Arc<AtomicUsize>,
    signed: Arc<AtomicBool>,
    serving: tokio::task::JoinHandle<()>,
}

impl Faulty {
    /// A store that fails so many times, and then does its work.
    pub(crate) async fn start(mood: Mood, times: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (asked, signed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(true)));
        let (counting, looking) = (Arc::clone(&asked), Arc::clone(&signed));
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = counting.fetch_add(1, Ordering::SeqCst);
                let mood = (number < times).then_some(mood);
                tokio::spawn(answer(stream, mood, Arc::clone(&looking)));
            }
        });
        Self { endpoint, asked, signed, serving }
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Whether all that asked had signed.
    pub(crate) fn signed(&self) -> bool {
        self.signed.load(Ordering::SeqCst)
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(mut stream: TcpStream, mood: Option<Mood>, signed: Arc<AtomicBool>) {
    let (mut request, mut piece) = (Vec::new(), [0; 4096]);
    while !request.windows(4).any(|four| four == b"\r\n\r\n") {
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => return,
            Ok(read) => request.extend_from_slice(&piece[..read]),
        }
    }
    if !String::from_utf8_lossy(&request).to_lowercase().contains("authorization: aws4-hmac-sha256") {
        signed.store(false, Ordering::SeqCst);
    }
    let head = |status: &str, length: usize| {
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")
    };
    let answer = match mood {
        None => [head("200 OK", BODY.len()).as_bytes(), BODY].concat(),
        Some(Mood::Failing) => head("503 Slow Down", 0).into_bytes(),
        Some(Mood::HangingUp) => Vec::new(),
        Some(Mood::HalfABody) => [head("200 OK", BODY.len()).as_bytes(), &BODY[..5]].concat(),
        Some(Mood::Silent) => {
            tokio::time::sleep(Duration::from_mins(5)).await;
            return;
        }
    };
    let _ = stream.write_all(&answer).await;
    let _ = stream.shutdown().await;
}
