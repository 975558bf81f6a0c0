//! Who is calling, and where they act: from what a request carries to a principal.
//!
//! A caller who was seen a moment ago costs one digest and one look into the cache.

use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use scaigrid_persistence::{Connection, Transaction, api_keys, grants, partners, tenants, users};
use scaigrid_scope::token::BearerToken;
use scaigrid_scope::{
    Authorized, CannotAct, Credential, Identity, Instant, Level, PartnerId, PermissionMarker, Place,
    PlaintextKey, Principal, Slug, TenantId, TenantRef,
};

use crate::caches::{CallerKey, KnownCaller};
use crate::{App, Error, Resource};

/// The most characters of a header that names a place; the longest name of one is a slug.
const MAX_PLACE: usize = Slug::MAX_CHARS;

/// What a caller presents, by its form.
enum Presented<'a> {
    Key(PlaintextKey),
    Token(BearerToken<'a>),
}

impl Presented<'_> {
    fn hash(&self) -> [u8; 32] {
        match self {
            Self::Key(key) => key.hash(),
            Self::Token(token) => token.hash(),
        }
    }
}

impl App {
    /// The principal that a bearer token stands for, acting in the tenant or at the partner's level that the request
    /// names, each by id or slug, else at their own.
    ///
    /// # Errors
    /// [`Error::TokenInvalid`] and [`Error::TokenExpired`]; [`Error::NotFound`] for a place that does not exist or is out of
    /// reach; [`Error::TenantSuspended`]. For a token also [`Error::Unavailable`] when the keys of its issuer cannot be had,
    /// and [`Error::Capacity`] when it names somebody new and the tenant is full.
    #[boxed]
    pub async fn authenticate(
        &self,
        bearer: &str,
        tenant: Option<&str>,
        partner: Option<&str>,
    ) -> Result<Arc<Principal>, Error> {
        let presented = match (PlaintextKey::parse(bearer), BearerToken::parse(bearer)) {
            (Ok(key), _) => Presented::Key(key),
            (Err(_), Some(token)) if self.0.tokens.is_some() => Presented::Token(token),
            _ => return Err(Error::TokenInvalid),
        };
        let place = |named: Option<&str>, resource| match named {
            Some(text) if text.len() > MAX_PLACE => Err(Error::NotFound(resource)),
            Some(text) => Ok(Some(Box::from(text))),
            None => Ok(None),
        };
        let hash = presented.hash();
        let (tenant_named, partner_named) =
            (place(tenant, Resource::Tenant)?, place(partner, Resource::Partner)?);
        let key = ((), CallerKey { hash, tenant: tenant_named, partner: partner_named });
        // A token is good for a little longer than it says, but is not remembered any more.
        let answer = |known: KnownCaller| match (
            known.expires_at.is_some_and(|expiry| expiry <= self.now()),
            &presented,
        ) {
            (false, _) => Some(Ok(known.principal)),
            (true, Presented::Key(_)) => Some(Err(Error::TokenExpired)),
            (true, Presented::Token(_)) => None,
        };
        let callers = &self.0.caches.callers;
        if let Some(answer) = callers.get(&key).and_then(answer) {
            return answer;
        }
        let look_up = callers.look_up(key).await;
        if let Some(answer) = look_up.kept().and_then(answer) {
            return answer;
        }

        let now = self.now();
        let (identity, expires_at) = match presented {
            Presented::Key(_) => self.by_key(&hash, now).await?,
            Presented::Token(token) => self.by_token(token, now).await?,
        };
        let place = self.place(tenant, partner).await?;
        let missing = if tenant.is_some() { Resource::Tenant } else { Resource::Partner };
        let principal = identity.act(place).map_err(|refusal| match refusal {
            CannotAct::NotReachable => Error::NotFound(missing),
            CannotAct::TenantSuspended => Error::TenantSuspended,
            CannotAct::UserNotActive => Error::TokenInvalid,
        })?;
        let principal = Arc::new(principal);
        look_up.keep(KnownCaller { principal: Arc::clone(&principal), expires_at });
        Ok(principal)
    }

