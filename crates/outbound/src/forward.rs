//! Requests that are passed on: bodies stream both ways as fast as the slower side takes them, and a connection can be
//! upgraded to a WebSocket.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use futures_util::stream::unfold;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE,
};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf, split};
use tokio::time::{Instant, timeout, timeout_at};
use url::Url;

use crate::client::{Client, SendError};
use crate::gate::Gate;
use crate::guard::Refusal;
use crate::headers::holds;
use crate::target::Target;

/// The most bytes that are read from a tunnel at once.
const TUNNEL_PIECE: usize = 16 * 1024;
/// What a server adds to the client's key before it hashes it (RFC 6455 section 1.3).
const WEBSOCKET: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Why the body of a request that is passed on does not come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It is bigger than it may be.
    #[error("the body is too large")]
    TooLarge,
    /// Whoever sends it went away, or sends what is no body.
    #[error("the body broke off")]
    BrokenOff,
}

/// Pieces of a body of a request, as they come.
pub type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, BodyError>> + Send>>;

/// Pieces of a body of an answer, or of what comes through a tunnel.
pub type Received = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// How long is waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For the answer to begin, from the last piece of the request on.
    pub answer: Duration,
    /// For the next piece of the answer.
    pub piece: Duration,
}

/// A body that goes out.
pub(crate) enum Outgoing {
    /// One that is there.
    Whole(Full<Bytes>),
    /// One that is there, with a mark that is set once it is asked for: from then on it may have been sent.
    Noted(Full<Bytes>, Arc<AtomicBool>, Gate),
    /// One that comes bit by bit.
    Streamed {
        pieces: Pieces,
        /// How many bytes are to come, if that is known.
        left: Option<u64>,
        moved: Moved,
    },
}

impl Outgoing {
    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self::Whole(Full::new(bytes))
    }

    pub(crate) fn noted(bytes: Bytes, asked_for: Arc<AtomicBool>, gate: Gate) -> Self {
        // Of a body without bytes nothing is ever asked for.
        if bytes.is_empty() {
            asked_for.store(true, Ordering::SeqCst);
        }
        Self::Noted(Full::new(bytes), asked_for, gate)
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Self::Noted(body, asked_for, gate) => {
                // The head of the request goes out with the beginning of its body.
                if !asked_for.load(Ordering::SeqCst) {
                    if !gate.is_open() {
                        return Poll::Ready(Some(Err(BodyError::BrokenOff)));
                    }
                    asked_for.store(true, Ordering::SeqCst);
                }
                Pin::new(body).poll_frame(cx).map_err(|never| match never {})
            }
            Self::Streamed { pieces, left, moved } => pieces.as_mut().poll_next(cx).map(|piece| {
                let piece = match piece? {
                    Ok(piece) => piece,
                    Err(error) => return Some(Err(error)),
                };
                moved.now();
                if let Some(left) = left {
                    *left = left.saturating_sub(piece.len() as u64);
                }
                Some(Ok(Frame::data(piece)))
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) | Self::Noted(body, ..) => body.is_end_stream(),
            Self::Streamed { left, .. } => *left == Some(0),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) | Self::Noted(body, ..) => body.size_hint(),
            Self::Streamed { left, .. } => left.map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

/// When something last went out.
#[derive(Clone)]
pub(crate) struct Moved(Arc<Mutex<Instant>>);

impl Moved {
    fn begin() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    fn now(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn last(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The body of a request that is passed on.
pub struct Passing {
    /// Its pieces; an empty stream where there is none.
    pub pieces: Pieces,
    /// Its length in bytes, if it is known. The pieces must keep to it.
    pub length: Option<u64>,
}

impl fmt::Debug for Passing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passing").field("length", &self.length).finish_non_exhaustive()
    }
}

/// What came back.
pub struct Forwarded {
    /// The status.
    pub status: StatusCode,
    /// The headers, all of them.
    pub headers: HeaderMap,
    /// The body.
    pub body: Received,
    /// The connection, once it is one of WebSocket; the body is empty then.
    pub tunnel: Option<Tunnel>,
}

impl fmt::Debug for Forwarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forwarded").field("status", &self.status).finish_non_exhaustive()
    }
}

