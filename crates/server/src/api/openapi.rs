//! The OpenAPI document, made from the handlers and the event catalog.

use std::collections::BTreeMap;

use utoipa::ToSchema as _;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{AllOf, ComponentsBuilder, InfoBuilder, Object, OpenApi, OpenApiBuilder, RefOr, Schema, Type};

use super::chatting::Addressed;
use super::{operations, policy, refusals, sending, upload};
use crate::events;

const TAGS: &[(&str, &str)] = &[
    ("🔑 Api Keys", "Make keys that can do less"),
    ("🖥️ Sessions", "Create and control WhatsApp sessions"),
    ("📱 Pairing", "Link a session to a phone"),
    ("📤 Chatting", "Send messages"),
    ("🖼️ Media", "Files of messages, and files for messages"),
    ("💬 Chats", "Look after chats and their messages"),
    ("📨 Events", "Read the event log, and see what became of its deliveries"),
    ("🔍 Observability", "Look after the server"),
];

/// The OpenAPI document of every operation and event that is built. Needs no running server.
pub fn openapi() -> OpenApi {
    completed(operations().into_openapi())
}

/// The document with what is declared for many operations at once.
pub(super) fn completed(document: OpenApi) -> OpenApi {
    refusals::declare(sending::declare(upload::declare(merged(document))))
}

/// The document with the fields in one place that a type has flattened into it: many generators of clients do not understand
/// `allOf`.
fn merged(mut document: OpenApi) -> OpenApi {
    let Some(components) = &mut document.components else {
        return document;
    };
    let before = components.schemas.clone();
    for schema in components.schemas.values_mut() {
        if let RefOr::T(Schema::AllOf(parts)) = schema
            && let Some(whole) = one_object(parts, &before)
        {
            *schema = RefOr::T(whole.into());
        }
    }
    // Nothing refers to it any more.
    components.schemas.remove(&*Addressed::name());
    document
}

fn one_object(parts: &AllOf, schemas: &BTreeMap<String, RefOr<Schema>>) -> Option<Object> {
    let mut whole = Object::with_type(Type::Object);
    whole.description = parts.description.clone();
    for part in &parts.items {
        let part = match part {
            RefOr::T(part) => part,
            RefOr::Ref(reference) => match schemas.get(reference.ref_location.rsplit('/').next()?)? {
                RefOr::T(part) => part,
                RefOr::Ref(_) => return None,
            },
        };
        let Schema::Object(part) = part else { return None };
        whole.properties.extend(part.properties.clone());
        whole.required.extend(part.required.iter().cloned());
    }
    Some(whole)
}

/// What the document has beside the operations.
pub(super) fn frame() -> OpenApi {
    let key = ApiKeyValue::with_description(
        "X-Api-Key",
        "WAHA_API_KEY, or the key that was printed at the first start, or one of `/api/keys`. Each operation names what a key \
         of a session must be allowed: `read`, `send`, `control`, `setting`, `app` or `delete`; `any` is open to every key, \
         `admin` to those of administrators only.",
    );
    let key_in_query = ApiKeyValue::with_description(
        "x-api-key",
        "The same, for what a browser opens without a header. Addresses end up in logs and histories: use a key that can do \
         little.",
    );
    let mut components = ComponentsBuilder::new()
        .security_scheme(policy::IN_HEADER, SecurityScheme::ApiKey(ApiKey::Header(key)))
        .security_scheme(policy::IN_QUERY, SecurityScheme::ApiKey(ApiKey::Query(key_in_query)))
        .build();
    let webhooks = events::webhooks(&mut components);
    let tags = TAGS
        .iter()
        .map(|(name, about)| TagBuilder::new().name(*name).description(Some(*about)).build());
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("Wharf")
                .version(env!("CARGO_PKG_VERSION"))
                .description(Some("WhatsApp HTTP API, compatible with WAHA."))
                .build(),
        )
        .components(Some(components))
        .webhooks(Some(webhooks))
        .tags(Some(tags))
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_operations_webhooks_and_the_key() {
        let document = serde_json::to_value(openapi()).unwrap();
        assert!(document["paths"]["/api/sendText"]["post"].is_object());
        assert!(document["webhooks"]["message.ack"]["post"].is_object());
        assert_eq!(
            document["components"]["securitySchemes"]["api_key"]["name"],
            "X-Api-Key"
        );
    }

    #[test]
    fn every_reference_in_the_document_leads_somewhere() {
        let document = serde_json::to_value(openapi()).unwrap();
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let pointer = reference.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
    }
}
