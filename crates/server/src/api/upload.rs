//! Files in requests: `file` in a JSON body, and bodies that are `multipart/form-data`, which is ours.
//!
//! A form becomes the JSON body that says the same, so that nothing behind this knows of forms: its part `file` is streamed to
//! disk, the others are fields. Where a file came as a part, the body has its digest in its place, so that two requests with other
//! files are two requests.

use std::time::Duration;

use axum::body::Body as HttpBody;
use axum::http::header;
use axum::http::request::Parts;
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
/// What a form may have beside its file, in bytes.
const FORM_BYTES_MAX: u64 = 8 * 1024 * 1024;
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

/// Reads a form.
pub(super) async fn read(boundary: String, body: HttpBody, files: &Files) -> Result<Form, ApiError> {
    let within = files.config().file_within;
    let read = timeout(within, read_parts(boundary, body, files)).await;
    read.unwrap_or(Err(ApiError::TooSlow))
}

async fn read_parts(boundary: String, body: HttpBody, files: &Files) -> Result<Form, ApiError> {
    let file_bytes_max = files.config().file_bytes_max;
    let limits = SizeLimit::new()
        .whole_stream(file_bytes_max.saturating_add(FORM_BYTES_MAX))
        .per_field(TEXT_PART_BYTES_MAX)
        .for_field(FILE, file_bytes_max);
    let constraints = Constraints::new().size_limit(limits);
    let mut form = Multipart::with_constraints(body.into_data_stream(), boundary, constraints);
    let (mut fields, mut file) = (Map::new(), None);
    let unreadable = |error| unreadable(&error, file_bytes_max);
    for _ in 0..PARTS_MAX {
        let next = timeout(IDLE_MAX, form.next_field()).await;
        let Some(part) = next.map_err(|_| ApiError::TooSlow)?.map_err(unreadable)? else {
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
            (true, _) => {
                let (kept, described) = keep(part, files).await?;
                file = Some(kept);
                described
            }
            (false, true) => {
                let problem = format!("{name} must not be a file; the part with the file is named {FILE}");
                return Err(ApiError::Invalid(vec![problem]));
            }
            (false, false) => field(&name, part, file_bytes_max).await?,
        };
        fields.insert(name, value);
    }
    Err(ApiError::Invalid(vec![format!(
        "the form must have no more than {PARTS_MAX} parts"
    )]))
}

/// The value of a field: a text, unless the form or the field itself says otherwise.
async fn field(name: &str, part: Field<'_>, file_bytes_max: u64) -> Result<Value, ApiError> {
    let is_json = part
        .content_type()
        .is_some_and(|kind| kind.essence_str() == "application/json");
    let text = timeout(IDLE_MAX, part.text()).await.map_err(|_| ApiError::TooSlow)?;
    let text = text.map_err(|error| unreadable(&error, file_bytes_max))?;
    match is_json || NOT_TEXTS.contains(&name) {
        true => serde_json::from_str(&text).map_err(|_| ApiError::Invalid(vec![format!("{name} must be JSON")])),
        false => Ok(text.into()),
    }
}

/// Streams a file to disk. What stands for it in the body has its digest.
async fn keep(mut part: Field<'_>, files: &Files) -> Result<(LocalFile, Value), ApiError> {
    let file_bytes_max = files.config().file_bytes_max;
    let filename = part.file_name().map(str::to_owned);
    let mimetype = part.content_type().map(ToString::to_string);
    let (mut file, path) = files.temp().file().map_err(FileError::from)?;
    let (mut size, mut digest) = (0, Sha256::new());
    loop {
        let chunk = timeout(IDLE_MAX, part.chunk()).await.map_err(|_| ApiError::TooSlow)?;
        let Some(chunk) = chunk.map_err(|error| unreadable(&error, file_bytes_max))? else {
            break;
        };
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
