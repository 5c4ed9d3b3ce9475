//! What a session is to the outside: its status and whose account it is.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::ChatId;

/// Where a session stands, as WAHA names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SessionStatus {
    /// Not running.
    Stopped,
    /// Connecting, or connecting again.
    Starting,
    /// Waits for a phone to scan the QR code.
    ScanQrCode,
    /// Waits for an answer to the phone's passkey challenge.
    PasskeyRequired,
    /// Waits for the person to confirm the passkey's code.
    PasskeyConfirmationRequired,
    /// Connected and alive.
    Working,
    /// Gave up; `session.status` says why, and a restart tries again.
    Failed,
}

impl SessionStatus {
    /// Every status.
    pub const ALL: [Self; 7] = [
        Self::Stopped,
        Self::Starting,
        Self::ScanQrCode,
        Self::PasskeyRequired,
        Self::PasskeyConfirmationRequired,
        Self::Working,
        Self::Failed,
    ];

    /// As WAHA writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "STOPPED",
            Self::Starting => "STARTING",
            Self::ScanQrCode => "SCAN_QR_CODE",
            Self::PasskeyRequired => "PASSKEY_REQUIRED",
            Self::PasskeyConfirmationRequired => "PASSKEY_CONFIRMATION_REQUIRED",
            Self::Working => "WORKING",
            Self::Failed => "FAILED",
        }
    }
}

/// The account that a session is linked to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = MeInfo)]
pub struct Me {
    /// The phone number, `12025550101@c.us`.
    #[schema(value_type = String)]
    pub id: ChatId,
    /// The linked identity, `…@lid`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub lid: Option<ChatId>,
    /// The phone number with this session's device, `12025550101:3@s.whatsapp.net`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jid: Option<String>,
    /// The name that the account shows to others.
    pub push_name: String,
}
