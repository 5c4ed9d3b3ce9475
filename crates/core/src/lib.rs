//! The domain: identifiers, messages, the event catalog, and the ports that the other crates implement or call.
//!
//! Knows no database, no HTTP and no WhatsApp library. A port is a trait named after what it offers: [`store::Store`],
//! [`engine::Engine`], [`clock::Clock`], [`lookup::Lookup`], [`random::Random`].

pub mod address;
pub mod clock;
pub mod engine;
pub mod events;
pub mod ids;
pub mod lookup;
pub mod media;
pub mod message;
pub mod random;
pub mod session;
pub mod store;

/// The cause of a failure that nobody above can act on.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
