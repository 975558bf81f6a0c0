//! The document and the interactive reference, served from this binary: nothing is fetched from elsewhere.

use std::sync::Arc;

use actix_web::http::header;
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use scaigrid_app as app;
use utoipa_swagger_ui::Config;

use super::Reference;
use crate::error::Error;

/// The reference's pages load only what comes from here; its styles are partly inline.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

/// Mounts `/openapi.json` and `/docs/`, to which `/` redirects.
pub(crate) fn mount(config: &mut ServiceConfig, reference: Arc<Reference>) {
    let pages = Arc::new(
        // The outside validator of the specification is never asked.
        Config::from("/openapi.json").validator_url("none").try_it_out_enabled(true).deep_linking(true),
    );
    // Routes, not resources: a resource answers a wrong method by itself, without saying which are right.
    config
        .route(
            "/openapi.json",
            web::get().to(move || {
                let document = reference.written();
                async move { Ok::<_, Error>(HttpResponse::Ok().content_type("application/json").body(document?)) }
            }),
        )
        // For now: a browser keeps what is permanent, and there may be more to see here one day.
        .route("/", web::get().to(async || to_the_pages(HttpResponse::Found())))
        .route("/docs", web::get().to(async || to_the_pages(HttpResponse::PermanentRedirect())))
        .route(
            "/docs/{file:.*}",
            web::get().to(move |request: HttpRequest| {
                let pages = Arc::clone(&pages);
                async move { page(&request, pages) }
            }),
        );
}

fn to_the_pages(mut response: HttpResponseBuilder) -> HttpResponse {
    response.insert_header((header::LOCATION, "/docs/")).finish()
}

fn page(request: &HttpRequest, pages: Arc<Config<'static>>) -> Result<HttpResponse, Error> {
    let file = request.match_info().query("file");
    let served = utoipa_swagger_ui::serve(file, pages);
    let served = served.map_err(|error| app::Error::internal(error.to_string()))?;
    let file = served.ok_or(app::Error::NotFound(app::Resource::Route))?;
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CONTENT_SECURITY_POLICY, POLICY)).content_type(file.content_type);
    if file.gzpipped {
        response.insert_header(header::ContentEncoding::Gzip);
    }
    Ok(response.body(file.bytes.into_owned()))
}
