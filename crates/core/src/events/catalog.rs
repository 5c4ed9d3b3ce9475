//! The list of all events: name, payload, promise, and whether this version emits it.
//!
//! What depends on which events there are follows from it: the filters of webhooks and streams, and the `webhooks` of the
//! OpenAPI document with their texts. Never says how an event comes about: that is the engine's part.

use super::{
    CallPayload, ChatArchivePayload, EngineData, EnginePayload, EventResponsePayload, GroupJoinPayload,
    GroupLeavePayload, GroupParticipantsPayload, GroupUpdatePayload, LabelChatPayload, LabelPayload, MessageAckPayload,
    MessageEditedPayload, MessagePayload, MessageReactionPayload, MessageRevokedPayload, PayloadSchema,
    PollVotePayload, PresencePayload, SessionStatusPayload,
};

/// What is promised for an event where the process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// WhatsApp is told that we have it only after the event is stored, and sends it again otherwise.
    Held,
    /// Nobody sends it again: the process may die between what happened and its event.
    Live,
}

/// Whether an event can come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It comes.
    Emitted,
    /// It can be asked for, and does not come yet.
    Declared,
    /// It can be asked for, because clients of WAHA do; another event comes instead.
    Deprecated,
}

/// What the catalog says of one event.
pub(super) struct Entry {
    pub(super) name: &'static str,
    pub(super) doc: &'static [&'static str],
    pub(super) promise: Promise,
    pub(super) stage: Stage,
    pub(super) payload: fn() -> PayloadSchema,
}

macro_rules! catalog {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $payload:ty, $promise:ident, $stage:ident;)*) => {
        /// The name of an event.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum EventName {
            $($(#[doc = $doc])+ $variant,)*
        }

        impl EventName {
            /// Every event, in the order of the catalog.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            pub(super) const fn entry(self) -> Entry {
                match self {
                    $(Self::$variant => Entry {
                        name: $name,
                        doc: &[$($doc,)+],
                        promise: Promise::$promise,
                        stage: Stage::$stage,
                        payload: PayloadSchema::of::<$payload>,
                    },)*
                }
            }
        }
    };
}

