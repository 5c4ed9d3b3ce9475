//! The certificate authority of the sandbox: the only one that its media hosts may have.
//!
//! A sandbox makes an authority of its own. Who starts one passes its certificate in; of one that runs elsewhere it is asked
//! for at `/admin/ca.pem`, beside the websocket, before the first request, and again after one that failed: it may have
//! been started anew. Whoever can falsify that answer is the sandbox, as far as this build is concerned.

use std::sync::{Arc, PoisonError, RwLock};

use anyhow::{Context as _, ensure};
use reqwest::Client;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use url::Url;

use super::Trust;
use crate::error::ConfigError;

/// Where a sandbox tells of its authority.
const AUTHORITY_PATH: &str = "/admin/ca.pem";
/// The largest certificate that is read, in bytes.
const AUTHORITY_BYTES_MAX: usize = 64 * 1024;

/// Accepts what the authority of the sandbox has signed, and before that is known, nothing.
#[derive(Debug)]
pub(crate) struct Authority {
    provider: Arc<CryptoProvider>,
    /// Where it is asked for; `None` where it was passed in.
    url: Option<Url>,
    known: RwLock<Known>,
}

/// What is known of it.
#[derive(Debug, Default)]
struct Known {
    verifier: Option<Arc<WebPkiServerVerifier>>,
    /// It may be another one by now. Until that is known, those who are connecting go by the old one.
    is_stale: bool,
}

impl Trust {
    /// The authority of the sandbox at this websocket: this one, or the one that it tells of.
    pub(crate) fn sandbox(chat_url: &Url, certificate: Option<&str>) -> Result<Self, ConfigError> {
        let unusable = |error: anyhow::Error| ConfigError::Client(error.into());
        let provider = Arc::new(ring::default_provider());
        let authority = Arc::new(Authority {
            provider: provider.clone(),
            url: certificate.is_none().then(|| authority_url(chat_url)),
            known: RwLock::default(),
        });
        if let Some(certificate) = certificate {
            authority.learn(certificate).map_err(unusable)?;
        }
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(error.into()))?
            .dangerous()
            .with_custom_certificate_verifier(authority.clone())
            .with_no_client_auth();
        Ok(Self {
            config: Arc::new(config),
            authority: Some(authority),
        })
    }
}

impl Authority {
    /// Asks the sandbox for its authority, if that is not known or may be another one by now.
    pub(crate) async fn ask(&self, client: &Client) -> anyhow::Result<()> {
        let Some(url) = self.url.as_ref().filter(|_| !self.is_known()) else {
            return Ok(());
        };
        let response = client.get(url.clone()).send().await?.error_for_status()?;
        ensure!(
            response
                .content_length()
                .is_some_and(|length| length <= AUTHORITY_BYTES_MAX as u64),
            "the certificate of the sandbox is too large"
        );
        self.learn(&response.text().await?)
    }

    /// This is its certificate.
    pub(crate) fn learn(&self, certificate: &str) -> anyhow::Result<()> {
        let verifier = verifier(&self.provider, certificate)?;
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Known {
            verifier: Some(verifier),
            is_stale: false,
        };
        Ok(())
    }

    /// It may be another one by now; it is asked for again before the next request.
    pub(crate) fn doubt(&self) {
        if self.url.is_some() {
            self.known.write().unwrap_or_else(PoisonError::into_inner).is_stale = true;
        }
    }

    fn is_known(&self) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.verifier.is_some() && !known.is_stale
    }

    fn verifier(&self) -> Option<Arc<WebPkiServerVerifier>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.verifier.clone()
    }
}

impl ServerCertVerifier for Authority {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verifier = self.verifier();
        let verifier = verifier.ok_or(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn verifier(provider: &Arc<CryptoProvider>, pem: &str) -> anyhow::Result<Arc<WebPkiServerVerifier>> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).context("the sandbox has no certificate")?;
    roots.add(certificate)?;
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
    verifier.context("the certificate of the sandbox cannot be used")
}

/// Beside the websocket, which is served over plain HTTP.
fn authority_url(chat_url: &Url) -> Url {
    let mut url = chat_url.clone();
    // Cannot fail between these schemes; where it does, the address is one that nobody fetches.
    let _ = url.set_scheme(if chat_url.scheme() == "wss" { "https" } else { "http" });
    url.set_path(AUTHORITY_PATH);
    url.set_query(None);
    url
}
