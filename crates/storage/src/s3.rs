//! Objects in a bucket of S3, or of a store that speaks its language.
//!
//! rusoto builds and signs the requests; they are sent by our own client, whose TLS is the house's. Everything here may be done
//! twice, so what fails in passing is tried again, a few times and within a bound.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use http02::header::{HeaderMap, HeaderName};
use reqwest::Client;
use rusoto_core::request::{
    DispatchSignedRequest, DispatchSignedRequestFuture, HttpDispatchError, HttpResponse,
};
use rusoto_core::signature::{SignedRequest, SignedRequestPayload};
use rusoto_core::{ByteStream, Region, RusotoError};
use rusoto_credential::{AutoRefreshingProvider, ChainProvider, StaticProvider};
use rusoto_s3::{
    DeleteObjectRequest, GetObjectError, GetObjectRequest, HeadObjectError, HeadObjectRequest,
    ListObjectsV2Error, ListObjectsV2Request, PutObjectRequest, S3 as _, S3Client,
};

use crate::{Error, Key, Listed, MAX_LISTED, MAX_OBJECT, ObjectStore, Result};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(3);
/// How long the store may be silent.
const SILENCE: Duration = Duration::from_secs(10);
/// How long one try may take altogether.
const TRY: Duration = Duration::from_secs(30);
/// How long whether the store is there may take to find out.
const CHECK: Duration = Duration::from_secs(3);
/// How long the credentials of a machine or container may take to come.
const CREDENTIALS: Duration = Duration::from_secs(3);
/// The pauses between tries; each is shortened by chance, so that nodes do not come back all together.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(400), Duration::from_millis(1600)];

/// Which bucket, and as whom.
#[derive(Clone, PartialEq, Eq)]
pub struct S3Settings {
    /// The bucket.
    pub bucket: String,
    /// What all keys begin with, without a slash at its end; empty for none.
    pub prefix: String,
    /// Where the store is, if it is not that of AWS: `http://host:port` or `https://…`, without a path.
    pub endpoint: Option<String>,
    /// The region that requests are signed for.
    pub region: String,
    /// Access key id and secret key. None: the usual chain of AWS (variables, profile, container, machine).
    pub keys: Option<(String, String)>,
}

impl fmt::Debug for S3Settings {
    /// Without the secret key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Settings")
            .field("bucket", &self.bucket)
            .field("prefix", &self.prefix)
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .field("access_key_id", &self.keys.as_ref().map(|(id, _)| id))
            .finish_non_exhaustive()
    }
}

/// Objects in a bucket.
pub struct S3 {
    client: S3Client,
    bucket: String,
    /// With a slash at its end, unless it is empty.
    prefix: String,
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3")
            .field("bucket", &self.bucket)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl S3 {
    /// The store of a bucket. Nothing is asked yet.
    ///
    /// # Errors
    /// [`Error::Refused`] when the HTTP client cannot be made.
    pub fn new(settings: &S3Settings) -> Result<Self> {
        let client = Client::builder()
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            .timeout(TRY)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|error| Error::Refused(error.to_string()))?;
        let region = match &settings.endpoint {
            Some(endpoint) => Region::Custom { name: settings.region.clone(), endpoint: endpoint.clone() },
            None => settings.region.parse().unwrap_or_else(|_| Region::Custom {
                name: settings.region.clone(),
                endpoint: format!("https://s3.{}.amazonaws.com", settings.region),
            }),
        };
        let http = Http(client);
        let client = if let Some((id, secret)) = &settings.keys {
            S3Client::new_with(http, StaticProvider::new_minimal(id.clone(), secret.clone()), region)
        } else {
            S3Client::new_with(http, Chain::default(), region)
        };
        let prefix = if settings.prefix.is_empty() { String::new() } else { format!("{}/", settings.prefix) };
        Ok(Self { client, bucket: settings.bucket.clone(), prefix })
    }

    fn key(&self, key: &Key) -> String {
        format!("{}{key}", self.prefix)
    }

    async fn put_once(&self, key: &Key, bytes: Bytes) -> Result<()> {
        let size = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
        let body = ByteStream::new_with_size(futures_util::stream::iter([Ok(bytes.clone())]), bytes.len());
        let request = PutObjectRequest {
            bucket: self.bucket.clone(),
            key: self.key(key),
            body: Some(body),
            content_length: Some(size),
            content_type: Some("application/octet-stream".to_owned()),
            ..PutObjectRequest::default()
        };
        self.client.put_object(request).await.map(drop).map_err(failed)
    }

