//! Many texts at once, for whoever measures what a client takes.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use tokio::task::yield_now;
use tokio::time::{interval, sleep};

use super::{Sandbox, digits};
use crate::error::SandboxError;
use crate::model::State;
use crate::phone::Phone;
use crate::views::{NewContent, Traffic};

/// Most texts of one order.
const TEXTS_MAX: usize = 1_000_000;
/// Stanzas that may be without acknowledgement at one account while more is sent to it.
const OPEN_MAX: usize = 64;
/// How often it is looked whether an account has acknowledged some.
const LOOK: Duration = Duration::from_millis(2);

impl Sandbox {
    /// Every phone of `from` sends so many texts to every number of `to`; the chats take turns. Waits for accounts that do
    /// not keep up. Answers how many texts were sent.
    ///
    /// # Errors
    /// When one of the phones does not exist, or there would be too many texts.
    pub async fn traffic(&self, traffic: &Traffic) -> Result<usize, SandboxError> {
        let count = traffic.from.len().saturating_mul(traffic.to.len());
        let count = count.saturating_mul(traffic.texts);
        if count > TEXTS_MAX {
            return Err(SandboxError::Invalid(format!(
                "{count} texts are more than {TEXTS_MAX}"
            )));
        }
        let senders: Vec<Arc<Phone>> = traffic
            .from
            .iter()
            .map(|from| self.find(from))
            .collect::<Result<_, _>>()?;
        let recipients: Vec<String> = traffic.to.iter().map(|to| digits(to)).collect::<Result<_, _>>()?;
        let each = NonZeroU32::new(u32::try_from(recipients.len()).unwrap_or(u32::MAX));
        let pace = traffic.per_second.zip(each).map(|(rate, each)| {
            let rate = f64::from(rate.get()) / f64::from(each.get());
            Duration::from_secs_f64(1.0 / rate)
        });
        try_join_all(
            recipients
                .iter()
                .map(|to| self.texts_to(to, &senders, traffic.texts, pace)),
        )
        .await?;
        Ok(count)
    }

    async fn texts_to(
        &self,
        to: &str,
        senders: &[Arc<Phone>],
        texts: usize,
        pace: Option<Duration>,
    ) -> Result<(), SandboxError> {
        let mut pace = pace.map(interval);
        for number in 1..=texts {
            for phone in senders {
                if let Some(pace) = &mut pace {
                    pace.tick().await;
                }
                while self.0.lock().open_at(to) >= OPEN_MAX {
                    sleep(LOOK).await;
                }
                let text = format!(
                    "This is text {number} of {texts}, sent at {}",
                    self.0.env().clock.now_ms()
                );
                phone.send(&self.0, to, &NewContent::Text(text, None).into(), None)?;
                // Sending never waits, so the other recipients get their turn here.
                yield_now().await;
            }
        }
        Ok(())
    }
}

impl State {
    /// How many stanzas wait at an account, or for an acknowledgement of one of its devices.
    fn open_at(&self, number: &str) -> usize {
        let devices = self.account(number).map(|account| account.devices.values());
        devices.into_iter().flatten().map(|device| device.queue.len()).sum()
    }
}
