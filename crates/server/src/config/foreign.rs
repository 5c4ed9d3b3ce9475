//! Names of WAHA's variables that have no effect here, so that a WAHA `.env` starts without noise.

/// Settings of browser engines and of other engines' insides.
pub(super) const WITHOUT_EFFECT: &[&str] = &[
    "WAHA_CHROME_ARGS",
    "WAHA_PRINT_QR",
    "WHATSAPP_WEBJS_CACHE_TYPE",
    "WAHA_WEBJS_CACHE_TYPE",
    "WAHA_WEBJS_PUPPETER_ARGS",
    "WAHA_WEBJS_WEB_VERSION",
    "WAHA_GOWS_PATH",
    "WAHA_GOWS_SOCKET",
    "WAHA_ZIPPER",
    "WAHA_RUN_XVFB",
];

/// Whether somebody who set this name meant us.
pub(super) fn is_ours_by_prefix(name: &str) -> bool {
    ["WAHA_", "WHATSAPP_", "WHARF_"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

/// Whether the name belongs to a browser engine.
pub(super) fn has_no_effect(name: &str) -> bool {
    WITHOUT_EFFECT.contains(&name)
}
