//! Remote modules: what is passed on to them and back, and who they are told is calling.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use scaigrid_tests::{Client, Place, Server, Upstream, eventually, on_both_databases, run};
use serde_json::{Value, json};

on_both_databases!(
    a_request_is_passed_on_and_the_answer_back,
    own_routes_come_first,
    the_module_is_told_who_calls,
    keys_change_and_tokens_stay_good,
    pieces_come_as_they_are_sent,
    what_the_module_does_wrong_is_told,
);

pub(crate) const WEATHER: &str = "/v1/modules/weather";
pub(crate) const SOON: Duration = Duration::from_secs(15);

/// A server that knows the module `weather`, and `travel`, which depends on it; and a tenant's admin.
pub(crate) fn settle(place: &Place, upstream: &Upstream) -> (Server, Client) {
    let folder = place.folder().join("modules");
    std::fs::create_dir_all(&folder).unwrap();
    let manifest = |id: &str, dependencies: &[&str]| {
        let manifest = json!({
            "module_id": id, "display_name": id, "version": "1.0.0", "endpoint": upstream.endpoint(),
            "health_path": if id == "weather" { "/health" } else { "/alive" }, "dependencies": dependencies, "permissions": [{"key": format!("{id}:read")}]
        });
        std::fs::write(folder.join(format!("{id}.json")), manifest.to_string()).unwrap();
    };
    manifest("weather", &[]);
    manifest("travel", &["weather"]);
    let launch = place
        .launch()
        .set("SCAIGRID_MODULES_DIR", &folder.to_string_lossy())
        .set("SCAIGRID_EGRESS_ALLOW", "127.0.0.0/8")
        .set("SCAIGRID_MODULE_PROBE_INTERVAL", "1")
        .set("SCAIGRID_MODULE_TIMEOUT", "1");
    let server = launch.start();
    let root = server.admin();
    let acme = root.tenant("acme");
    let (_, key) = root.in_tenant(&acme).user("boss@acme.example", &["tenant_admin"]);
    let boss = server.client(&key);
    for id in ["weather", "travel"] {
        boss.post(&format!("/v1/modules/{id}/enable")).answer(200);
    }
    (server, boss)
}

fn told(answer: &scaigrid_tests::Answer) -> Value {
    answer.json()
}

