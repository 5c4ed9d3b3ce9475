//! Stars: what companions put on messages for their own account only.
//!
//! They are settings of the account, which its devices read and others never see (whatsmeow `appstate/keys.go`
//! `IndexStar`). Of all settings that companions write, a phone shows these.

use wacore_appstate::Mutation;
use wacore_binary::{Jid, Node};

use super::appstate::REGULAR_HIGH;
use super::inbox::entry;
use super::{Desk, PhoneError};
use crate::model::Collection;
use crate::stanza;
use crate::views::InboxKind;

impl Desk<'_> {
    /// A companion wrote settings.
    pub(super) fn on_settings(&mut self, node: &Node) -> Result<(), PhoneError> {
        let mut collections = stanza::children(node).iter();
        if !collections.any(|it| stanza::text(it, "name").as_deref() == Some(REGULAR_HIGH)) {
            return Ok(()); // Others are read when the phone writes some itself.
        }
        let Some(app_state) = &mut self.memory.app_state else {
            return Ok(());
        };
        let state = self.network.lock();
        let empty = Collection::default();
        let account = state.account(self.number);
        let server = account.and_then(|account| account.app_state.get(REGULAR_HIGH));
        let read = app_state.catch_up(REGULAR_HIGH, server.unwrap_or(&empty));
        drop(state);
        match read {
            Ok(mutations) => mutations.iter().for_each(|mutation| self.star(mutation)),
            Err(error) => {
                let mut state = self.network.lock();
                let now = state.now();
                let what = format!("settings that the phone cannot read: {error}");
                state.counters.malformed(now, self.number, what);
            }
        }
        Ok(())
    }

    fn star(&mut self, mutation: &Mutation) {
        let action = mutation.action_value.as_ref();
        let action = action.and_then(|value| value.star_action.as_option());
        let ([name, chat, id, ..], Some(action)) = (mutation.index.as_slice(), action) else {
            return;
        };
        let chat = chat.parse::<Jid>().ok().and_then(|jid| self.number_of(&jid));
        let Some(chat) = chat.filter(|_| name == "star") else {
            return;
        };
        let is_starred = action.starred == Some(true);
        let Some(message) = self.memory.chats.message_mut(&chat, id) else {
            return;
        };
        message.marks.starred = is_starred;
        let now = self.now();
        let mut shown = entry(InboxKind::Star, &chat, self.number, true, now);
        shown.id = Some(id.clone());
        shown.state = Some(if is_starred { "starred" } else { "unstarred" }.to_owned());
        self.memory.inbox.push(shown);
        self.network.tick();
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::super::appstate::{AppState, Setting};
    use crate::clock::Env;
    use crate::model::{DeviceRef, Space};
    use crate::network::Network;
    use crate::seed;
    use crate::snapshot;
    use crate::views::Seed;
    use crate::{ALICE, BOB};

    use super::*;

    /// A companion that has the key of the account's settings.
    struct Companion {
        network: Network,
        settings: AppState,
        rng: StdRng,
    }

    impl Companion {
        fn of_alice() -> Self {
            let (saved, memories) = seed::plant(&Env::system(), Seed::Fresh);
            let network = snapshot::start(&Env::system(), saved, memories);
            let mut rng = StdRng::seed_from_u64(1);
            let settings = AppState::generate(1, &mut rng);
            let same = serde_json::from_value(serde_json::to_value(&settings).unwrap()).unwrap();
            network.phone(ALICE).unwrap().memory().app_state = Some(same);
            Self { network, settings, rng }
        }

        fn stars(&mut self, id: &str, starred: bool) {
            let chat = self.network.lock().account(BOB).unwrap().user_jid(Space::Lid);
            let star = Setting::star(&chat.to_string(), id, starred);
            let patches = self.settings.author(REGULAR_HIGH, &[star], &mut self.rng).unwrap();
            let mut state = self.network.lock();
            for (base, patch) in patches {
                assert!(state.push_patch(ALICE, REGULAR_HIGH, base, &patch).unwrap());
            }
            state.notify_collection(&DeviceRef::new(ALICE, 1), REGULAR_HIGH);
        }
    }

    #[tokio::test]
    async fn a_phone_shows_which_messages_its_companions_starred() {
        let mut companion = Companion::of_alice();
        let phone = companion.network.phone(ALICE).unwrap();
        let id = phone.messages(&companion.network, BOB)[0].id.clone();
        let mut news = phone.news();
        for starred in [true, false] {
            companion.stars(&id, starred);
            news.wait_for(|last| *last > 0).await.unwrap();
            let shown = |last: &u64| phone.inbox(last - 1).entries.last().unwrap().kind == InboxKind::Star;
            news.wait_for(shown).await.unwrap();
            news.mark_unchanged();
            while phone.message(&companion.network, BOB, &id).unwrap().starred != starred {
                news.changed().await.unwrap();
            }
        }
        assert_eq!(companion.network.lock().metrics().malformed_count, 0);
        companion.network.end().await;
    }
}
