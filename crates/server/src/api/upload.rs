//! Files in requests: `file` in a JSON body, and bodies that are `multipart/form-data`, which is ours.
//!
//! A form becomes the JSON body that says the same, so that nothing behind this knows of forms: its part `file` is streamed to
//! disk, the others are fields. Where a file came as a part, the body has its digest in its place, so that two requests with other
//! files are two requests. Never whole in memory: what cannot be told apart yet is bounded.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body as HttpBody, BodyDataStream, Bytes};
use axum::http::header;
use axum::http::request::Parts;
use futures::Stream;
use multer::{Constraints, Field, Multipart, SizeLimit};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;
use utoipa::ToSchema;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::openapi::{Components, ContentBuilder, OpenApi, RefOr};

use super::error::ApiError;
use crate::media::{FileError, Files, LocalFile};
use crate::validate::Fields;

/// The name of the part with the file, and of the field that it stands for.
pub(super) const FILE: &str = "file";
/// The fields that are no texts; in a form they are written as in JSON.
const NOT_TEXTS: &[&str] = &["asNote", "convert", "linkPreview", "linkPreviewHighQuality", "mentions"];
/// The most parts of a form.
const PARTS_MAX: usize = 64;
/// The most bytes of a part that is no file.
const TEXT_PART_BYTES_MAX: u64 = 1024 * 1024;
/// The most bytes of all parts that are no file.
const TEXTS_BYTES_MAX: usize = 8 * 1024 * 1024;
/// What a form may have beside its file, in bytes: its texts, and the heads of its parts.
const FORM_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// The most bytes that are read on while a head, or what stands before the first one, has no end. It comes in chunks, the last of
/// which may be larger.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// The longest that a client may send nothing.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// What a form says.
pub(super) struct Form {
    /// The body that says the same.
    pub(super) body: Value,
    /// The file that came with it.
    pub(super) part: Option<LocalFile>,
}

/// The boundary of a form, where a body is one.
pub(super) fn boundary(parts: &Parts) -> Option<String> {
    let kind = parts.headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    multer::parse_boundary(kind).ok()
}

/// The body of a form, a chunk at a time, and an end to it where its reader finds nothing in what it has. The reader by itself
/// takes whatever there is and keeps it until it finds what it looks for.
struct Bounded {
    body: BodyDataStream,
    /// The bytes that the reader has taken since it has found something.
    taken: Arc<AtomicUsize>,
    /// Whether the reader is to look at what it has first.
    is_given: bool,
}

impl Stream for Bounded {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if std::mem::take(&mut self.is_given) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.taken.load(Ordering::Relaxed) > HEAD_BYTES_MAX {
            return Poll::Ready(Some(Err(io::ErrorKind::InvalidData.into())));
        }
        let chunk = ready!(Pin::new(&mut self.body).poll_next(context));
        let chunk = chunk.map(|chunk| chunk.map_err(io::Error::other));
        if let Some(Ok(bytes)) = &chunk {
            self.taken.fetch_add(bytes.len(), Ordering::Relaxed);
            self.is_given = true;
        }
        Poll::Ready(chunk)
    }
}

/// Reads a form. One with a file is refused where none is taken.
pub(super) async fn read(boundary: String, body: HttpBody, takes_file: bool, files: &Files) -> Result<Form, ApiError> {
    let within = files.config().file_within;
    let read = timeout(within, read_parts(boundary, body, takes_file, files)).await;
    read.unwrap_or(Err(ApiError::TooSlow))
}

