//! Whose certificates are accepted: a production build takes the public authorities', a sandbox build for its media hosts the
//! sandbox's alone.
//!
//! One TLS configuration is shared by all sessions, because each copy costs memory that a thousand sessions would multiply.

#[cfg(feature = "sandbox")]
mod sandbox;

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

#[cfg(feature = "sandbox")]
pub(crate) use sandbox::Authority;

/// What an HTTP client goes by.
#[derive(Clone)]
pub(crate) struct Trust {
    pub(crate) config: Arc<ClientConfig>,
    /// Where it is not known from the start who is accepted.
    #[cfg(feature = "sandbox")]
    pub(crate) authority: Option<Arc<Authority>>,
}

impl Trust {
    /// The public authorities.
    pub(crate) fn public() -> Result<Self, rustls::Error> {
        Ok(Self {
            config: client_config()?,
            #[cfg(feature = "sandbox")]
            authority: None,
        })
    }
}

/// A client configuration that trusts the public certificate authorities.
pub(crate) fn client_config() -> Result<Arc<ClientConfig>, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
