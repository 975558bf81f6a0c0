//! A plugin that does nothing: it answers every call at once, with the arguments that it got; or, so that a call is under way when
//! somebody wants one to be, only the second call of each. Beside that, a collector of traces that takes everything and keeps
//! nothing.

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;
use std::time::Duration;

use actix_web::http::KeepAlive;
use actix_web::web::{self, Bytes};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use anyhow::Context as _;

/// The method's name, below the stub's address.
pub(crate) const METHOD: &str = "echo";
/// Its path.
pub(crate) const PATH: &str = "/echo";
/// The method of which only the second call of a key is answered, and its path.
pub(crate) const HOLD: &str = "hold";
const HOLD_PATH: &str = "/hold";
/// How long a call that is held is held: until whoever made it is gone.
const HELD: Duration = Duration::from_hours(1);

/// The keys that have come.
type Seen = Rc<RefCell<HashSet<Vec<u8>>>>;
/// Where traces are posted (OTLP over HTTP).
const TRACES: &str = "/v1/traces";

/// Serves until it is told to end.
pub(crate) fn serve() -> anyhow::Result<()> {
    actix_web::rt::System::new().block_on(async move {
        let server = HttpServer::new(|| {
            App::new()
                .app_data(web::Data::new(Seen::default()))
                .app_data(web::PayloadConfig::new(64 << 20))
                .service(web::resource(PATH).post(echo))
                .service(web::resource(HOLD_PATH).post(hold))
                .service(web::resource(TRACES).post(take))
        })
        // One does more than the rest of the machine can ask for.
        .workers(1)
        // Whoever keeps a connection finds it open still, however long it was idle.
        .keep_alive(KeepAlive::Os)
        .shutdown_timeout(1)
        .bind("127.0.0.1:0")?;
        crate::floor::announce(&server.addrs())?;
        server.run().await.context("the stub failed")
    })
}

async fn take(_: Bytes) -> HttpResponse {
    HttpResponse::Ok().content_type("application/x-protobuf").body("")
}

async fn echo(body: Bytes) -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(body)
}

async fn hold(request: HttpRequest, seen: web::Data<Seen>, body: Bytes) -> HttpResponse {
    let key = request.headers().get("idempotency-key").map(|key| key.as_bytes().to_vec());
    if key.is_some_and(|key| seen.borrow_mut().insert(key)) {
        tokio::time::sleep(HELD).await;
    }
    echo(body).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_the_methods() {
        assert_eq!(PATH.strip_prefix('/'), Some(METHOD));
        assert_eq!(HOLD_PATH.strip_prefix('/'), Some(HOLD));
    }
}
