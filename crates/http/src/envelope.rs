//! Answers: the envelope around what a use case gives back.
//!
//! A handler returns one of these and nothing else. The JSON is written once, straight from the value into
//! the body, when the request id is at hand. Errors have their own envelope, in [`crate::error`].

use actix_web::body::BoxBody;
use actix_web::http::{Method, StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, Responder};
use scaigrid_app as app;
use serde::Serialize;
use utoipa::ToSchema;

use crate::conditional::{self, IfNoneMatch};
use crate::error::{Error, Family};
use crate::paging::Seal;
use crate::request::RequestId;

#[derive(Serialize)]
struct Envelope<'a, T> {
    status: &'static str,
    data: T,
    #[serde(skip_serializing_if = "Option::is_none")]
    pagination: Option<Pagination<'a>>,
    meta: Meta<'a>,
}

#[derive(Serialize)]
struct Items<'a, T> {
    items: &'a [T],
}

#[derive(Serialize)]
struct Pagination<'a> {
    has_more: bool,
    next_cursor: Option<&'a str>,
}

#[derive(Serialize)]
struct Meta<'a> {
    request_id: &'a str,
    #[serde(flatten)]
    pagination: Option<Pagination<'a>>,
}

/// How the document shows an answer with one value: `body = DataOf<Thing>`. For the document only; what is
/// written is a [`Reply`].
#[derive(Debug, ToSchema)]
pub struct DataOf<T> {
    /// Always `ok`.
    #[schema(example = "ok")]
    pub status: String,
    /// The value.
    pub data: T,
    /// About the answer.
    pub meta: MetaOf,
}

/// How the document shows a page of the platform's lists; what is written is a [`Listed`].
#[derive(Debug, ToSchema)]
pub struct PageOf<T> {
    /// Always `ok`.
    #[schema(example = "ok")]
    pub status: String,
    /// The page.
    pub data: ItemsOf<T>,
    /// Where the page stands in its list.
    pub pagination: PaginationOf,
    /// About the answer.
    pub meta: MetaOf,
}

/// How the document shows a page under `/v1/admin`; what is written is a [`Listed::workspace`].
#[derive(Debug, ToSchema)]
pub struct WorkspacePageOf<T> {
    /// Always `ok`.
    #[schema(example = "ok")]
    pub status: String,
    /// The items.
    pub data: Vec<T>,
    /// About the answer, and where the page stands in its list.
    pub meta: WorkspaceMetaOf,
}

/// The items of a page.
#[derive(Debug, ToSchema)]
pub struct ItemsOf<T> {
    /// In the list's order.
    pub items: Vec<T>,
}

/// About an answer.
#[derive(Debug, ToSchema)]
pub struct MetaOf {
    /// What the request is called in the logs.
    pub request_id: String,
}

/// Where a page stands in its list.
#[derive(Debug, ToSchema)]
pub struct PaginationOf {
    /// Whether more items follow.
    pub has_more: bool,
    /// The cursor of the next page.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

/// About a page under `/v1/admin`.
#[derive(Debug, ToSchema)]
pub struct WorkspaceMetaOf {
    /// What the request is called in the logs.
    pub request_id: String,
    /// Whether more items follow.
    pub has_more: bool,
    /// The cursor of the next page.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

/// One value. Also a bare array, for the lists that are not paged.
#[derive(Debug)]
pub struct Reply<T> {
    status: StatusCode,
    data: T,
    location: Option<String>,
    revision: Option<u64>,
}

impl<T: Serialize> Reply<T> {
    const fn with_status(status: StatusCode, data: T) -> Self {
        Self { status, data, location: None, revision: None }
    }

    /// 200: what was asked for.
    pub const fn ok(data: T) -> Self {
        Self::with_status(StatusCode::OK, data)
    }

    /// 201: a new thing, and the path where it is found.
    pub fn created(location: impl Into<String>, data: T) -> Self {
        Self { location: Some(location.into()), ..Self::with_status(StatusCode::CREATED, data) }
    }

    /// 202: work that goes on after the answer.
    pub const fn accepted(data: T) -> Self {
        Self::with_status(StatusCode::ACCEPTED, data)
    }

    /// Says where what was accepted is found.
    #[must_use]
    pub fn with_location(mut self, location: impl Into<String>) -> Self {
        self.location = Some(location.into());
        self
    }

    /// Says which revision this is (RFC 9110, 8.8.3). A GET that already has it is answered with 304.
    #[must_use]
    pub fn with_etag(mut self, revision: u64) -> Self {
        self.revision = Some(revision);
        self
    }
}

impl<T: Serialize> Responder for Reply<T> {
    type Body = BoxBody;

