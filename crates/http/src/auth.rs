//! Who calls, and whether they may.
//!
//! A middleware finds out whom the bearer token names, once per request, so that limits and idempotency know it
//! too. It refuses nobody: a handler gets at a caller only through the extractors here, and those refuse. The
//! gate stands between: where a module is off, its routes are closed to everyone who is known.

use std::fmt;
use std::future::{Ready, ready};
use std::ops::Deref;
use std::sync::Arc;

use actix_web::body::MessageBody;
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderName};
use actix_web::middleware::Next;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest};
use futures_util::future::BoxFuture;
use scaigrid_app as app;
use scaigrid_scope::{Authorized, AuthorizedAtLevel, Permission, PermissionMarker, Permissions, Principal};

use crate::error::Error;
use crate::server::{self, Edge};

/// What a request says of its caller.
#[derive(Clone, Copy)]
pub struct Credentials<'a> {
    /// The bearer token (RFC 6750).
    pub bearer: &'a str,
    /// The tenant that the caller wants to act in, by id or slug: `X-Scaigrid-Tenant`.
    pub tenant: Option<&'a str>,
    /// The partner at whose level the caller wants to act: `X-Scaigrid-Partner`.
    pub partner: Option<&'a str>,
}

impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bearer: _, tenant, partner } = self;
        f.debug_struct("Credentials")
            .field("tenant", tenant)
            .field("partner", partner)
            .finish_non_exhaustive()
    }
}

/// Finds the principal that credentials stand for.
pub trait Authenticator: Send + Sync + 'static {
    /// The principal, acting where the credentials say, or why there is none.
    fn authenticate<'a>(
        &'a self,
        credentials: Credentials<'a>,
    ) -> BoxFuture<'a, Result<Arc<Principal>, app::Error>>;
}

/// Knows which modules are active for whom.
pub trait ModuleGate: Send + Sync + 'static {
    /// Whether the principal may use the module, or [`app::Error::ModuleNotEnabled`] and its kin.
    fn check<'a>(
        &'a self,
        principal: &'a Principal,
        module: &'a str,
    ) -> BoxFuture<'a, Result<(), app::Error>>;
}

/// What the middleware found, kept with the request until an extractor asks.
enum Identified {
    Known(Arc<Principal>),
    Unknown(Option<app::Error>),
}

/// The caller of a request that has come past the middleware, if it is known.
pub(crate) fn known(request: &HttpRequest) -> Option<Arc<Principal>> {
    match request.extensions().get::<Identified>() {
        Some(Identified::Known(principal)) => Some(Arc::clone(principal)),
        _ => None,
    }
}

/// Finds the caller. Only for the API: the other routes are public and must not cost a look-up.
pub(crate) async fn identify(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    if server::is_api(request.path()) {
        let edge = Edge::of(request.request())?;
        let identified = match credentials(request.headers()) {
            Err(error) => Identified::Unknown(Some(error)),
            Ok(credentials) => match edge.authenticator.authenticate(credentials).await {
                Ok(principal) => Identified::Known(principal),
                Err(error) => Identified::Unknown(Some(error)),
            },
        };
        request.extensions_mut().insert(identified);
    }
    next.call(request).await
}

fn credentials(headers: &HeaderMap) -> Result<Credentials<'_>, app::Error> {
    let authorization = headers.get(header::AUTHORIZATION).ok_or(app::Error::TokenMissing)?;
    let text = authorization.to_str().map_err(|_| app::Error::TokenInvalid)?;
    let (scheme, bearer) = text.split_once(' ').ok_or(app::Error::TokenInvalid)?;
    let bearer = bearer.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || bearer.is_empty() {
        return Err(app::Error::TokenInvalid);
    }
    // A name that is no text can be no tenant's; it must not silently mean the caller's own.
    let named = |name: &str, resource| match headers.get(name) {
        None => Ok(None),
        Some(value) => {
            value.to_str().map(|text| Some(text.trim())).map_err(|_| app::Error::NotFound(resource))
        }
    };
    Ok(Credentials {
        bearer,
        tenant: named("x-scaigrid-tenant", app::Resource::Tenant)?,
        partner: named("x-scaigrid-partner", app::Resource::Partner)?,
    })
}

/// What a request has said of its caller, to be asked again while a long answer goes on.
pub(crate) struct Standing {
    headers: HeaderMap,
}

impl Standing {
    /// What a request says.
    pub(crate) fn of_request(request: &HttpRequest) -> Self {
        let mut headers = HeaderMap::with_capacity(3);
        for name in ["authorization", "x-scaigrid-tenant", "x-scaigrid-partner"].map(HeaderName::from_static)
        {
            if let Some(value) = request.headers().get(&name) {
                headers.insert(name, value.clone());
            }
        }
        Self { headers }
    }

