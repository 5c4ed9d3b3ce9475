//! The `webhooks` part of the OpenAPI document: every event of the catalog with its envelope and payload.

use utoipa::openapi::path::{HttpMethod, OperationBuilder, PathItem, Paths, PathsBuilder};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Ref, Schema, SchemaType, Type};
use utoipa::openapi::{Components, ContentBuilder, Deprecated, RefOr, Required, Response};
use wharf_core::events::{EventName, PayloadSchema, Stage};
use wharf_core::session::Me;

use super::envelope::ServerEnvironment;

/// The webhooks of the OpenAPI document; adds the schemas they need to `components`.
pub(crate) fn webhooks(components: &mut Components) -> Paths {
    let me = add(components, PayloadSchema::of::<Me>());
    let environment = add(components, PayloadSchema::of::<ServerEnvironment>());
    let mut paths = PathsBuilder::new();
    for event in EventName::ALL.iter().copied() {
        let payload = add(components, event.payload());
        let envelope = envelope(event, payload, me.clone(), environment.clone());
        let body = RequestBodyBuilder::new()
            .content("application/json", ContentBuilder::new().schema(Some(envelope)).build())
            .required(Some(Required::True))
            .build();
        let operation = OperationBuilder::new()
            .description(Some(event.about()))
            .deprecated((event.stage() == Stage::Deprecated).then_some(Deprecated::True))
            .request_body(Some(body))
            .response(
                "200",
                Response::new("Any status from 200 to 299 means that it was taken"),
            )
            .build();
        paths = paths.path(event.as_str(), PathItem::new(HttpMethod::Post, operation));
    }
    paths.build()
}

fn envelope(event: EventName, payload: RefOr<Schema>, me: RefOr<Schema>, environment: RefOr<Schema>) -> Schema {
    let text = |description: &str| {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some(description))
    };
    let engines = ["WEBJS", "WPP", "NOWEB", "GOWS"];
    ObjectBuilder::new()
        .property(
            "id",
            text("The same on every attempt and at every receiver: `evt_` and a ULID."),
        )
        .required("id")
        .property(
            "timestamp",
            ObjectBuilder::new()
                .schema_type(SchemaType::Type(Type::Integer))
                .description(Some("When the event was logged, in milliseconds since 1970.")),
        )
        .required("timestamp")
        .property(
            "event",
            text("The name of the event.").enum_values(Some([event.as_str()])),
        )
        .required("event")
        .property("session", text("The session it is from."))
        .required("session")
        .property(
            "metadata",
            ObjectBuilder::new()
                .description(Some("`config.metadata` of the session."))
                .additional_properties(Some(Schema::Object(
                    ObjectBuilder::new().schema_type(Type::String).build(),
                ))),
        )
        .property("me", or_null(me))
        .property("payload", payload)
        .required("payload")
        .property(
            "engine",
            text("The WAHA engine whose answers are given.").enum_values(Some(engines)),
        )
        .required("engine")
        .property("environment", environment)
        .required("environment")
        .into()
}

fn or_null(schema: RefOr<Schema>) -> Schema {
    let null = ObjectBuilder::new().schema_type(Type::Null);
    OneOfBuilder::new().item(null).item(schema).into()
}

/// Adds a schema with what it refers to, and returns a reference to it.
fn add(components: &mut Components, payload: PayloadSchema) -> RefOr<Schema> {
    for (name, schema) in payload.schemas {
        components.schemas.entry(name).or_insert(schema);
    }
    RefOr::Ref(Ref::from_schema_name(payload.name))
}
