//! Files in a bucket of S3, or of what speaks like it: `{session}/{file}`.
//!
//! Large files go in parts, one after the other, so that memory holds one part of each upload. An upload that fails is aborted;
//! what a process that died has left behind is the bucket's lifecycle rules' to remove. What is wrong with a request is told in
//! S3's words, which never have the secret key in them.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::client::{HttpClient, HttpConnector};
use object_store::path::Path;
use object_store::signer::Signer;
use object_store::{
    Attribute, Attributes, ClientOptions, GetOptions, GetRange, MultipartUpload, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, RetryConfig,
};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Url};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::AsyncReadExt;
use wharf_core::BoxError;
use wharf_core::ids::SessionName;
use wharf_core::media::{
    DiskSpace, MediaFile, MediaKey, MediaMetadata, MediaStorage, MediaStorageError, S3Location, is_safe_to_show,
};

/// The size of a part of an upload; what fits into one is uploaded at once. S3 takes 10,000 parts of 5 MiB and more.
const PART_BYTES: usize = 5 * 1024 * 1024;
/// The slowest line on which a part is still uploaded: 256 kbit/s.
const BYTES_PER_SECOND_MIN: u64 = 32 * 1024;
/// The most bytes of a sender's file name that are noted; all metadata of an object must fit into 2 KB.
const FILENAME_BYTES_MAX: usize = 1_024;
/// The longest that a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest that S3 may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest that nothing may come back. It begins with the request, so it has to suffice for a part to be sent.
const READ_TIMEOUT: Duration =
    ANSWER_TIMEOUT.saturating_add(Duration::from_secs(PART_BYTES as u64 / BYTES_PER_SECOND_MIN));
/// How often a request is repeated at once; whoever stores a file tries again later anyway.
const RETRIES_MAX: usize = 2;
/// No request is repeated after this.
const RETRY_WITHIN: Duration = Duration::from_secs(20);

/// S3's codes for what no repeat changes: keys, permissions, bucket, region or clock are wrong.
const REFUSALS: &[&str] = &[
    "AccessDenied",
    "AccountProblem",
    "AllAccessDisabled",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "InvalidAccessKeyId",
    "NoSuchBucket",
    "PermanentRedirect",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
];

/// Which bucket, and how to get in.
#[derive(Clone)]
pub struct S3Config {
    /// The region, part of every signature.
    pub region: String,
    /// The bucket.
    pub bucket: String,
    /// Who we are.
    pub access_key_id: String,
    /// The proof of it.
    pub secret_access_key: String,
    /// Where S3 is, if not at AWS.
    pub endpoint: Option<Url>,
    /// Whether the bucket stands in the path, not in the host's name.
    pub path_style: bool,
}

/// Without the secret.
impl fmt::Debug for S3Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoint = self.endpoint.as_ref().map(Url::as_str);
        f.debug_struct("S3Config")
            .field("region", &self.region)
            .field("bucket", &self.bucket)
            .field("endpoint", &endpoint)
            .field("path_style", &self.path_style)
            .finish_non_exhaustive()
    }
}