async fn read_parts(boundary: String, body: HttpBody, takes_file: bool, files: &Files) -> Result<Form, ApiError> {
    let file_bytes_max = files.config().file_bytes_max;
    let limits = SizeLimit::new()
        .whole_stream(file_bytes_max.saturating_add(FORM_BYTES_MAX))
        .per_field(TEXT_PART_BYTES_MAX)
        .for_field(FILE, file_bytes_max);
    let constraints = Constraints::new().size_limit(limits);
    let taken = Arc::new(AtomicUsize::new(0));
    let bounded = Bounded {
        body: body.into_data_stream(),
        taken: Arc::clone(&taken),
        is_given: false,
    };
    let mut form = Multipart::with_constraints(bounded, boundary, constraints);
    let (mut fields, mut file) = (Map::new(), None);
    let mut texts_bytes = 0;
    let unreadable = |error| unreadable(&error, file_bytes_max);
    for _ in 0..PARTS_MAX {
        let next = timeout(IDLE_MAX, form.next_field()).await;
        let next = next.map_err(|_| ApiError::TooSlow)?.map_err(unreadable)?;
        taken.store(0, Ordering::Relaxed);
        let Some(part) = next else {
            let (part, body) = (file, fields.into());
            return Ok(Form { body, part });
        };
        let Some(name) = part.name().map(str::to_owned) else {
            return Err(ApiError::Invalid(vec![
                "each part of the form must have a name".to_owned(),
            ]));
        };
        if fields.contains_key(&name) {
            return Err(ApiError::Invalid(vec![format!("{name} must be one part of the form")]));
        }
        let value = match (name == FILE, part.file_name().is_some()) {
            (true, _) if !takes_file => return Err(not_taken()),
            (true, _) => {
                let (kept, described) = keep(part, &taken, files).await?;
                file = Some(kept);
                described
            }
            (false, true) => {
                let problem = format!("{name} must not be a file; the part with the file is named {FILE}");
                return Err(ApiError::Invalid(vec![problem]));
            }
            (false, false) => {
                let (value, bytes) = field(&name, part, &taken, file_bytes_max).await?;
                texts_bytes += bytes;
                value
            }
        };
        if texts_bytes > TEXTS_BYTES_MAX {
            return Err(ApiError::Invalid(vec![format!(
                "the form must have no more than {TEXTS_BYTES_MAX} bytes beside its file"
            )]));
        }
        fields.insert(name, value);
    }
    Err(ApiError::Invalid(vec![format!(
        "the form must have no more than {PARTS_MAX} parts"
    )]))
}

/// The next bytes of a part.
async fn next_chunk(part: &mut Field<'_>, taken: &AtomicUsize, file_bytes_max: u64) -> Result<Option<Bytes>, ApiError> {
    let chunk = timeout(IDLE_MAX, part.chunk()).await.map_err(|_| ApiError::TooSlow)?;
    taken.store(0, Ordering::Relaxed);
    chunk.map_err(|error| unreadable(&error, file_bytes_max))
}

/// The value of a field, and its size in bytes: a text, unless the form or the field itself says otherwise.
async fn field(
    name: &str,
    mut part: Field<'_>,
    taken: &AtomicUsize,
    file_bytes_max: u64,
) -> Result<(Value, usize), ApiError> {
    let is_json = part
        .content_type()
        .is_some_and(|kind| kind.essence_str() == "application/json");
    let mut bytes = Vec::new();
    while let Some(chunk) = next_chunk(&mut part, taken, file_bytes_max).await? {
        bytes.extend_from_slice(&chunk);
    }
    let text = String::from_utf8_lossy(&bytes);
    let value = match is_json || NOT_TEXTS.contains(&name) {
        true => serde_json::from_str(&text).map_err(|_| ApiError::Invalid(vec![format!("{name} must be JSON")]))?,
        false => text.into(),
    };
    Ok((value, bytes.len()))
}

/// Streams a file to disk. What stands for it in the body has its digest.
async fn keep(mut part: Field<'_>, taken: &AtomicUsize, files: &Files) -> Result<(LocalFile, Value), ApiError> {
    let file_bytes_max = files.config().file_bytes_max;
    let filename = part.file_name().map(str::to_owned);
    let mimetype = part.content_type().map(ToString::to_string);
    let (mut file, path) = files.temp().file().map_err(FileError::from)?;
    let (mut size, mut digest) = (0, Sha256::new());
    while let Some(chunk) = next_chunk(&mut part, taken, file_bytes_max).await? {
        size += chunk.len() as u64;
        digest.update(&chunk);
        file.write_all(&chunk).await.map_err(FileError::from)?;
    }
    file.flush().await.map_err(FileError::from)?;
    let described = json!({"filename": filename, "mimetype": mimetype, "sha256": hex::encode(digest.finalize())});
    let file = LocalFile {
        path,
        size,
        mimetype,
        filename,
    };
    Ok((file, described))
}

/// The refusal of a file where none is taken.
pub(super) fn not_taken() -> ApiError {
    ApiError::Invalid(vec![format!("{FILE} is not taken here")])
}

