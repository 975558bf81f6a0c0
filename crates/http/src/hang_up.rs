//! Clients that go away before they are answered.
//!
//! The server closes a connection whose client has closed its side, and drops what it was doing for it. That must not tear a
//! use case between a commit and what follows from it, so each request runs in a task of its own, to its end. What is
//! better ended, because it costs somebody something and nobody reads what comes of it, says so with [`HangUp::or`].

use std::future::{Ready, ready};
use std::time::Duration;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest};
use scaigrid_app as app;
use tokio::sync::watch;
use tracing::Instrument as _;

use crate::error::Error;

/// Learns that the client of a request has hung up.
#[derive(Debug, Clone)]
pub(crate) struct HangUp(Option<watch::Receiver<()>>);

impl HangUp {
    /// Does something, unless the client hangs up: then it is dropped where it stands.
    ///
    /// # Errors
    /// Its own; and one that nobody reads, where the client is gone.
    pub(crate) async fn or<T>(self, work: impl Future<Output = Result<T, app::Error>>) -> Result<T, Error> {
        tokio::select! {
            biased;
            done = work => Ok(done?),
            () = self.gone() => {
                tracing::info!("the client hung up; what it had asked for is ended");
                Err(app::Error::Unavailable { retry_after: Duration::ZERO }.into())
            }
        }
    }

    async fn gone(self) {
        match self.0 {
            // Nothing is ever sent: the connection's end drops the sender.
            Some(mut connection) => while connection.changed().await.is_ok() {},
            None => std::future::pending().await,
        }
    }

    /// Has a request go on whatever its client does: it will be asked for its answer once more.
    pub(crate) fn ignore(request: &ServiceRequest) {
        request.extensions_mut().insert(Self(None));
    }
}

impl FromRequest for HangUp {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let known = request.extensions().get::<Self>().cloned();
        ready(Ok(known.unwrap_or(Self(None))))
    }
}

/// Lets a request outlive its connection.
pub(crate) async fn outlive(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let (connection, ends) = watch::channel(());
    request.extensions_mut().insert(HangUp(Some(ends)));
    let work = async move { next.call(request).await.map(ServiceResponse::map_into_boxed_body) };
    let answered = actix_web::rt::spawn(work.in_current_span()).await;
    drop(connection);
    answered.unwrap_or_else(|lost| Err(Error::from(app::Error::internal(lost)).into()))
}
