//! Trusted-contact tokens, which WhatsApp wants with messages to people who do not know us yet.
//!
//! Two writers own a field each: what contacts sent us (newer wins) and when we sent ours (only forward). The rules are
//! those of `wacore` store/traits.rs, ProtocolStore.

use jiff::Timestamp;
use wacore::store::traits::TcTokenEntry;
use wharf_core::store::{Batch, Collection, Document, Field};

use super::{Backend, Result, TOKEN_RETENTION, encode, moment, older_than};

/// Tokens by the contact's id; `used_at` is the later of the two times.
static TOKENS: Collection = Collection {
    name: "wa_tc_tokens",
    fields: &[Field::time("used_at")],
};

impl Backend {
    pub(super) async fn load_token(&self, jid: &str) -> Result<Option<TcTokenEntry>> {
        let document = self.get(&TOKENS, jid).await?;
        document.as_ref().map(|document| self.decode(document)).transpose()
    }

    pub(super) async fn save_token(&self, jid: &str, entry: &TcTokenEntry) -> Result<()> {
        let _turn = self.turn.lock().await;
        self.put_token(jid, entry).await
    }

    pub(super) async fn remove_token(&self, jid: &str) -> Result<()> {
        let _turn = self.turn.lock().await;
        self.delete(&TOKENS, jid).await
    }

    pub(super) async fn token_jids(&self) -> Result<Vec<String>> {
        let documents = self.get_all(&TOKENS, Vec::new()).await?;
        Ok(documents.into_iter().map(|document| document.id).collect())
    }

    /// We sent our token at this time.
    pub(super) async fn token_sent(&self, jid: &str, at: i64) -> Result<()> {
        let _turn = self.turn.lock().await;
        let entry = match self.load_token(jid).await? {
            Some(entry) => TcTokenEntry {
                sender_timestamp: entry.sender_timestamp.max(Some(at)),
                ..entry
            },
            None => TcTokenEntry {
                token: Vec::new(),
                token_timestamp: at,
                sender_timestamp: Some(at),
            },
        };
        self.put_token(jid, &entry).await
    }

    /// A contact sent us this token at this time.
    pub(super) async fn token_received(&self, jid: &str, token: &[u8], at: i64) -> Result<()> {
        let _turn = self.turn.lock().await;
        let old = self.load_token(jid).await?;
        if old
            .as_ref()
            .is_some_and(|old| !old.token.is_empty() && at < old.token_timestamp)
        {
            return Ok(());
        }
        let entry = TcTokenEntry {
            token: token.to_vec(),
            token_timestamp: at,
            sender_timestamp: old.and_then(|old| old.sender_timestamp),
        };
        self.put_token(jid, &entry).await
    }

    async fn put_token(&self, jid: &str, entry: &TcTokenEntry) -> Result<()> {
        let used_at = entry.sender_timestamp.unwrap_or(i64::MIN).max(entry.token_timestamp);
        let document = Document::new(jid, encode(entry)?).with("used_at", moment(used_at));
        self.put(&TOKENS, document).await
    }
}

/// Removes the tokens that were not used for long.
pub(super) fn sweep(now: Timestamp) -> Batch {
    Batch::new().delete_where(&TOKENS, older_than("used_at", now, TOKEN_RETENTION))
}
