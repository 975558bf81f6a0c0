//! A plugin that does nothing: it answers every call at once, with the arguments that it got.

use actix_web::http::KeepAlive;
use actix_web::web::{self, Bytes};
use actix_web::{App, HttpResponse, HttpServer};
use anyhow::Context as _;

/// The method's name, below the stub's address.
pub(crate) const METHOD: &str = "echo";
/// Its path.
pub(crate) const PATH: &str = "/echo";

/// Serves until it is told to end.
pub(crate) fn serve() -> anyhow::Result<()> {
    actix_web::rt::System::new().block_on(async move {
        let server = HttpServer::new(|| App::new().service(web::resource(PATH).post(echo)))
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