fn unreadable(error: &multer::Error, file_bytes_max: u64) -> ApiError {
    match error {
        multer::Error::FieldSizeExceeded { field_name, .. } if field_name.as_deref() == Some(FILE) => {
            too_large(file_bytes_max)
        }
        multer::Error::FieldSizeExceeded { field_name, .. } => {
            let name = field_name.as_deref().unwrap_or("a part");
            ApiError::Invalid(vec![format!(
                "{name} must not be longer than {TEXT_PART_BYTES_MAX} bytes"
            )])
        }
        multer::Error::StreamSizeExceeded { .. } => too_large(file_bytes_max),
        _ => ApiError::Unreadable("body is not a form that can be read, or broke off".to_owned()),
    }
}

fn too_large(file_bytes_max: u64) -> ApiError {
    ApiError::Invalid(vec![format!(
        "{FILE} must not be larger than {file_bytes_max} bytes (WHARF_FILE_BYTES_MAX)"
    )])
}

/// Checks a field that must be a file.
pub(super) fn check_file(fields: &mut Fields<'_>, name: &str) {
    if fields.get(name).is_none() {
        fields.fail(name, "must be an object with url or data");
    }
    check_optional_file(fields, name);
}

/// Checks a field that is a file, if it is there.
pub(super) fn check_optional_file(fields: &mut Fields<'_>, name: &str) {
    fields.object(name, check_source);
}

/// Checks the fields of a file themselves.
pub(super) fn check_source(file: &mut Fields<'_>) {
    for text in ["url", "data", "mimetype", "filename"] {
        file.string(text);
    }
    // Only a part of a form has a digest.
    match (file.get("url"), file.get("data"), file.get("sha256")) {
        (Some(_), Some(_), _) => file.fail("url", "must not stand beside data"),
        (None, None, None) => file.fail("url", "or data must be there"),
        _ => {}
    }
}

/// A file at an address.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the document")]
pub(super) struct RemoteFile {
    /// Its type; what the file's host says, where it is not there.
    mimetype: Option<String>,
    /// Its name.
    filename: Option<String>,
    /// Where it is: a public address, or one of `WHARF_EGRESS_ALLOW`.
    url: String,
}

/// A file in the request itself.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the document")]
pub(super) struct BinaryFile {
    /// Its type.
    mimetype: Option<String>,
    /// Its name.
    filename: Option<String>,
    /// It, as base64.
    data: String,
}

/// A file: where it is, or itself.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "for the document")]
pub(super) enum File {
    Remote(RemoteFile),
    Binary(BinaryFile),
}

/// Declares at every operation whose body has a file that it takes a form as well.
pub(super) fn declare(mut document: OpenApi) -> OpenApi {
    let components = document.components.clone().unwrap_or_default();
    for item in document.paths.paths.values_mut() {
        let operations = [&mut item.post, &mut item.put].into_iter().flatten();
        for body in operations.filter_map(|operation| operation.request_body.as_mut()) {
            let RefOr::T(body) = body else { continue };
            let Some(RefOr::T(json)) = body.content.get("application/json") else {
                continue;
            };
            if let Some(form) = json.schema.as_ref().and_then(|schema| form(schema, &components)) {
                let content = ContentBuilder::new().schema(Some(form)).build();
                body.content.insert("multipart/form-data".to_owned(), RefOr::T(content));
            }
        }
    }
    document
}

/// The form that says the same as a body, where that has a file.
fn form(schema: &RefOr<Schema>, components: &Components) -> Option<Schema> {
    let resolved = match schema {
        RefOr::T(schema) => schema,
        RefOr::Ref(reference) => {
            let name = reference.ref_location.rsplit('/').next()?;
            match components.schemas.get(name)? {
                RefOr::T(schema) => schema,
                RefOr::Ref(_) => return None,
            }
        }
    };
    let Schema::Object(object) = resolved else { return None };
    object.properties.get(FILE)?;
    let mut form = object.clone();
    let binary = ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Binary)))
        .description(Some("The file, with its name and its type."));
    form.properties.insert(FILE.to_owned(), RefOr::T(binary.build().into()));
    form.description = Some("The same as a form; what is no text is written as in JSON.".to_owned());
    Some(Schema::Object(form))
}

#[cfg(test)]
mod tests;