/// A connection on which both sides say what they like.
pub struct Tunnel {
    /// What the other side says.
    pub from: Received,
    /// The way to it.
    pub to: TunnelWriter,
}

/// The way into a tunnel. Dropped, the connection is closed as soon as nothing is read from it any more either.
pub struct TunnelWriter(WriteHalf<TokioIo<Upgraded>>);

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tunnel")
    }
}

impl fmt::Debug for TunnelWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TunnelWriter")
    }
}

impl TunnelWriter {
    /// Sends a piece, and waits until the connection has taken it.
    ///
    /// # Errors
    /// When the other side is gone.
    pub async fn send(&mut self, piece: &[u8]) -> io::Result<()> {
        self.0.write_all(piece).await?;
        self.0.flush().await
    }

    /// Tells the other side that nothing follows.
    ///
    /// # Errors
    /// When the other side is gone.
    pub async fn finish(&mut self) -> io::Result<()> {
        self.0.shutdown().await
    }
}

impl Client {
    /// Passes a request on. The headers are sent as they are; `Host` and the framing are added. With `Upgrade: websocket`
    /// and `Connection: Upgrade` among them, the answer may be a tunnel.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn forward(
        &self,
        url: &str,
        request: Request<Passing>,
        patience: Patience,
    ) -> Result<Forwarded, SendError> {
        // What cannot be right is told before anything is looked up.
        let read = Url::parse(url).map_err(|_| SendError::Refused(Refusal::Scheme))?;
        Target::of(&read).map_err(SendError::Refused)?;
        let moved = Moved::begin();
        let (mut head, Passing { pieces, length }) = request.into_parts();
        // The text itself: the URL that was read from it may be spelt in another way.
        head.uri = url.parse().map_err(|_| SendError::Refused(Refusal::Scheme))?;
        let websocket = websocket_key(&head.headers);
        // A connection that waited for its next use may be closed by the module in the moment that it is used. What can be
        // asked twice is asked once more then, on another one.
        let again = (head.method.is_safe() && length == Some(0) && websocket.is_none()).then(|| head.clone());
        let body = if length == Some(0) {
            Outgoing::whole(Bytes::new())
        } else {
            Outgoing::Streamed { pieces, left: length, moved: moved.clone() }
        };
        let asked = self.ask(Request::from_parts(head, body), &moved, patience.answer).await;
        let mut answer = match (asked, again) {
            (Err(Unanswered::ClosedOn), Some(head)) => {
                self.ask(Request::from_parts(head, Outgoing::whole(Bytes::new())), &moved, patience.answer)
                    .await
            }
            (asked, _) => asked,
        }?;
        let tunnel = if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            let key = websocket.ok_or_else(|| failure("it switches protocols unasked"))?;
            Some(tunnel(&mut answer, &key).await?)
        } else {
            None
        };
        let (head, body) = answer.into_parts();
        let body = received(body, patience.piece);
        Ok(Forwarded { status: head.status, headers: head.headers, body, tunnel })
    }

    /// Sends a request, and waits for the beginning of the answer for as long as that after something last went out.
    async fn ask(
        &self,
        request: Request<Outgoing>,
        moved: &Moved,
        wait: Duration,
    ) -> Result<Response<Incoming>, Unanswered> {
        let mut asked = std::pin::pin!(self.kept.request(request));
        loop {
            match timeout_at(moved.last() + wait, &mut asked).await {
                Ok(answer) => return answer.map_err(|error| failed(&error)),
                Err(_) if moved.last() + wait > Instant::now() => {}
                Err(_) => return Err(SendError::TimedOut.into()),
            }
        }
    }
}

