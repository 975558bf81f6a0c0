//! What only shows on a real connection.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix_web::HttpServer;
use actix_web::dev::ServerHandle;
use scaigrid_http::health::Condition;

use crate::support::{House, house};

fn serve(house: &House) -> (SocketAddr, ServerHandle) {
    let router = house.router.clone();
    let server =
        HttpServer::new(move || router.app()).workers(1).disable_signals().bind("127.0.0.1:0").unwrap();
    let address = server.addrs()[0];
    let server = server.run();
    let handle = server.handle();
    actix_web::rt::spawn(server);
    (address, handle)
}

/// Sends bytes and reads until the server closes.
async fn exchange(address: SocketAddr, sent: String) -> String {
    actix_web::rt::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(sent.as_bytes()).unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap();
        String::from_utf8(received).unwrap()
    })
    .await
    .unwrap()
}

fn request(line: &str, headers: &str, body: &str) -> String {
    format!(
        "{line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[actix_web::test]
async fn head_is_get_without_the_body() {
    let house = house(None, Condition::Ok);
    let (address, server) = serve(&house);
    let got = exchange(address, request("GET /health", "", "")).await;
    let head = exchange(address, request("HEAD /health", "", "")).await;
    server.stop(false).await;
    assert!(got.starts_with("HTTP/1.1 200") && got.ends_with("\r\n\r\n{\"status\":\"ok\"}"), "{got}");
    assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
    assert!(head.to_lowercase().contains("content-length: 15\r\n"), "{head}");
}

#[actix_web::test]
async fn a_body_that_nobody_reads_does_not_keep_the_answer() {
    let house = house(None, Condition::Ok);
    let (address, server) = serve(&house);
    let headers = "Authorization: Bearer viewer\r\nContent-Type: application/json\r\n";
    let refused = exchange(address, request("POST /v1/things", headers, &"a".repeat(20_000))).await;
    server.stop(false).await;
    assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");
    assert!(refused.contains("AUTHZ_PERMISSION_DENIED"), "{refused}");
}

#[actix_web::test]
async fn a_client_that_closes_its_connection_finds_the_answer_later() {
    let house = house(None, Condition::Ok);
    let (address, server) = serve(&house);
    let headers = "Authorization: Bearer admin\r\nContent-Type: application/json\r\nIdempotency-Key: k\r\n";
    let post = request("POST /v1/things", headers, "{\"name\":\"slow\"}");
    let sent = post.clone();
    actix_web::rt::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(sent.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(20));
    })
    .await
    .unwrap();
    let mut again = String::new();
    for _ in 0..100 {
        again = exchange(address, post.clone()).await;
        if !again.starts_with("HTTP/1.1 409") {
            break;
        }
        actix_web::rt::time::sleep(Duration::from_millis(20)).await;
    }
    server.stop(false).await;
    assert!(again.starts_with("HTTP/1.1 202"), "{again}");
    assert!(again.contains("idempotency-replayed: true"), "{again}");
    assert_eq!(house.runs.0.load(Ordering::SeqCst), 1);
}