    async fn get_once(&self, key: &Key) -> Result<Option<Bytes>> {
        let request = GetObjectRequest {
            bucket: self.bucket.clone(),
            key: self.key(key),
            ..GetObjectRequest::default()
        };
        let found = match self.client.get_object(request).await {
            Ok(found) => found,
            Err(RusotoError::Service(GetObjectError::NoSuchKey(_))) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let told = found.content_length.and_then(|length| usize::try_from(length).ok());
        let mut bytes = BytesMut::new();
        let Some(mut body) = found.body else { return Ok(Some(Bytes::new())) };
        while let Some(piece) = body.next().await {
            bytes.extend_from_slice(&piece.map_err(|error| Error::Unavailable(error.to_string()))?);
            if bytes.len() > MAX_OBJECT {
                return Err(Error::TooLarge);
            }
        }
        if told.is_some_and(|told| told != bytes.len()) {
            return Err(Error::Unavailable("the answer broke off".to_owned()));
        }
        Ok(Some(bytes.freeze()))
    }

    async fn delete_once(&self, key: &Key) -> Result<()> {
        let request = DeleteObjectRequest {
            bucket: self.bucket.clone(),
            key: self.key(key),
            ..DeleteObjectRequest::default()
        };
        match self.client.delete_object(request).await {
            Ok(_) => Ok(()),
            // Some stores say so; others do not.
            Err(RusotoError::Unknown(answer))
                if answer.status.as_u16() == 404 && answer.body_as_str().contains("NoSuchKey") =>
            {
                Ok(())
            }
            Err(error) => Err(failed(error)),
        }
    }

    async fn exists_once(&self, key: &Key) -> Result<bool> {
        let request = HeadObjectRequest {
            bucket: self.bucket.clone(),
            key: self.key(key),
            ..HeadObjectRequest::default()
        };
        match self.client.head_object(request).await {
            Ok(_) => Ok(true),
            Err(RusotoError::Service(HeadObjectError::NoSuchKey(_))) => Ok(false),
            // An answer to HEAD has no body that says what is not there.
            Err(RusotoError::Unknown(answer)) if answer.status.as_u16() == 404 => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    async fn list_once(&self, prefix: &str, after: Option<&Key>, most: usize) -> Result<Vec<Listed>> {
        let request = ListObjectsV2Request {
            bucket: self.bucket.clone(),
            prefix: Some(format!("{}{prefix}", self.prefix)).filter(|prefix| !prefix.is_empty()),
            start_after: after.map(|key| self.key(key)),
            max_keys: i64::try_from(most.clamp(1, MAX_LISTED)).ok(),
            ..ListObjectsV2Request::default()
        };
        let found = self.client.list_objects_v2(request).await.map_err(|error| match error {
            RusotoError::Service(ListObjectsV2Error::NoSuchBucket(_)) => {
                Error::Refused(format!("there is no bucket {}", self.bucket))
            }
            other => failed(other),
        })?;
        let listed = found.contents.unwrap_or_default().into_iter().filter_map(|object| {
            // What is no key of ours was put there by somebody else.
            let key = Key::new(object.key?.strip_prefix(&self.prefix)?).ok()?;
            Some(Listed { key, size: object.size.unwrap_or_default().unsigned_abs() })
        });
        Ok(listed.take(most).collect())
    }
}

impl ObjectStore for S3 {
    fn put<'a>(&'a self, key: &'a Key, bytes: Bytes) -> BoxFuture<'a, Result<()>> {
        async move {
            if bytes.len() > MAX_OBJECT {
                return Err(Error::TooLarge);
            }
            again(|| self.put_once(key, bytes.clone())).await
        }
        .boxed()
    }

    fn get<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Bytes>>> {
        again(|| self.get_once(key)).boxed()
    }

    fn delete<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<()>> {
        again(|| self.delete_once(key)).boxed()
    }

    fn exists<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<bool>> {
        again(|| self.exists_once(key)).boxed()
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a Key>,
        most: usize,
    ) -> BoxFuture<'a, Result<Vec<Listed>>> {
        again(move || self.list_once(prefix, after, most)).boxed()
    }

    fn check(&self) -> BoxFuture<'_, Result<()>> {
        let check = async {
            match tokio::time::timeout(CHECK + CREDENTIALS, self.list_once("", None, 1)).await {
                Ok(listed) => listed.map(drop),
                Err(_) => Err(Error::Unavailable("it does not answer".to_owned())),
            }
        };
        check.boxed()
    }
}

/// Does something until it succeeds or fails for good, a few times at most.
async fn again<T, F: Future<Output = Result<T>>>(mut work: impl FnMut() -> F) -> Result<T> {
    for pause in PAUSES {
        match work().await {
            Err(Error::Unavailable(reason)) => {
                tracing::debug!(%reason, "the object store is asked again");
                tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
            }
            done => return done,
        }
    }
    work().await
}

/// What an answer means that is not a success.
fn failed<E: std::error::Error + 'static>(error: RusotoError<E>) -> Error {
    match error {
        RusotoError::HttpDispatch(error) => Error::Unavailable(error.to_string()),
        RusotoError::Credentials(error) => Error::Refused(format!("there are no credentials: {error}")),
        RusotoError::Unknown(answer) => {
            let status = answer.status.as_u16();
            let text = answer.body_as_str();
            let code = between(text, "<Code>", "</Code>").unwrap_or("no code");
            let said = format!("{status} {code}");
            match status {
                // Clocks that differ and keys that rotate pass; what is forbidden stays so.
                300..=499 if !matches!(status, 408 | 409 | 425 | 429) => Error::Refused(said),
                _ => Error::Unavailable(said),
            }
        }
        RusotoError::Service(error) => Error::Refused(error.to_string()),
        RusotoError::Validation(reason) => Error::Refused(reason),
        RusotoError::ParseError(reason) => Error::Unavailable(format!("its answer makes no sense: {reason}")),
        RusotoError::Blocking => Error::Unavailable("the request could not be made".to_owned()),
    }
}

