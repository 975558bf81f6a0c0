//! Against servers on this machine.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::*;
use crate::resolve::{Resolve, ResolveFuture};

const LIMITS: Limits = Limits { time: Duration::from_secs(5), body: 64 };

/// Every name is this machine, from the second question on; before, it is far away.
struct Rebinding(AtomicUsize);

impl Resolve for Rebinding {
    fn resolve<'a>(&'a self, _: &'a str) -> ResolveFuture<'a> {
        let first = self.0.fetch_add(1, Ordering::SeqCst) == 0;
        let address = if first { Ipv4Addr::new(8, 8, 8, 8) } else { Ipv4Addr::LOCALHOST };
        Box::pin(async move { Ok(vec![IpAddr::V4(address)]) })
    }
}

/// Every name is this machine.
struct Here;

impl Resolve for Here {
    fn resolve<'a>(&'a self, _: &'a str) -> ResolveFuture<'a> {
        Box::pin(async { Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]) })
    }
}

/// Every name is this machine when it is first asked for, and later a private network.
struct MovingIn(AtomicUsize);

impl Resolve for MovingIn {
    fn resolve<'a>(&'a self, _: &'a str) -> ResolveFuture<'a> {
        let first = self.0.fetch_add(1, Ordering::SeqCst) == 0;
        let address = if first { Ipv4Addr::LOCALHOST } else { Ipv4Addr::new(10, 0, 0, 1) };
        Box::pin(async move { Ok(vec![IpAddr::V4(address)]) })
    }
}

/// A server that answers every connection with the same bytes, and counts them.
async fn server(answer: &'static str) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                let _ = stream.read(&mut buffer).await;
                let _ = stream.write_all(answer.as_bytes()).await;
                // An answer that never ends.
                if answer.ends_with("…") {
                    while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
                }
                if answer.is_empty() {
                    tokio::time::sleep(Duration::from_mins(1)).await;
                }
            });
        }
    });
    (address, count)
}

fn client(allow: &str) -> Client {
    Client::new(Guard::new(allow.parse().unwrap())).unwrap()
}

async fn post(client: &Client, url: &str, limits: Limits) -> Result<Answer, SendError> {
    let request = Request::builder().method("POST").body(Bytes::from_static(b"{}")).unwrap();
    client.send(&Url::parse(url).unwrap(), request, limits).await
}

