//! What every operation may answer beside its success, declared once for the OpenAPI document.
//!
//! The bodies are those that [`super::error`] writes; the integration suite checks every answer against this.

use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::{AdditionalProperties, ArrayBuilder, ObjectBuilder, OneOfBuilder, Ref, Schema, Type};
use utoipa::openapi::{ContentBuilder, OpenApi, RefOr, Response, ResponseBuilder};

/// The schema of a refusal.
const NAME: &str = "Error";

/// The statuses that any operation with a key may answer.
const STATUSES: &[(&str, &str)] = &[
    ("400", "The request has wrong fields, or cannot be read"),
    ("401", "The key is missing or wrong"),
    (
        "403",
        "The key is not good for this operation or session; or the page of another site, on a server that needs no key",
    ),
    ("404", "There is no such session, or whatever else the path names"),
    ("408", "The body took too long to arrive"),
    ("413", "The body is too large"),
    (
        "422",
        "The request is fine but cannot be done now; `message` or `error` says why and what to do",
    ),
    (
        "429",
        "WhatsApp was asked too often, or too many wrong keys were sent; wait a while",
    ),
    ("500", "Something failed inside; the log has the reason"),
    ("503", "It may work later"),
    ("504", "WhatsApp did not answer; whether it happened is unknown"),
];

/// Declares the refusals at every operation that wants the key.
pub(super) fn declare(mut document: OpenApi) -> OpenApi {
    if let Some(components) = &mut document.components {
        components.schemas.insert(NAME.to_owned(), schema().into());
    }
    for item in document.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.post, &mut item.put, &mut item.delete];
        for operation in operations
            .into_iter()
            .flatten()
            .filter(|operation| operation.security.is_some())
        {
            declare_at(operation);
        }
    }
    document
}

fn declare_at(operation: &mut Operation) {
    for (status, about) in STATUSES {
        let declared = operation.responses.responses.entry((*status).to_owned());
        let declared = declared.or_insert_with(|| RefOr::T(response(about)));
        // What an operation says of a status of its own has the same body.
        if let RefOr::T(own) = declared
            && own.content.is_empty()
        {
            *declared = RefOr::T(response(&own.description));
        }
    }
}

pub(super) fn response(about: &str) -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(NAME))).build();
    ResponseBuilder::new()
        .description(about)
        .content("application/json", content)
        .build()
}

/// WAHA's body of a refusal; the one for a wrong session status has no `statusCode` and its own fields.
fn schema() -> Schema {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let texts = ArrayBuilder::new().items(text());
    let message = OneOfBuilder::new().item(text()).item(texts);
    ObjectBuilder::new()
        .description(Some("Why a request was refused, as WAHA says it."))
        .property("statusCode", ObjectBuilder::new().schema_type(Type::Integer))
        .property("message", message)
        .property("error", text())
        .property("hint", text().description(Some("What to do.")))
        .property(
            "session",
            text().description(Some("The session whose status is not as expected.")),
        )
        .property("status", text().description(Some("The status of that session.")))
        .property("expected", ArrayBuilder::new().items(text()))
        .additional_properties(Some(AdditionalProperties::FreeForm(false)))
        .into()
}
