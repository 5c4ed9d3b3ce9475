//! How much of the past a new device gets.

/// How much history to ask the phone for when it links the device; `None` leaves it to WhatsApp. The words are those of
/// `DeviceProps.HistorySyncConfig` in WhatsApp's protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HistoryDepth {
    /// Whether to ask for everything instead of the recent part.
    pub full: Option<bool>,
    /// How many days everything goes back.
    pub full_days_max: Option<u32>,
    /// How large everything may be, in MB.
    pub full_mb_max: Option<u32>,
    /// How many days the recent part goes back.
    pub recent_days_max: Option<u32>,
    /// How many messages of each chat come at first.
    pub messages_per_chat_max: Option<u32>,
    /// For how many days thumbnails come.
    pub thumbnail_days_max: Option<u32>,
    /// How much room there is said to be, in MB.
    pub storage_quota_mb: Option<u32>,
}