    /// The caller, as they are now.
    pub(crate) async fn principal(&self, edge: &Edge) -> Result<Arc<Principal>, app::Error> {
        edge.authenticator.authenticate(credentials(&self.headers)?).await
    }
}

/// Whether an answer says that a caller, or a module, is not what it was; one that says nothing of them does not.
pub(crate) const fn is_over(error: &app::Error) -> bool {
    use app::Error as E;
    matches!(
        error,
        E::TokenMissing
            | E::TokenInvalid
            | E::TokenExpired
            | E::TenantSuspended
            | E::NotFound(_)
            | E::ModuleNotEnabled { .. }
    )
}

/// Closes the routes of a module where it is off.
pub(crate) async fn gate(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<actix_web::body::BoxBody>, actix_web::Error> {
    let edge = Edge::of(request.request())?;
    if let (Some(module), Some(principal)) = (module_of(request.path()), known(request.request()))
        && let Err(error) = edge.gate.check(&principal, module).await
    {
        return Ok(server::refuse(request, error.into()));
    }
    Ok(next.call(request).await?.map_into_boxed_body())
}

/// The module that a path is a part of. Its administration is reachable while it is off.
fn module_of(path: &str) -> Option<&str> {
    const ADMINISTRATION: [&str; 5] = ["enable", "disable", "config", "explain", "enablement"];
    let (module, rest) = path.strip_prefix("/v1/modules/")?.split_once('/')?;
    (!module.is_empty() && !rest.is_empty() && !ADMINISTRATION.contains(&rest)).then_some(module)
}

fn caller(request: &HttpRequest) -> Result<Arc<Principal>, Error> {
    match request.extensions_mut().get_mut::<Identified>() {
        Some(Identified::Known(principal)) => Ok(Arc::clone(principal)),
        Some(Identified::Unknown(error)) => Err(error.take().unwrap_or(app::Error::TokenInvalid).into()),
        None => Err(app::Error::TokenMissing.into()),
    }
}

/// Any caller who is known.
#[derive(Debug, Clone)]
pub struct Caller(pub Arc<Principal>);

impl Deref for Caller {
    type Target = Arc<Principal>;

    fn deref(&self) -> &Arc<Principal> {
        &self.0
    }
}

impl FromRequest for Caller {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(caller(request).map(Self))
    }
}

/// A caller who holds a permission in the tenant that they act in. Comes before the other arguments of a
/// handler, so that missing rights are told first.
pub struct Allowed<P>(pub Authorized<P>);

impl<P: PermissionMarker> FromRequest for Allowed<P> {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(caller(request).and_then(|principal| {
            let all = || principal.roles().permissions().union(&principal.identity().grants);
            principal.authorize().map(Self).map_err(|denied| refusal(&principal, denied.permission, &all()))
        }))
    }
}

/// A caller who holds a permission at the level that they act at, for what exists at every level.
pub struct AllowedAtLevel<P>(pub AuthorizedAtLevel<P>);

impl<P: PermissionMarker> FromRequest for AllowedAtLevel<P> {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(caller(request).and_then(|principal| {
            let all = || principal.roles().permissions();
            let denied = principal.authorize_at_level().map(Self);
            denied.map_err(|denied| refusal(&principal, denied.permission, &all()))
        }))
    }
}

macro_rules! allowed {
    ($name:ident, $token:ident) => {
        impl<P> Deref for $name<P> {
            type Target = $token<P>;

            fn deref(&self) -> &$token<P> {
                &self.0
            }
        }

        impl<P: PermissionMarker> fmt::Debug for $name<P> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

allowed!(Allowed, Authorized);
allowed!(AllowedAtLevel, AuthorizedAtLevel);

/// Whether it is the user who lacks the permission, or only the credential.
fn refusal(principal: &Principal, permission: Permission, unscoped: &Permissions) -> Error {
    let scoped = principal.identity().credential.scopes().is_some_and(|scopes| !scopes.contains(permission));
    let held = unscoped.contains(permission);
    let permission = permission.as_str().into();
    if scoped && held {
        app::Error::InsufficientScope { permission }.into()
    } else {
        app::Error::PermissionDenied { permission }.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_administration_of_a_module_is_not_behind_its_gate() {
        assert_eq!(module_of("/v1/modules/scaicore/cores/core_1/start"), Some("scaicore"));
        assert_eq!(module_of("/v1/modules/scaicore/checkpoints"), Some("scaicore"));
        for open in
            ["/v1/modules", "/v1/modules/scaicore", "/v1/modules/scaicore/enable", "/v1/modules/a/config"]
        {
            assert_eq!(module_of(open), None, "{open}");
        }
    }
}
