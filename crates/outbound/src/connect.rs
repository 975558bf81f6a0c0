//! Connecting: to addresses that the guard has judged in this very moment, and to no others.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tower_service::Service;
use url::{Host, Url};

use crate::guard::{Guard, Refusal};
use crate::stream::Stream;
use crate::target::{Scheme, Target};

/// The longest wait for one address of several.
const ONE_ADDRESS: Duration = Duration::from_secs(3);
/// The longest wait for a connection, and again for TLS on it.
const CONNECT: Duration = Duration::from_secs(5);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("no connection in time")]
    TimedOut,
    #[error("no connection: {0}")]
    Connection(io::Error),
    #[error("TLS: {0}")]
    Tls(io::Error),
}

/// The connector under the HTTP client.
#[derive(Clone)]
pub(crate) struct Connector {
    pub(crate) guard: Guard,
    pub(crate) tls: TlsConnector,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            // What the client hands over is scheme and authority of the URL that was sent to, read as strictly again.
            let url = Url::parse(&uri.to_string()).map_err(|_| Refusal::Scheme)?;
            let target = Target::of(&url)?;
            let addresses = connector.guard.addresses(&target).await?;
            let stream = timeout(CONNECT, first(&addresses)).await.map_err(|_| ConnectError::TimedOut)??;
            // Small messages go out at once.
            stream.set_nodelay(true).map_err(ConnectError::Connection)?;
            let stream = match target.scheme {
                Scheme::Http => Stream::Plain(stream),
                Scheme::Https => {
                    let shaken = connector.tls.connect(server_name(&target.host)?, stream);
                    let shaken = timeout(CONNECT, shaken).await.map_err(|_| ConnectError::TimedOut)?;
                    Stream::Tls(Box::new(shaken.map_err(ConnectError::Tls)?))
                }
            };
            Ok(TokioIo::new(stream))
        })
    }
}

/// The first address that answers.
async fn first(addresses: &[SocketAddr]) -> Result<TcpStream, ConnectError> {
    let mut last = ConnectError::TimedOut;
    for address in addresses {
        match timeout(ONE_ADDRESS, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = ConnectError::Connection(error),
            Err(_) => last = ConnectError::TimedOut,
        }
    }
    Err(last)
}

/// Whom the certificate must name: the host of the URL, not what it resolved to.
fn server_name(host: &Host) -> Result<ServerName<'static>, ConnectError> {
    match host {
        Host::Domain(name) => {
            let name = name.strip_suffix('.').unwrap_or(name).to_owned();
            ServerName::try_from(name).map_err(|error| ConnectError::Tls(io::Error::other(error)))
        }
        Host::Ipv4(address) => Ok(ServerName::from(std::net::IpAddr::V4(*address))),
        Host::Ipv6(address) => Ok(ServerName::from(std::net::IpAddr::V6(*address))),
    }
}