/// Why there is no answer.
enum Unanswered {
    /// The connection was closed before the answer began.
    ClosedOn,
    Other(SendError),
}

impl From<SendError> for Unanswered {
    fn from(error: SendError) -> Self {
        Self::Other(error)
    }
}

impl From<Unanswered> for SendError {
    fn from(why: Unanswered) -> Self {
        match why {
            Unanswered::ClosedOn => failure("the connection was closed before the answer"),
            Unanswered::Other(error) => error,
        }
    }
}

fn failure(text: &str) -> SendError {
    SendError::Failed(text.to_owned())
}

/// As the client tells it; a body that failed is the fault of whoever sends it.
fn failed(error: &hyper_util::client::legacy::Error) -> Unanswered {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(body) = inner.downcast_ref::<BodyError>() {
            return SendError::Body(*body).into();
        }
        if inner.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_incomplete_message) {
            return Unanswered::ClosedOn;
        }
        cause = inner.source();
    }
    crate::client::failed(error).into()
}

/// Whether a request asks for a WebSocket (RFC 6455 section 4.1).
pub fn wants_websocket(headers: &HeaderMap) -> bool {
    websocket_key(headers).is_some()
}

/// The key of a request that asks for a WebSocket.
fn websocket_key(headers: &HeaderMap) -> Option<HeaderValue> {
    let asked = holds(headers, &CONNECTION, "upgrade") && holds(headers, &UPGRADE, "websocket");
    headers.get(SEC_WEBSOCKET_KEY).filter(|_| asked).cloned()
}

/// What a server must answer to a key (RFC 6455 section 4.2.2).
fn accept(key: &HeaderValue) -> String {
    let text = [key.as_bytes().trim_ascii(), WEBSOCKET].concat();
    STANDARD.encode(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &text))
}

/// The tunnel that an answer opens, if it is the answer to this key.
async fn tunnel(answer: &mut Response<Incoming>, key: &HeaderValue) -> Result<Tunnel, SendError> {
    let headers = answer.headers();
    let accepted =
        headers.get(SEC_WEBSOCKET_ACCEPT).is_some_and(|value| value.as_bytes() == accept(key).as_bytes());
    if !accepted || !holds(headers, &UPGRADE, "websocket") || !holds(headers, &CONNECTION, "upgrade") {
        return Err(failure("it does not accept the WebSocket as RFC 6455 has it"));
    }
    let upgraded = hyper::upgrade::on(answer).await.map_err(|error| failure(&error.to_string()))?;
    let (from, to) = split(TokioIo::new(upgraded));
    Ok(Tunnel { from: read(from), to: TunnelWriter(to) })
}

fn read(half: ReadHalf<TokioIo<Upgraded>>) -> Received {
    Box::pin(unfold(Some(half), |half| async {
        let mut half = half?;
        let mut buffer = BytesMut::with_capacity(TUNNEL_PIECE);
        match half.read_buf(&mut buffer).await {
            Ok(0) => None,
            Ok(_) => Some((Ok(buffer.freeze()), Some(half))),
            Err(error) => Some((Err(error), None)),
        }
    }))
}

/// The pieces of a body, each waited for as long as that.
pub(crate) fn received(body: Incoming, wait: Duration) -> Received {
    Box::pin(unfold(Some(body), move |body| async move {
        let mut body = body?;
        loop {
            let frame = match timeout(wait, body.frame()).await {
                Err(_) => return Some((Err(io::ErrorKind::TimedOut.into()), None)),
                Ok(None) => return None,
                Ok(Some(Err(error))) => return Some((Err(io::Error::other(error)), None)),
                Ok(Some(Ok(frame))) => frame,
            };
            // Trailers end here: whether the caller takes them is not known.
            if let Ok(piece) = frame.into_data()
                && !piece.is_empty()
            {
                return Some((Ok(piece), Some(body)));
            }
        }
    }))
}

/// The length that an answer names.
pub fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests;
