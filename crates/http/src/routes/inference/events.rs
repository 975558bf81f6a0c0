//! Answers that come bit by bit, as server-sent events (WHATWG HTML, 9.2).

use std::convert::Infallible;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::body::BodyStream;
use actix_web::http::header;
use actix_web::web::Bytes;
use futures_util::stream::unfold;
use futures_util::{Stream, StreamExt as _};
use serde_json::Value;

use crate::error::{Error, response};

/// How long nothing is said at most: proxies close what is silent, and a caller who is gone is found out by writing.
const HEARTBEAT: Duration = Duration::from_secs(5);
const COMMENT: &[u8] = b": still here\n\n";
const DONE: &str = "data: [DONE]\n\n";

/// What is said when an answer breaks off.
pub(in super::super) struct Last {
    /// The type of the event.
    pub(in super::super) event: Option<&'static str>,
    /// What it tells.
    pub(in super::super) data: Value,
}

fn event(name: Option<&str>, data: &Value) -> String {
    let name = name.map(|name| format!("event: {name}\n")).unwrap_or_default();
    format!("{name}data: {data}\n\n")
}

/// The answer that tells all that comes, then that it is done. `last` says how it is told that it breaks off.
pub(in super::super) fn respond(
    events: impl Stream<Item = Result<Vec<Value>, Error>> + 'static,
    last: impl Fn(&Error, &str) -> Last + 'static,
) -> HttpResponse {
    let state = Some((Box::pin(events), last));
    let pieces = unfold(state, |state| async {
        let (mut events, last) = state?;
        let Ok(next) = actix_web::rt::time::timeout(HEARTBEAT, events.next()).await else {
            return Some((Bytes::from_static(COMMENT), Some((events, last))));
        };
        match next {
            Some(Ok(values)) => {
                let text: String = values.iter().map(|value| event(None, value)).collect();
                Some((Bytes::from(text), Some((events, last))))
            }
            Some(Err(error)) => {
                // What broke inside is logged where it is written as an answer; here it is only told.
                drop(response(&error, crate::error::Family::Grid, ""));
                let Last { event: name, data } = last(&error, "");
                Some((Bytes::from(event(name, &data) + DONE), None))
            }
            None => Some((Bytes::from_static(DONE.as_bytes()), None)),
        }
    });
    HttpResponse::Ok()
        .content_type("text/event-stream; charset=utf-8")
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .insert_header(("X-Accel-Buffering", "no"))
        .body(BodyStream::new(pieces.map(Ok::<Bytes, Infallible>)))
}

#[cfg(test)]
mod tests {
    use actix_web::body::to_bytes;
    use futures_util::stream::iter;
    use scaigrid_app as app;
    use serde_json::json;

    use super::*;

    async fn told(events: Vec<Result<Vec<Value>, Error>>) -> String {
        let answer = respond(iter(events), |error, _| Last {
            event: Some("error"),
            data: json!({"message": error.to_string()}),
        });
        let body = to_bytes(answer.into_body()).await.unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[actix_web::test]
    async fn an_answer_says_when_it_is_done() {
        let one = json!({"a": "line\nbreak"});
        assert_eq!(told(vec![Ok(vec![one])]).await, "data: {\"a\":\"line\\nbreak\"}\n\ndata: [DONE]\n\n");
        assert_eq!(told(vec![]).await, DONE);
        let broken = app::Error::BackendTimeout { model: "m".to_owned() };
        assert_eq!(
            told(vec![Ok(vec![json!(1)]), Err(broken.into()), Ok(vec![json!(2)])]).await,
            "data: 1\n\nevent: error\ndata: {\"message\":\"The model m does not answer in time\"}\n\ndata: [DONE]\n\n"
        );
    }
}
