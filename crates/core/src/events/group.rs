//! Events about groups, and the group itself as these events show it.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// A group that this account is in from now on.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = GroupV2JoinEvent)]
pub struct GroupJoinPayload {
    /// When, in seconds since 1970.
    pub timestamp: i64,
    /// The group.
    pub group: GroupPayload,
    /// The engine's own data.
    #[serde(rename = "_data")]
    #[schema(value_type = Object)]
    pub data: Value,
}

/// A group that this account is no longer in.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = GroupV2LeaveEvent)]
pub struct GroupLeavePayload {
    /// When, in seconds since 1970.
    pub timestamp: i64,
    /// Which group.
    pub group: GroupIdPayload,
    /// The engine's own data.
    #[serde(rename = "_data")]
    #[schema(value_type = Object)]
    pub data: Value,
}

/// What changed of a group.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = GroupV2UpdateEvent)]
pub struct GroupUpdatePayload {
    /// When, in seconds since 1970.
    pub timestamp: i64,
    /// Its `id`, and those fields of `GroupInfo` that changed.
    #[schema(value_type = Object)]
    pub group: Value,
    /// The engine's own data.
    #[serde(rename = "_data")]
    #[schema(value_type = Object)]
    pub data: Value,
}

/// Which participants of a group changed, and how.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = GroupV2ParticipantsEvent)]
pub struct GroupParticipantsPayload {
    /// What happened to them.
    #[serde(rename = "type")]
    pub change: ParticipantsChange,
    /// When, in seconds since 1970.
    pub timestamp: i64,
    /// Which group.
    pub group: GroupIdPayload,
    /// Who, with their role after the change.
    pub participants: Vec<ParticipantPayload>,
    /// The engine's own data.
    #[serde(rename = "_data")]
    #[schema(value_type = Object)]
    pub data: Value,
}

/// What happened to participants of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = GroupV2ParticipantsType)]
pub enum ParticipantsChange {
    /// They are in it from now on.
    Join,
    /// They are no longer in it.
    Leave,
    /// They were made administrators.
    Promote,
    /// They are administrators no longer.
    Demote,
}

/// A group.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = GroupInfo)]
pub struct GroupPayload {
    /// Its id, `…@g.us`.
    pub id: String,
    /// Its name.
    pub subject: String,
    /// Its description.
    pub description: String,
    /// The link of its invitation, where this account may know it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invite: Option<String>,
    /// Whether others than administrators may add participants.
    pub members_can_add_new_member: bool,
    /// Whether others than administrators may write.
    pub members_can_send_messages: bool,
    /// Whether an administrator has to agree to new participants.
    pub new_members_approval_required: bool,
    /// Who is in it.
    pub participants: Vec<ParticipantPayload>,
}

/// Which group.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = GroupId)]
pub struct GroupIdPayload {
    /// Its id, `…@g.us`.
    pub id: String,
}

/// A participant of a group.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = GroupParticipant)]
pub struct ParticipantPayload {
    /// Who: `…@c.us` or `…@lid`.
    pub id: String,
    /// The phone number, `…@c.us`, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pn: Option<String>,
    /// What this person is in the group.
    pub role: ParticipantRole,
}

/// What somebody is in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = GroupParticipantRole)]
pub enum ParticipantRole {
    /// In it no longer.
    Left,
    /// In it.
    Participant,
    /// An administrator.
    Admin,
    /// The administrator who made the group.
    SuperAdmin,
}
