//! Pairing with the account's passkey: what it has to sign, its answer, and the code that a person compares.
//!
//! An account that has a passkey wants its word before it links a device. The passkey signs only in a browser at
//! web.whatsapp.com, so the challenge goes out through here and the answer comes back. The shapes are WebAuthn's own JSON.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use wharf_core::engine::{PasskeyAssertion, PasskeyChallenge};
use wharf_core::session::SessionStatus;

use super::AppState;
use super::error::{ApiError, ApiResult};
use super::extract::{Body, Input, Linkable};
use super::pairing::{connection, unstored};
use crate::sessions::Passkey;
use crate::validate::Fields;

/// WebAuthn writes no padding; some libraries do.
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// The only type of credential that there is.
const PUBLIC_KEY: &str = "public-key";

/// The routes of the passkey.
pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(get_passkey_challenge))
        .routes(routes!(answer_passkey))
        .routes(routes!(get_passkey_confirmation))
        .routes(routes!(confirm_passkey))
}

/// What the passkey has to sign: the argument of `navigator.credentials.get({publicKey})`, in WebAuthn's JSON.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PasskeyChallenge)]
struct Challenge {
    /// Random bytes, base64url.
    challenge: String,
    /// How long it can be answered, in milliseconds.
    timeout: u64,
    /// In whose name it is asked.
    rp_id: String,
    /// The passkeys that will do.
    allow_credentials: Vec<AllowedCredential>,
    /// Whether the authenticator has to see that it is the right person.
    user_verification: String,
    /// What else WhatsApp asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    extensions: Option<Map<String, Value>>,
}

/// A passkey that will do.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PasskeyAllowedCredential)]
struct AllowedCredential {
    /// Its id, base64url.
    id: String,
    /// `public-key`.
    #[serde(rename = "type")]
    kind: String,
    /// How its authenticator is reached.
    transports: Vec<String>,
}

/// What `navigator.credentials.get` answered, in WebAuthn's JSON.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PasskeyAssertionRequest)]
struct AssertionRequest {
    /// The id of the passkey, base64url.
    #[expect(dead_code, reason = "WebAuthn has the id twice; `rawId` is the one that is sent")]
    id: String,
    /// The same.
    raw_id: String,
    /// `public-key`.
    #[serde(rename = "type")]
    #[expect(dead_code, reason = "it was checked and says nothing more")]
    kind: String,
    /// What was signed, and the signature.
    response: AssertionResponse,
}

/// What was signed, and the signature. All base64url.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PasskeyAssertionResponseData)]
struct AssertionResponse {
    /// What the browser put around the challenge.
    #[serde(rename = "clientDataJSON")]
    client_data_json: String,
    /// What the authenticator says of itself.
    authenticator_data: String,
    /// Over both.
    signature: String,
    /// Whose passkey it is.
    user_handle: Option<String>,
}

/// The code to compare with the one on the phone.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PasskeyConfirmationResponse)]
struct Confirmation {
    /// `ABCD-EFGH`.
    code: String,
}

impl Body for AssertionRequest {
    fn check(fields: &mut Fields<'_>) {
        fields.required_string("id");
        fields.required_string("rawId");
        fields.required_string("type");
        fields.one_of("type", &[PUBLIC_KEY]);
        if fields.get("response").is_none() {
            fields.fail("response", "must be an object");
        }
        fields.object("response", |response| {
            response.required_string("clientDataJSON");
            response.required_string("authenticatorData");
            response.required_string("signature");
            response.string("userHandle");
        });
    }
}

impl From<&PasskeyChallenge> for Challenge {
    fn from(challenge: &PasskeyChallenge) -> Self {
        let credentials = challenge.allow_credentials.iter().map(|one| AllowedCredential {
            id: one.id.clone(),
            kind: one.kind.clone(),
            transports: one.transports.clone(),
        });
        Self {
            challenge: challenge.challenge.clone(),
            timeout: challenge.timeout_ms,
            rp_id: challenge.rp_id.clone(),
            allow_credentials: credentials.collect(),
            user_verification: challenge.user_verification.clone(),
            extensions: challenge.extensions.clone(),
        }
    }
}

