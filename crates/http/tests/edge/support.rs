//! A router over example routes, and stand-ins for the rest of the house.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::body::MessageBody;
use actix_web::dev::ServiceResponse;
use actix_web::http::Method;
use actix_web::http::header::HeaderMap;
use actix_web::test::{self, TestRequest};
use actix_web::web;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use scaigrid_app as app;
use scaigrid_app::{Cursor, Page};
use scaigrid_http::Error;
use scaigrid_http::auth::{Allowed, Authenticator, Caller, Credentials, ModuleGate};
use scaigrid_http::body::Body;
use scaigrid_http::conditional::IfMatch;
use scaigrid_http::envelope::{DataOf, Listed, NoContent, PageOf, Reply, WorkspacePageOf};
use scaigrid_http::health::{Condition, Readiness};
use scaigrid_http::idempotency::{Answer, Begun, Claim, IdempotencyStore};
use scaigrid_http::limits::{RateLimits, Windows};
use scaigrid_http::openapi::ServiceConfig;
use scaigrid_http::paging::{Bounds, CursorKey, PageParams, Paging};
use scaigrid_http::path::PathId;
use scaigrid_http::server::{Parts, Router};
use scaigrid_http_macros::{delete, get, post, put};
use scaigrid_scope::{
    ApiKeyId, Clock, CoreId, Credential, Email, Identity, Instant, Name, PartnerId, Permission, Permissions,
    Place, Principal, Role, Slug, TenantId, TenantRef, TenantStatus, UserId, UserKind, UserStatus, perm,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use ulid::Ulid;
use utoipa::ToSchema;
use validator::Validate;

/// How often the handler that counts has run.
#[derive(Default)]
pub(crate) struct Runs(pub(crate) AtomicU32);

#[derive(Debug, Deserialize, Validate, ToSchema)]
struct NewThing {
    #[validate(length(min = 1, max = 10))]
    name: String,
}

#[derive(Debug, Serialize, ToSchema)]
struct Thing {
    name: String,
    run: u32,
}

#[utoipa::path(responses((status = 201, body = DataOf<Thing>)), request_body = NewThing)]
#[post("/v1/things")]
async fn create_thing(
    _caller: Allowed<perm::UsersManage>,
    body: Body<NewThing>,
    runs: web::Data<Runs>,
) -> Result<Reply<Thing>, Error> {
    let NewThing { name } = body.read().await?;
    let run = runs.0.fetch_add(1, Ordering::SeqCst);
    match name.as_str() {
        "taken" => Err(app::Error::slug_taken(&name).into()),
        "broken" => Err(app::Error::internal("hunter2").into()),
        "panic" => panic!("as the test wants it"),
        "slow" => {
            actix_web::rt::time::sleep(Duration::from_millis(50)).await;
            Ok(Reply::accepted(Thing { name, run }))
        }
        "large" => Ok(Reply::ok(Thing { name: "a".repeat(2 << 20), run })),
        _ => Ok(Reply::created(format!("/v1/things/{run}"), Thing { name, run })),
    }
}

#[utoipa::path(params(PageParams), responses((status = 200, body = PageOf<i64>)))]
#[get("/v1/things")]
async fn list_things(caller: Allowed<perm::CoresView>, paging: Paging) -> Result<Listed<i64>, Error> {
    let (request, seal) = paging.read("things", &caller.tenant().id.to_string(), &Bounds::LIST)?;
    let after = request.cursor.as_ref().and_then(|cursor| cursor.int(0)).unwrap_or(0);
    let rows = (after + 1..=5).take(usize::try_from(request.rows()).unwrap()).collect();
    Ok(Listed::new(Page::of_rows(rows, &request, |last: &i64| Cursor::new([(*last).into()])), &seal))
}

#[utoipa::path(params(PageParams), responses((status = 200, body = WorkspacePageOf<i64>)))]
#[get("/v1/admin/things")]
async fn list_admin_things(
    _caller: Allowed<perm::AdminAccess>,
    paging: Paging,
) -> Result<Listed<i64>, Error> {
    let (_, seal) = paging.read("admin things", "", &Bounds::LIST)?;
    let page = Page { items: vec![1, 2], next: None };
    Ok(Listed::workspace(page, &seal))
}

#[utoipa::path(params(("id" = String, Path)), responses((status = 200, body = DataOf<String>)))]
#[get("/v1/things/{id}")]
async fn get_thing(_caller: Allowed<perm::CoresView>, id: PathId<CoreId>) -> Reply<String> {
    Reply::ok(id.0.to_string()).with_etag(3)
}

#[utoipa::path(
    params(("id" = String, Path)),
    request_body = NewThing,
    responses((status = 200, body = DataOf<String>))
)]
#[put("/v1/things/{id}")]
async fn put_thing(
    _caller: Allowed<perm::UsersManage>,
    _id: PathId<CoreId>,
    condition: IfMatch,
    body: Body<NewThing>,
) -> Result<Reply<String>, Error> {
    let body = body.read().await?;
    condition.check(3)?;
    Ok(Reply::ok(body.name).with_etag(4))
}