fn a_request_is_passed_on_and_the_answer_back(place: &Place) {
    let upstream = Upstream::start();
    let (server, boss) = settle(place, &upstream);
    let sent = boss
        .request("PATCH", &format!("{WEATHER}/echo/a%2Fb//c;d/%7e?q=%zz&r=1"))
        .header("Cookie", "a=b")
        .header("X-Scaigrid-User", "usr_forged")
        .header("X_Scaigrid_Roles", "super_admin")
        .header("X-Scaigrid-Anything", "1")
        .header("Forwarded", "for=1.2.3.4")
        .header("X-Forwarded-For", "1.2.3.4")
        .header("Via", "1.0 edge")
        .header("Keep-Alive", "timeout=5")
        .header("Proxy-Authorization", "Basic x")
        .header("TE", "trailers")
        .header("X-Request-Id", "mine-mine-mine")
        .header("Idempotency-Key", "k1")
        .header("If-Match", "\"e\"")
        .body("text/weird", "Grüße".as_bytes().to_vec())
        .answer(200);
    assert_eq!(sent.header("x-request-id"), Some("mine-mine-mine"));
    assert_eq!(sent.header("via"), Some("1.1 scaigrid"));
    assert_eq!(sent.header("x-content-type-options"), Some("nosniff"));
    let seen = told(&sent);
    assert_eq!(
        (&seen["method"], &seen["target"], &seen["body"]),
        (&json!("PATCH"), &json!("/base/echo/a%2Fb//c;d/%7e?q=%zz&r=1"), &json!("Grüße"))
    );
    let headers = seen["headers"].as_object().unwrap();
    for (name, value) in [
        ("content-type", "text/weird"),
        ("content-length", "7"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", &server.address().to_string()),
        ("forwarded", &format!("for=127.0.0.1;host=\"{}\";proto=http", server.address())),
        ("via", "1.1 scaigrid"),
        ("x-request-id", "mine-mine-mine"),
        ("idempotency-key", "k1"),
        ("if-match", "\"e\""),
        ("x-scaigrid-roles", "tenant_admin"),
        ("host", upstream.endpoint().trim_start_matches("http://").trim_end_matches("/base")),
    ] {
        assert_eq!(headers.get(name).and_then(Value::as_str), Some(value), "{name} in {headers:?}");
    }
    for name in [
        "authorization",
        "cookie",
        "x_scaigrid_roles",
        "x-scaigrid-anything",
        "keep-alive",
        "proxy-authorization",
        "te",
        "transfer-encoding",
    ] {
        assert!(!headers.contains_key(name), "{name} in {headers:?}");
    }
    assert!(!seen.to_string().contains("usr_forged") && !seen.to_string().contains("sgk_"));

    // The bare path, and other methods.
    assert_eq!(told(&boss.get(&format!("{WEATHER}/")).answer(200))["target"], "/base/");
    for method in ["OPTIONS", "PROPFIND", "DELETE", "PUT", "POST"] {
        let seen = told(&boss.request(method, &format!("{WEATHER}/x")).answer(200));
        assert_eq!((&seen["method"], &seen["target"]), (&json!(method), &json!("/base/x")));
    }
    let head = boss.request("HEAD", &format!("{WEATHER}/page")).answer(200);
    assert_eq!((upstream.last().method.as_str(), head.header("content-length")), ("HEAD", Some("5")));

    // What the module says for the platform does not count; the rest does.
    let page = boss.get(&format!("{WEATHER}/page")).answer(200);
    assert_eq!((page.text().as_str(), page.header("etag")), ("hello", Some("\"e\"")));
    assert_eq!(page.header("cache-control"), Some("max-age=9"));
    assert_ne!(page.header("x-request-id"), Some("theirs-theirs"));
    for name in [
        "set-cookie",
        "x-own",
        "strict-transport-security",
        "access-control-allow-origin",
        "x-scaigrid-ratelimit-limit",
    ] {
        assert_eq!(page.header(name), None, "{name}");
    }
    // Errors too are the module's own, to the byte.
    for status in [204, 304, 404, 500, 503] {
        let answer = boss.get(&format!("{WEATHER}/answer/{status}")).answer(status);
        assert_eq!((answer.body.len(), answer.header("etag")), (0, Some("\"e\"")), "{answer}");
        assert_eq!(answer.header("content-type"), None, "{answer}");
    }
    // No way out of the module's own path.
    let before = upstream.count();
    for path in
        ["../secret", "%2e%2e/secret", "a/..%2f..%2fsecret", "..%5csecret", "/elsewhere.example/x", "a/./b"]
    {
        boss.get(&format!("{WEATHER}/{path}")).refused(404, "NOT_FOUND");
    }
    assert_eq!(upstream.count(), before);
    // Connections are used again.
    let before = upstream.connections();
    for _ in 0..20 {
        boss.get(&format!("{WEATHER}/x")).answer(200);
    }
    assert!(upstream.connections() - before < 10, "{} connections", upstream.connections() - before);
    server.stop();
}

fn own_routes_come_first(place: &Place) {
    let upstream = Upstream::start();
    let (server, boss) = settle(place, &upstream);
    let root = server.admin();
    assert_eq!(boss.get(WEATHER).answer(200).data()["status"], "active");
    boss.get(&format!("{WEATHER}/config")).answer(200);
    boss.get(&format!("{WEATHER}/explain")).answer(200);
    for (method, path) in [
        ("DELETE", format!("{WEATHER}/config")),
        ("POST", WEATHER.to_owned()),
        ("GET", format!("{WEATHER}/enable")),
        ("PUT", format!("{WEATHER}/enablement")),
        ("POST", format!("{WEATHER}/explain")),
        ("DELETE", "/v1/modules/scaicore/cores".to_owned()),
    ] {
        let refusal = boss.request(method, &path).refused(405, "METHOD_NOT_ALLOWED");
        assert!(refusal.header("allow").is_some(), "{refusal}");
    }
    assert_eq!(upstream.count(), 0);
    boss.get(&format!("{WEATHER}/config/x")).answer(200);
    assert_eq!(upstream.last().target, "/base/config/x");

    // Who may not, who is not there, and what is off.
    server.anyone().get(&format!("{WEATHER}/x")).refused(401, "AUTH_TOKEN_MISSING");
    let (_, viewer) = root.in_tenant("acme").user("viewer@acme.example", &["tenant_viewer"]);
    server.client(&viewer).get(&format!("{WEATHER}/x")).refused(403, "AUTHZ_PERMISSION_DENIED");
    let (_, user) = root.in_tenant("acme").user("user@acme.example", &["tenant_user"]);
    server.client(&user).get(&format!("{WEATHER}/x")).answer(200);
    let before = upstream.count();
    let (_, other) = root.in_tenant(&root.tenant("other")).user("boss@other.example", &["tenant_admin"]);
    server.client(&other).get(&format!("{WEATHER}/x")).refused(403, "MODULE_NOT_ENABLED");
    server.client(&other).get(&format!("{WEATHER}/")).refused(403, "MODULE_NOT_ENABLED");
    boss.get("/v1/modules/nothing/x").refused(404, "MODULE_NOT_FOUND");
    boss.get("/v1/modules/scaicore/nothing").refused(404, "NOT_FOUND");
    boss.get("/v1/modules/scaibot/x").refused(403, "MODULE_NOT_ENABLED");
    boss.post(&format!("{WEATHER}/disable")).answer(200);
    boss.get(&format!("{WEATHER}/x")).refused(403, "MODULE_NOT_ENABLED");
    let refusal = boss.get("/v1/modules/travel/x").refused(503, "MODULE_DEPENDENCY_UNAVAILABLE");
    assert_eq!(refusal.json()["error"]["details"][0]["message"], "weather");
    assert_eq!(upstream.count(), before, "nothing of it came to the module");
    // Since when, and that does not move.
    let travel = || boss.get("/v1/modules/travel").answer(200).data();
    let first = travel();
    assert_eq!(first["status"], "error");
    assert!(first["last_error"]["message"].as_str().unwrap().contains("weather"), "{first}");
    std::thread::sleep(Duration::from_millis(1200));
    assert_eq!(travel(), first);
    server.stop();
}

pub(crate) fn key_set(client: &Client) -> JwkSet {
    let answer = client.get("/.well-known/jwks.json").answer(200);
    assert_eq!(answer.header("content-type"), Some("application/jwk-set+json"));
    assert_eq!(answer.header("cache-control"), Some("public, max-age=60"));
    serde_json::from_slice(&answer.body).unwrap()
}

/// Asks a second time, for another set than the one that is known; only of use while no key is added.
fn unchanged_keys_are_not_sent_again(client: &Client) {
    let first = client.get("/.well-known/jwks.json").answer(200);
    let known = client.get("/.well-known/jwks.json").header("If-None-Match", first.header("etag").unwrap());
    assert_eq!(known.answer(304).body.len(), 0);
}

pub(crate) fn verified(keys: &JwkSet, token: &str, audience: &str) -> Value {
    let kid = decode_header(token).unwrap().kid.unwrap();
    let key = DecodingKey::from_jwk(keys.find(&kid).unwrap()).unwrap();
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_audience(&[audience]);
    validation.set_issuer(&["scaigrid"]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    decode::<Value>(token, &key, &validation).unwrap().claims
}

fn the_module_is_told_who_calls(place: &Place) {
    let upstream = Upstream::start();
    let (server, boss) = settle(place, &upstream);
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    boss.request("POST", &format!("{WEATHER}/x?secret=1"))
        .header("traceparent", trace)
        .header("tracestate", "a=b")
        .answer(200);
    let seen = upstream.last();
    let me = boss.get("/v1/me").answer(200).data();
    assert_eq!(seen.headers["x-scaigrid-user"], me["user"]["id"]);
    assert_eq!(seen.headers["x-scaigrid-tenant"], me["tenant"]["id"]);
    let parent = &seen.headers["traceparent"];
    assert!(
        parent.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && parent.ends_with("-01"),
        "{parent}"
    );
    assert!(!parent.contains("b7ad6b7169203331") && seen.headers["tracestate"] == "a=b");

    let keys = key_set(&server.anyone());
    let token = &seen.headers["x-scaigrid-identity"];
    let claims = verified(&keys, token, "weather");
    assert_eq!((&claims["sub"], &claims["tenant_id"]), (&me["user"]["id"], &me["tenant"]["id"]));
    assert_eq!(claims["partner_id"], me["partner"]["id"]);
    assert_eq!(claims["roles"], json!(["tenant_admin"]));
    assert_eq!(
        (&claims["htm"], &claims["htu"]),
        (&json!("POST"), &json!(format!("{}/x", upstream.endpoint())))
    );
    assert!(claims["scope"].as_str().unwrap().split(' ').any(|scope| scope == "modules:manage"));
    let life = claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
    assert_eq!(life, 60);
    boss.get(&format!("{WEATHER}/x")).answer(200);
    let again = upstream.last();
    assert_ne!(verified(&keys, &again.headers["x-scaigrid-identity"], "weather")["jti"], claims["jti"]);
    assert!(again.headers["traceparent"].starts_with("00-") && !again.headers.contains_key("tracestate"));
    // What a key is limited to limits what it says; a token of another module is none of this one's.
    boss.get("/v1/modules/travel/x").answer(200);
    let other = upstream.last().headers["x-scaigrid-identity"].clone();
    let claims = verified(&keys, &other, "travel");
    assert_eq!(claims["aud"], "travel");
    let narrow = json!({"name": "narrow", "scopes": ["modules:use"]});
    let narrow = boss.post("/v1/api-keys").json(&narrow).answer(201).data();
    server.client(narrow["key"].as_str().unwrap()).get(&format!("{WEATHER}/x")).answer(200);
    let claims = verified(&keys, &upstream.last().headers["x-scaigrid-identity"], "weather");
    assert_eq!(claims["scope"], "modules:use");
    server.stop();
}

fn keys_change_and_tokens_stay_good(place: &Place) {
    let upstream = Upstream::start();
    let (server, boss) = settle(place, &upstream);
    let anyone = server.anyone();
    boss.get(&format!("{WEATHER}/x")).answer(200);
    let token = upstream.last().headers["x-scaigrid-identity"].clone();
    assert_eq!(key_set(&anyone).keys.len(), 1);
    unchanged_keys_are_not_sent_again(&anyone);
    let variables = [("SCAIGRID_DATA_DIR", "data"), ("SCAIGRID_DATABASE_URL", place.database_url())];
    let output = run(place.folder(), &["admin", "secrets", "rotate", "--signing-keys", "--json"], &variables);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rotated: Value = serde_json::from_slice(&output.stdout).unwrap();
    let made = rotated["new_signing_key"].as_str().unwrap();
    let keys = eventually("both keys are published", SOON, || {
        let keys = key_set(&anyone);
        (keys.keys.len() == 2).then_some(keys)
    });
    assert!(keys.find(made).is_some());
    unchanged_keys_are_not_sent_again(&anyone);
    verified(&keys, &token, "weather");
    // The new one does not sign before all know it.
    boss.get(&format!("{WEATHER}/x")).answer(200);
    let next = upstream.last().headers["x-scaigrid-identity"].clone();
    assert_ne!(decode_header(&next).unwrap().kid.unwrap(), made);
    verified(&keys, &next, "weather");
    let records = server.admin().pages(&format!("/v1/audit/events?resource_id={made}"), "items");
    assert_eq!(records.len(), 1, "{records:?}");
    // Nothing of the private half is anywhere in the clear; a restart has the same keys.
    server.stop();
    let (server, _) = {
        let server = place.start();
        let root = server.admin();
        (server, root)
    };
    assert_eq!(key_set(&server.anyone()).keys.len(), 2);
    server.stop();
}

/// A connection to the server on which a request was sent.
pub(crate) fn sent(address: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    stream
}

/// Reads until a text has come.
pub(crate) fn read_until(stream: &mut TcpStream, wanted: &str) -> String {
    let mut read = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).unwrap();
        read.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&read).into_owned();
        if text.contains(wanted) {
            return text;
        }
        assert!(count > 0, "it ended without {wanted}: {text}");
    }
}

