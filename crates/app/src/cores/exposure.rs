//! What others reach of a Core: its own API, and its webhooks.

use std::sync::Arc;

use std::collections::BTreeMap;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use scaigrid_cores::Core;
use scaigrid_cores::execution::Standing;
use scaigrid_cores::triggers::input::Call;
use scaigrid_cores::triggers::{self, openapi};
use scaigrid_engine::NotTaken;
pub use scaigrid_engine::{Endpoint, Meant, Receipt, Verified, WAIT};
use scaigrid_ir::module::Module;
use scaigrid_ir::{Value as IrValue, load};
use scaigrid_scope::{Authorized, CoreId, TenantScope, TriggerId, UserId, perm};
use serde_json::{Value, json};

use super::MODULE;
use super::triggers::module_of;
use crate::{App, Error, FieldError, Resource};

/// When a message may be taken that was not, since the Core did not run.
const AGAIN: Duration = Duration::from_secs(30);

/// A call that needs no credentials, and the right to make it.
#[derive(Debug, Clone)]
pub struct PublicEndpoint {
    scope: TenantScope,
    meant: Meant,
}

impl App {
    /// What a Core's API looks like, in short or as an OpenAPI document.
    ///
    /// # Errors
    /// There is no such Core.
    #[boxed]
    pub async fn api_spec(
        &self,
        by: &Authorized<perm::CoresView>,
        id: CoreId,
        as_openapi: bool,
    ) -> Result<Value, Error> {
        let core = self.find_core(by.tenant_scope(), id).await?.value;
        let module = module_of(&core).await?.or_else(|| nothing(&core));
        let module = module.ok_or_else(|| Error::internal("a program without flows cannot be read"))?;
        let entries = triggers::entries(id, &module, &core.triggers);
        Ok(if as_openapi {
            let server = format!("/v1/modules/{MODULE}/cores/{id}/api/invoke");
            openapi::document(&module, &entries, &server)
        } else {
            let mut compact = openapi::compact(&module, &entries);
            compact["core_id"] = id.to_string().into();
            compact
        })
    }

    /// The trigger that a call without credentials means; none where that is none that is public.
    ///
    /// # Errors
    /// The database's.
    #[boxed]
    pub async fn public_endpoint(
        &self,
        core: CoreId,
        asked: (&str, &str),
    ) -> Result<Option<PublicEndpoint>, Error> {
        let found = self.0.engine.find_public_endpoint(core, asked).await?;
        Ok(found.map(|(scope, meant)| PublicEndpoint { scope, meant }))
    }

    /// What a call of a Core's API means.
    ///
    /// # Errors
    /// There is no such Core, or its program cannot be read.
    #[boxed]
    pub async fn endpoint(
        &self,
        by: &Authorized<perm::CoresInvoke>,
        core: CoreId,
        asked: (&str, &str),
    ) -> Result<Endpoint, Error> {
        Ok(self.0.engine.find_endpoint(by.tenant_scope(), core, asked).await?)
    }

    /// Starts the flow of a trigger of a Core's API.
    ///
    /// # Errors
    /// The Core takes no work, or what is given does not fit: the fields are named as the call has them.
    #[boxed]
    pub async fn call_api(
        &self,
        by: &Authorized<perm::CoresInvoke>,
        core: CoreId,
        meant: &Meant,
        call: &Call,
        wait: Option<Duration>,
    ) -> Result<Standing, Error> {
        let called =
            self.0.engine.call_api(by.tenant_scope(), core, meant, (call, Some(by.user_id())), wait).await;
        called.map_err(|error| of_call(error.into()))
    }

    /// The same for a call that needs no credentials; `by` is who calls, where they are known all the same.
    ///
    /// # Errors
    /// As [`App::call_api`]; [`Error::NotFound`] of a route where it has ceased to be public.
    #[boxed]
    pub async fn call_public_api(
        &self,
        core: CoreId,
        endpoint: &PublicEndpoint,
        (call, by): (&Call, Option<UserId>),
        wait: Option<Duration>,
    ) -> Result<Standing, Error> {
        // The body may have been a while on its way.
        let path = call.path.strip_prefix('/').unwrap_or(&call.path);
        let found = self.public_endpoint(core, (&call.method, path)).await?;
        if !found.is_some_and(|found| found.meant == endpoint.meant) {
            return Err(Error::NotFound(Resource::Route));
        }
        let called = self.0.engine.call_api(endpoint.scope, core, &endpoint.meant, (call, by), wait).await;
        called.map_err(|error| of_call(error.into()))
    }

    /// Whether a message to a webhook is from whom it says: its headers by names in lower case, and its body as it was sent.
    ///
    /// # Errors
    /// [`Error::NotFound`] of a route where there is no such webhook, [`Error::WebhookSignature`] where it is not.
    #[boxed]
    pub async fn verify_message(
        &self,
        place: (CoreId, TriggerId),
        headers: BTreeMap<String, String>,
        raw: &[u8],
    ) -> Result<Verified, Error> {
        self.0.engine.verify_message(place, headers, raw).await.map_err(not_taken)
    }

    /// Takes a message to a webhook, which starts a flow if it has not done so before.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where the Core does not run, so that it is sent again; what it carries does not fit; there is no
    /// room.
    #[boxed]
    pub async fn take_message(&self, message: Verified, body: IrValue) -> Result<Receipt, Error> {
        self.0.engine.take_message(message, body).await.map_err(not_taken)
    }
}

impl PublicEndpoint {
    /// What is meant.
    pub const fn meant(&self) -> &Meant {
        &self.meant
    }

    /// Whose limits the call counts against.
    pub const fn tenant(&self) -> TenantScope {
        self.scope
    }
}

fn not_taken(refused: NotTaken) -> Error {
    match refused {
        NotTaken::Unknown => Error::NotFound(Resource::Route),
        NotTaken::NotVerified => Error::WebhookSignature,
        NotTaken::NotRunning(_) => Error::Unavailable { retry_after: AGAIN },
        NotTaken::Engine(error) => of_call(error.into()),
    }
}

/// A program of a Core's name that offers nothing.
fn nothing(core: &Core) -> Option<Arc<Module>> {
    let program =
        json!({"schema_version": "0.2", "name": core.name.as_str(), "version": "0.0.0", "flows": []});
    load::module(&program).module
}

/// An error whose fields are named as a call of a Core's API has them: there is no `input` around them.
fn of_call(error: Error) -> Error {
    match error {
        Error::Invalid(problems) => Error::Invalid(
            problems
                .into_iter()
                .map(|problem| match problem.field.strip_prefix("input.") {
                    Some(field) => FieldError::new(field, problem.message),
                    None => problem,
                })
                .collect(),
        ),
        other => other,
    }
}
