//! Tokens that tell whoever the platform calls for whom it calls: short-lived JWTs (RFC 7519), signed with Ed25519
//! (RFC 8037), whose keys are published as a JWK set (RFC 7517).
//!
//! All nodes sign with the same keys, which are kept in the database. A new key is published for a minute before it signs,
//! so that whoever keeps the set for that long knows it by then; the one before it stays published until nothing that it
//! has signed can be good any more.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use scaigrid_persistence::sealing::Vault;
use scaigrid_persistence::signing_keys::{self, SigningKey};
use scaigrid_persistence::{Database, Error as DatabaseError, Transaction};
use scaigrid_scope::{Clock, Instant, SystemScope};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::Mutex as AsyncMutex;

use crate::Error;

/// How long a token is good.
pub const TOKEN_LIFE: Duration = Duration::from_mins(1);
/// How long a new key is published before it signs, and how long the set may be kept.
pub const PUBLISHED_AHEAD: Duration = Duration::from_mins(1);
/// How long a key stays published once another one signs: its last token, a clock that is off, and a node that has not
/// looked yet.
const PUBLISHED_AFTER: Duration = Duration::from_mins(5);
/// How long it is believed what keys there are.
const BELIEVED: Duration = Duration::from_secs(1);

/// What signs, and what is published.
struct Known {
    seen_at: Instant,
    keys: Vec<SigningKey>,
    signer: Arc<Signer>,
}

struct Signer {
    id: String,
    /// The header of whatever it signs, encoded (RFC 7515 section 3.1).
    header: String,
    pair: Ed25519KeyPair,
}

/// The claims of a token (RFC 7519 section 4): those that are given, since when and until when it is good, in seconds since 1970.
#[derive(Serialize)]
struct Payload<'c, C> {
    #[serde(flatten)]
    claims: &'c C,
    iat: i64,
    exp: i64,
}

struct Inner {
    database: Database,
    clock: Arc<dyn Clock>,
    vault: Arc<Vault>,
    system: SystemScope,
    known: Mutex<Option<Arc<Known>>>,
    /// Held while looking, so that many who find nothing believable look once.
    looking: AsyncMutex<()>,
}

/// Signs tokens of the platform. Cheap to clone.
#[derive(Clone)]
pub struct CallerTokens(Arc<Inner>);

impl std::fmt::Debug for CallerTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CallerTokens")
    }
}

/// The key that signs at an instant: the youngest that has been published for long enough, else the oldest, which is the
/// very first.
fn signing(keys: &[SigningKey], now: Instant) -> Option<&SigningKey> {
    let ready = |key: &&SigningKey| key.created_at.plus(PUBLISHED_AHEAD) <= now;
    keys.iter().rev().find(ready).or_else(|| keys.first())
}

/// The keys whose tokens may be good still, or will be.
fn published(keys: &[SigningKey], now: Instant) -> &[SigningKey] {
    let superseded = |next: &SigningKey| next.created_at.plus(PUBLISHED_AHEAD).plus(PUBLISHED_AFTER) <= now;
    let gone = keys.iter().skip(1).take_while(|next| superseded(next)).count();
    keys.get(gone..).unwrap_or_default()
}

/// A new key: its name, and both halves.
fn draw() -> Result<(String, Ed25519KeyPair, Vec<u8>), Error> {
    let broken = |_| unusable("no signing key can be made");
    let private = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(broken)?;
    let pair = Ed25519KeyPair::from_pkcs8(private.as_ref()).map_err(|_| unusable("a signing key is none"))?;
    Ok((format!("{:016x}", rand::random::<u64>()), pair, private.as_ref().to_vec()))
}

fn unusable(reason: &str) -> Error {
    Error::Database(DatabaseError::Setup(reason.to_owned()))
}

impl CallerTokens {
    pub(crate) fn new(
        database: Database,
        clock: Arc<dyn Clock>,
        vault: Arc<Vault>,
        system: SystemScope,
    ) -> Self {
        let (known, looking) = (Mutex::new(None), AsyncMutex::new(()));
        Self(Arc::new(Inner { database, clock, vault, system, known, looking }))
    }

    /// Signs claims: an object without `iat` and `exp`, which are added. A token is good for [`TOKEN_LIFE`], and not beyond `until`.
    ///
    /// # Errors
    /// The database's, when it is not known which key signs; or claims that are no object.
    pub async fn sign(&self, claims: &impl Serialize, until: Option<Instant>) -> Result<String, Error> {
        let known = self.known().await?;
        let now = self.0.clock.now();
        let latest = now.plus(TOKEN_LIFE);
        let until = until.map_or(latest, |until| until.min(latest));
        known.signer.sign(&Payload { claims, iat: seconds(now), exp: seconds(until) })
    }

