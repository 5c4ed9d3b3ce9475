//! The device: the session's own keys, account and counters, as one record.
//!
//! Fields that the library does not serialise are those it sets again at each start (`wacore` store/device.rs).

use async_trait::async_trait;
use wacore::store::Device;
use wacore::store::traits::DeviceStore;
use wharf_core::store::{Collection, Document};

use super::{Backend, Result, encode};

pub(super) static DEVICE: Collection = Collection {
    name: "wa_device",
    fields: &[],
};

/// A session's store holds one device.
const DEVICE_ID: i32 = 1;

/// Where it is.
const DOCUMENT_ID: &str = "device";

#[async_trait]
impl DeviceStore for Backend {
    async fn save(&self, device: &Device) -> Result<()> {
        self.put(&DEVICE, Document::new(DOCUMENT_ID, encode(device)?)).await
    }

    async fn load(&self) -> Result<Option<Device>> {
        let document = self.get(&DEVICE, DOCUMENT_ID).await?;
        // A record that cannot be read is an error, never a new device.
        document.as_ref().map(|document| self.decode(document)).transpose()
    }

    async fn exists(&self) -> Result<bool> {
        Ok(self.get(&DEVICE, DOCUMENT_ID).await?.is_some())
    }

    async fn create(&self) -> Result<i32> {
        let _turn = self.turn.lock().await;
        if !self.exists().await? {
            self.save(&Device::new()).await?;
        }
        Ok(DEVICE_ID)
    }
}
