//! Pairing: the QR code, as a picture, as base64 in JSON, or as its text.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use image::{ImageEncoder, Luma};
use qrcode::QrCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use super::error::{ApiError, ApiResult};
use super::extract::Scanning;

/// The picture's size in each direction, in pixels, is at least this.
const PICTURE_PIXELS_MIN: u32 = 276;
const PNG: &str = "image/png";

/// The routes of this tag.
pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(get_qr))
}

/// How to tell the QR code.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct QrQuery {
    /// `raw` is its text, everything else a picture.
    #[param(inline, schema_with = qr_formats)]
    format: Option<String>,
}

/// The QR code as its text.
#[derive(Debug, Serialize, ToSchema)]
struct QRCodeValue {
    /// What the picture carries.
    value: String,
}

/// A file in JSON.
#[derive(Debug, Serialize, ToSchema)]
struct Base64File {
    /// Its type.
    mimetype: String,
    /// Its bytes, base64.
    data: String,
}

/// Either form of the QR code in JSON.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only documents the answer")]
enum QrJson {
    File(Base64File),
    Value(QRCodeValue),
}

fn qr_formats() -> utoipa::openapi::schema::Object {
    utoipa::openapi::schema::ObjectBuilder::new()
        .schema_type(utoipa::openapi::schema::Type::String)
        .enum_values(Some(["image", "raw"]))
        .default(Some("image".into()))
        .build()
}

/// Get the QR code that links a phone: WhatsApp on the phone, Linked devices, Link a device.
#[utoipa::path(
    get, path = "/api/{session}/auth/qr", tag = "📱 Pairing",
    params(("session" = String, Path, description = "The session"), QrQuery),
    responses((status = 200, description = "A picture; JSON for `Accept: application/json`", content(
        (Vec<u8> = "image/png"),
        (QrJson = "application/json"),
    ))),
    security(("api_key" = []))
)]
async fn get_qr(
    State(_): State<AppState>,
    session: Scanning,
    query: Result<Query<QrQuery>, QueryRejection>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let Query(query) = query.map_err(|error| ApiError::Unreadable(error.body_text()))?;
    let code = session.code;
    let mut response = if query.format.as_deref() == Some("raw") {
        Json(QRCodeValue { value: code }).into_response()
    } else {
        let picture = picture(&code)?;
        let wants_json = headers
            .get(header::ACCEPT)
            .is_some_and(|accept| accept == "application/json");
        match wants_json {
            true => Json(Base64File {
                mimetype: PNG.to_owned(),
                data: BASE64_STANDARD.encode(picture),
            })
            .into_response(),
            false => ([(header::CONTENT_TYPE, PNG)], picture).into_response(),
        }
    };
    // An old code is of no use, and a fresh one is a credential.
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().insert(header::CACHE_CONTROL, no_store);
    Ok(response)
}

fn picture(code: &str) -> ApiResult<Vec<u8>> {
    let internal = |error: wharf_core::BoxError| ApiError::Internal(error);
    let code = QrCode::new(code).map_err(|error| internal(error.into()))?;
    let pixels = code
        .render::<Luma<u8>>()
        .min_dimensions(PICTURE_PIXELS_MIN, PICTURE_PIXELS_MIN)
        .build();
    let mut png = Vec::new();
    image::codecs::png::PngEncoder::new(&mut png)
        .write_image(
            pixels.as_raw(),
            pixels.width(),
            pixels.height(),
            image::ExtendedColorType::L8,
        )
        .map_err(|error| internal(error.into()))?;
    Ok(png)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_of_whatsapps_length_becomes_a_readable_picture() {
        let code = format!(
            "2@{},{},{},{}",
            "r".repeat(90),
            "n".repeat(44),
            "i".repeat(44),
            "a".repeat(44)
        );
        let png = image::load_from_memory(&picture(&code).unwrap()).unwrap();
        assert!(png.width() >= PICTURE_PIXELS_MIN && png.width() == png.height());
    }
}
