//! The `webhooks` part of the OpenAPI document: every event of the catalog with its envelope and payload.

use utoipa::ToSchema;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, PathItem, Paths, PathsBuilder};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Ref, Schema, SchemaType, Type};
use utoipa::openapi::{Components, ContentBuilder, RefOr, Required, Response};
use wharf_core::events::{EventName, MessageAckPayload, MessagePayload, SessionStatusPayload};
use wharf_core::session::Me;

use super::envelope::ServerEnvironment;

/// The payload of an event, where it is built; the others stand in the catalog and have no schema yet.
fn payload(event: EventName) -> Option<RefOr<Schema>> {
    match event {
        EventName::SessionStatus => Some(reference::<SessionStatusPayload>()),
        EventName::Message | EventName::MessageAny | EventName::MessageWaiting => Some(reference::<MessagePayload>()),
        EventName::MessageAck | EventName::MessageAckGroup => Some(reference::<MessageAckPayload>()),
        _ => None,
    }
}

/// The webhooks of the OpenAPI document; adds the schemas they need to `components`.
pub(crate) fn webhooks(components: &mut Components) -> Paths {
    for add in [
        add_schema::<SessionStatusPayload>,
        add_schema::<MessagePayload>,
        add_schema::<MessageAckPayload>,
        add_schema::<Me>,
        add_schema::<ServerEnvironment>,
    ] {
        add(components);
    }
    let built = EventName::ALL
        .iter()
        .filter_map(|event| Some((*event, payload(*event)?)));
    built
        .fold(PathsBuilder::new(), |paths, (event, payload)| {
            let content = ContentBuilder::new().schema(Some(envelope(event, payload))).build();
            let body = RequestBodyBuilder::new()
                .content("application/json", content)
                .required(Some(Required::True))
                .build();
            let operation = OperationBuilder::new()
                .request_body(Some(body))
                .response(
                    "200",
                    Response::new("Any status from 200 to 299 means that it was taken"),
                )
                .build();
            paths.path(event.as_str(), PathItem::new(HttpMethod::Post, operation))
        })
        .build()
}

fn envelope(event: EventName, payload: RefOr<Schema>) -> Schema {
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
        .property("me", or_null(reference::<Me>()))
        .property("payload", payload)
        .required("payload")
        .property(
            "engine",
            text("The WAHA engine whose answers are given.").enum_values(Some(engines)),
        )
        .required("engine")
        .property("environment", reference::<ServerEnvironment>())
        .required("environment")
        .into()
}

fn or_null(schema: RefOr<Schema>) -> Schema {
    let null = ObjectBuilder::new().schema_type(Type::Null);
    OneOfBuilder::new().item(null).item(schema).into()
}

fn reference<T: ToSchema>() -> RefOr<Schema> {
    RefOr::Ref(Ref::from_schema_name(T::name()))
}

fn add_schema<T: ToSchema>(components: &mut Components) {
    let mut schemas = vec![(T::name().into_owned(), T::schema())];
    T::schemas(&mut schemas);
    for (name, schema) in schemas {
        components.schemas.entry(name).or_insert(schema);
    }
}
