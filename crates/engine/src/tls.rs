//! The one TLS configuration that all sessions share: ring, and the root certificates that come with the program.
//!
//! Built once per process, because each copy costs memory that a thousand sessions would multiply.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

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
