//! The bodies of what is passed on and back: a few pieces at a time, as fast as the slower side takes them, and no longer
//! than the caller may.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::web::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use scaigrid_app::App;
use scaigrid_app::modules::{BodyError, Pieces, Received, Tunnel, TunnelPlace};
use scaigrid_scope::Permission;
use tokio::sync::{mpsc, oneshot};

use super::BODY_LIMIT;
use crate::auth::{Standing, is_over};
use crate::server::Edge;

/// How many pieces of a request wait for the module at most. The protocol layer's are of 64 KiB or so.
const WAITING: usize = 2;
/// How often it is asked whether a caller may go on with an answer that does not end.
const ASK_AGAIN: Duration = Duration::from_secs(3);

/// Comes to its end when the caller may not go on.
pub(super) type Still = Pin<Box<dyn Future<Output = ()>>>;

/// An answer without a body.
pub(super) fn nothing() -> stream::Empty<Result<Bytes, io::Error>> {
    stream::empty()
}

/// The pieces of a request's body. It is read on this worker, whose the connection is, and sent from any.
pub(super) fn pieces(mut payload: Payload, length: Option<u64>) -> Pieces {
    let (give, mut take) = mpsc::channel(WAITING);
    actix_web::rt::spawn(async move {
        let mut seen = 0_u64;
        loop {
            let piece = tokio::select! {
                piece = payload.next() => piece,
                // Nobody wants the rest.
                () = give.closed() => return,
            };
            let outcome = match piece {
                None if length.is_some_and(|length| seen < length) => Err(BodyError::BrokenOff),
                None => return,
                Some(Err(_)) => Err(BodyError::BrokenOff),
                Some(Ok(piece)) => {
                    seen += piece.len() as u64;
                    match length {
                        _ if seen > BODY_LIMIT => Err(BodyError::TooLarge),
                        Some(length) if seen > length => Err(BodyError::BrokenOff),
                        _ => Ok(piece),
                    }
                }
            };
            let broken = outcome.is_err();
            if give.send(outcome).await.is_err() || broken {
                return;
            }
        }
    });
    Box::pin(stream::poll_fn(move |cx| take.poll_recv(cx)))
}

/// Asks now and then whether the caller may still use the module, and comes to its end when not.
pub(super) fn still(standing: Standing, edge: Arc<Edge>, app: App, module: String) -> Still {
    let asker = Rc::new((standing, edge, app, module));
    Box::pin(async move {
        loop {
            actix_web::rt::time::sleep(ASK_AGAIN).await;
            // In a task of its own: an answer may end at any moment, a question to SQLite may not be dropped in the middle.
            let asker = Rc::clone(&asker);
            let may = actix_web::rt::spawn(async move { may_go_on(&asker).await }).await;
            if !may.unwrap_or(false) {
                return;
            }
        }
    })
}

async fn may_go_on((standing, edge, app, module): &(Standing, Arc<Edge>, App, String)) -> bool {
    let asked = match standing.principal(edge).await {
        Ok(principal) if principal.permissions().contains(Permission::ModulesUse) => {
            app.check_module(&principal, module).await
        }
        Ok(_) => return false,
        Err(error) => Err(error),
    };
    !asked.is_err_and(|error| is_over(&error))
}

/// Pieces as they come, until they end or may not go on; then the answer breaks off, so that nobody takes it for whole.
pub(super) fn until(pieces: Received, still: Still) -> impl Stream<Item = io::Result<Bytes>> {
    stream::unfold(Some((pieces, still)), |going| async {
        let (mut pieces, mut still) = going?;
        tokio::select! {
            biased;
            piece = pieces.next() => match piece? {
                Ok(piece) => Some((Ok(piece), Some((pieces, still)))),
                Err(error) => Some((Err(error), None)),
            },
            () = &mut still => Some((Err(io::ErrorKind::PermissionDenied.into()), None)),
        }
    })
}

/// What comes through a tunnel. What the caller sends goes the other way, for as long as this is read. It ends when either
/// side closes its end, when the caller may not go on, and when the node ends.
pub(super) fn tunnel(
    tunnel: Tunnel,
    mut place: TunnelPlace,
    payload: Option<Payload>,
    mut still: Still,
) -> impl Stream<Item = io::Result<Bytes>> {
    let Tunnel { from, mut to } = tunnel;
    let (reading, unread) = oneshot::channel::<()>();
    if let Some(mut payload) = payload {
        actix_web::rt::spawn(async move {
            let sending = async {
                while let Some(Ok(piece)) = payload.next().await {
                    if to.send(&piece).await.is_err() {
                        return;
                    }
                }
                // Failing means that the module is gone already.
                let _ = to.finish().await;
            };
            tokio::select! {
                () = sending => {}
                _ = unread => {}
            }
        });
    }
    let over: Still = Box::pin(async move {
        tokio::select! {
            () = &mut still => {}
            () = place.ended() => {}
        }
    });
    stream::unfold(Some((from, over, reading)), |going| async {
        let (mut from, mut over, reading) = going?;
        tokio::select! {
            biased;
            () = &mut over => None,
            // A module that breaks off and one that closes look alike to a WebSocket.
            piece = from.next() => piece?.ok().map(|piece| (Ok(piece), Some((from, over, reading)))),
        }
    })
}