/// The bucket cannot be addressed.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up s3")]
pub struct S3ConfigError(#[source] BoxError);

/// Files in a bucket.
pub struct S3Media {
    bucket: String,
    store: AmazonS3,
}

impl S3Media {
    /// A storage in this bucket, which is contacted when the first file comes.
    pub fn new(config: &S3Config) -> Result<Self, S3ConfigError> {
        Self::with_client(config, client()?)
    }

    fn with_client(config: &S3Config, client: Client) -> Result<Self, S3ConfigError> {
        let mut builder = AmazonS3Builder::new()
            .with_region(&config.region)
            .with_bucket_name(&config.bucket)
            .with_access_key_id(&config.access_key_id)
            .with_secret_access_key(&config.secret_access_key)
            .with_virtual_hosted_style_request(!config.path_style)
            .with_allow_http(true)
            .with_retry(RetryConfig {
                max_retries: RETRIES_MAX,
                retry_timeout: RETRY_WITHIN,
                ..RetryConfig::default()
            })
            .with_http_connector(Connector(client));
        if let Some(endpoint) = &config.endpoint {
            builder = builder.with_endpoint(addressed(endpoint, config)?);
        }
        Ok(Self {
            bucket: config.bucket.clone(),
            store: builder.build().map_err(|error| S3ConfigError(error.into()))?,
        })
    }

    async fn upload(
        &self,
        path: &Path,
        attributes: Attributes,
        first: Bytes,
        mut rest: tokio::fs::File,
    ) -> Result<(), MediaStorageError> {
        let options = PutMultipartOptions {
            attributes,
            ..PutMultipartOptions::default()
        };
        let mut upload = self.store.put_multipart_opts(path, options).await.map_err(on_write)?;
        let outcome = send_parts(&mut *upload, first, &mut rest).await;
        if outcome.is_err()
            && let Err(error) = upload.abort().await
        {
            tracing::debug!(%error, "an upload to s3 that failed could not be aborted");
        }
        outcome
    }
}

#[async_trait]
impl MediaStorage for S3Media {
    async fn put(&self, key: &MediaKey, metadata: &MediaMetadata, from: &FilePath) -> Result<(), MediaStorageError> {
        let (path, attributes) = (path_of(key)?, attributes(key, metadata));
        let mut file = tokio::fs::File::open(from).await.map_err(unreadable)?;
        let first = next_part(&mut file).await.map_err(unreadable)?;
        if first.len() == PART_BYTES {
            return self.upload(&path, attributes, first, file).await;
        }
        let options = PutOptions {
            attributes,
            ..PutOptions::default()
        };
        let put = self.store.put_opts(&path, first.into(), options).await;
        put.map(drop).map_err(on_write)
    }

    async fn get(&self, key: &MediaKey, range: Option<Range<u64>>) -> Result<MediaFile, MediaStorageError> {
        let path = path_of(key)?;
        let options = GetOptions {
            range: range.clone().map(GetRange::Bounded),
            ..GetOptions::default()
        };
        let found = match (self.store.get_opts(&path, options).await, range) {
            (Ok(found), _) => found,
            // S3 refuses a range behind the end without saying where that is.
            (Err(error), Some(range)) => {
                let size = self.store.head(&path).await.map_err(on_read)?.size;
                return match range.start >= size {
                    true => Err(MediaStorageError::OutOfRange { size }),
                    false => Err(on_read(error)),
                };
            }
            (Err(error), None) => return Err(on_read(error)),
        };
        Ok(MediaFile {
            size: found.meta.size,
            range: found.range.clone(),
            body: found.into_stream().map_err(on_read).boxed(),
        })
    }

    async fn delete(&self, key: &MediaKey) -> Result<(), MediaStorageError> {
        absent_is_fine(self.store.delete(&path_of(key)?).await)
    }

    async fn delete_session(&self, session: &SessionName) -> Result<(), MediaStorageError> {
        let found = self.store.list(Some(&Path::from(session.as_str())));
        let mut removed = self.store.delete_stream(found.map_ok(|object| object.location).boxed());
        while let Some(outcome) = removed.next().await {
            absent_is_fine(outcome.map(drop))?;
        }
        Ok(())
    }

    async fn signed_url(&self, key: &MediaKey, lifetime: Duration) -> Result<Option<String>, MediaStorageError> {
        let signed = self.store.signed_url(Method::GET, &path_of(key)?, lifetime).await;
        signed.map(|url| Some(url.into())).map_err(on_read)
    }

    fn location(&self, key: &MediaKey) -> Option<S3Location> {
        Some(S3Location {
            bucket: self.bucket.clone(),
            key: key.to_string(),
        })
    }

    /// Lists what no session has: it needs the bucket and the credentials, and leaves nothing behind.
    async fn check(&self) -> Result<Option<DiskSpace>, MediaStorageError> {
        let nothing = Path::from(".health");
        self.store.list(Some(&nothing)).try_next().await.map_err(on_write)?;
        Ok(None)
    }

    async fn close(&self) {}
}

async fn send_parts(
    upload: &mut dyn MultipartUpload,
    first: Bytes,
    rest: &mut tokio::fs::File,
) -> Result<(), MediaStorageError> {
    let mut part = first;
    while !part.is_empty() {
        upload.put_part(part.into()).await.map_err(on_write)?;
        part = next_part(rest).await.map_err(unreadable)?;
    }
    upload.complete().await.map(drop).map_err(on_write)
}

/// A part that is full, unless it is the last one.
async fn next_part(file: &mut tokio::fs::File) -> io::Result<Bytes> {
    let mut part = Vec::with_capacity(PART_BYTES);
    let part_bytes = u64::try_from(PART_BYTES).unwrap_or(u64::MAX);
    file.take(part_bytes).read_to_end(&mut part).await?;
    Ok(part.into())
}

fn path_of(key: &MediaKey) -> Result<Path, MediaStorageError> {
    Path::parse(key.to_string()).map_err(|error| MediaStorageError::Internal(error.into()))
}

fn attributes(key: &MediaKey, metadata: &MediaMetadata) -> Attributes {
    let mut attributes = Attributes::new();
    let mut note = |name: &'static str, value: &str| {
        attributes.insert(Attribute::Metadata(name.into()), printable(value).into());
    };
    note("waha-session", key.session.as_str());
    note("waha-message-id", &metadata.message_id);
    if let Some(filename) = &metadata.filename {
        note("waha-media-file-name", filename);
    }
    attributes.insert(Attribute::ContentType, printable(&metadata.mimetype).into());
    if !is_safe_to_show(&metadata.mimetype) {
        attributes.insert(Attribute::ContentDisposition, "attachment".into());
    }
    attributes
}