#[utoipa::path(params(("id" = String, Path)), responses((status = 204)))]
#[delete("/v1/things/{id}")]
async fn delete_thing(_caller: Allowed<perm::UsersManage>, _id: PathId<CoreId>) -> NoContent {
    NoContent
}

#[derive(Deserialize)]
struct Asked {
    number: u32,
}

#[utoipa::path(params(("number" = u32, Query)), responses((status = 200, body = DataOf<u32>)))]
#[get("/v1/numbers")]
async fn get_number(_caller: Caller, asked: web::Query<Asked>) -> Reply<u32> {
    Reply::ok(asked.number)
}

#[utoipa::path(responses((status = 200, body = DataOf<String>)))]
#[get("/v1/modules/scaicore/things")]
async fn module_thing(_caller: Allowed<perm::UsersManage>) -> Reply<&'static str> {
    Reply::ok("on")
}

#[utoipa::path(params(("module_id" = String, Path)), responses((status = 200, body = DataOf<String>)))]
#[get("/v1/modules/{module_id}")]
async fn module_itself(_caller: Caller) -> Reply<&'static str> {
    Reply::ok("module")
}

pub(crate) fn routes(config: &mut ServiceConfig<'_>) {
    config
        .service(create_thing)
        .service(list_things)
        .service(list_admin_things)
        .service(get_thing)
        .service(put_thing)
        .service(delete_thing)
        .service(get_number)
        .service(module_thing)
        .service(module_itself);
}

#[utoipa::path(operation_id = "get_thing", responses((status = 204)))]
#[get("/v1/again")]
async fn get_thing_again(_caller: Caller) -> NoContent {
    NoContent
}

/// Routes whose names are taken.
pub(crate) fn routes_again(config: &mut ServiceConfig<'_>) {
    config.service(get_thing_again);
}

/// Knows a few bearer tokens.
struct Tokens;

fn principal(user: u128, tenant: u128, role: Role, scopes: Option<Permissions>) -> Arc<Principal> {
    let identity = Identity {
        user_id: UserId::from_ulid(Ulid(user)),
        email: Email::parse("ada@acme.example").unwrap(),
        display_name: Name::parse("Ada").unwrap(),
        kind: UserKind::Human,
        status: UserStatus::Active,
        home: TenantRef {
            id: TenantId::from_ulid(Ulid(tenant)),
            slug: Slug::parse("acme").unwrap(),
            partner_id: PartnerId::from_ulid(Ulid(1)),
            status: TenantStatus::Active,
        },
        roles: [role].into_iter().collect(),
        groups: Vec::new(),
        grants: Permissions::default(),
        credential: Credential::ApiKey { id: ApiKeyId::from_ulid(Ulid(user)), scopes },
    };
    Arc::new(identity.act(Place::Own).unwrap())
}

impl Authenticator for Tokens {
    fn authenticate<'a>(
        &'a self,
        credentials: Credentials<'a>,
    ) -> BoxFuture<'a, Result<Arc<Principal>, app::Error>> {
        let scopes = [Permission::ScaicoreView].into_iter().collect();
        let found = match credentials.bearer {
            "admin" if credentials.tenant == Some("elsewhere") => {
                Err(app::Error::NotFound(app::Resource::Tenant))
            }
            "admin" => Ok(principal(1, 1, Role::TenantAdmin, None)),
            "viewer" => Ok(principal(2, 1, Role::TenantViewer, None)),
            "colleague" => Ok(principal(3, 1, Role::TenantAdmin, None)),
            "scoped" => Ok(principal(1, 1, Role::TenantAdmin, Some(scopes))),
            "foreigner" => Ok(principal(4, 2, Role::TenantAdmin, None)),
            "expired" => Err(app::Error::TokenExpired),
            "broken" => Err(app::Error::internal("hunter2")),
            _ => Err(app::Error::TokenInvalid),
        };
        ready(found).boxed()
    }
}

/// The module is off in tenant 2.
impl ModuleGate for Tokens {
    fn check<'a>(
        &'a self,
        principal: &'a Principal,
        module: &'a str,
    ) -> BoxFuture<'a, Result<(), app::Error>> {
        let off = principal.tenant().id == TenantId::from_ulid(Ulid(2));
        let refused = Err(app::Error::ModuleNotEnabled { module: module.to_owned() });
        ready(if off { refused } else { Ok(()) }).boxed()
    }
}

pub(crate) struct Checks(pub(crate) Condition);

impl Readiness for Checks {
    fn checks(&self) -> BoxFuture<'_, Vec<(&'static str, Condition)>> {
        ready(vec![("database", self.0), ("bus", Condition::Degraded)]).boxed()
    }
}