    fn respond_to(self, request: &HttpRequest) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        if let Some(revision) = self.revision
            && tag(&mut response, revision, request)
        {
            return response.status(StatusCode::NOT_MODIFIED).finish();
        }
        if let Some(location) = self.location {
            response.insert_header((header::LOCATION, location));
        }
        let id = RequestId::of_request(request);
        let meta = Meta { request_id: id.as_str(), pagination: None };
        let envelope = Envelope { status: "ok", data: self.data, pagination: None, meta };
        written(response, &envelope, request, &id)
    }
}

/// Says which revision an answer is; whether a GET has it already.
fn tag(response: &mut HttpResponseBuilder, revision: u64, request: &HttpRequest) -> bool {
    response.insert_header((header::ETAG, conditional::etag(revision)));
    response.insert_header((header::CACHE_CONTROL, "private, no-cache"));
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    reads && IfNoneMatch::of(request.headers()).names(revision)
}

/// 200 with a value that was written as JSON before.
#[derive(Debug)]
pub(crate) struct Written<B> {
    text: B,
    revision: Option<u64>,
}

impl<B: AsRef<[u8]>> Written<B> {
    pub(crate) const fn ok(text: B) -> Self {
        Self { text, revision: None }
    }

    /// Says which revision this is, as [`Reply::with_etag`] does.
    pub(crate) fn with_etag(mut self, revision: u64) -> Self {
        self.revision = Some(revision);
        self
    }
}

impl<B: AsRef<[u8]>> Responder for Written<B> {
    type Body = BoxBody;

    fn respond_to(self, request: &HttpRequest) -> HttpResponse {
        const HEAD: &[u8] = br#"{"status":"ok","data":"#;
        let mut response = HttpResponse::Ok();
        if let Some(revision) = self.revision
            && tag(&mut response, revision, request)
        {
            return response.status(StatusCode::NOT_MODIFIED).finish();
        }
        let id = RequestId::of_request(request);
        let meta = match serde_json::to_vec(&Meta { request_id: id.as_str(), pagination: None }) {
            Ok(meta) => meta,
            Err(error) => {
                let error = Error::App(app::Error::internal(error));
                return crate::error::response(&error, Family::of_path(request.path()), id.as_str());
            }
        };
        let body = [HEAD, self.text.as_ref(), br#","meta":"#, &meta, b"}"].concat();
        response.content_type("application/json").body(body)
    }
}

/// 204: done, and nothing to tell.
#[derive(Debug, Clone, Copy)]
pub struct NoContent;

impl Responder for NoContent {
    type Body = BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        HttpResponse::NoContent().finish()
    }
}

/// Where a page's position in its list is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// `data.items`, and `pagination` beside `data`.
    Items,
    /// `data` is the array, and the position is in `meta`.
    Workspace,
}

/// A page of a list.
#[derive(Debug)]
pub struct Listed<T> {
    items: Vec<T>,
    next: Option<String>,
    shape: Shape,
}

impl<T: Serialize> Listed<T> {
    /// A page as the platform writes it. `seal` is what reading the page's request gave.
    pub fn new<U: Into<T>>(page: app::Page<U>, seal: &Seal) -> Self {
        let next = page.next.map(|cursor| seal.close(&cursor));
        Self { items: page.items.into_iter().map(Into::into).collect(), next, shape: Shape::Items }
    }

    /// A page as it is written under `/v1/admin`.
    pub fn workspace<U: Into<T>>(page: app::Page<U>, seal: &Seal) -> Self {
        Self { shape: Shape::Workspace, ..Self::new(page, seal) }
    }
}

impl<T: Serialize> Responder for Listed<T> {
    type Body = BoxBody;

    fn respond_to(self, request: &HttpRequest) -> HttpResponse {
        let id = RequestId::of_request(request);
        let position = Some(Pagination { has_more: self.next.is_some(), next_cursor: self.next.as_deref() });
        let response = HttpResponse::Ok();
        match self.shape {
            Shape::Items => {
                let meta = Meta { request_id: id.as_str(), pagination: None };
                let data = Items { items: &self.items };
                written(response, &Envelope { status: "ok", data, pagination: position, meta }, request, &id)
            }
            Shape::Workspace => {
                let meta = Meta { request_id: id.as_str(), pagination: position };
                let data = &self.items;
                written(response, &Envelope { status: "ok", data, pagination: None, meta }, request, &id)
            }
        }
    }
}

fn written<T: Serialize>(
    mut response: HttpResponseBuilder,
    envelope: &T,
    request: &HttpRequest,
    id: &RequestId,
) -> HttpResponse {
    match serde_json::to_vec(envelope) {
        Ok(body) => response.content_type("application/json").body(body),
        Err(error) => {
            let error = Error::App(app::Error::internal(error));
            crate::error::response(&error, Family::of_path(request.path()), id.as_str())
        }
    }
}
