//! The OpenAPI document, made from the handlers and the event catalog.

use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder};

use super::{operations, refusals};
use crate::events;

const TAGS: &[(&str, &str)] = &[
    ("🖥️ Sessions", "Create and control WhatsApp sessions"),
    ("📱 Pairing", "Link a session to a phone"),
    ("📤 Chatting", "Send messages"),
    ("🔍 Observability", "Look after the server"),
];

/// The OpenAPI document of every operation and event that is built. Needs no running server.
pub fn openapi() -> OpenApi {
    refusals::declare(operations().into_openapi())
}

/// What the document has beside the operations.
pub(super) fn frame() -> OpenApi {
    let key = ApiKeyValue::with_description(
        "X-Api-Key",
        "WAHA_API_KEY, or the key that was printed at the first start",
    );
    let mut components = ComponentsBuilder::new()
        .security_scheme("api_key", SecurityScheme::ApiKey(ApiKey::Header(key)))
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
