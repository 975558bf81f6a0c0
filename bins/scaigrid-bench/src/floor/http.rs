//! A bare actix-web that answers every request with the same bytes.

use actix_web::web::{self, Bytes};
use actix_web::{App, HttpResponse, HttpServer};
use anyhow::Context as _;

use crate::options::FloorHttp;

/// Serves until it is told to end.
pub(crate) fn serve(arguments: &FloorHttp) -> anyhow::Result<()> {
    let body = std::fs::read(&arguments.body)
        .with_context(|| format!("cannot read {}", arguments.body.display()))?;
    let body = web::Data::new(Bytes::from(body));
    actix_web::rt::System::new().block_on(async move {
        let server =
            HttpServer::new(move || App::new().app_data(body.clone()).default_service(web::to(answer)))
                .shutdown_timeout(1)
                .bind("127.0.0.1:0")?;
        super::announce(&server.addrs())?;
        server.run().await.context("the server failed")
    })
}

async fn answer(body: web::Data<Bytes>) -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(Bytes::clone(&body))
}
