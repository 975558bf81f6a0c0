//! Outgoing webhooks, and trying them out.
use scaigrid_http_macros::{delete, get, post, put};

use crate::openapi::{ServiceConfig, kinds};
use actix_web::web;
use scaigrid_app::{App, webhooks};
use scaigrid_scope::{Instant, WebhookId, perm};
use scaigrid_webhooks::{
    Retries, Secret, Standing, Subscription, Subscriptions, WebhookChanges, WebhookStatus, WebhookUrl,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::Validate;

use super::Problems;
use crate::auth::Allowed;
use crate::body::Body;
use crate::conditional::IfMatch;
use crate::envelope::{DataOf, Listed, NoContent, PageOf, Reply};
use crate::error::Error;
use crate::paging::{Bounds, PageParams, Paging};
use crate::path::PathId;
use crate::request::Origin;

/// A webhook as it is asked for.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({"url": "https://example.org/hooks/scaigrid", "events": ["scaicore.checkpoint_pending", "module.*"]}))]
struct NewWebhook {
    /// Where events are posted: an `https` URL without credentials, at a public address.
    #[schema(value_type = kinds::TargetUrl)]
    url: String,
    /// What is told: types of events, families of them (`scaicore.*`), or everything (`*`).
    #[validate(length(min = 1, max = 50))]
    #[schema(value_type = Vec<kinds::Subscription>, min_items = 1, max_items = 50)]
    events: Vec<String>,
    /// What deliveries are signed with: `whsec_` and the base64 of 24 to 64 bytes, or 16 to 256 visible characters. Drawn
    /// when left out.
    #[schema(value_type = Option<kinds::SigningSecret>)]
    secret: Option<String>,
    /// `active`, unless it shall be told nothing yet: `inactive`.
    #[schema(value_type = Option<kinds::WebhookStatus>)]
    status: Option<String>,
    /// How often a delivery is tried again, 0 to 8; left out, 8.
    #[schema(minimum = 0, maximum = 8)]
    max_retries: Option<i64>,
}

/// What shall be different about a webhook; what is left out stays.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({"status": "active"}))]
struct WebhookUpdate {
    /// Where events are posted.
    #[schema(value_type = Option<kinds::TargetUrl>)]
    url: Option<String>,
    /// What is told.
    #[validate(length(min = 1, max = 50))]
    #[schema(value_type = Option<Vec<kinds::Subscription>>, min_items = 1, max_items = 50)]
    events: Option<Vec<String>>,
    /// What deliveries are signed with from now on.
    #[schema(value_type = Option<kinds::SigningSecret>)]
    secret: Option<String>,
    /// `active` or `inactive`. One that the platform has switched off is switched on again by `active`.
    #[schema(value_type = Option<kinds::WebhookStatus>)]
    status: Option<String>,
    /// How often a delivery is tried again, 0 to 8.
    #[schema(minimum = 0, maximum = 8)]
    max_retries: Option<i64>,
}

/// A webhook, without its secret.
#[derive(Debug, Serialize, ToSchema)]
struct Webhook {
    #[schema(example = "whk_01JZ8QZ5T0000000000000000A")]
    id: String,
    url: String,
    events: Vec<String>,
    /// `active` or `inactive`.
    status: &'static str,
    /// Why the platform switched it off: `failing` for days, or `gone` (410).
    #[schema(required = true)]
    disabled_reason: Option<&'static str>,
    /// When it did.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    disabled_at: Option<Instant>,
    max_retries: u8,
    #[schema(value_type = String, format = DateTime)]
    created_at: Instant,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Instant,
}

/// A webhook that was just made, with its secret: it is shown this once.
#[derive(Debug, Serialize, ToSchema)]
struct CreatedWebhook {
    #[serde(flatten)]
    about: Webhook,
    /// What the receiver verifies deliveries with.
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]
    secret: String,
}

/// The secret that a webhook shall have.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({}))]
struct NewSecret {
    /// As when a webhook is made; drawn when left out.
    #[schema(value_type = Option<kinds::SigningSecret>)]
    secret: Option<String>,
}

/// A webhook that was just given another secret: it is shown this once.
#[derive(Debug, Serialize, ToSchema)]
struct RotatedSecret {
    #[schema(example = "whk_01JZ8QZ5T0000000000000000A")]
    id: String,
    /// What the receiver verifies deliveries with.
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]
    secret: String,
    /// Until when deliveries are signed by the secret before, too.
    #[schema(value_type = String, format = DateTime)]
    previous_until: Instant,
}

/// What came of trying a webhook out.
#[derive(Debug, Serialize, ToSchema)]
struct TriedWebhook {
    #[schema(example = "del_01JZ8QZ5T0000000000000000A")]
    delivery_id: String,
    /// What the receiver answered.
    #[schema(required = true)]
    status_code: Option<u16>,
    duration_ms: u32,
    /// What went wrong, if something did.
    #[schema(required = true)]
    error: Option<String>,
}

/// The shared answer `EgressDenied` of the document.
struct EgressDenied;

