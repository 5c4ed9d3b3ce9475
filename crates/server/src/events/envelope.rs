//! The envelope around every event, as WAHA writes it.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use wharf_core::events::EventName;
use wharf_core::ids::{EventId, SessionName};
use wharf_core::session::Me;

use crate::config::Dialect;

/// The version of WAHA whose interface this is.
const WAHA_VERSION: &str = "2026.7.1";
/// Nothing is held back for a paid edition.
const TIER: &str = "PLUS";

/// What serves the API.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = WAHAEnvironment)]
pub(crate) struct ServerEnvironment {
    /// The version of WAHA whose interface this is.
    pub version: String,
    /// The WAHA engine whose answers are given.
    pub engine: String,
    /// Always `PLUS`.
    pub tier: String,
    /// Always `null`: there is no browser.
    pub browser: Option<String>,
    /// System and processor, `linux/x64`.
    pub platform: String,
    /// This process among several.
    pub worker: EnvironmentWorker,
    /// Wharf itself.
    pub wharf: WharfInfo,
}

/// One of several processes.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct EnvironmentWorker {
    /// `WAHA_WORKER_ID`; `null` where it is not set.
    #[schema(required = true)]
    pub id: Option<String>,
}

/// Wharf itself.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct WharfInfo {
    /// Its version.
    pub version: String,
}

impl ServerEnvironment {
    /// This server.
    pub(crate) fn new(dialect: Dialect, worker_id: &str) -> Self {
        // Node's names, which clients of WAHA know.
        let processor = match std::env::consts::ARCH {
            "x86_64" => "x64",
            "aarch64" => "arm64",
            other => other,
        };
        Self {
            version: WAHA_VERSION.to_owned(),
            engine: dialect.as_str().to_owned(),
            tier: TIER.to_owned(),
            browser: None,
            platform: format!("{}/{processor}", std::env::consts::OS),
            worker: EnvironmentWorker {
                id: (!worker_id.is_empty()).then(|| worker_id.to_owned()),
            },
            wharf: WharfInfo {
                version: env!("CARGO_PKG_VERSION").to_owned(),
            },
        }
    }
}

/// One event as receivers get it.
#[derive(Serialize, ToSchema)]
#[schema(as = EventEnvelope)]
pub(crate) struct Envelope<'a> {
    /// The same on every attempt and at every receiver.
    #[schema(value_type = String, example = "evt_01ktvc6zt8tc3t0pw2qhmnp8v3")]
    pub(super) id: &'a EventId,
    /// When it was logged, in milliseconds since 1970.
    pub(super) timestamp: i64,
    /// Its name; what `payload` is for each, the webhooks of this document say.
    #[schema(value_type = String, example = "message")]
    pub(super) event: EventName,
    /// The session it is from.
    #[schema(value_type = String, example = "default")]
    pub(super) session: &'a SessionName,
    /// `config.metadata` of the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    pub(super) metadata: Option<&'a BTreeMap<String, String>>,
    /// The account, where it was known.
    #[schema(value_type = Option<Me>)]
    pub(super) me: Option<&'a Me>,
    /// What happened.
    #[schema(value_type = Object)]
    pub(super) payload: &'a RawValue,
    /// The WAHA engine whose answers are given.
    #[schema(value_type = String, example = "WEBJS")]
    pub(super) engine: &'a str,
    /// What serves the API.
    #[schema(value_type = ServerEnvironment)]
    pub(super) environment: &'a ServerEnvironment,
}
