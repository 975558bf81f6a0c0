//! Remote modules over time: sockets that stay open, health that comes and goes, bodies of any length.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use scaigrid_tests::{Db, Place, Server, Upstream, eventually, on, on_both_databases};
use serde_json::json;
use tungstenite::client::IntoClientRequest as _;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Message, WebSocket};

use crate::remote::{SOON, WEATHER, authorization, key_set, read_until, sent, settle, verified};

on_both_databases!(a_socket_is_open_as_long_as_it_may_be, health_is_seen_and_recovery_too);

type Socket = WebSocket<TcpStream>;

/// A WebSocket through the server to the module, by somebody else's client.
fn socket(server: &Server, key: &str) -> (Socket, tungstenite::handshake::client::Response) {
    let mut request =
        format!("ws://{}{WEATHER}/socket?room=1", server.address()).into_client_request().unwrap();
    let headers = request.headers_mut();
    headers.insert("authorization", format!("Bearer {key}").parse().unwrap());
    headers.insert("sec-websocket-protocol", "chat.v2, chat.v1".parse().unwrap());
    let stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    tungstenite::client(request, stream).unwrap()
}

fn heard(socket: &mut Socket, text: &str) {
    socket.send(Message::text(text)).unwrap();
    assert_eq!(socket.read().unwrap(), Message::text(text));
}

