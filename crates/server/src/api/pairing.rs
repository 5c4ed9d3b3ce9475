//! Pairing: the QR code, the code to be entered on the phone, and what the account's passkey has to sign.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use image::{ImageEncoder, Luma};
use qrcode::QrCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use wharf_core::engine::EngineError;
use wharf_core::ids::{ChatId, ChatKind};
use wharf_core::session::SessionStatus;

use super::AppState;
use super::error::{ApiError, ApiResult};
use super::extract::{Body, Input, Linkable};
use super::passkey;
use crate::sessions::{Connection, View};
use crate::validate::Fields;

/// The picture's size in each direction, in pixels, is at least this.
const PICTURE_PIXELS_MIN: u32 = 276;
const PNG: &str = "image/png";
/// The fewest digits of an international phone number.
const PHONE_DIGITS_MIN: usize = 7;
/// Where the dash goes in a code of eight letters and digits.
const CODE_GROUP_CHARS: usize = 4;

/// The routes of this tag.
pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(get_qr))
        .routes(routes!(request_code))
        .routes(routes!(take_screenshot))
        .merge(passkey::router())
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
pub(super) struct Base64File {
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

/// Which phone is to be linked.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RequestCodeRequest)]
struct RequestCode {
    /// Its number with the country code, `12025550101`.
    phone_number: String,
    /// Leave it out: a code that is sent in a text message or told in a call is not for linked devices.
    method: Option<String>,
}

/// A code to be entered on the phone.
#[derive(Debug, Serialize, ToSchema)]
struct PairingCode {
    /// Eight letters and digits, `ABCD-EFGH`. Good for three minutes.
    code: String,
}

/// Which session.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only documents the query; the extractor reads it")]
struct SessionQuery {
    /// Its name.
    #[param(default = "default")]
    session: String,
}

impl Body for RequestCode {
    fn check(fields: &mut Fields<'_>) {
        fields.required_string("phoneNumber");
        fields.string("method");
    }
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
    security(("api_key" = ["control"]), ("api_key_in_query" = ["control"]))
)]
async fn get_qr(
    State(state): State<AppState>,
    session: Linkable,
    query: Result<Query<QrQuery>, QueryRejection>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let Query(query) = query.map_err(|error| ApiError::Unreadable(error.body_text()))?;
    let view = session.in_status(SessionStatus::ScanQrCode, &state).await?;
    let code = view
        .qr
        .as_ref()
        .ok_or_else(|| session.wrong_status(&view, SessionStatus::ScanQrCode, &state))?;
    match query.format.as_deref() {
        Some("raw") => {
            let value = code.clone();
            Ok(unstored(Json(QRCodeValue { value })))
        }
        _ => qr_picture(code, &headers),
    }
}

/// Request a code that links the session when it is entered on the phone: WhatsApp, Linked devices, Link with phone number.
#[utoipa::path(
    post, path = "/api/{session}/auth/request-code", tag = "📱 Pairing", request_body = RequestCode,
    params(("session" = String, Path, description = "The session")),
    responses((status = 201, description = "The code; the one before is void", body = PairingCode)),
    security(("api_key" = ["control"]))
)]
async fn request_code(
    State(_): State<AppState>,
    session: Linkable,
    Input(request): Input<RequestCode>,
) -> ApiResult<(StatusCode, Response)> {
    let phone = phone_number(&request.phone_number)?;
    if request.method.is_some_and(|method| !method.is_empty()) {
        let message = "'method' is not supported by the engine, remove it and try again";
        return Err(ApiError::Refused(message.to_owned()));
    }
    let view = session.running().await?;
    if view.status != SessionStatus::ScanQrCode {
        let status = view.status.as_str();
        return Err(ApiError::Refused(format!(
            "Can request code only in SCAN_QR_CODE status. The current status is {status}"
        )));
    }
    let mut code = connection(view)?.engine().request_code(&phone).await?;
    if code.is_char_boundary(CODE_GROUP_CHARS) {
        code.insert(CODE_GROUP_CHARS, '-');
    }
    Ok((StatusCode::CREATED, unstored(Json(PairingCode { code }))))
}

/// Get a picture of the session: its QR code, while it shows one. There is no browser to see anything else of.
#[utoipa::path(
    get, path = "/api/screenshot", tag = "📱 Pairing", params(SessionQuery),
    responses((status = 200, description = "A picture; JSON for `Accept: application/json`", content(
        (Vec<u8> = "image/png"),
        (Base64File = "application/json"),
    ))),
    security(("api_key" = ["control"]), ("api_key_in_query" = ["control"]))
)]
async fn take_screenshot(State(state): State<AppState>, session: Linkable, headers: HeaderMap) -> ApiResult<Response> {
    // As it is now: WAHA does not wait here.
    let view = session.0.view();
    let refused = |message: &str| Err(ApiError::Refused(message.to_owned()));
    match (view.status, &view.qr) {
        (SessionStatus::ScanQrCode, Some(code)) => qr_picture(code, &headers),
        (SessionStatus::Starting | SessionStatus::ScanQrCode, _) => {
            refused("The session is starting, please try again after few seconds")
        }
        (SessionStatus::Working, _) => refused("There is no browser to take a screenshot of; the session is WORKING"),
        (SessionStatus::Stopped, _) => Err(ApiError::session_not_started(session.0.name().as_str(), true)),
        _ => Err(session.wrong_status(&view, SessionStatus::ScanQrCode, &state)),
    }
}

/// The connection of a session that waits for a phone.
pub(super) fn connection(view: View) -> ApiResult<Connection> {
    // There is none for a moment after it was lost.
    view.connection.ok_or_else(|| EngineError::Offline.into())
}

/// A phone's number as WhatsApp wants it, from how people write it.
fn phone_number(text: &str) -> ApiResult<ChatId> {
    let phone = text.parse::<ChatId>().ok().filter(|phone| {
        let digits = phone.user();
        phone.kind() == ChatKind::Phone && digits.len() >= PHONE_DIGITS_MIN && !digits.starts_with('0')
    });
    phone.ok_or_else(|| {
        let problem = "phoneNumber must be a phone number with its country code, such as 12025550101";
        ApiError::Invalid(vec![problem.to_owned()])
    })
}

/// The QR code as a picture, or as the picture in JSON.
fn qr_picture(code: &str, headers: &HeaderMap) -> ApiResult<Response> {
    let picture = picture(code)?;
    let wants_json = headers
        .get(header::ACCEPT)
        .is_some_and(|accept| accept == "application/json");
    Ok(match wants_json {
        true => unstored(Json(Base64File {
            mimetype: PNG.to_owned(),
            data: BASE64_STANDARD.encode(picture),
        })),
        false => unstored(([(header::CONTENT_TYPE, PNG)], picture)),
    })
}

/// An answer that nobody may keep: an old code is of no use, and a fresh one is a credential.
pub(super) fn unstored(answer: impl IntoResponse) -> Response {
    let mut response = answer.into_response();
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().insert(header::CACHE_CONTROL, no_store);
    response
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

    #[test]
    fn a_phone_number_has_its_country_code() {
        for text in ["12025550101", "+1 (202) 555-0101", "12025550101@c.us"] {
            assert_eq!(phone_number(text).unwrap().user(), "12025550101", "{text}");
        }
        for text in ["", "555010", "02025550101", "alice", "120363000000000000@g.us", "1@lid"] {
            assert!(phone_number(text).is_err(), "{text}");
        }
    }
}
