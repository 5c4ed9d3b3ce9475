//! WAHA's operations that are not built yet: a client sees WAHA's "not implemented", not an unknown address.
//!
//! The key is needed all the same, and must be good for it. An operation that gets built leaves this table, and declares the same
//! access in its OpenAPI part.

use axum::Router;
use axum::http::Method;
use axum::routing::{MethodFilter, on};

use super::AppState;
use super::error::ApiError;
use super::policy::Access;
use crate::keys::{Action, Caller};

const READ: Access = Access::Action(Action::Read);
const SEND: Access = Access::Action(Action::Send);
const APP: Access = Access::Action(Action::App);

/// Method, path and access of each, by WAHA's tags.
pub(super) const OPERATIONS: &[(Method, &str, Access)] = &[
    // Profile
    (Method::GET, "/api/{session}/profile", READ),
    (Method::PUT, "/api/{session}/profile/name", SEND),
    (Method::PUT, "/api/{session}/profile/status", SEND),
    (Method::PUT, "/api/{session}/profile/picture", SEND),
    (Method::DELETE, "/api/{session}/profile/picture", SEND),
    // Chats
    (Method::GET, "/api/{session}/chats", READ),
    (Method::GET, "/api/{session}/chats/overview", READ),
    (Method::POST, "/api/{session}/chats/overview", READ),
    (Method::DELETE, "/api/{session}/chats/{chatId}", SEND),
    (Method::GET, "/api/{session}/chats/{chatId}/picture", READ),
    (Method::GET, "/api/{session}/chats/{chatId}/messages", READ),
    (Method::DELETE, "/api/{session}/chats/{chatId}/messages", SEND),
    (Method::POST, "/api/{session}/chats/{chatId}/messages/read", SEND),
    (Method::GET, "/api/{session}/chats/{chatId}/messages/{messageId}", READ),
    (Method::POST, "/api/{session}/chats/{chatId}/archive", SEND),
    (Method::POST, "/api/{session}/chats/{chatId}/unarchive", SEND),
    (Method::POST, "/api/{session}/chats/{chatId}/unread", SEND),
    // Calls
    (Method::POST, "/api/{session}/calls/reject", SEND),
    // Channels
    (Method::GET, "/api/{session}/channels", READ),
    (Method::POST, "/api/{session}/channels", SEND),
    (Method::DELETE, "/api/{session}/channels/{id}", SEND),
    (Method::GET, "/api/{session}/channels/{id}", READ),
    (Method::GET, "/api/{session}/channels/{id}/messages/preview", READ),
    (Method::POST, "/api/{session}/channels/{id}/follow", SEND),
    (Method::POST, "/api/{session}/channels/{id}/unfollow", SEND),
    (Method::POST, "/api/{session}/channels/{id}/mute", SEND),
    (Method::POST, "/api/{session}/channels/{id}/unmute", SEND),
    (Method::POST, "/api/{session}/channels/search/by-view", READ),
    (Method::POST, "/api/{session}/channels/search/by-text", READ),
    (Method::GET, "/api/{session}/channels/search/views", READ),
    (Method::GET, "/api/{session}/channels/search/countries", READ),
    (Method::GET, "/api/{session}/channels/search/categories", READ),
    // Status
    (Method::POST, "/api/{session}/status/text", SEND),
    (Method::POST, "/api/{session}/status/image", SEND),
    (Method::POST, "/api/{session}/status/voice", SEND),
    (Method::POST, "/api/{session}/status/video", SEND),
    (Method::POST, "/api/{session}/status/delete", SEND),
    (Method::GET, "/api/{session}/status/new-message-id", SEND),
    // Labels
    (Method::GET, "/api/{session}/labels", READ),
    (Method::POST, "/api/{session}/labels", SEND),
    (Method::PUT, "/api/{session}/labels/{labelId}", SEND),
    (Method::DELETE, "/api/{session}/labels/{labelId}", SEND),
    (Method::GET, "/api/{session}/labels/chats/{chatId}", READ),
    (Method::PUT, "/api/{session}/labels/chats/{chatId}", SEND),
    (Method::GET, "/api/{session}/labels/{labelId}/chats", READ),
    // Contacts
    (Method::GET, "/api/contacts/all", READ),
    (Method::GET, "/api/contacts", READ),
    (Method::GET, "/api/contacts/check-exists", READ),
    (Method::GET, "/api/contacts/about", READ),
    (Method::GET, "/api/contacts/profile-picture", READ),
    (Method::POST, "/api/contacts/block", SEND),
    (Method::POST, "/api/contacts/unblock", SEND),
    (Method::GET, "/api/{session}/contacts/{id}", READ),
    (Method::PUT, "/api/{session}/contacts/{id}", SEND),
    (Method::GET, "/api/{session}/lids", READ),
    (Method::GET, "/api/{session}/lids/count", READ),
    (Method::GET, "/api/{session}/lids/{lid}", READ),
    (Method::GET, "/api/{session}/lids/pn/{phoneNumber}", READ),
    // Groups
    (Method::POST, "/api/{session}/groups", SEND),
    (Method::GET, "/api/{session}/groups", READ),
    (Method::GET, "/api/{session}/groups/join-info", READ),
    (Method::POST, "/api/{session}/groups/join", SEND),
    (Method::GET, "/api/{session}/groups/count", READ),
    (Method::POST, "/api/{session}/groups/refresh", READ),
    (Method::GET, "/api/{session}/groups/{id}", READ),
    (Method::DELETE, "/api/{session}/groups/{id}", SEND),
    (Method::POST, "/api/{session}/groups/{id}/leave", SEND),
    (Method::GET, "/api/{session}/groups/{id}/picture", READ),
    (Method::PUT, "/api/{session}/groups/{id}/picture", SEND),
    (Method::DELETE, "/api/{session}/groups/{id}/picture", SEND),
    (Method::PUT, "/api/{session}/groups/{id}/description", SEND),
    (Method::PUT, "/api/{session}/groups/{id}/subject", SEND),
    (
        Method::PUT,
        "/api/{session}/groups/{id}/settings/security/info-admin-only",
        SEND,
    ),
    (
        Method::GET,
        "/api/{session}/groups/{id}/settings/security/info-admin-only",
        READ,
    ),
    (
        Method::PUT,
        "/api/{session}/groups/{id}/settings/security/messages-admin-only",
        SEND,
    ),
    (
        Method::GET,
        "/api/{session}/groups/{id}/settings/security/messages-admin-only",
        READ,
    ),
    (Method::GET, "/api/{session}/groups/{id}/invite-code", READ),
    (Method::POST, "/api/{session}/groups/{id}/invite-code/revoke", SEND),
    (Method::GET, "/api/{session}/groups/{id}/participants", READ),
    (Method::GET, "/api/{session}/groups/{id}/participants/v2", READ),
    (Method::POST, "/api/{session}/groups/{id}/participants/add", SEND),
    (Method::POST, "/api/{session}/groups/{id}/participants/remove", SEND),
    (Method::POST, "/api/{session}/groups/{id}/admin/promote", SEND),
    (Method::POST, "/api/{session}/groups/{id}/admin/demote", SEND),
    // Presence
    (Method::POST, "/api/{session}/presence", SEND),
    (Method::GET, "/api/{session}/presence", READ),
    (Method::GET, "/api/{session}/presence/{chatId}", READ),
    (Method::POST, "/api/{session}/presence/{chatId}/subscribe", READ),
    // Events
    (Method::POST, "/api/{session}/events", SEND),
    // Observability
    (Method::GET, "/api/server/environment", Access::Admin),
    (Method::POST, "/api/server/stop", Access::Admin),
    (Method::GET, "/api/server/debug/cpu", Access::Admin),
    (Method::GET, "/api/server/debug/heapsnapshot", Access::Admin),
    (Method::GET, "/api/server/debug/browser/trace/{session}", Access::Admin),
    // Apps
    (Method::GET, "/api/apps", APP),
    (Method::POST, "/api/apps", APP),
    (Method::GET, "/api/apps/{id}", APP),
    (Method::PUT, "/api/apps/{id}", APP),
    (Method::DELETE, "/api/apps/{id}", APP),
    (Method::POST, "/mcp", APP),
];

/// Routes to all of them.
pub(super) fn router() -> Router<AppState> {
    OPERATIONS.iter().fold(Router::new(), |router, (method, path, _)| {
        // Every method of the table has a filter.
        let filter = MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::GET);
        router.route(path, on(filter, refuse))
    })
}

async fn refuse(_caller: Caller) -> ApiError {
    ApiError::NotBuilt
}