    /// The public keys, as a JWK set.
    ///
    /// # Errors
    /// The database's.
    #[boxed]
    pub async fn key_set(&self) -> Result<Value, Error> {
        let known = self.known().await?;
        let keys: Vec<Value> = published(&known.keys, self.0.clock.now()).iter().map(jwk).collect();
        Ok(json!({ "keys": keys }))
    }

    /// Adds a younger key in a transaction, and gives its name; none when somebody else adds one at the same time. Keys
    /// that are published no more are removed.
    ///
    /// # Errors
    /// The database's.
    #[boxed]
    pub async fn renew(&self, tx: &mut Transaction) -> Result<Option<String>, Error> {
        let (now, system) = (self.0.clock.now(), &self.0.system);
        let keys = signing_keys::list(tx, system).await?;
        let generation = keys.last().map_or(0, |key| key.generation) + 1;
        if let Some(first) = published(&keys, now).first() {
            signing_keys::remove_before(tx, system, first.generation).await?;
        }
        let (id, pair, private) = draw()?;
        let halves = (pair.public_key().as_ref(), &private[..]);
        let added = signing_keys::add(tx, system, &self.0.vault, (generation, &id), halves, now).await?;
        Ok(added.then_some(id))
    }

    /// Forgets what keys there are, once a transaction with a new one is committed.
    pub fn forget(&self) {
        *self.0.known.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn believed(&self) -> Option<Arc<Known>> {
        let known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        (self.0.clock.now().since(known.seen_at) < BELIEVED).then_some(known)
    }

    async fn known(&self) -> Result<Arc<Known>, Error> {
        match self.believed() {
            Some(known) => Ok(known),
            None => self.look_once().await,
        }
    }

    /// Looks which keys there are, unless somebody else has meanwhile.
    #[boxed]
    async fn look_once(&self) -> Result<Arc<Known>, Error> {
        let _alone = self.0.looking.lock().await;
        if let Some(known) = self.believed() {
            return Ok(known);
        }
        let before = self.0.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let known = Arc::new(self.look(before.as_deref()).await?);
        *self.0.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&known));
        Ok(known)
    }

    async fn look(&self, before: Option<&Known>) -> Result<Known, Error> {
        let (inner, seen_at) = (&self.0, self.0.clock.now());
        let mut connection = inner.database.read().await?;
        let mut keys = signing_keys::list(&mut connection, &inner.system).await?;
        if keys.is_empty() {
            drop(connection);
            let mut tx = inner.database.begin().await?;
            // Of several nodes that make the first one, one does: the others find it here, or cannot add theirs.
            if signing_keys::list(&mut tx, &inner.system).await?.is_empty() {
                self.renew(&mut tx).await?;
            }
            tx.commit().await?;
            connection = inner.database.read().await?;
            keys = signing_keys::list(&mut connection, &inner.system).await?;
        }
        let key = signing(&keys, seen_at).ok_or_else(|| unusable("there is no signing key"))?;
        let signer = match before {
            Some(before) if before.signer.id == key.id => Arc::clone(&before.signer),
            _ => {
                let private = signing_keys::open(&mut connection, &inner.system, &inner.vault, key).await?;
                let pair = Ed25519KeyPair::from_pkcs8(&private);
                let pair = pair.map_err(|_| unusable("a signing key cannot be read"))?;
                Arc::new(Signer::new(&key.id, pair))
            }
        };
        Ok(Known { seen_at, keys, signer })
    }
}

impl Signer {
    fn new(id: &str, pair: Ed25519KeyPair) -> Self {
        let header = json!({"alg": "EdDSA", "typ": "JWT", "kid": id});
        Self { id: id.to_owned(), header: URL_SAFE_NO_PAD.encode(header.to_string()), pair }
    }

    fn sign(&self, payload: &impl Serialize) -> Result<String, Error> {
        let payload =
            serde_json::to_vec(payload).map_err(|_| unusable("claims of a token cannot be written"))?;
        let mut token = format!("{}.{}", self.header, URL_SAFE_NO_PAD.encode(payload));
        let signature = self.pair.sign(token.as_bytes());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature.as_ref(), &mut token);
        Ok(token)
    }
}

fn seconds(instant: Instant) -> i64 {
    instant.micros().div_euclid(1_000_000)
}

fn jwk(key: &SigningKey) -> Value {
    let x = URL_SAFE_NO_PAD.encode(&key.public_key);
    json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": key.id, "x": x})
}
