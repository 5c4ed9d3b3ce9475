//! Names of WAHA's variables that have no effect here, so that a WAHA `.env` starts, and says what of it does
//! nothing.

/// Settings of browser engines, of other engines' insides, and of Node.js. Accepted silently.
pub(super) const WITHOUT_EFFECT: &[&str] = &[
    "WAHA_CHROME_ARGS",
    "WAHA_GOWS_DEVICE_HISTORY_SYNC_COMPLETE_ON_DEMAND_READY",
    "WAHA_GOWS_DEVICE_HISTORY_SYNC_INLINE_INITIAL_PAYLOAD_IN_E2EE_MSG",
    "WAHA_GOWS_DEVICE_HISTORY_SYNC_ON_DEMAND_READY",
    "WAHA_GOWS_DEVICE_HISTORY_SYNC_SUPPORT_ADD_ON_HISTORY_SYNC_MIGRATION",
    "WAHA_GOWS_DEVICE_HISTORY_SYNC_SUPPORT_BIZ_HOSTED_MSG",
    "WAHA_GOWS_DEVICE_HISTORY_SYNC_SUPPORT_BOT_USER_AGENT_CHAT_HISTORY",
    "WAHA_GOWS_DEVICE_HISTORY_SYNC_SUPPORT_CAG_REACTIONS_AND_POLLS",
    "WAHA_GOWS_DEVICE_HISTORY_SYNC_SUPPORT_CALL_LOG_HISTORY",
    "WAHA_GOWS_DEVICE_HISTORY_SYNC_SUPPORT_FBID_BOT_CHAT_HISTORY",
    "WAHA_GOWS_DEVICE_HISTORY_SYNC_SUPPORT_GROUP_HISTORY",
    "WAHA_GOWS_DEVICE_HISTORY_SYNC_SUPPORT_GUEST_CHAT",
    "WAHA_GOWS_DEVICE_HISTORY_SYNC_SUPPORT_HATCH_HISTORY",
    "WAHA_GOWS_DEVICE_HISTORY_SYNC_SUPPORT_HOSTED_GROUP_MSG",
    "WAHA_GOWS_DEVICE_HISTORY_SYNC_SUPPORT_MANUS_HISTORY",
    "WAHA_GOWS_DEVICE_HISTORY_SYNC_SUPPORT_MESSAGE_ASSOCIATION",
    "WAHA_GOWS_DEVICE_HISTORY_SYNC_SUPPORT_RECENT_SYNC_CHUNK_MESSAGE_COUNT_TUNING",
    "WAHA_GOWS_PATH",
    "WAHA_GOWS_SOCKET",
    "WAHA_GOWS_STATUS_PARTICIPANTS_BATCH_SIZE",
    "WAHA_RUN_XVFB",
    "WAHA_SQLITE_ENGINE",
    "WAHA_VERSION",
    "WAHA_WEBJS_CACHE_TYPE",
    "WAHA_WEBJS_PUPPETER_ARGS",
    "WAHA_WEBJS_WEB_VERSION",
    "WAHA_ZIPPER",
    "WHATSAPP_WEBJS_CACHE_TYPE",
    // Copies of the API key and files for the examples of the documentation page.
    "WAHA_API_KEY_PLAIN",
    "WHATSAPP_SWAGGER_JPG_EXAMPLE_URL",
    "WHATSAPP_SWAGGER_OPUS_EXAMPLE_URL",
    "WHATSAPP_SWAGGER_VIDEO_EXAMPLE_URL",
];

/// How the names of settings begin that are WAHA's but belong to what is not built yet. Each is warned about, because
/// whoever set it counts on it.
pub(super) const NOT_BUILT: &[&str] = &[
    "WAHA_APPS_",
    "WAHA_CHATWOOT_",
    "WAHA_DASHBOARD_",
    "WAHA_DEBUG_MODE",
    "WAHA_EVENTS_DOWNLOAD_MEDIA",
    "WAHA_HTTPS_",
    "WAHA_HTTP_STRICT_MODE",
    "WHATSAPP_HEALTH_",
    "WHATSAPP_SESSIONS_MONGO_URL",
    "WHATSAPP_SESSIONS_POSTGRESQL_URL",
];

/// What to tell the operator about a variable that is not declared, if anything.
pub(super) fn warning(name: &str) -> Option<String> {
    let is_meant_for_us = ["WAHA_", "WHATSAPP_", "WHARF_"]
        .iter()
        .any(|prefix| name.starts_with(prefix));
    if !is_meant_for_us || WITHOUT_EFFECT.contains(&name) {
        return None;
    }
    Some(match NOT_BUILT.iter().any(|start| name.starts_with(start)) {
        true => format!("{name} belongs to what is not built yet and has no effect"),
        false => format!("{name} is not known and has no effect"),
    })
}
