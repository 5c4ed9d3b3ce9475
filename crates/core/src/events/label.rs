//! Events about labels.

use serde::Serialize;
use utoipa::ToSchema;

/// A label.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Label)]
pub struct LabelPayload {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its color, by WhatsApp's numbers from 0 to 19.
    pub color: u8,
    /// Its color as `#rrggbb`.
    pub color_hex: String,
}

/// A label and a chat.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = LabelChatAssociation)]
pub struct LabelChatPayload {
    /// Which label.
    pub label_id: String,
    /// Which chat.
    pub chat_id: String,
    /// The label; `null` where it is not known here.
    #[schema(required = true)]
    pub label: Option<LabelPayload>,
}
