//! The seams to the application: how it answers what the edge's common parts ask of the rest of the house.
//!
//! Nothing is decided here; each answer is one call.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use scaigrid_app::{self as app, App, RequestContext, idempotency as kept};
use scaigrid_scope::Principal;

use crate::auth::{Authenticator, Credentials, ModuleGate};
use crate::health::{Condition, Readiness};
use crate::idempotency::{Answer, Begun, Claim, IdempotencyStore};
use crate::request::Origin;

/// Stands among the kept headers where the body was not kept. No header can have this name (RFC 9110, 5.1).
const BODY_LEFT_OUT: &str = ":body-left-out";

impl From<&Origin> for RequestContext {
    fn from(origin: &Origin) -> Self {
        let id = Some(&*origin.request_id).filter(|id| !id.is_empty());
        Self::new(id, origin.address, origin.user_agent.as_deref())
    }
}

impl Authenticator for App {
    fn authenticate<'a>(
        &'a self,
        credentials: Credentials<'a>,
    ) -> BoxFuture<'a, Result<Arc<Principal>, app::Error>> {
        let Credentials { bearer, tenant, partner } = credentials;
        App::authenticate(self, bearer, tenant, partner).boxed()
    }
}

impl ModuleGate for App {
    fn check<'a>(
        &'a self,
        principal: &'a Principal,
        module: &'a str,
    ) -> BoxFuture<'a, Result<(), app::Error>> {
        self.check_module(principal, module).boxed()
    }
}

fn claimed(claim: &Claim) -> kept::Claim<'_> {
    let Claim { tenant, endpoint, key, fingerprint, begun_at } = claim;
    kept::Claim { tenant: *tenant, endpoint, key, fingerprint: *fingerprint, begun_at: *begun_at }
}

fn to_keep(answer: Answer) -> kept::Answer {
    let Answer { status, mut headers, body } = answer;
    if body.is_none() {
        headers.push((BODY_LEFT_OUT.to_owned(), String::new()));
    }
    kept::Answer { status, headers, body: body.unwrap_or_default() }
}

fn as_kept(answer: kept::Answer) -> Answer {
    let kept::Answer { status, mut headers, body } = answer;
    let all = headers.len();
    headers.retain(|(name, _)| name != BODY_LEFT_OUT);
    let body = (headers.len() == all).then_some(body);
    Answer { status, headers, body }
}

impl IdempotencyStore for App {
    fn begin<'a>(&'a self, claim: &'a Claim) -> BoxFuture<'a, Result<Begun, app::Error>> {
        async move {
            Ok(match self.begin_idempotent(&claimed(claim)).await? {
                kept::Begun::Fresh => Begun::Fresh,
                kept::Begun::Answered(answer) => Begun::Replay(as_kept(answer)),
                kept::Begun::InUse => Begun::InUse,
                kept::Begun::OtherBody => Begun::Reused,
            })
        }
        .boxed()
    }

    fn finish<'a>(&'a self, claim: &'a Claim, answer: Answer) -> BoxFuture<'a, Result<(), app::Error>> {
        async move { self.finish_idempotent(&claimed(claim), &to_keep(answer)).await }.boxed()
    }

    fn abandon<'a>(&'a self, claim: &'a Claim) -> BoxFuture<'a, Result<(), app::Error>> {
        async move { self.abandon_idempotent(&claimed(claim)).await }.boxed()
    }
}

impl Readiness for App {
    fn checks(&self) -> BoxFuture<'_, Vec<(&'static str, Condition)>> {
        async move {
            let standing = self.standing().await;
            let needed = |well| if well { Condition::Ok } else { Condition::Failing };
            let bus = if standing.bus { Condition::Ok } else { Condition::Degraded };
            // A module that is ill is one that the others work without.
            let modules = match (standing.modules, standing.failing_modules) {
                (0, _) => Condition::Failing,
                (_, 0) => Condition::Ok,
                _ => Condition::Degraded,
            };
            vec![
                ("database", needed(standing.database)),
                ("object_store", needed(standing.objects)),
                ("bus", bus),
                ("modules", modules),
            ]
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_kept_with_or_without_its_body() {
        let location = ("location".to_owned(), "/v1/users/usr_1".to_owned());
        for body in [None, Some(Vec::new()), Some(b"{}".to_vec())] {
            let answer = Answer { status: 201, headers: vec![location.clone()], body };
            assert_eq!(as_kept(to_keep(answer.clone())), answer);
        }
    }
}
