//! A real S3 server of the test's own.

use std::process::Stdio;
use std::time::Duration;

use scaigrid_storage::S3Settings;
use tokio::process::{Child, Command};

/// The access key of the server.
pub(crate) const ACCESS: &str = "scaigrid-test";
const SECRET: &str = "a-secret-of-the-tests";
const VARIABLE: &str = "SCAIGRID_TEST_S3";

/// The server, for as long as it lives.
pub(crate) struct S3Server {
    endpoint: String,
    _child: Child,
    _folder: tempfile::TempDir,
}

impl S3Server {
    /// A server with a bucket `objects`; none where its program is not there, which is said.
    pub(crate) async fn start() -> Option<Self> {
        let Some(program) = std::env::var_os(VARIABLE).filter(|named| !named.is_empty()) else {
            let required = std::env::var("SCAIGRID_TEST_REQUIRE_ALL").is_ok_and(|value| value == "1");
            assert!(!required, "an S3 server is required, and {VARIABLE} names none");
            eprintln!("skipped: {VARIABLE} names no S3 server");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("objects")).unwrap();
        // Another test may take the port in between; then there is another port.
        for _ in 0..10 {
            let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let mut child = Command::new(&program)
                .args(["--host", "127.0.0.1", "--port", &port.to_string()])
                .args(["--access-key", ACCESS, "--secret-key", SECRET])
                .arg(folder.path())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .kill_on_drop(true)
                .spawn()
                .unwrap();
            for _ in 0..1000 {
                if child.try_wait().unwrap().is_some() {
                    break;
                }
                if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                    let endpoint = format!("http://127.0.0.1:{port}");
                    return Some(Self { endpoint, _child: child, _folder: folder });
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        panic!("the S3 server does not start")
    }

    /// How its buckets are reached.
    pub(crate) fn settings(&self, bucket: &str, prefix: &str) -> S3Settings {
        S3Settings {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            endpoint: Some(self.endpoint.clone()),
            region: "us-east-1".to_owned(),
            keys: Some((ACCESS.to_owned(), SECRET.to_owned())),
        }
    }
}