/// The key whose first claim is taken without an answer that says so.
pub(crate) const LOST: &str = "lost";

/// Keeps claims in memory.
#[derive(Default)]
pub(crate) struct Claims(Mutex<HashMap<Key, (Claim, Option<Answer>)>>, AtomicBool);

/// Tenant, endpoint and key.
type Key = (TenantId, String, String);

impl Claims {
    fn place(claim: &Claim) -> Key {
        (claim.tenant, claim.endpoint.clone(), claim.key.clone())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().unwrap().is_empty()
    }
}

impl IdempotencyStore for Claims {
    fn begin<'a>(&'a self, claim: &'a Claim) -> BoxFuture<'a, Result<Begun, app::Error>> {
        let mut claims = self.0.lock().unwrap();
        let begun = match claims.get(&Self::place(claim)) {
            None => {
                claims.insert(Self::place(claim), (claim.clone(), None));
                if claim.key == LOST && !self.1.swap(true, Ordering::SeqCst) {
                    let lost = app::Error::Unavailable { retry_after: Duration::from_secs(1) };
                    return ready(Err(lost)).boxed();
                }
                Begun::Fresh
            }
            Some((first, _)) if first.fingerprint != claim.fingerprint => Begun::Reused,
            Some((_, None)) => Begun::InUse,
            Some((_, Some(answer))) => Begun::Replay(answer.clone()),
        };
        ready(Ok(begun)).boxed()
    }

    fn finish<'a>(&'a self, claim: &'a Claim, answer: Answer) -> BoxFuture<'a, Result<(), app::Error>> {
        self.0.lock().unwrap().insert(Self::place(claim), (claim.clone(), Some(answer)));
        ready(Ok(())).boxed()
    }

    fn abandon<'a>(&'a self, claim: &'a Claim) -> BoxFuture<'a, Result<(), app::Error>> {
        self.0.lock().unwrap().remove(&Self::place(claim));
        ready(Ok(())).boxed()
    }
}

/// A clock that stands until it is moved.
pub(crate) struct Hand(pub(crate) AtomicI64);

impl Clock for Hand {
    fn now(&self) -> Instant {
        Instant::from_micros(self.0.load(Ordering::SeqCst))
    }
}

/// The router and what a test looks at behind it.
pub(crate) struct House {
    pub(crate) router: Router,
    pub(crate) runs: web::Data<Runs>,
    pub(crate) claims: Arc<Claims>,
    pub(crate) clock: Arc<Hand>,
}

pub(crate) fn house(limits: Option<RateLimits>, database: Condition) -> House {
    let claims = Arc::new(Claims::default());
    let clock = Arc::new(Hand(AtomicI64::new(1_700_000_000_000_000)));
    let runs = web::Data::new(Runs::default());
    let parts = Parts {
        authenticator: Arc::new(Tokens),
        gate: Arc::new(Tokens),
        idempotency: claims.clone(),
        limiter: Arc::new(Windows::default()),
        limits,
        readiness: Arc::new(Checks(database)),
        metrics: Some(Arc::new(|| "up 1\n".to_owned())),
        tracing: scaigrid_app::telemetry::Tracing::off(),
        clock: clock.clone(),
        cursor_key: CursorKey::new(&[7; 32]),
        upload_limit: 10 << 20,
    };
    let state = runs.clone();
    let state = Arc::new(move |config: &mut web::ServiceConfig| {
        config.app_data(state.clone());
    });
    House { router: Router::new(parts, routes, state), runs, claims, clock }
}

/// An answer, read.
pub(crate) struct Seen {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub(crate) fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

pub(crate) fn call(method: &str, path: &str) -> TestRequest {
    TestRequest::with_uri(path).method(method.parse::<Method>().unwrap())
}

pub(crate) fn by(token: &str, method: &str, path: &str) -> TestRequest {
    call(method, path).insert_header(("Authorization", format!("Bearer {token}")))
}

pub(crate) async fn read<B: MessageBody>(response: ServiceResponse<B>) -> Seen {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Seen { status, headers, body: test::read_body(response).await.to_vec() }
}

/// What came of one request, or of the error that the server itself would have to answer.
pub(crate) async fn seen<B: MessageBody>(response: Result<ServiceResponse<B>, actix_web::Error>) -> Seen {
    match response {
        Ok(response) => read(response).await,
        Err(error) => {
            let response = error.error_response();
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            let body = actix_web::body::to_bytes(response.into_body()).await.unwrap().to_vec();
            Seen { status, headers, body }
        }
    }
}

/// Makes the application of a house; the macro is there because its type has no name.
macro_rules! app {
    ($house:expr) => {
        actix_web::test::init_service($house.router.app()).await
    };
}

/// Sends one request through an application.
macro_rules! send {
    ($app:expr, $request:expr) => {
        $crate::support::seen(actix_web::test::try_call_service(&$app, $request.to_request()).await).await
    };
}
