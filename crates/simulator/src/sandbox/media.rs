//! What the media hosts ask of the network: who uploads, which fault befalls a request, and what is counted.

use super::{Sandbox, digits};
use crate::error::SandboxError;
use crate::faults::{FaultAction, FaultDirection};
use crate::media::{MediaStore, token};

impl Sandbox {
    /// The files of the media hosts.
    pub(crate) fn media_store(&self) -> &MediaStore {
        self.0.media()
    }

    /// The number of the account that may upload with this token: one whose device is still linked.
    pub(crate) fn uploader(&self, auth: &str) -> Option<String> {
        let state = self.0.lock();
        let who = state.media_auths.owner(auth, state.now())?;
        state.device(who).map(|_| who.number.clone())
    }

    /// What befalls this request for a media file.
    pub(crate) fn media_fault(&self, direction: FaultDirection, path: &str, from: Option<&str>) -> Option<FaultAction> {
        let mut rng = self.0.env().random.rng();
        self.0.lock().faults.judge_media(direction, path, from, &mut rng)
    }

    /// The media hosts lose the file of a message in a chat of this phone, which still has it; or the phone has lost it too.
    ///
    /// # Errors
    /// When phone or message do not exist, or the message has no file.
    pub fn lose_media(&self, number: &str, chat: &str, id: &str, with_phone: bool) -> Result<(), SandboxError> {
        let (file, _) = self.find(number)?.file(&digits(chat)?, id)?;
        let name = token(&file.file_enc_sha256);
        let lost = match with_phone {
            true => self.media_store().forget(&name),
            // Nobody is told of the new address, so nobody finds it.
            false => self.media_store().renew(&name).map(drop),
        };
        lost.map_err(|error| SandboxError::Refused(error.to_string()))
    }

    /// A file came in.
    pub(crate) fn uploaded(&self, bytes: u64) {
        self.0.lock().counters.uploaded(bytes);
    }

    /// A file was asked for and is there.
    pub(crate) fn downloaded(&self) {
        self.0.lock().counters.downloaded();
    }

    /// A client asked the media hosts for something that no correct one asks for.
    pub(crate) fn media_malformed(&self, number: &str, what: String) {
        let mut state = self.0.lock();
        let now = state.now();
        state.counters.malformed(now, number, what);
    }
}

#[cfg(test)]
impl Sandbox {
    /// A token with which an account may upload.
    pub(crate) fn admit(&self, number: &str) -> String {
        let mut state = self.0.lock();
        let (auth, now) = (state.random_id(), state.now());
        let phone = crate::model::DeviceRef::new(number, 0);
        assert!(state.media_auths.issue(auth.clone(), phone, now, now + 60));
        auth
    }
}