impl<'r> utoipa::ToResponse<'r> for EgressDenied {
    fn response() -> (&'r str, utoipa::openapi::RefOr<utoipa::openapi::Response>) {
        ("EgressDenied", utoipa::openapi::Response::new("The target may not be called").into())
    }
}

impl From<scaigrid_webhooks::Webhook> for Webhook {
    fn from(webhook: scaigrid_webhooks::Webhook) -> Self {
        let (disabled_reason, disabled_at) = match webhook.standing {
            Standing::Disabled { reason, at } => (Some(reason.as_str()), Some(at)),
            Standing::Active { .. } | Standing::Inactive => (None, None),
        };
        Self {
            id: webhook.id.to_string(),
            url: webhook.url.to_string(),
            events: webhook.events.iter().map(|wish| wish.to_string()).collect(),
            status: webhook.standing.status().as_str(),
            disabled_reason,
            disabled_at,
            max_retries: webhook.max_retries.get(),
            created_at: webhook.created_at,
            updated_at: webhook.updated_at,
        }
    }
}

fn read_events(problems: &mut Problems, texts: &[String]) -> Option<Subscriptions> {
    let wishes = problems.each::<Subscription>("events", texts)?;
    let read = Subscriptions::new(wishes);
    if read.is_none() {
        problems.note("events", format!("must name 1 to {}", Subscriptions::MAX));
    }
    read
}

fn read_secret(problems: &mut Problems, text: Option<&str>) -> Option<Secret> {
    match text.map(Secret::parse)? {
        Ok(secret) => Some(secret),
        Err(error) => {
            problems.note("secret", error);
            None
        }
    }
}

fn read_retries(problems: &mut Problems, number: Option<i64>) -> Option<Retries> {
    match number.map(Retries::new)? {
        Ok(retries) => Some(retries),
        Err(error) => {
            problems.note("max_retries", error);
            None
        }
    }
}

impl NewWebhook {
    fn read(self) -> Result<webhooks::NewWebhook, Error> {
        let mut problems = Problems::default();
        let url = problems.read::<WebhookUrl>("url", &self.url);
        let events = read_events(&mut problems, &self.events);
        let secret = read_secret(&mut problems, self.secret.as_deref());
        let status = problems.maybe("status", self.status.as_deref()).unwrap_or(WebhookStatus::Active);
        let max_retries = read_retries(&mut problems, self.max_retries).unwrap_or_default();
        problems.check()?;
        let (Some(url), Some(events)) = (url, events) else { return Err(problems.refusal()) };
        Ok(webhooks::NewWebhook { url, events, secret, status, max_retries })
    }
}

impl WebhookUpdate {
    fn read(self) -> Result<(WebhookChanges, Option<Secret>), Error> {
        let mut problems = Problems::default();
        let changes = WebhookChanges {
            url: problems.maybe("url", self.url.as_deref()),
            events: self.events.as_ref().and_then(|events| read_events(&mut problems, events)),
            status: problems.maybe("status", self.status.as_deref()),
            max_retries: read_retries(&mut problems, self.max_retries),
        };
        let secret = read_secret(&mut problems, self.secret.as_deref());
        problems.check()?;
        Ok((changes, secret))
    }
}

fn shown(webhook: scaigrid_webhooks::Webhook) -> Reply<Webhook> {
    let revision = webhook.revision.unsigned_abs();
    Reply::ok(Webhook::from(webhook)).with_etag(revision)
}

/// List the webhooks of the tenant, newest first.
#[utoipa::path(
    tag = "webhooks",
    operation_id = "list_webhooks",
    params(PageParams),
    responses((status = 200, body = PageOf<Webhook>))
)]
#[get("/v1/webhooks")]
async fn list_webhooks(
    caller: Allowed<perm::WebhooksManage>,
    paging: Paging,
    app: web::Data<App>,
) -> Result<Listed<Webhook>, Error> {
    let (page, seal) = paging.read("webhooks", &caller.tenant().id.to_string(), &Bounds::LIST)?;
    Ok(Listed::new(app.webhooks(&caller, &page).await?, &seal))
}

/// Make a webhook. Its secret is in this answer and nowhere else.
#[utoipa::path(
    tag = "webhooks",
    operation_id = "create_webhook",
    request_body = NewWebhook,
    responses((status = 201, body = DataOf<CreatedWebhook>))
)]
#[post("/v1/webhooks")]
async fn create_webhook(
    caller: Allowed<perm::WebhooksManage>,
    origin: Origin,
    body: Body<NewWebhook>,
    app: web::Data<App>,
) -> Result<Reply<CreatedWebhook>, Error> {
    let new = body.read().await?.read()?;
    let created = app.create_webhook(&caller, &origin.context(), new).await?;
    let revision = created.webhook.revision.unsigned_abs();
    let about = Webhook::from(created.webhook);
    let secret = created.secret.reveal().to_owned();
    let location = format!("/v1/webhooks/{}", about.id);
    Ok(Reply::created(location, CreatedWebhook { about, secret }).with_etag(revision))
}

