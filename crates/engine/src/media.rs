//! Files of messages on their way to WhatsApp's media hosts and back, always by stream.
//!
//! The protocol library has transfers of its own. Ours can be called off, tell apart what a caller can act on, check every
//! hash that a message states, and keep addresses with tokens out of the log.

mod download;
mod hosts;
mod upload;

pub(crate) use upload::Uploaded;

/// The largest file, in bytes: WhatsApp takes documents of up to 2 GB.
const FILE_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;
