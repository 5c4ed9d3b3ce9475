//! The sandbox's own certificate authority and the certificate of its TLS listener.
//!
//! WhatsApp clients force some URLs to `https`, so the sandbox must be able to stand in for WhatsApp's hosts. The authority
//! is made once, kept in a file next to the snapshot, and trusted only by those who fetch `/admin/ca.pem`. It never leaves
//! this machine and has nothing to do with the Noise certificate chain.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::server::files;

/// The names that the listener's certificate always has.
pub const TLS_NAMES: [&str; 6] = [
    "localhost",
    "127.0.0.1",
    "::1",
    "web.whatsapp.com",
    "*.whatsapp.net",
    "*.whatsapp.com",
];

/// Size of the authority's file; a larger one is not ours.
const AUTHORITY_BYTES_MAX: u64 = 64 * 1024;

/// Why there is no TLS listener.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The authority's file cannot be read or written.
    #[error("cannot use the certificate authority in {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: std::io::Error,
    },
    /// The authority's file holds something else.
    #[error("{} is not a certificate authority of the sandbox: {reason}; delete it to get a new one", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A certificate could not be made.
    #[error("cannot make a certificate")]
    Certificate(#[from] rcgen::Error),
    /// The TLS library refused our certificate.
    #[error("cannot set up tls")]
    Rustls(#[from] rustls::Error),
}

/// The certificate authority: signs the listener's certificate.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    /// A new authority.
    pub(crate) fn generate() -> Result<Self, TlsError> {
        let key = KeyPair::generate()?;
        let params = authority_params();
        let pem = params.self_signed(&key)?.pem();
        Ok(Self {
            issuer: Issuer::new(params, key),
            pem,
        })
    }

    /// The authority kept in `path`, or a new one that is written there.
    pub(crate) fn load_or_generate(path: &Path) -> Result<Self, TlsError> {
        let file_error = |source| TlsError::File {
            path: path.to_owned(),
            source,
        };
        let Some(content) = files::read(path, AUTHORITY_BYTES_MAX).map_err(file_error)? else {
            let authority = Self::generate()?;
            let content = format!("{}{}", authority.issuer.key().serialize_pem(), authority.pem);
            files::write_private(path, content.as_bytes()).map_err(file_error)?;
            return Ok(authority);
        };
        Self::parse(&content).map_err(|reason| TlsError::Corrupt {
            path: path.to_owned(),
            reason,
        })
    }

    /// The authority's certificate as PEM, for those who want to trust it.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// A server configuration with a fresh certificate for [`TLS_NAMES`] and these.
    pub(crate) fn server_config(&self, names: impl IntoIterator<Item = String>) -> Result<Arc<ServerConfig>, TlsError> {
        let key = KeyPair::generate()?;
        let names: Vec<String> = TLS_NAMES.map(str::to_owned).into_iter().chain(names).collect();
        let mut params = CertificateParams::new(names)?;
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2120, 1, 1));
        params.distinguished_name.push(DnType::CommonName, "Wharf sandbox");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        // The provider is named, so that no process-wide default is needed or picked up.
        let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    fn parse(content: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(content).map_err(|error| error.to_string())?;
        let certificate = CertificateDer::from_pem_slice(content).map_err(|error| error.to_string())?;
        let private = PrivateKeyDer::from_pem_slice(content).map_err(|error| error.to_string())?;
        let key = KeyPair::try_from(&private).map_err(|error| error.to_string())?;
        // A certificate of another key would make every client refuse us without saying why.
        let public = key.public_key_raw();
        if !certificate.windows(public.len()).any(|window| window == public) {
            return Err("certificate and key do not belong together".to_owned());
        }
        let pem = text.find(CERTIFICATE_BEGIN).and_then(|start| text.get(start..));
        let pem = pem.ok_or_else(|| "there is no certificate".to_owned())?.to_owned();
        Ok(Self {
            issuer: Issuer::new(authority_params(), key),
            pem,
        })
    }
}

const CERTIFICATE_BEGIN: &str = "-----BEGIN CERTIFICATE-----";

/// The same for every authority: a loaded one signs with these parameters and the key from its file.
fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2120, 1, 1));
    params
        .distinguished_name
        .push(DnType::CommonName, "Wharf sandbox certificate authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_survives_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sandbox.ca.pem");
        let made = Authority::load_or_generate(&path).unwrap();
        let loaded = Authority::load_or_generate(&path).unwrap();
        assert_eq!(made.pem(), loaded.pem());
        assert!(!loaded.pem().contains("PRIVATE"));
        loaded.server_config([]).unwrap();
    }

    #[test]
    fn a_file_that_is_no_authority_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sandbox.ca.pem");
        let key = KeyPair::generate().unwrap().serialize_pem();
        let foreign = Authority::generate().unwrap();
        for content in ["", "nonsense", &key, foreign.pem(), &format!("{key}{}", foreign.pem())] {
            std::fs::write(&path, content).unwrap();
            let Err(error) = Authority::load_or_generate(&path) else {
                panic!("accepted {content:?}")
            };
            assert!(matches!(error, TlsError::Corrupt { .. }), "{error:?}");
            assert!(error.to_string().contains("sandbox.ca.pem"), "{error}");
        }
    }
}