/// Get a webhook.
#[utoipa::path(
    tag = "webhooks",
    operation_id = "get_webhook",
    params(("webhook_id" = kinds::WebhookId, Path, example = "whk_01JZ8QZ5T0000000000000000A")),
    responses((status = 200, body = DataOf<Webhook>))
)]
#[get("/v1/webhooks/{webhook_id}")]
async fn get_webhook(
    caller: Allowed<perm::WebhooksManage>,
    id: PathId<WebhookId>,
    app: web::Data<App>,
) -> Result<Reply<Webhook>, Error> {
    Ok(shown(app.webhook(&caller, id.0).await?))
}

/// Change a webhook. What waits to be told goes to the new URL under the new secret.
#[utoipa::path(
    tag = "webhooks",
    operation_id = "update_webhook",
    params(("webhook_id" = kinds::WebhookId, Path, example = "whk_01JZ8QZ5T0000000000000000A")),
    request_body = WebhookUpdate,
    responses((status = 200, body = DataOf<Webhook>))
)]
#[put("/v1/webhooks/{webhook_id}")]
async fn update_webhook(
    caller: Allowed<perm::WebhooksManage>,
    id: PathId<WebhookId>,
    condition: IfMatch,
    origin: Origin,
    body: Body<WebhookUpdate>,
    app: web::Data<App>,
) -> Result<Reply<Webhook>, Error> {
    // What is not there is told before what is wrong with the body.
    app.webhook(&caller, id.0).await?;
    let changes = body.read().await?.read()?;
    Ok(shown(app.update_webhook(&caller, &origin.context(), id.0, condition.revisions(), changes).await?))
}

/// Remove a webhook, and its deliveries with it.
#[utoipa::path(
    tag = "webhooks",
    operation_id = "delete_webhook",
    params(
        ("webhook_id" = kinds::WebhookId, Path, example = "whk_01JZ8QZ5T0000000000000000A"),
        ("If-Match" = Option<String>, Header),
    ),
    responses((status = 204))
)]
#[delete("/v1/webhooks/{webhook_id}")]
async fn delete_webhook(
    caller: Allowed<perm::WebhooksManage>,
    id: PathId<WebhookId>,
    condition: IfMatch,
    origin: Origin,
    app: web::Data<App>,
) -> Result<NoContent, Error> {
    app.delete_webhook(&caller, &origin.context(), id.0, condition.revisions()).await?;
    Ok(NoContent)
}

/// Give a webhook another secret. For a day deliveries are signed by both, in one `webhook-signature`; the new one is in
/// this answer and nowhere else.
#[utoipa::path(
    tag = "webhooks",
    operation_id = "rotate_webhook_secret",
    params(("webhook_id" = kinds::WebhookId, Path, example = "whk_01JZ8QZ5T0000000000000000A")),
    request_body = NewSecret,
    responses((status = 200, body = DataOf<RotatedSecret>))
)]
#[post("/v1/webhooks/{webhook_id}/secret")]
async fn rotate_webhook_secret(
    caller: Allowed<perm::WebhooksManage>,
    id: PathId<WebhookId>,
    condition: IfMatch,
    origin: Origin,
    body: Body<NewSecret>,
    app: web::Data<App>,
) -> Result<Reply<RotatedSecret>, Error> {
    // What is not there is told before what is wrong with the body.
    app.webhook(&caller, id.0).await?;
    let new = body.read().await?;
    let mut problems = Problems::default();
    let secret = read_secret(&mut problems, new.secret.as_deref());
    problems.check()?;
    let (request, expected) = (origin.context(), condition.revisions());
    let rotated = app.rotate_webhook_secret(&caller, &request, id.0, expected, secret).await?;
    let revision = rotated.webhook.revision.unsigned_abs();
    let shown = RotatedSecret {
        id: rotated.webhook.id.to_string(),
        secret: rotated.secret.reveal().to_owned(),
        previous_until: rotated.previous_until,
    };
    Ok(Reply::ok(shown).with_etag(revision))
}

/// Post an event `webhook.test` to a webhook, once and at once, and wait for what comes of it.
#[utoipa::path(
    tag = "webhooks",
    operation_id = "test_webhook",
    params(("webhook_id" = kinds::WebhookId, Path, example = "whk_01JZ8QZ5T0000000000000000A")),
    responses((status = 200, body = DataOf<TriedWebhook>), (status = 502, response = EgressDenied))
)]
#[post("/v1/webhooks/{webhook_id}/test")]
async fn test_webhook(
    caller: Allowed<perm::WebhooksManage>,
    id: PathId<WebhookId>,
    origin: Origin,
    app: web::Data<App>,
) -> Result<Reply<TriedWebhook>, Error> {
    let tried = app.test_webhook(&caller, &origin.context(), id.0).await?;
    Ok(Reply::ok(TriedWebhook {
        delivery_id: tried.delivery_id.to_string(),
        status_code: tried.attempt.status_code,
        duration_ms: tried.attempt.duration_ms,
        error: tried.attempt.error,
    }))
}

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config
        .service(list_webhooks)
        .service(create_webhook)
        .service(get_webhook)
        .service(update_webhook)
        .service(delete_webhook)
        .service(rotate_webhook_secret)
        .service(test_webhook);
}
