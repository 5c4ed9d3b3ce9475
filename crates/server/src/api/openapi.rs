//! The OpenAPI document, made from the handlers and the event catalog, and the pages that show it.

use std::sync::Arc;

use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder};
use utoipa_swagger_ui::Config as SwaggerConfig;

use super::error::ApiError;
use super::{operations, refusals};
use crate::events;

/// Where the document is served, as in WAHA.
const DOCUMENT_PATH: &str = "/-json";
/// The page may load its own scripts and styles and nothing else, and may not be framed.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; \
     frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
);

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

/// The document and the page that shows it.
#[derive(Clone)]
pub(super) struct Pages(Option<Arc<Served>>);

struct Served {
    document: String,
    page: Arc<SwaggerConfig<'static>>,
}

impl Pages {
    /// The pages of a document, or none of them where they are not wanted.
    pub(super) fn new(document: OpenApi, enabled: bool) -> Self {
        let served = enabled
            .then(|| document.to_json().ok())
            .flatten()
            .map(|document| Served {
                document,
                page: Arc::new(SwaggerConfig::from(DOCUMENT_PATH)),
            });
        Self(served.map(Arc::new))
    }

    /// The page under a path that no operation has, or WAHA's 404.
    pub(super) fn serve(&self, method: &Method, path: &str) -> Response {
        let is_read = matches!(*method, Method::GET | Method::HEAD);
        match &self.0 {
            Some(served) if is_read && path == DOCUMENT_PATH => {
                ([(header::CONTENT_TYPE, "application/json")], served.document.clone()).into_response()
            }
            Some(served) if is_read => page(served, path).unwrap_or_else(|| not_found(method, path)),
            _ => not_found(method, path),
        }
    }
}

fn page(served: &Served, path: &str) -> Option<Response> {
    const COMPRESSED: (HeaderName, HeaderValue) = (header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    let file = match utoipa_swagger_ui::serve(path.trim_start_matches('/'), Arc::clone(&served.page)) {
        Ok(file) => file?,
        Err(error) => return Some(ApiError::Internal(error.to_string().into()).into_response()),
    };
    let kind = HeaderValue::try_from(file.content_type).ok()?;
    let mut response = (StatusCode::OK, file.bytes.into_owned()).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CONTENT_SECURITY_POLICY, PAGE_POLICY);
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if file.gzpipped {
        headers.extend([COMPRESSED]);
    }
    Some(response)
}

fn not_found(method: &Method, path: &str) -> Response {
    ApiError::no_route(method, path).into_response()
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
