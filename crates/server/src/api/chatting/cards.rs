//! Places and contact cards.

use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use wharf_core::engine::Content;
use wharf_core::events::MessagePayload;

use super::vcard::Contact;
use super::{Addressed, LABEL_CHARS_MAX};
use crate::api::AppState;
use crate::api::error::ApiResult;
use crate::api::extract::Body;
use crate::api::sending::{Sending, Sent};
use crate::validate::Fields;

/// The most cards of one message, as in WhatsApp's own clients.
const CONTACTS_MAX: usize = 257;

/// The routes of this topic.
pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(send_location))
        .routes(routes!(send_contact_vcard))
}

/// A place to be sent.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = MessageLocationRequest)]
struct SendLocationRequest {
    #[serde(flatten)]
    to: Addressed,
    /// Degrees north, -90 to 90.
    #[schema(example = 38.8937255)]
    latitude: f64,
    /// Degrees east, -180 to 180.
    #[schema(example = -77.0969763)]
    longitude: f64,
    /// The name of the place.
    #[schema(example = "Our office")]
    title: Option<String>,
}

/// Contact cards to be sent.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = MessageContactVcardRequest)]
struct SendContactVcardRequest {
    #[serde(flatten)]
    to: Addressed,
    /// The contacts, by fields or as vCards.
    contacts: Vec<Contact>,
}

impl Body for SendLocationRequest {
    fn check(fields: &mut Fields<'_>) {
        Addressed::check(fields);
        fields.required_number("latitude", -90.0..=90.0);
        fields.required_number("longitude", -180.0..=180.0);
        fields.text("title", LABEL_CHARS_MAX);
    }
}

impl Body for SendContactVcardRequest {
    fn check(fields: &mut Fields<'_>) {
        Addressed::check(fields);
        fields.required_array("contacts", 1..=CONTACTS_MAX);
        fields.objects("contacts", CONTACTS_MAX, Contact::check);
    }
}

/// Send a place.
#[utoipa::path(
    post, path = "/api/sendLocation", tag = "📤 Chatting", request_body = SendLocationRequest,
    responses((status = 201, description = "The message as it was sent", body = MessagePayload)),
    security(("api_key" = ["send"]))
)]
async fn send_location(Sending { sender, body }: Sending<SendLocationRequest>) -> ApiResult<Sent> {
    let to = body.to.destination(&sender).await?;
    let content = Content::Location {
        latitude: body.latitude,
        longitude: body.longitude,
        title: body.title,
    };
    sender.send(to.message(content)).await
}

/// Send contact cards.
#[utoipa::path(
    post, path = "/api/sendContactVcard", tag = "📤 Chatting", request_body = SendContactVcardRequest,
    responses((status = 201, description = "The message as it was sent", body = MessagePayload)),
    security(("api_key" = ["send"]))
)]
async fn send_contact_vcard(Sending { sender, body }: Sending<SendContactVcardRequest>) -> ApiResult<Sent> {
    let to = body.to.destination(&sender).await?;
    let cards = body.contacts.into_iter().map(Contact::card).collect();
    sender.send(to.message(Content::Contacts(cards))).await
}
