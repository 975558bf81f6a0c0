//! A plugin that does nothing: it answers every call at once, with the arguments that it got. Beside that, a collector of
//! traces that takes everything and keeps nothing.

use actix_web::web::{self, Bytes};
use actix_web::{App, HttpResponse, HttpServer};
use anyhow::Context as _;

/// The method's name, below the stub's address.
pub(crate) const METHOD: &str = "echo";
/// Its path.
pub(crate) const PATH: &str = "/echo";
/// Where traces are posted (OTLP over HTTP).
const TRACES: &str = "/v1/traces";

/// Serves until it is told to end.
pub(crate) fn serve() -> anyhow::Result<()> {
    actix_web::rt::System::new().block_on(async move {
        let server = HttpServer::new(|| {
            App::new()
                .service(web::resource(PATH).post(echo))
                .service(web::resource(TRACES).post(take))
                .app_data(web::PayloadConfig::new(64 << 20))
        })
        // One does more than the rest of the machine can ask for.
        .workers(1)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_the_methods() {
        assert_eq!(PATH.strip_prefix('/'), Some(METHOD));
    }
}
