//! A message as bytes: the length of a JSON part, that part, and the message in WhatsApp's encoding, which JSON would only
//! inflate.

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;
use wharf_core::store::StoreError;

/// Bytes of the length that stands before the JSON part.
const LENGTH_BYTES: usize = 4;

/// Why bytes are not a message.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// Something is missing.
    #[error("its length is missing or wrong")]
    Length,
    /// It says something else.
    #[error("its json part is wrong: {0}")]
    Json(#[from] serde_json::Error),
}

/// The bytes of both.
pub(crate) fn encode(part: &impl Serialize, proto: &Bytes) -> Result<Bytes, StoreError> {
    let json = serde_json::to_vec(part).map_err(|error| StoreError::Internal(error.into()))?;
    let length = u32::try_from(json.len()).map_err(|error| StoreError::Internal(error.into()))?;
    let mut body = BytesMut::with_capacity(LENGTH_BYTES + json.len() + proto.len());
    body.put_u32(length);
    body.put_slice(&json);
    body.put_slice(proto);
    Ok(body.freeze())
}

/// Both, of these bytes.
pub(crate) fn decode<T: DeserializeOwned>(body: &Bytes) -> Result<(T, Bytes), BodyError> {
    let length = body.first_chunk::<LENGTH_BYTES>().ok_or(BodyError::Length)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| BodyError::Length)?;
    let (json, proto) = body[LENGTH_BYTES..].split_at_checked(length).ok_or(BodyError::Length)?;
    // A copy, because a slice would keep all of the page that it was read with.
    Ok((serde_json::from_slice(json)?, Bytes::copy_from_slice(proto)))
}
