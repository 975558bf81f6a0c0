//! What a request leaves behind: a line in the log, and counts.

use std::io::Write;
use std::sync::{Arc, Mutex};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use scaigrid_http::health::Condition;
use serde_json::{Value, json};
use tracing_subscriber::fmt::MakeWriter;

use crate::support::{by, call, house};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Lines {
    fn take(&self) -> Vec<Value> {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap());
        bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
    }
}

#[actix_web::test]
async fn a_request_is_one_line_in_the_log_and_a_failure_another() {
    let lines = Lines::default();
    let subscriber =
        tracing_subscriber::fmt().json().with_writer(lines.clone()).with_max_level(tracing::Level::INFO);
    let _guard = tracing::subscriber::set_default(subscriber.finish());
    let app = app!(house(None, Condition::Ok));
    lines.take();

    send!(
        app,
        by("admin", "GET", "/v1/things?limit=2&secret=x").insert_header(("X-Request-Id", "request-1"))
    );
    let written = lines.take();
    assert_eq!(written.len(), 1, "{written:?}");
    assert_eq!(written[0]["span"]["request_id"], "request-1");
    let fields = &written[0]["fields"];
    assert_eq!(
        (&fields["method"], &fields["path"], &fields["status"]),
        (&json!("GET"), &json!("/v1/things"), &json!(200))
    );
    assert!(fields["latency_us"].is_u64());

    // With and without a task of its own.
    for key in [None, Some("k")] {
        let mut post = by("admin", "POST", "/v1/things").insert_header(("X-Request-Id", "request-2"));
        if let Some(key) = key {
            post = post.insert_header(("Idempotency-Key", key));
        }
        send!(app, post.set_json(json!({ "name": "broken" })));
        let written = lines.take();
        assert_eq!(written.len(), 2, "{written:?}");
        assert_eq!(
            (&written[0]["level"], &written[0]["fields"]["error"]),
            (&json!("ERROR"), &json!("hunter2"))
        );
        assert!(written.iter().all(|line| line["span"]["request_id"] == "request-2"), "{written:?}");
    }
}

/// Keeps the names and labels of what is recorded.
#[derive(Default)]
struct Names(Mutex<Vec<String>>);

impl Names {
    fn note(&self, key: &Key) {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        self.0.lock().unwrap().push(format!("{} {}", key.name(), labels.join(" ")));
    }
}

impl Recorder for Names {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.note(key);
        Counter::noop()
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.note(key);
        Histogram::noop()
    }
}

#[actix_web::test]
async fn requests_are_counted_by_route_and_not_by_path() {
    let names = Names::default();
    let _guard = metrics::set_default_local_recorder(&names);
    let app = app!(house(None, Condition::Ok));
    send!(app, by("viewer", "GET", "/v1/things/core_00000000000000000000000001"));
    send!(app, by("viewer", "BREW", "/v1/things/core_00000000000000000000000001"));
    send!(app, call("GET", "/one/of/many/paths"));
    insta::assert_debug_snapshot!(names.0.lock().unwrap());
}