    /// The caller as they stand in a transaction, with the same credential at the same place. What they were let in by may be
    /// up to a second old; whoever gives or takes rights looks again, once nobody else can change who people are.
    ///
    /// # Errors
    /// As [`App::authenticate`]; [`Error::PermissionDenied`] when they have lost the permission.
    pub(crate) async fn anew<P: PermissionMarker>(
        &self,
        tx: &mut Transaction,
        caller: &Authorized<P>,
    ) -> Result<Authorized<P>, Error> {
        let (known, system) = (caller.identity(), &self.0.system);
        let scope = system.tenant(known.home.id);
        let home = tenants::reference(tx, system, known.home.id).await?.ok_or(Error::TokenInvalid)?;
        let user = users::lookup(tx, scope, known.user_id).await?.ok_or(Error::TokenInvalid)?;
        let grants = grants::held(tx, scope, user.id).await?;
        let mut credential = known.credential.clone();
        if let Credential::ApiKey { id, scopes } = &mut credential {
            let key = api_keys::lookup(tx, scope, *id).await?;
            let key = key.filter(|key| key.is_valid_at(self.now())).ok_or(Error::TokenInvalid)?;
            *scopes = key.scopes;
        }
        let place = match caller.level() {
            Level::Tenant(id) if id != home.id => {
                let tenant = tenants::reference(tx, system, id).await?;
                Place::Tenant(tenant.ok_or(Error::NotFound(Resource::Tenant))?)
            }
            Level::Tenant(_) => Place::Tenant(home.clone()),
            Level::Partner(id) => Place::Partner(id),
            Level::Platform => Place::Own,
        };
        let identity =
            Identity { status: user.status, home, roles: user.roles, grants, credential, ..known.clone() };
        let principal = identity.act(place).map_err(|refusal| match refusal {
            CannotAct::NotReachable => Error::NotFound(Resource::Tenant),
            CannotAct::TenantSuspended => Error::TenantSuspended,
            CannotAct::UserNotActive => Error::TokenInvalid,
        })?;
        Ok(Arc::new(principal).authorize::<P>()?)
    }

    /// Whom an API key stands for, and until when.
    async fn by_key(&self, hash: &[u8; 32], now: Instant) -> Result<(Identity, Option<Instant>), Error> {
        let mut connection = self.0.database.read().await?;
        let found = api_keys::find_by_hash(&mut connection, &self.0.system, hash).await?;
        let found = found.ok_or(Error::TokenInvalid)?;
        if found.key.revoked_at.is_some() {
            return Err(Error::TokenInvalid);
        }
        if !found.key.is_valid_at(now) {
            return Err(Error::TokenExpired);
        }
        let expires_at = found.key.expires_at;
        Ok((found.into_identity(), expires_at))
    }

    /// The place that a request names. A tenant is the nearer one; a partner named beside it must be its own.
    async fn place(&self, tenant: Option<&str>, partner: Option<&str>) -> Result<Place, Error> {
        if tenant.is_none() && partner.is_none() {
            return Ok(Place::Own);
        }
        let c = &mut self.0.database.read().await?;
        let partner = match partner {
            Some(text) => Some(self.named_partner(c, text).await?.ok_or(Error::NotFound(Resource::Partner))?),
            None => None,
        };
        let Some(text) = tenant else { return Ok(partner.map_or(Place::Own, Place::Partner)) };
        let tenant = self.named_tenant(c, text).await?;
        let tenant = tenant.filter(|tenant| partner.is_none_or(|partner| tenant.partner_id == partner));
        tenant.map(Place::Tenant).ok_or(Error::NotFound(Resource::Tenant))
    }

    pub(crate) async fn named_tenant(
        &self,
        c: &mut Connection,
        text: &str,
    ) -> Result<Option<TenantRef>, Error> {
        let system = &self.0.system;
        if let Ok(id) = text.parse::<TenantId>() {
            return Ok(tenants::reference(c, system, id).await?);
        }
        let Ok(slug) = Slug::parse(text) else { return Ok(None) };
        Ok(tenants::reference_by_slug(c, system, &slug).await?)
    }

    pub(crate) async fn named_partner(
        &self,
        c: &mut Connection,
        text: &str,
    ) -> Result<Option<PartnerId>, Error> {
        let system = &self.0.system;
        let found = if let Ok(id) = text.parse::<PartnerId>() {
            partners::lookup(c, system.partner(id)).await?
        } else if let Ok(slug) = Slug::parse(text) {
            partners::find_by_slug(c, system.platform(), &slug).await?
        } else {
            None
        };
        Ok(found.map(|partner| partner.id))
    }
}