/// What a sender has written, as a header can carry it: all but printable ASCII is percent-encoded.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        let next = match byte {
            b'%' | 0..=0x1f | 0x7f.. => format!("%{byte:02X}"),
            _ => char::from(byte).to_string(),
        };
        if out.len() + next.len() > FILENAME_BYTES_MAX {
            break;
        }
        out.push_str(&next);
    }
    // Headers have no blanks around them, and the signature is of what arrives.
    out.trim().to_owned()
}

/// The endpoint as `object_store` wants it, which adds the bucket to the path only.
fn addressed(endpoint: &Url, config: &S3Config) -> Result<String, S3ConfigError> {
    let mut endpoint = endpoint.clone();
    if !config.path_style {
        let host = endpoint.host_str().unwrap_or_default();
        let host = format!("{}.{host}", config.bucket);
        let cannot = |_| S3ConfigError("the bucket cannot be part of the endpoint's host name, use path style".into());
        endpoint.set_host(Some(&host)).map_err(cannot)?;
    }
    Ok(endpoint.as_str().trim_end_matches('/').to_owned())
}

/// Why nothing was written, listed or checked.
fn on_write(error: object_store::Error) -> MediaStorageError {
    match error {
        // Of the bucket: what is written need not be there.
        object_store::Error::NotFound { .. } => MediaStorageError::Refused(error.into()),
        error => on_read(error),
    }
}

/// Why nothing was read.
fn on_read(error: object_store::Error) -> MediaStorageError {
    use object_store::Error;
    match error {
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => MediaStorageError::Refused(error.into()),
        error if is_refusal(&error) => MediaStorageError::Refused(error.into()),
        Error::NotFound { .. } => MediaStorageError::NotFound,
        // What is not an answer that says more: no connection, no answer in time, an error of the server.
        Error::Generic { .. } => MediaStorageError::Unavailable(error.into()),
        error => MediaStorageError::Internal(error.into()),
    }
}

/// Whether S3 says that the operator must act. Its code is in the body of the answer, which `object_store` quotes; not every of
/// its errors has the status apart.
fn is_refusal(error: &object_store::Error) -> bool {
    let text = error.to_string();
    let code = text
        .split_once("<Code>")
        .and_then(|(_, rest)| rest.split_once("</Code>"));
    code.is_some_and(|(code, _)| REFUSALS.contains(&code))
}

fn absent_is_fine(outcome: object_store::Result<()>) -> Result<(), MediaStorageError> {
    match outcome.map_err(on_read) {
        Err(MediaStorageError::NotFound) => Ok(()),
        outcome => outcome,
    }
}

/// The local file that is to be stored, not one that is.
fn unreadable(error: io::Error) -> MediaStorageError {
    MediaStorageError::Internal(error.into())
}

/// The one client for all requests.
#[derive(Debug)]
struct Connector(Client);

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the operator names this endpoint, which may be in a private network; no caller can"
)]
fn client() -> Result<Client, S3ConfigError> {
    let roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| S3ConfigError(error.into()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .build()
        .map_err(|error| S3ConfigError(error.into()))
}

#[cfg(test)]
mod tests;
