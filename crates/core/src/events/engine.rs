//! Events in the engine's own shape, which no client can rely on.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// Something that the engine reports.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = EnginePayload)]
pub struct EnginePayload {
    /// The engine's name for it.
    pub event: String,
    /// What it says.
    #[schema(value_type = Object)]
    pub data: Value,
}

/// What an engine says, in its own shape.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = Object)]
pub struct EngineData(pub Map<String, Value>);
