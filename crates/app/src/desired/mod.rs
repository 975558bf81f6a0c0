//! Desired state: documents that say what is to be there, a plan of what has to be done, and doing it.
//!
//! [`Desired`] is what the documents say, in values of the domain; [`plan`] compares, and knows nothing of where what it
//! compares comes from; this room looks at what is there and calls the use cases that everybody calls, as the owner of a
//! credential. Each thing is one use case, or two, and so one transaction with its audit record, or two. Nothing is kept
//! about what was applied: whatever is as it is wanted is left alone, whoever has made it so.

mod carry_out;
pub mod document;
mod observe;
pub mod plan;
mod spec;
mod thing;

use std::collections::BTreeSet;

use async_recursion::async_recursion as boxed;
use scaigrid_audit::RequestContext;
use scaigrid_scope::{Authorized, AuthorizedAtLevel, PermissionMarker, Slug};

use crate::{App, Error};

pub use document::Document;
pub use plan::{Change, Key, Kind, Step, Verdict};
pub use thing::Desired;

use observe::Seen;
use spec::Level;
use thing::Thing;

/// How often a thing is looked at and dealt with anew when somebody else has changed it in between.
const ATTEMPTS: u32 = 4;
/// How long is waited before the first of these times, and so much longer before each further one.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

/// What could not be planned or done, and where the document speaks of it.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {error}")]
pub struct Refused {
    /// Where the document speaks of it.
    pub place: String,
    /// The thing.
    pub key: Key,
    /// Why not.
    #[source]
    pub error: Error,
}

/// What became of documents.
#[derive(Debug)]
pub struct Applied {
    /// What was done, in order, with what needed nothing.
    pub done: Vec<Step>,
    /// What it stopped at, if it did. What comes after that was not touched.
    pub refused: Option<Refused>,
    /// How many things were not dealt with, the refused one included.
    pub left: usize,
}

/// Somebody at work on documents.
pub(super) struct Desk<'a> {
    app: &'a App,
    bearer: &'a str,
    request: &'a RequestContext,
    desired: &'a Desired,
    /// The tenants and partners that the documents speak of as wholes: they may be missing as yet.
    coming: BTreeSet<(Kind, String)>,
}

impl Desk<'_> {
    async fn in_tenant<P: PermissionMarker>(&self, tenant: &Slug) -> Result<Authorized<P>, Error> {
        let principal = self.app.authenticate(self.bearer, Some(tenant.as_str()), None).await?;
        Ok(principal.authorize()?)
    }

    async fn at_level<P: PermissionMarker>(&self, level: &Level) -> Result<AuthorizedAtLevel<P>, Error> {
        let (tenant, partner) = match level {
            Level::Platform => (None, None),
            Level::Partner(slug) => (None, Some(slug.as_str())),
            Level::Tenant(slug) => (Some(slug.as_str()), None),
        };
        let principal = self.app.authenticate(self.bearer, tenant, partner).await?;
        let caller: AuthorizedAtLevel<P> = principal.authorize_at_level()?;
        if *level == Level::Platform && caller.platform().is_none() {
            return Err(crate::partners::above("platform"));
        }
        Ok(caller)
    }

    /// What has to be done about a thing now.
    async fn look(&self, thing: &Thing) -> Result<Step, Error> {
        Ok(match self.observe(thing).await? {
            Seen::Nothing => plan::judge(&thing.key, &thing.fields, None),
            Seen::There(fields) => plan::judge(&thing.key, &thing.fields, Some(&fields)),
            Seen::Compared { wanted, there } => plan::judge(&thing.key, &wanted, Some(&there)),
        })
    }
}

impl App {
    fn desk<'a>(&'a self, bearer: &'a str, request: &'a RequestContext, desired: &'a Desired) -> Desk<'a> {
        let whole = |thing: &Thing| matches!(thing.key.kind, Kind::Tenant | Kind::Partner);
        let coming = desired.0.iter().filter(|thing| whole(thing));
        let coming = coming.map(|thing| (thing.key.kind, thing.key.name.clone())).collect();
        Desk { app: self, bearer, request, desired, coming }
    }

    /// What would have to be done so that things become as documents say, by the owner of a credential. Nothing is changed.
    ///
    /// # Errors
    /// All that cannot be done as far as that can be told without doing it: what the caller may not see or change, what
    /// cannot be changed at all, references to what is neither there nor in the documents, and configuration that breaks its
    /// module's schema.
    #[boxed]
    pub async fn plan_desired(
        &self,
        bearer: &str,
        request: &RequestContext,
        desired: &Desired,
    ) -> Result<Vec<Step>, Vec<Refused>> {
        let desk = self.desk(bearer, request, desired);
        let (mut steps, mut refused) = (Vec::new(), Vec::new());
        for thing in &desired.0 {
            let looked = match desk.look(thing).await {
                Ok(step) => desk.possible(thing, &step).await.map(|()| step),
                Err(error) => Err(error),
            };
            match looked {
                Ok(step) => steps.push(step),
                Err(error) => {
                    // Who is not known is not known for the next thing either.
                    let hopeless = matches!(
                        error,
                        Error::TokenInvalid
                            | Error::TokenExpired
                            | Error::Unavailable { .. }
                            | Error::Internal(_)
                    );
                    refused.push(Refused { place: thing.place.clone(), key: thing.key.clone(), error });
                    if hopeless {
                        return Err(refused);
                    }
                }
            }
        }
        if refused.is_empty() { Ok(steps) } else { Err(refused) }
    }

    /// Makes things as documents say, one after the other, and stops at the first that is refused. To be called after
    /// [`App::plan_desired`] has found nothing wrong. `tell` hears of each step.
    ///
    /// Each thing is looked at once more right before it is dealt with, so that several who apply the same documents at
    /// once do each thing once, and one that was broken off can be begun again.
    #[boxed]
    pub async fn apply_desired(
        &self,
        bearer: &str,
        request: &RequestContext,
        desired: &Desired,
        tell: &(dyn Fn(&Step) + Sync),
    ) -> Applied {
        let desk = self.desk(bearer, request, desired);
        let mut done = Vec::new();
        for (index, thing) in desired.0.iter().enumerate() {
            match desk.settle(thing).await {
                Ok(step) => {
                    tell(&step);
                    done.push(step);
                }
                Err(error) => {
                    let refused = Refused { place: thing.place.clone(), key: thing.key.clone(), error };
                    return Applied { done, refused: Some(refused), left: desired.0.len() - index };
                }
            }
        }
        Applied { done, refused: None, left: 0 }
    }
}

impl Desk<'_> {
    /// Looks at a thing and does what has to be done about it; says what that was.
    async fn settle(&self, thing: &Thing) -> Result<Step, Error> {
        let mut attempt = 1;
        loop {
            let step = self.look(thing).await?;
            if step.verdict == Verdict::Unchanged {
                return Ok(step);
            }
            match self.carry_out(thing).await {
                Ok(()) => return Ok(step),
                // Somebody else was faster, perhaps with the same.
                Err(
                    Error::SlugConflict { .. }
                    | Error::Taken { .. }
                    | Error::Conflict(_)
                    | Error::PreconditionFailed
                    | Error::InvalidTransition { .. },
                ) if attempt < ATTEMPTS => {
                    tokio::time::sleep(PAUSE * attempt).await;
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }
}