#[tokio::test]
async fn redirects_are_answers() {
    let (inner, visits) = server("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let text = format!("HTTP/1.1 307 Go\r\nLocation: http://{inner}/\r\nContent-Length: 0\r\n\r\n");
    let (outer, _) = server(text.leak()).await;
    let client = client(&outer.to_string());
    let answer = post(&client, &format!("http://{outer}/"), LIMITS).await.unwrap();
    assert_eq!(answer.status, 307);
    assert_eq!(visits.load(Ordering::SeqCst), 0);
    // The other place is not allowed at all, by whatever name.
    let port = inner.port();
    for host in ["127.0.0.1", "127.1", "0x7f000001", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0"] {
        let refused = post(&client, &format!("http://{host}:{port}/"), LIMITS).await;
        assert!(matches!(refused, Err(SendError::Refused(_))), "{host}: {refused:?}");
    }
    assert_eq!(visits.load(Ordering::SeqCst), 0, "nobody has knocked");
}

#[tokio::test]
async fn a_name_is_judged_again_when_it_is_called() {
    let (inner, visits) = server("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let guard = Guard::with_resolver("".parse().unwrap(), Rebinding(AtomicUsize::new(0)));
    let url = Url::parse(&format!("https://rebind.example:{}/", inner.port())).unwrap();
    assert_eq!(guard.examine(&url).await, Ok(()));
    let client = Client::new(guard).unwrap();
    let refused = post(&client, url.as_str(), LIMITS).await;
    assert!(
        matches!(refused, Err(SendError::Refused(Refusal::Address(crate::Class::Loopback)))),
        "{refused:?}"
    );
    assert_eq!(visits.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn every_call_is_judged_also_where_a_connection_is_still_open() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&heard);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let counted = Arc::clone(&counted);
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                // As long as the other side does not hang up, it may ask again.
                while stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {
                    counted.fetch_add(1, Ordering::SeqCst);
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
                }
            });
        }
    });
    let guard = Guard::with_resolver("127.0.0.1".parse().unwrap(), MovingIn(AtomicUsize::new(0)));
    let client = Client::new(guard).unwrap();
    let url = format!("http://receiver.example:{port}/");
    assert_eq!(post(&client, &url, LIMITS).await.unwrap().status, 200);
    // Long enough for a connection to be put back where it could be taken from.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let refused = post(&client, &url, LIMITS).await;
    assert!(
        matches!(refused, Err(SendError::Refused(Refusal::Address(crate::Class::Private)))),
        "{refused:?}"
    );
    assert_eq!(heard.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn answers_are_bounded_in_size_and_time() {
    let (endless, _) = server("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n…").await;
    let (silent, _) = server("").await;
    let (nonsense, _) = server("SSH-2.0-nonsense\r\n").await;
    let client = client("127.0.0.1");
    let answer = post(&client, &format!("http://{endless}/"), LIMITS).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 64));
    let short = Limits { time: Duration::from_millis(200), ..LIMITS };
    assert!(matches!(post(&client, &format!("http://{silent}/"), short).await, Err(SendError::TimedOut)));
    assert!(matches!(post(&client, &format!("http://{nonsense}/"), LIMITS).await, Err(SendError::Failed(_))));
    // A port that nobody listens on.
    let gone = { TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap() };
    assert!(matches!(post(&client, &format!("http://{gone}/"), LIMITS).await, Err(SendError::Failed(_))));
}

#[tokio::test]
async fn a_certificate_must_name_the_host_of_the_url() {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["receiver.example".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer).await;
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
        }
    });
    let guard = Guard::with_resolver("127.0.0.1".parse().unwrap(), Here);
    let mut trusted = RootCertStore::empty();
    trusted.add(cert.der().clone()).unwrap();
    let trusting = Client::trusting(guard.clone(), trusted).unwrap();
    let right = post(&trusting, &format!("https://receiver.example:{port}/"), LIMITS).await;
    assert_eq!(right.unwrap().status, 204);
    let other = post(&trusting, &format!("https://other.example:{port}/"), LIMITS).await;
    assert!(matches!(other, Err(SendError::Failed(_))), "{other:?}");
    let wary = Client::new(guard).unwrap();
    let unknown = post(&wary, &format!("https://receiver.example:{port}/"), LIMITS).await;
    assert!(matches!(unknown, Err(SendError::Failed(_))), "{unknown:?}");
}

#[tokio::test]
async fn what_may_not_leave_when_the_first_byte_is_asked_for_does_not() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
    let heard = tokio::spawn(async move {
        let mut heard = Vec::new();
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_to_end(&mut heard).await.unwrap();
        heard
    });
    // Open when it is asked first, and closed once there is a connection.
    let asked = Arc::new(AtomicUsize::new(0));
    let often = Arc::clone(&asked);
    let gate = Gate::new(move || often.fetch_add(1, Ordering::SeqCst) == 0);
    let allowed = Guard::new("127.0.0.1".parse().unwrap());
    let client = Client::new(allowed).unwrap().through(gate);
    let request = Request::post("/").body(Bytes::from_static(b"{}")).unwrap();
    let opened = client.open(&url, request, Instant::now() + LIMITS.time).await;
    assert!(matches!(opened, Err(NotOpened { sent: false, .. })));
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    assert_eq!(heard.await.unwrap(), b"", "there was a connection, and not a byte");

    let request = Request::get("/").body(Bytes::new()).unwrap();
    let opened = client.open(&url, request, Instant::now() + LIMITS.time).await;
    assert!(matches!(opened, Err(NotOpened { sent: false, .. })), "also where there is no body");
}
