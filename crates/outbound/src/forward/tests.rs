//! Against servers on this machine.

use futures_util::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::*;
use crate::{AllowList, Guard};

const PATIENCE: Patience = Patience { answer: Duration::from_millis(400), piece: Duration::from_millis(400) };

fn client() -> Client {
    Client::new(Guard::new("127.0.0.0/8".parse::<AllowList>().unwrap())).unwrap()
}

/// The next connection, read up to the end of the head.
async fn head(listener: &TcpListener) -> (TcpStream, String) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        text.push(stream.read_u8().await.unwrap());
    }
    (stream, String::from_utf8(text).unwrap())
}

async fn place() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

fn empty(headers: &[(&str, &str)]) -> Request<Passing> {
    let mut request = Request::builder();
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Passing { pieces: Box::pin(futures_util::stream::empty()), length: Some(0) }).unwrap()
}

type Feed = mpsc::Sender<Result<Bytes, BodyError>>;

fn fed(length: Option<u64>) -> (Feed, Request<Passing>) {
    let (feed, mut pieces) = mpsc::channel(1);
    let pieces = Box::pin(futures_util::stream::poll_fn(move |cx| pieces.poll_recv(cx)));
    (feed, Request::post("/").body(Passing { pieces, length }).unwrap())
}

#[tokio::test]
async fn the_url_goes_out_to_the_byte() {
    let (listener, url) = place().await;
    let sent = tokio::spawn(async move {
        client().forward(&format!("{url}/a%2Fb//c;d/%7e?q=%zz|{{}}"), empty(&[]), PATIENCE).await
    });
    let (mut stream, text) = head(&listener).await;
    assert!(text.starts_with("GET /a%2Fb//c;d/%7e?q=%zz|{} HTTP/1.1\r\n"), "{text}");
    let host = format!("host: {}\r\n", listener.local_addr().unwrap());
    assert!(text.to_lowercase().contains(&host), "{text}");
    stream.write_all(b"HTTP/1.1 204 X\r\n\r\n").await.unwrap();
    assert_eq!(sent.await.unwrap().unwrap().status, 204);
}

#[tokio::test]
async fn pieces_go_both_ways_as_they_come() {
    let (listener, url) = place().await;
    let (feed, request) = fed(None);
    let sent = tokio::spawn(async move { client().forward(&url, request, PATIENCE).await });
    feed.send(Ok(Bytes::from_static(b"one"))).await.unwrap();
    let (mut stream, text) = head(&listener).await;
    assert!(text.to_lowercase().contains("transfer-encoding: chunked"), "{text}");
    let mut chunk = [0; 8];
    stream.read_exact(&mut chunk).await.unwrap();
    assert_eq!(&chunk, b"3\r\none\r\n", "it is there before the body has come to its end");
    // Slower than the answer may take, but there is always something.
    for _ in 0..3 {
        tokio::time::sleep(PATIENCE.answer / 2).await;
        feed.send(Ok(Bytes::from_static(b"two"))).await.unwrap();
    }
    drop(feed);
    stream.write_all(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nfoo\r\n").await.unwrap();
    let mut answer = sent.await.unwrap().unwrap();
    assert_eq!(answer.body.next().await.unwrap().unwrap(), "foo");
    stream.write_all(b"3\r\nbar\r\n0\r\n\r\n").await.unwrap();
    assert_eq!(answer.body.next().await.unwrap().unwrap(), "bar");
    assert!(answer.body.next().await.is_none());
}

#[tokio::test]
async fn what_does_not_come_is_not_waited_for_for_ever() {
    let (listener, url) = place().await;
    let sent = client().forward(&url, empty(&[]), PATIENCE).await;
    assert!(matches!(sent, Err(SendError::TimedOut)), "{sent:?}");
    let _ = head(&listener).await;
    let sent = tokio::spawn(async move { client().forward(&url, empty(&[]), PATIENCE).await });
    let (mut stream, _) = head(&listener).await;
    stream.write_all(b"HTTP/1.1 200 X\r\nContent-Length: 9\r\n\r\nfoo").await.unwrap();
    let mut answer = sent.await.unwrap().unwrap();
    assert_eq!(answer.body.next().await.unwrap().unwrap(), "foo");
    assert_eq!(answer.body.next().await.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert!(answer.body.next().await.is_none());
    // Half an answer is none.
    drop(answer);
    assert_eq!(
        stream.read(&mut [0; 1]).await.unwrap(),
        0,
        "the connection is closed with what is read from it"
    );
}

#[tokio::test]
async fn the_senders_faults_are_told_from_the_modules() {
    let (listener, url) = place().await;
    for error in [BodyError::TooLarge, BodyError::BrokenOff] {
        let (feed, request) = fed(Some(9));
        let url = url.clone();
        let sent = tokio::spawn(async move { client().forward(&url, request, PATIENCE).await });
        feed.send(Ok(Bytes::from_static(b"one"))).await.unwrap();
        let (mut stream, text) = head(&listener).await;
        assert!(text.to_lowercase().contains("content-length: 9"), "{text}");
        feed.send(Err(error)).await.unwrap();
        let sent = sent.await.unwrap();
        assert!(matches!(sent, Err(SendError::Body(found)) if found == error), "{sent:?}");
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"one", "what broke off looks broken off");
    }
}

#[tokio::test]
async fn a_connection_that_is_closed_on_the_question_is_no_answer() {
    let (listener, url) = place().await;
    let url = Arc::new(url);
    // What changes nothing is asked again, once.
    let asking = Arc::clone(&url);
    let sent = tokio::spawn(async move { client().forward(&asking, empty(&[]), PATIENCE).await });
    drop(head(&listener).await);
    let (mut stream, _) = head(&listener).await;
    stream.write_all(b"HTTP/1.1 204 X\r\n\r\n").await.unwrap();
    assert_eq!(sent.await.unwrap().unwrap().status, 204);
    // What may change something is not.
    let sent = tokio::spawn(async move {
        let mut request = empty(&[]);
        *request.method_mut() = http::Method::POST;
        client().forward(&url, request, PATIENCE).await
    });
    drop(head(&listener).await);
    let sent = sent.await.unwrap();
    assert!(matches!(sent, Err(SendError::Failed(_))), "{sent:?}");
}

#[tokio::test]
async fn a_tunnel_is_what_rfc_6455_says() {
    let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
    assert_eq!(accept(&key), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "the example of RFC 6455 section 1.3");
    let asked = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let good = "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: \
                s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nhi";
    let (listener, url) = place().await;
    for (asked, answer, opens) in [
        (&asked[..], good.to_owned(), true),
        (&asked[..], good.replace("s3pP", "s3pQ"), false),
        (&asked[..], good.replace("websocket", "h2c"), false),
        (&asked[..2], good.to_owned(), false),
        (&[], good.to_owned(), false),
    ] {
        let (url, request) = (url.clone(), empty(asked));
        let sent = tokio::spawn(async move { client().forward(&url, request, PATIENCE).await });
        let (mut stream, _) = head(&listener).await;
        stream.write_all(answer.as_bytes()).await.unwrap();
        let sent = sent.await.unwrap();
        if !opens {
            assert!(matches!(sent, Err(SendError::Failed(_))), "{sent:?}");
            continue;
        }
        let mut tunnel = sent.unwrap().tunnel.unwrap();
        assert_eq!(tunnel.from.next().await.unwrap().unwrap(), "hi");
        tunnel.to.send(b"you").await.unwrap();
        let mut heard = [0; 3];
        stream.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"you");
        drop(stream);
        assert!(tunnel.from.next().await.is_none());
    }
}
