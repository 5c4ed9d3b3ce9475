//! Linking devices to phones, as a person with a phone does it: scan, type a code, let the passkey sign, unlink.

use std::time::Duration;

use serde_json::Value;
use tokio::time::timeout;

use super::Sandbox;
use crate::error::SandboxError;
use crate::pairing::{Code, REFS_MAX};
use crate::passkey::Passkey;
use crate::phone::linking::{CodeAttempt, Linking, link_code};
use crate::views::{LinkView, PhoneView};

/// How long a device may take for each answer of its own. To a link code it takes its time on purpose: it stretches the code
/// with 131072 rounds, for seconds on a busy machine and without optimisation.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

impl Sandbox {
    /// The phone scans the text of a QR code and links the device that shows it.
    ///
    /// # Errors
    /// When the code is none, is used or has run out, or when the device refuses or does not answer in time.
    pub async fn scan(&self, number: &str, qr: &str) -> Result<LinkView, SandboxError> {
        let claim = self.0.lock().claim(&Code::parse(qr)?)?;
        let linking = self.find(number)?.link(&self.0, &claim)?;
        linked(linking).await
    }

    /// Like [`Sandbox::scan`] with the phone that the client's push name picks: the same name is the same phone, a
    /// new name a new one.
    ///
    /// # Errors
    /// As [`Sandbox::scan`] and [`Sandbox::create_phone`].
    pub async fn scan_with_any_phone(&self, qr: &str) -> Result<LinkView, SandboxError> {
        let code = Code::parse(qr)?;
        let (number, name) = {
            let state = self.0.lock();
            let claim = state.claim(&code)?;
            let name = state.registration(claim.conn).and_then(|it| it.push_name.clone());
            let same = |name: &String| state.saved.accounts.values().find(|account| account.name == *name);
            (name.as_ref().and_then(same).map(|account| account.number.clone()), name)
        };
        let number = match number {
            Some(number) => number,
            None => self.create_phone(None, name).await?.number,
        };
        self.scan(&number, qr).await
    }

    /// The phone's owner types the code that a device shows, and the phone links that device.
    ///
    /// # Errors
    /// When the code is none, is wrong or has expired, when no device waits for one, or when the device refuses or does
    /// not answer in time.
    pub async fn enter_code(&self, number: &str, typed: &str) -> Result<LinkView, SandboxError> {
        let code = link_code(typed)?;
        let phone = self.find(number)?;
        let shown = self.0.lock().attempt_link_code(phone.number())?;
        let mut rng = self.0.env().random.rng();
        let unwrapping = move || CodeAttempt::new(&code, &shown.wrapped_ephemeral, &mut rng);
        let attempt = self.0.tasks().spawn_blocking(unwrapping).await;
        let attempt = attempt.map_err(|_| SandboxError::Refused("the sandbox is stopping".to_owned()))??;
        let answer = phone.say_hello(&self.0, shown.conn, &attempt)?;
        let bundle = timeout(ANSWER_TIMEOUT, answer).await.ok().and_then(Result::ok);
        let bundle = bundle.ok_or_else(silent)?;
        linked(phone.link_by_code(&self.0, (shown.conn, shown.identity), &attempt, &bundle)?).await
    }

    /// From now on, or no more, a passkey has to sign before a device is linked to this phone. Each time a new one.
    ///
    /// # Errors
    /// When there is no such phone, or no key can be made.
    pub async fn set_passkey(&self, number: &str, required: bool) -> Result<PhoneView, SandboxError> {
        let phone = self.find(number)?;
        let mut rng = self.0.env().random.rng();
        let passkey = required.then(|| Passkey::generate(&mut rng)).transpose()?;
        let mut state = self.0.lock();
        if let Some(account) = state.account_mut(phone.number()) {
            account.passkey = passkey;
        }
        state.touch();
        drop(state);
        phone.view(&self.0)
    }

    /// Signs a challenge with the phone's passkey, as a browser at web.whatsapp.com does: takes the challenge and answers the
    /// assertion, both as JSON.
    ///
    /// # Errors
    /// When there is no such phone, it has no passkey, or the challenge is not for it.
    pub fn sign_with_passkey(&self, number: &str, challenge: &Value) -> Result<Value, SandboxError> {
        let phone = self.find(number)?;
        let state = self.0.lock();
        let passkey = state
            .account(phone.number())
            .and_then(|account| account.passkey.as_ref());
        passkey
            .ok_or_else(|| SandboxError::Refused(format!("phone {} has no passkey", phone.number())))?
            .sign(challenge)
    }

    /// How many QR codes a device gets to show, one after the other; WhatsApp gives six. Until the next reset.
    ///
    /// # Errors
    /// When there are more than six.
    pub fn set_qr_codes(&self, count: usize) -> Result<(), SandboxError> {
        if count > REFS_MAX {
            return Err(SandboxError::Invalid(format!(
                "a device gets at most {REFS_MAX} QR codes"
            )));
        }
        self.0.lock().refs_given = count;
        Ok(())
    }

    /// The phone logs a companion out.
    ///
    /// # Errors
    /// When there is no such phone or device.
    pub async fn unlink(&self, number: &str, device: u16) -> Result<(), SandboxError> {
        self.find(number)?.unlink(&self.0, device)
    }
}

/// Waits until the device has signed, where it can at once.
async fn linked(linking: Linking) -> Result<LinkView, SandboxError> {
    let outcome = match linking {
        Linking::AsksForPasskey => return Ok(LinkView::PasskeyAsked { passkey_asked: true }),
        Linking::Offered(outcome) => outcome,
    };
    match timeout(ANSWER_TIMEOUT, outcome).await {
        Ok(Ok(Ok(device))) => Ok(LinkView::Linked(device)),
        Ok(Ok(Err(why))) => Err(SandboxError::Refused(why)),
        Ok(Err(_)) | Err(_) => Err(silent()),
    }
}

fn silent() -> SandboxError {
    SandboxError::Refused("the device did not complete the pairing".to_owned())
}