// Each with when it comes and what follows; the sentences about promise and stage are added to the texts.
catalog! {
    /// The status of a session changed.
    ///
    /// Comes on every change, and again with each new QR code while the status stays `SCAN_QR_CODE`.
    SessionStatus = "session.status", SessionStatusPayload, Live, Emitted;

    /// Somebody wrote to us.
    ///
    /// Comes once per message that this account did not write, and is followed by `message.any` of the same message. A message
    /// with a file waits for it, at most `WHARF_MEDIA_HOLD_SECONDS`, and then comes with `media.error` and no `media.url`; the
    /// file is at its URL once it is there. Other messages of the chat do not wait. What changes it later has events of its own,
    /// and has it told first where it still waits: `message.edited`, `message.revoked`, `message.reaction`. Messages of
    /// channels, status messages, and messages that our phone had to send again have the weaker promise of events that WhatsApp
    /// does not hold back.
    Message = "message", MessagePayload, Held, Emitted;

    /// Somebody reacted to a message, or took a reaction back.
    ///
    /// Comes after the message's own event, once per reaction; the newest one of a person replaces those before it.
    MessageReaction = "message.reaction", MessageReactionPayload, Held, Emitted;

    /// Anybody wrote a message, this account included.
    ///
    /// Comes once per message: after `message` for what others write, before the request is answered for what is sent through
    /// this API without a file; what has a file waits for it as `message` does. For this account's own messages `message.ack`
    /// follows. The exceptions of `message` hold here too.
    MessageAny = "message.any", MessagePayload, Held, Emitted;

    /// A message of this account has come further.
    ///
    /// Comes after the message's own event, for which it waits, once per state, never backwards. The next state raises what was
    /// lost.
    MessageAck = "message.ack", MessageAckPayload, Live, Emitted;

    /// A participant of a group has received, read or played a message of this account.
    ///
    /// Comes after the message's own event, for each receipt of a participant. That WhatsApp itself has taken the message, or
    /// refused it, is told by `message.ack`.
    MessageAckGroup = "message.ack.group", MessageAckPayload, Live, Emitted;

    /// A message came that cannot be read yet: what is known of it, without a `body`.
    ///
    /// Comes once per message: when it arrives and its sender is asked for it again, or when a message that a crash lost was
    /// asked for in vain, which WhatsApp holds back until then. If it is recovered later, `message` and `message.any` follow, with
    /// event ids of their own and the same `id` in the payload.
    MessageWaiting = "message.waiting", MessagePayload, Live, Emitted;

    /// A message was deleted for everyone.
    ///
    /// Comes after the message's own event, once, with what the message was in `before` where it is known here and the log takes both.
    /// Its content is forgotten then, and a file that was not fetched is not fetched any more; acks and reactions may still follow.
    MessageRevoked = "message.revoked", MessageRevokedPayload, Held, Emitted;

    /// A message was edited.
    ///
    /// Comes after the message's own event, once per edit, with the new text in `body`. `id` is that of the message that carried
    /// the edit.
    MessageEdited = "message.edited", MessageEditedPayload, Held, Emitted;

    /// The state of an engine's connection changed; `session.status` comes instead.
    StateChange = "state.change", EngineData, Live, Deprecated;

    /// Somebody joined a group; `group.v2.join` and `group.v2.participants` come instead.
    GroupJoin = "group.join", EngineData, Live, Deprecated;

    /// Somebody left a group; `group.v2.leave` and `group.v2.participants` come instead.
    GroupLeave = "group.leave", EngineData, Live, Deprecated;

    /// This account joined a group, or was added to one.
    ///
    /// Comes once per joining. The group's messages follow, and its `group.v2.update` and `group.v2.participants`.
    GroupV2Join = "group.v2.join", GroupJoinPayload, Live, Declared;

    /// This account left a group, or was removed from one.
    ///
    /// Comes once. Nothing of that group follows until this account joins it again.
    GroupV2Leave = "group.v2.leave", GroupLeavePayload, Live, Declared;

    /// The subject, the description or the settings of a group changed.
    ///
    /// Comes once per change, with what changed.
    GroupV2Update = "group.v2.update", GroupUpdatePayload, Live, Declared;

    /// Participants of a group joined, left, or were made or unmade administrators.
    ///
    /// Comes once per change. For this account itself `group.v2.join` or `group.v2.leave` comes too.
    GroupV2Participants = "group.v2.participants", GroupParticipantsPayload, Live, Declared;

    /// Somebody came online, went offline, types or records.
    ///
    /// Comes on every change in chats whose presence was subscribed to. The newest one of a person replaces those before it.
    PresenceUpdate = "presence.update", PresencePayload, Live, Declared;

    /// Somebody voted in a poll.
    ///
    /// Comes after the poll's own event, on every vote with all options that are chosen now; none where a vote was taken back.
    PollVote = "poll.vote", PollVotePayload, Held, Emitted;

    /// Somebody voted in a poll, and the vote cannot be read.
    ///
    /// Comes instead of `poll.vote`, with no options, where the poll itself is not known here.
    PollVoteFailed = "poll.vote.failed", PollVotePayload, Held, Emitted;

    /// A chat was archived or unarchived.
    ///
    /// Comes once per change, whichever device of this account made it.
    ChatArchive = "chat.archive", ChatArchivePayload, Live, Declared;

    /// Somebody calls.
    ///
    /// Comes once per call. `call.accepted` or `call.rejected` of the same `id` follows where a device of this account takes
    /// or rejects it; nothing follows where it rings out.
    CallReceived = "call.received", CallPayload, Live, Declared;

    /// A call was taken, on the phone or on another device of this account.
    ///
    /// Comes after `call.received`, once.
    CallAccepted = "call.accepted", CallPayload, Live, Declared;

    /// A call was rejected, through this API or on a device of this account.
    ///
    /// Comes after `call.received`, once.
    CallRejected = "call.rejected", CallPayload, Live, Declared;

    /// A label was made or changed.
    ///
    /// Comes once per change, and before the first `label.chat.added` of a new label.
    LabelUpsert = "label.upsert", LabelPayload, Live, Declared;

    /// A label was deleted.
    ///
    /// Comes once. It is off all its chats then, without a `label.chat.deleted` for each.
    LabelDeleted = "label.deleted", LabelPayload, Live, Declared;

    /// A label was put on a chat.
    LabelChatAdded = "label.chat.added", LabelChatPayload, Live, Declared;

    /// A label was taken off a chat.
    LabelChatDeleted = "label.chat.deleted", LabelChatPayload, Live, Declared;

    /// Somebody answered an invitation to an event.
    ///
    /// Comes after the invitation's own event, on every answer; the newest one of a person replaces those before it.
    EventResponse = "event.response", EventResponsePayload, Held, Declared;

    /// Somebody answered an invitation to an event, and the answer cannot be read.
    ///
    /// Comes instead of `event.response`, without `eventResponse`, where the invitation itself is not known here.
    EventResponseFailed = "event.response.failed", EventResponsePayload, Held, Declared;

    /// Anything that the engine reports, in its own shape.
    ///
    /// Comes only where it is asked for by its name; `*` does not mean it.
    EngineEvent = "engine.event", EnginePayload, Live, Declared;
}