/// The socket is closed by the server, within seconds.
fn is_closed(socket: &mut Socket) {
    let begun = Instant::now();
    let end = socket.read();
    assert!(end.is_err() || end.as_ref().is_ok_and(Message::is_close), "{end:?}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

fn a_socket_is_open_as_long_as_it_may_be(place: &Place) {
    let upstream = Upstream::start();
    let (server, boss) = settle(place, &upstream);
    let acme = server.admin().in_tenant("acme");
    let (user, key) = acme.user("ada@acme.example", &["tenant_user"]);
    let (mut one, answer) = socket(&server, &key);
    assert_eq!(answer.status(), 101);
    assert_eq!(answer.headers()["sec-websocket-protocol"], "chat.v2");
    let seen = upstream.last();
    assert_eq!(
        (seen.target.as_str(), seen.headers["x-scaigrid-user"].as_str()),
        ("/base/socket?room=1", &*user)
    );
    assert!(!seen.headers.contains_key("authorization"));
    verified(&key_set(&server.anyone()), &seen.headers["x-scaigrid-identity"], "weather");
    heard(&mut one, "hello");
    let long = "x".repeat(300_000);
    heard(&mut one, &long);
    // Quiet for longer than an answer may take.
    std::thread::sleep(Duration::from_secs(2));
    heard(&mut one, "still there");
    // It ends as it is ended: with the code that was said.
    let farewell = CloseFrame { code: CloseCode::Library(4321), reason: "enough".into() };
    one.close(Some(farewell.clone())).unwrap();
    let end = loop {
        match one.read() {
            Ok(Message::Close(end)) => break end,
            Ok(_) => {}
            Err(error) => panic!("no farewell: {error}"),
        }
    };
    assert_eq!(end, Some(farewell));
    eventually("the module's end is closed", SOON, || (upstream.busy() == 0).then_some(()));

    // Not for strangers, and not where it is off.
    let mut request = format!("ws://{}{WEATHER}/socket", server.address()).into_client_request().unwrap();
    request.headers_mut().insert("authorization", "Bearer wrong".parse().unwrap());
    let refused = tungstenite::client(request, TcpStream::connect(server.address()).unwrap());
    assert!(refused.unwrap_err().to_string().contains("401"));

    // Somebody who is suspended, a module that is switched off, a node that ends.
    let (mut two, _) = socket(&server, &key);
    heard(&mut two, "a");
    acme.put(&format!("/v1/users/{user}"), &json!({"status": "suspended"})).answer(200);
    is_closed(&mut two);
    let (_, other) = acme.user("eve@acme.example", &["tenant_user"]);
    let (mut three, _) = socket(&server, &other);
    heard(&mut three, "b");
    boss.post(&format!("{WEATHER}/disable")).answer(200);
    is_closed(&mut three);
    boss.post(&format!("{WEATHER}/enable")).answer(200);
    let (mut four, _) = socket(&server, &other);
    heard(&mut four, "c");
    let begun = Instant::now();
    server.terminate();
    is_closed(&mut four);
    drop(four);
    assert!(server.ended().success());
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

fn health_is_seen_and_recovery_too(place: &Place) {
    let upstream = Upstream::start();
    let (server, boss) = settle(place, &upstream);
    let module = |id: &str| boss.get(&format!("/v1/modules/{id}")).answer(200).data();
    let becomes = |id: &str, status: &str| {
        eventually(&format!("{id} is {status}"), SOON, || {
            let module = module(id);
            (module["status"] == status).then_some(module)
        })
    };
    let ready = || server.anyone().get("/health/ready").answer(200).json();
    assert_eq!(ready()["checks"]["modules"], "ok");
    upstream.set_health(503);
    let failed = becomes("weather", "error");
    assert_eq!(failed["last_error"]["message"], "Its health check was answered with 503");
    let depends = becomes("travel", "error");
    assert_eq!(depends["last_error"]["timestamp"], failed["last_error"]["timestamp"]);
    assert!(depends["last_error"]["message"].as_str().unwrap().contains("weather"));
    assert_eq!(ready()["checks"]["modules"], "degraded");
    eventually("the metrics say so", SOON, || {
        let metrics = server.anyone().get("/metrics").answer(200).text();
        metrics.contains("scaigrid_module_up{module=\"weather\"} 0").then_some(())
    });
    let told = boss.get(&format!("{WEATHER}/explain")).answer(200).data();
    assert_eq!(
        (&told["state"]["reason"], &told["state"]["last_error"]),
        (&json!("failed"), &failed["last_error"])
    );
    let refusal = boss.get(&format!("{WEATHER}/x")).refused(503, "MODULE_ERROR");
    assert!(refusal.header("retry-after").is_some());
    boss.get("/v1/modules/travel/x").refused(503, "MODULE_DEPENDENCY_UNAVAILABLE");
    let refusal = boss.post("/v1/modules/travel/enable").refused(409, "MODULE_DEPENDENCY_UNAVAILABLE");
    assert_eq!(refusal.json()["error"]["details"][0]["message"], "weather");
    // What is wrong may change; since when it is wrong does not.
    upstream.set_health(500);
    let other = eventually("another message", SOON, || {
        let module = module("weather");
        (module["last_error"]["message"] == "Its health check was answered with 500").then_some(module)
    });
    assert_eq!(other["last_error"]["timestamp"], failed["last_error"]["timestamp"]);
    upstream.set_health(204);
    assert!(becomes("weather", "active").get("last_error").is_none());
    becomes("travel", "active");
    boss.get(&format!("{WEATHER}/x")).answer(200);
    assert_eq!(ready()["checks"]["modules"], "ok");
    assert!(!module("weather").to_string().contains("127.0.0.1"));
    server.stop();
}

/// The most memory that a process has held, in kilobytes.
fn peak(server: &Server) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse().unwrap()
}

#[test]
fn a_big_body_needs_no_memory() {
    const PIECES: usize = 200;
    on(Db::Sqlite, |place| {
        let upstream = Upstream::start();
        let (server, boss) = settle(place, &upstream);
        boss.get(&format!("{WEATHER}/x")).answer(200);
        let before = peak(&server);
        let request = format!(
            "POST {WEATHER}/x HTTP/1.1\r\nHost: grid\r\nTransfer-Encoding: chunked\r\n{}\r\n",
            authorization(place)
        );
        let mut stream = sent(server.address(), &request);
        let piece = vec![b'x'; 1 << 20];
        for _ in 0..PIECES {
            stream.write_all(b"100000\r\n").unwrap();
            stream.write_all(&piece).unwrap();
            stream.write_all(b"\r\n").unwrap();
        }
        stream.write_all(b"0\r\n\r\n").unwrap();
        read_until(&mut stream, &format!("\"length\":{}", PIECES << 20));
        let grown = peak(&server).saturating_sub(before);
        assert!(grown < 20 * 1024, "{grown} kB for {PIECES} MB");
        server.stop();
    });
}