impl TryFrom<AssertionRequest> for PasskeyAssertion {
    type Error = ApiError;

    fn try_from(request: AssertionRequest) -> Result<Self, ApiError> {
        let mut problems = Vec::new();
        let mut bytes = |name: &str, text: &str| {
            BASE64_URL.decode(text).unwrap_or_else(|_| {
                problems.push(format!("{name} must be base64url"));
                Vec::new()
            })
        };
        let response = request.response;
        let assertion = Self {
            credential_id: bytes("rawId", &request.raw_id),
            client_data_json: bytes("response.clientDataJSON", &response.client_data_json),
            authenticator_data: bytes("response.authenticatorData", &response.authenticator_data),
            signature: bytes("response.signature", &response.signature),
            user_handle: response
                .user_handle
                .filter(|handle| !handle.is_empty())
                .map(|handle| bytes("response.userHandle", &handle)),
        };
        match problems.is_empty() {
            true => Ok(assertion),
            false => Err(ApiError::Invalid(problems)),
        }
    }
}

/// Get what the account's passkey has to sign, while the status is `PASSKEY_REQUIRED`.
#[utoipa::path(
    get, path = "/api/{session}/auth/passkey/challenge", tag = "📱 Pairing",
    params(("session" = String, Path, description = "The session")),
    responses((status = 200, description = "The challenge", body = Challenge)),
    security(("api_key" = ["control"]))
)]
async fn get_passkey_challenge(State(state): State<AppState>, session: Linkable) -> ApiResult<Response> {
    let view = session.in_status(SessionStatus::PasskeyRequired, &state).await?;
    match &view.passkey {
        Some(Passkey::Sign(challenge)) => Ok(unstored(Json(Challenge::from(challenge.as_ref())))),
        _ => Err(session.wrong_status(&view, SessionStatus::PasskeyRequired, &state)),
    }
}

/// Answer the challenge. A wrong answer can be followed by another one.
#[utoipa::path(
    post, path = "/api/{session}/auth/passkey", tag = "📱 Pairing", request_body = AssertionRequest,
    params(("session" = String, Path, description = "The session")),
    responses((status = 201, description = "WhatsApp accepted it; the status becomes `PASSKEY_CONFIRMATION_REQUIRED`")),
    security(("api_key" = ["control"]))
)]
async fn answer_passkey(
    State(state): State<AppState>,
    session: Linkable,
    Input(request): Input<AssertionRequest>,
) -> ApiResult<StatusCode> {
    let assertion = PasskeyAssertion::try_from(request)?;
    let view = session.in_status(SessionStatus::PasskeyRequired, &state).await?;
    connection(view)?.engine().answer_passkey(assertion).await?;
    Ok(StatusCode::CREATED)
}

/// Get the code to compare with the one on the phone, while the status is `PASSKEY_CONFIRMATION_REQUIRED`.
#[utoipa::path(
    get, path = "/api/{session}/auth/passkey/confirmation", tag = "📱 Pairing",
    params(("session" = String, Path, description = "The session")),
    responses((status = 200, description = "The code", body = Confirmation)),
    security(("api_key" = ["control"]))
)]
async fn get_passkey_confirmation(State(state): State<AppState>, session: Linkable) -> ApiResult<Response> {
    let view = session
        .in_status(SessionStatus::PasskeyConfirmationRequired, &state)
        .await?;
    match view.passkey {
        Some(Passkey::Compare(code)) => Ok(unstored(Json(Confirmation { code }))),
        _ => Err(session.wrong_status(&view, SessionStatus::PasskeyConfirmationRequired, &state)),
    }
}

/// Say that both codes are the same. The phone links the session then.
#[utoipa::path(
    post, path = "/api/{session}/auth/passkey/confirm", tag = "📱 Pairing",
    params(("session" = String, Path, description = "The session")),
    responses((status = 201, description = "The phone was told")),
    security(("api_key" = ["control"]))
)]
async fn confirm_passkey(State(state): State<AppState>, session: Linkable) -> ApiResult<StatusCode> {
    let view = session
        .in_status(SessionStatus::PasskeyConfirmationRequired, &state)
        .await?;
    connection(view)?.engine().confirm_passkey().await?;
    Ok(StatusCode::CREATED)
}