fn between<'a>(text: &'a str, begin: &str, end: &str) -> Option<&'a str> {
    let rest = text.split_once(begin)?.1;
    Some(rest.split_once(end)?.0)
}

/// The usual chain of credentials. What was found is kept until it expires; what was not found is looked for again.
#[derive(Default)]
struct Chain(tokio::sync::Mutex<Option<AutoRefreshingProvider<ChainProvider>>>);

impl rusoto_core::credential::ProvideAwsCredentials for Chain {
    fn credentials<'a, 'b>(
        &'a self,
    ) -> BoxFuture<
        'b,
        std::result::Result<rusoto_credential::AwsCredentials, rusoto_credential::CredentialsError>,
    >
    where
        'a: 'b,
        Self: 'b,
    {
        async move {
            let mut kept = self.0.lock().await;
            let provider = if let Some(provider) = kept.take() {
                provider
            } else {
                let mut chain = ChainProvider::new();
                chain.set_timeout(CREDENTIALS);
                AutoRefreshingProvider::new(chain)?
            };
            let credentials = provider.credentials().await;
            // The provider would repeat its first failure for ever.
            if credentials.is_ok() {
                *kept = Some(provider);
            }
            credentials
        }
        .boxed()
    }
}

/// Sends what rusoto has signed.
struct Http(Client);

impl DispatchSignedRequest for Http {
    fn dispatch(&self, request: SignedRequest, timeout: Option<Duration>) -> DispatchSignedRequestFuture {
        Box::pin(send(self.0.clone(), request, timeout))
    }
}

async fn send(
    client: Client,
    request: SignedRequest,
    timeout: Option<Duration>,
) -> std::result::Result<HttpResponse, HttpDispatchError> {
    let unsent = |reason: String| HttpDispatchError::new(reason);
    let method = request.method().parse::<reqwest::Method>().map_err(|error| unsent(error.to_string()))?;
    let mut url = format!("{}://{}{}", request.scheme(), request.hostname(), request.canonical_path());
    if !request.canonical_query_string().is_empty() {
        url = format!("{url}?{}", request.canonical_query_string());
    }
    let mut sending = client.request(method, url);
    let headers: &BTreeMap<String, Vec<Vec<u8>>> = request.headers();
    for (name, values) in headers {
        for value in values {
            sending = sending.header(name.as_str(), value.as_slice());
        }
    }
    if let Some(timeout) = timeout {
        sending = sending.timeout(timeout);
    }
    sending = match request.payload {
        Some(SignedRequestPayload::Buffer(bytes)) => sending.body(bytes),
        Some(SignedRequestPayload::Stream(stream)) => {
            // All of it is there already; a body of known length is what stores want.
            let pieces: Vec<Bytes> = stream.try_collect().await?;
            sending.body(Bytes::from(pieces.concat()))
        }
        None => sending,
    };
    let answer = sending.send().await.map_err(|error| unsent(chain(&error)))?;
    let status = http02::StatusCode::from_u16(answer.status().as_u16());
    let status = status.map_err(|error| unsent(error.to_string()))?;
    let mut headers: HeaderMap<String> = HeaderMap::default();
    for (name, value) in answer.headers() {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_str().as_bytes()), value.to_str()) {
            headers.append(name, value.to_owned());
        }
    }
    let body = answer.bytes_stream().map_err(|error| std::io::Error::other(chain(&error)));
    Ok(HttpResponse { status, body: ByteStream::new(body), headers })
}

/// An error with what it came from, without the address.
fn chain(error: &reqwest::Error) -> String {
    let mut text = if error.is_timeout() { "it does not answer in time".to_owned() } else { String::new() };
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    if text.is_empty() { "the request failed".to_owned() } else { text }
}