pub(crate) fn authorization(place: &Place) -> String {
    format!("Authorization: Bearer {}\r\nX-Scaigrid-Tenant: acme\r\n", place.admin_key())
}

fn pieces_come_as_they_are_sent(place: &Place) {
    // A caller who goes away, and an answer that does not end, are told to the log by the protocol layer.
    place.allow_in_log("Response payload stream error");
    let upstream = Upstream::start();
    let (server, _) = settle(place, &upstream);
    let credentials = authorization(place);
    let request = format!("GET {WEATHER}/pieces HTTP/1.1\r\nHost: grid\r\n{credentials}\r\n");
    let mut stream = sent(server.address(), &request);
    let first = read_until(&mut stream, "data: one");
    assert!(!first.contains("data: two") && first.contains("text/event-stream"), "{first}");
    upstream.let_go();
    let rest = read_until(&mut stream, "\r\n0\r\n\r\n");
    assert!(rest.contains("data: two"), "{rest}");
    // The same connection is good for more.
    stream
        .write_all(format!("GET {WEATHER}/x HTTP/1.1\r\nHost: grid\r\n{credentials}\r\n").as_bytes())
        .unwrap();
    read_until(&mut stream, "/base/x");

    // A request's pieces as well: the module has the first before the second is sent.
    let request = format!(
        "POST {WEATHER}/x HTTP/1.1\r\nHost: grid\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n{credentials}\r\n"
    );
    let mut stream = sent(server.address(), &request);
    read_until(&mut stream, "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"3\r\none\r\n").unwrap();
    std::thread::sleep(Duration::from_millis(300));
    stream.write_all(b"3\r\ntwo\r\n0\r\n\r\n").unwrap();
    let answer = read_until(&mut stream, "\"target\"");
    assert!(answer.contains("\"body\":\"onetwo\"") && !answer.contains("\"expect\""), "{answer}");

    // Whoever goes away takes the module's work with them: while an answer goes on, and in mid-body.
    drop(stream);
    eventually("nothing is under way", SOON, || (upstream.busy() == 0).then_some(()));
    let request = format!("GET {WEATHER}/stall HTTP/1.1\r\nHost: grid\r\n{credentials}\r\n");
    let mut stream = sent(server.address(), &request);
    read_until(&mut stream, "one");
    assert_eq!(upstream.busy(), 1);
    drop(stream);
    // A caller who has gone is noticed when there is something to write, or when the platform's patience is over.
    eventually("it has ended with its caller", SOON, || (upstream.busy() == 0).then_some(()));
    let before = upstream.count();
    let body = "Content-Length: 100\r\n";
    let request = format!("POST {WEATHER}/x HTTP/1.1\r\nHost: grid\r\n{body}{credentials}\r\nhalf");
    let stream = sent(server.address(), &request);
    eventually("it has begun", SOON, || (upstream.busy() == 1).then_some(()));
    drop(stream);
    eventually("it has ended", SOON, || (upstream.count() > before && upstream.busy() == 0).then_some(()));
    assert_eq!(upstream.last().body, None, "what broke off does not look whole");
    server.stop();
}

fn what_the_module_does_wrong_is_told(place: &Place) {
    place.allow_in_log("Response payload stream error");
    let upstream = Upstream::start();
    let (server, boss) = settle(place, &upstream);
    let begun = Instant::now();
    let refusal = boss.get(&format!("{WEATHER}/silent")).refused(504, "MODULE_TIMEOUT");
    assert!(begun.elapsed() >= Duration::from_secs(1) && begun.elapsed() < Duration::from_secs(5));
    assert!(!refusal.text().contains("127.0.0.1"), "{refusal}");
    let refusal = boss.get(&format!("{WEATHER}/garbage")).refused(502, "MODULE_ERROR");
    assert!(!refusal.text().contains("127.0.0.1"), "{refusal}");
    // What broke off looks broken off.
    assert!(boss.get(&format!("{WEATHER}/half")).send().is_err());
    let begun = Instant::now();
    assert!(boss.get(&format!("{WEATHER}/stall")).send().is_err());
    assert!(begun.elapsed() >= Duration::from_secs(5), "five times the time for the beginning");
    // Too much is told before anything is sent.
    let before = upstream.count();
    let request = format!(
        "POST {WEATHER}/x HTTP/1.1\r\nHost: grid\r\nContent-Length: 1073741825\r\n{}\r\n",
        authorization(place)
    );
    let mut stream = sent(server.address(), &request);
    let answer = read_until(&mut stream, "PAYLOAD_TOO_LARGE");
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert_eq!(upstream.count(), before);
    server.stop();
}
