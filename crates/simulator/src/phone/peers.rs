//! A phone and its own companions: what a fresh one gets, what they ask for, and when one of them is gone.
//!
//! A companion counts as connected only after it has the key of the account's settings (wacore-appstate), so the
//! phone shares it first thing.

use buffa::{Message as _, MessageField};
use wacore_binary::Node;
use waproto::whatsapp::Message;
use waproto::whatsapp::message::peer_data_operation_request_response_message::{
    PeerDataOperationResult, peer_data_operation_result::PlaceholderMessageResendResponse,
};
use waproto::whatsapp::message::{
    AppStateSyncKeyRequest, AppStateSyncKeyShare, PeerDataOperationRequestMessage,
    PeerDataOperationRequestResponseMessage, PeerDataOperationRequestType, ProtocolMessage, protocol_message,
};

use super::appstate::{AppState, CRITICAL_BLOCK, CRITICAL_UNBLOCK_LOW, Setting};
use super::inbox::entry;
use super::{Desk, PhoneError};
use crate::adv;
use crate::model::{Collection, DeviceRef, Space};
use crate::stanza;
use crate::views::InboxKind;

/// The language of every simulated phone.
const LOCALE: &str = "en_US";

impl Desk<'_> {
    /// A fresh companion can receive: it gets the settings' key and the history.
    pub(super) fn welcome(&mut self, device: u16) {
        let companion = DeviceRef::new(self.number, device);
        if !self
            .network
            .lock()
            .device(&companion)
            .is_some_and(|device| device.awaits_phone)
        {
            return;
        }
        let given = self
            .write_settings()
            .and_then(|()| self.share_key(&companion))
            .and_then(|()| self.send_history(&companion));
        match given {
            Ok(()) => {
                let mut state = self.network.lock();
                if let Some(device) = state.device_mut(&companion) {
                    device.awaits_phone = false;
                }
                state.touch();
            }
            Err(error) => {
                tracing::warn!(phone = self.number, device, %error, "a phone could not welcome its companion")
            }
        }
    }

    /// A phone that was loaded has no sessions. It starts new ones with its companions by sharing the key once more,
    /// rather than ask for what they send again: whatsapp-rust 0.7.0 takes a phone's retry for the chat's
    /// (`retry.rs` `resolve_retry_chat_info`) and replaces the wrong session.
    pub(super) fn renew_sessions(&mut self) {
        if !std::mem::take(&mut self.memory.is_loaded) {
            return;
        }
        let companions: Vec<DeviceRef> = {
            let state = self.network.lock();
            let devices = state
                .account(self.number)
                .into_iter()
                .flat_map(|account| account.devices.values());
            let known = devices.filter(|device| device.id != 0 && !device.awaits_phone);
            known.map(|device| DeviceRef::new(self.number, device.id)).collect()
        };
        for companion in companions {
            if let Err(error) = self.share_key(&companion) {
                tracing::warn!(phone = self.number, %companion, %error, "a phone could not renew a session");
            }
        }
    }

    /// Writes the account's settings when there are none yet.
    fn write_settings(&mut self) -> Result<(), PhoneError> {
        let now = self.now();
        if self.memory.app_state.is_none() {
            self.memory.app_state = Some(AppState::generate(now, &mut self.rng));
        }
        let now_ms = self.network.env().clock.now_ms();
        let (critical, contacts) = {
            let state = self.network.lock();
            let name = state
                .account(self.number)
                .map(|account| account.name.clone())
                .unwrap_or_default();
            let contacts = self.memory.contacts.iter().filter_map(|(number, name)| {
                let account = state.account(number)?;
                let (pn, lid) = (
                    account.user_jid(Space::Pn).to_string(),
                    account.user_jid(Space::Lid).to_string(),
                );
                Some(Setting::contact(&pn, &lid, name, now_ms))
            });
            (
                vec![Setting::push_name(&name, now_ms), Setting::locale(LOCALE, now_ms)],
                contacts.collect(),
            )
        };
        self.write(CRITICAL_BLOCK, critical)?;
        self.write(CRITICAL_UNBLOCK_LOW, contacts)
    }

    fn write(&mut self, name: &str, settings: Vec<Setting>) -> Result<(), PhoneError> {
        let who = self.who();
        let Some(app_state) = self
            .memory
            .app_state
            .as_mut()
            .filter(|app_state| !app_state.knows(name))
        else {
            return Ok(());
        };
        let mut state = self.network.lock();
        let empty = Collection::default();
        let server = state
            .account(self.number)
            .and_then(|account| account.app_state.get(name))
            .unwrap_or(&empty);
        app_state.catch_up(name, server)?;
        for (base, patch) in app_state.author(name, &settings, &mut self.rng)? {
            state.push_patch(self.number, name, base, &patch)?;
        }
        state.notify_collection(&who, name);
        Ok(())
    }

    fn share_key(&mut self, companion: &DeviceRef) -> Result<(), PhoneError> {
        let (raw_id, indexes) = {
            let state = self.network.lock();
            let account = state.account(self.number);
            let indexes = account.map(|account| account.devices.values().map(|device| device.key_index).collect());
            (
                account.map_or(0, |account| account.adv_raw_id),
                indexes.unwrap_or_default(),
            )
        };
        let Some(app_state) = &self.memory.app_state else {
            return Ok(());
        };
        let share = AppStateSyncKeyShare {
            keys: vec![app_state.shared_key(raw_id, indexes)],
        };
        let protocol = ProtocolMessage {
            r#type: Some(protocol_message::Type::APP_STATE_SYNC_KEY_SHARE),
            app_state_sync_key_share: MessageField::some(share),
            ..Default::default()
        };
        self.send_peer(
            companion,
            &Message {
                protocol_message: MessageField::some(protocol),
                ..Default::default()
            },
        )
    }

    /// A message of a companion to its phone.
    pub(super) fn on_peer_message(
        &mut self,
        from: &DeviceRef,
        id: &str,
        protocol: &ProtocolMessage,
    ) -> Result<(), PhoneError> {
        if let Some(request) = protocol.app_state_sync_key_request.as_option() {
            return self.on_key_request(from, request);
        }
        if let Some(request) = protocol.peer_data_operation_request_message.as_option() {
            return self.on_data_request(from, id, request);
        }
        Ok(())
    }

    fn on_key_request(&mut self, from: &DeviceRef, request: &AppStateSyncKeyRequest) -> Result<(), PhoneError> {
        let asked = request.key_ids.iter().filter_map(|key| key.key_id.as_deref());
        let known = self.memory.app_state.as_ref();
        if asked
            .into_iter()
            .any(|id| known.is_some_and(|app_state| app_state.has_key(id)))
        {
            self.share_key(from)?;
        }
        Ok(())
    }

    /// The companion asks for messages it could not read, or for the history again.
    fn on_data_request(
        &mut self,
        from: &DeviceRef,
        id: &str,
        request: &PeerDataOperationRequestMessage,
    ) -> Result<(), PhoneError> {
        let kind = request.peer_data_operation_request_type;
        if kind == Some(PeerDataOperationRequestType::HISTORY_SYNC_ON_DEMAND) {
            return self.send_history(from);
        }
        if kind != Some(PeerDataOperationRequestType::PLACEHOLDER_MESSAGE_RESEND) {
            tracing::debug!(
                phone = self.number,
                ?kind,
                "a companion asked for something a simulated phone has not"
            );
            return Ok(());
        }
        let wanted = request.placeholder_message_resend_request.iter();
        let results: Vec<PeerDataOperationResult> = wanted
            .filter_map(|wanted| self.stored_message(wanted.message_key.as_option()?))
            .map(|message| {
                let bytes = message.encode_to_vec();
                let response = PlaceholderMessageResendResponse {
                    web_message_info_bytes: Some(bytes),
                };
                PeerDataOperationResult {
                    placeholder_message_resend_response: MessageField::some(response),
                    ..Default::default()
                }
            })
            .collect();
        if results.is_empty() {
            return Ok(());
        }
        let response = PeerDataOperationRequestResponseMessage {
            peer_data_operation_request_type: kind,
            stanza_id: Some(id.to_owned()),
            peer_data_operation_result: results,
        };
        let protocol = ProtocolMessage {
            r#type: Some(protocol_message::Type::PEER_DATA_OPERATION_REQUEST_RESPONSE_MESSAGE),
            peer_data_operation_request_response_message: MessageField::some(response),
            ..Default::default()
        };
        self.send_peer(
            from,
            &Message {
                protocol_message: MessageField::some(protocol),
                ..Default::default()
            },
        )
    }

    pub(super) fn on_notification(&mut self, node: &Node) -> Result<(), PhoneError> {
        let from = stanza::required_jid(node, "from")?;
        let id = stanza::required(node, "id")?;
        self.ack(node, "notification", &from, &id);
        match stanza::text(node, "type").as_deref() {
            Some("devices") => {}
            Some("server_sync") => return self.on_settings(node),
            _ => return Ok(()),
        }
        let Some(change) = stanza::children(node).first() else {
            return Ok(());
        };
        let device = stanza::required_jid(stanza::child(change, "device")?, "jid")?;
        let Some(number) = self
            .network
            .lock()
            .resolve(&device)
            .map(|account| account.number.clone())
        else {
            return Ok(());
        };
        let gone = DeviceRef::new(number.clone(), device.device);
        if change.tag == "remove" {
            self.forget_device(&gone);
        }
        if number == self.number {
            let now = self.now();
            let mut shown = entry(InboxKind::Devices, self.number, self.number, true, now);
            shown.state = Some(format!("{} {}", change.tag, device.device));
            self.memory.inbox.push(shown);
        }
        Ok(())
    }

    /// Ends the session with a device that is gone; of an own companion, the list of genuine ones is signed anew.
    pub(super) fn forget_device(&mut self, gone: &DeviceRef) {
        self.memory.signal.forget(gone);
        if gone.number != self.number {
            return;
        }
        let mut state = self.network.lock();
        let now = state.now();
        let Some(account) = state.account_mut(self.number) else {
            return;
        };
        let valid = account.devices.values().map(|device| device.key_index).collect();
        let identity = self.memory.signal.identity();
        match adv::key_index_list(
            identity,
            account.adv_raw_id,
            account.next_key_index,
            valid,
            now,
            &mut self.rng,
        ) {
            Ok(list) => {
                account.key_index_list = list.into();
                account.key_index_at = now;
            }
            Err(error) => tracing::warn!(phone = self.number, %error, "a phone could not sign its list of devices"),
        }
        state.touch();
    }
}
