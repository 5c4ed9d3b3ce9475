//! WAHA's operations that are not built yet: a client sees WAHA's "not implemented", not an unknown address.
//!
//! The key is needed all the same. An operation that gets built leaves this table.

use axum::Router;
use axum::http::Method;
use axum::routing::{MethodFilter, on};

use super::AppState;
use super::auth::Authorized;
use super::error::ApiError;

/// Method and path of each, by WAHA's tags.
const OPERATIONS: &[(Method, &str)] = &[
    // Api Keys
    (Method::POST, "/api/keys"),
    (Method::GET, "/api/keys"),
    (Method::POST, "/api/keys/media"),
    (Method::POST, "/api/keys/control"),
    (Method::PUT, "/api/keys/{id}"),
    (Method::DELETE, "/api/keys/{id}"),
    // Sessions
    // Profile
    (Method::GET, "/api/{session}/profile"),
    (Method::PUT, "/api/{session}/profile/name"),
    (Method::PUT, "/api/{session}/profile/status"),
    (Method::PUT, "/api/{session}/profile/picture"),
    (Method::DELETE, "/api/{session}/profile/picture"),
    // Chatting
    (Method::GET, "/api/sendText"),
    (Method::POST, "/api/sendImage"),
    (Method::POST, "/api/sendFile"),
    (Method::POST, "/api/sendVoice"),
    (Method::POST, "/api/sendVideo"),
    (Method::POST, "/api/send/link-custom-preview"),
    (Method::POST, "/api/sendButtons"),
    (Method::POST, "/api/sendList"),
    (Method::POST, "/api/forwardMessage"),
    (Method::PUT, "/api/reaction"),
    (Method::PUT, "/api/star"),
    (Method::POST, "/api/sendPoll"),
    (Method::POST, "/api/sendPollVote"),
    (Method::POST, "/api/sendLocation"),
    (Method::POST, "/api/sendContactVcard"),
    (Method::POST, "/api/send/buttons/reply"),
    (Method::GET, "/api/messages"),
    (Method::GET, "/api/checkNumberStatus"),
    (Method::POST, "/api/reply"),
    (Method::POST, "/api/sendLinkPreview"),
    (Method::GET, "/api/{session}/new-message-id"),
    // Chats
    (Method::GET, "/api/{session}/chats"),
    (Method::GET, "/api/{session}/chats/overview"),
    (Method::POST, "/api/{session}/chats/overview"),
    (Method::DELETE, "/api/{session}/chats/{chatId}"),
    (Method::GET, "/api/{session}/chats/{chatId}/picture"),
    (Method::GET, "/api/{session}/chats/{chatId}/messages"),
    (Method::DELETE, "/api/{session}/chats/{chatId}/messages"),
    (Method::POST, "/api/{session}/chats/{chatId}/messages/read"),
    (Method::GET, "/api/{session}/chats/{chatId}/messages/{messageId}"),
    (Method::DELETE, "/api/{session}/chats/{chatId}/messages/{messageId}"),
    (Method::PUT, "/api/{session}/chats/{chatId}/messages/{messageId}"),
    (Method::POST, "/api/{session}/chats/{chatId}/messages/{messageId}/pin"),
    (Method::POST, "/api/{session}/chats/{chatId}/messages/{messageId}/unpin"),
    (Method::POST, "/api/{session}/chats/{chatId}/archive"),
    (Method::POST, "/api/{session}/chats/{chatId}/unarchive"),
    (Method::POST, "/api/{session}/chats/{chatId}/unread"),
    // Calls
    (Method::POST, "/api/{session}/calls/reject"),
    // Channels
    (Method::GET, "/api/{session}/channels"),
    (Method::POST, "/api/{session}/channels"),
    (Method::DELETE, "/api/{session}/channels/{id}"),
    (Method::GET, "/api/{session}/channels/{id}"),
    (Method::GET, "/api/{session}/channels/{id}/messages/preview"),
    (Method::POST, "/api/{session}/channels/{id}/follow"),
    (Method::POST, "/api/{session}/channels/{id}/unfollow"),
    (Method::POST, "/api/{session}/channels/{id}/mute"),
    (Method::POST, "/api/{session}/channels/{id}/unmute"),
    (Method::POST, "/api/{session}/channels/search/by-view"),
    (Method::POST, "/api/{session}/channels/search/by-text"),
    (Method::GET, "/api/{session}/channels/search/views"),
    (Method::GET, "/api/{session}/channels/search/countries"),
    (Method::GET, "/api/{session}/channels/search/categories"),
    // Status
    (Method::POST, "/api/{session}/status/text"),
    (Method::POST, "/api/{session}/status/image"),
    (Method::POST, "/api/{session}/status/voice"),
    (Method::POST, "/api/{session}/status/video"),
    (Method::POST, "/api/{session}/status/delete"),
    (Method::GET, "/api/{session}/status/new-message-id"),
    // Labels
    (Method::GET, "/api/{session}/labels"),
    (Method::POST, "/api/{session}/labels"),
    (Method::PUT, "/api/{session}/labels/{labelId}"),
    (Method::DELETE, "/api/{session}/labels/{labelId}"),
    (Method::GET, "/api/{session}/labels/chats/{chatId}"),
    (Method::PUT, "/api/{session}/labels/chats/{chatId}"),
    (Method::GET, "/api/{session}/labels/{labelId}/chats"),
    // Contacts
    (Method::GET, "/api/contacts/all"),
    (Method::GET, "/api/contacts"),
    (Method::GET, "/api/contacts/check-exists"),
    (Method::GET, "/api/contacts/about"),
    (Method::GET, "/api/contacts/profile-picture"),
    (Method::POST, "/api/contacts/block"),
    (Method::POST, "/api/contacts/unblock"),
    (Method::GET, "/api/{session}/contacts/{id}"),
    (Method::PUT, "/api/{session}/contacts/{id}"),
    (Method::GET, "/api/{session}/lids"),
    (Method::GET, "/api/{session}/lids/count"),
    (Method::GET, "/api/{session}/lids/{lid}"),
    (Method::GET, "/api/{session}/lids/pn/{phoneNumber}"),
    // Groups
    (Method::POST, "/api/{session}/groups"),
    (Method::GET, "/api/{session}/groups"),
    (Method::GET, "/api/{session}/groups/join-info"),
    (Method::POST, "/api/{session}/groups/join"),
    (Method::GET, "/api/{session}/groups/count"),
    (Method::POST, "/api/{session}/groups/refresh"),
    (Method::GET, "/api/{session}/groups/{id}"),
    (Method::DELETE, "/api/{session}/groups/{id}"),
    (Method::POST, "/api/{session}/groups/{id}/leave"),
    (Method::GET, "/api/{session}/groups/{id}/picture"),
    (Method::PUT, "/api/{session}/groups/{id}/picture"),
    (Method::DELETE, "/api/{session}/groups/{id}/picture"),
    (Method::PUT, "/api/{session}/groups/{id}/description"),
    (Method::PUT, "/api/{session}/groups/{id}/subject"),
    (
        Method::PUT,
        "/api/{session}/groups/{id}/settings/security/info-admin-only",
    ),
    (
        Method::GET,
        "/api/{session}/groups/{id}/settings/security/info-admin-only",
    ),
    (
        Method::PUT,
        "/api/{session}/groups/{id}/settings/security/messages-admin-only",
    ),
    (
        Method::GET,
        "/api/{session}/groups/{id}/settings/security/messages-admin-only",
    ),
    (Method::GET, "/api/{session}/groups/{id}/invite-code"),
    (Method::POST, "/api/{session}/groups/{id}/invite-code/revoke"),
    (Method::GET, "/api/{session}/groups/{id}/participants"),
    (Method::GET, "/api/{session}/groups/{id}/participants/v2"),
    (Method::POST, "/api/{session}/groups/{id}/participants/add"),
    (Method::POST, "/api/{session}/groups/{id}/participants/remove"),
    (Method::POST, "/api/{session}/groups/{id}/admin/promote"),
    (Method::POST, "/api/{session}/groups/{id}/admin/demote"),
    // Presence
    (Method::POST, "/api/{session}/presence"),
    (Method::GET, "/api/{session}/presence"),
    (Method::GET, "/api/{session}/presence/{chatId}"),
    (Method::POST, "/api/{session}/presence/{chatId}/subscribe"),
    // Events
    (Method::POST, "/api/{session}/events"),
    // Observability
    (Method::GET, "/api/server/environment"),
    (Method::POST, "/api/server/stop"),
    (Method::GET, "/api/server/debug/cpu"),
    (Method::GET, "/api/server/debug/heapsnapshot"),
    (Method::GET, "/api/server/debug/browser/trace/{session}"),
    // Media
    (Method::POST, "/api/{session}/media/convert/voice"),
    (Method::POST, "/api/{session}/media/convert/video"),
    // Apps
    (Method::GET, "/api/apps"),
    (Method::POST, "/api/apps"),
    (Method::GET, "/api/apps/{id}"),
    (Method::PUT, "/api/apps/{id}"),
    (Method::DELETE, "/api/apps/{id}"),
    (Method::POST, "/mcp"),
];

/// Routes to all of them.
pub(super) fn router() -> Router<AppState> {
    OPERATIONS.iter().fold(Router::new(), |router, (method, path)| {
        // Every method of the table has a filter.
        let filter = MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::GET);
        router.route(path, on(filter, refuse))
    })
}

async fn refuse(_caller: Authorized) -> ApiError {
    ApiError::NotBuilt
}
