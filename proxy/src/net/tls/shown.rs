//! The certificate that we show as a server, with the key that proves that it is ours.
//!
//! Any that fits its key is taken, as by Postgres: those of X.509 version 1 too, which OpenSSL makes where
//! nothing else is asked and which webpki does not read.

use super::{TlsError, certificates, key, provider};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use std::path::Path;
use std::sync::Arc;
use x509_parser::prelude::{FromDer, X509Certificate, X509Version};

/// Reads both.
///
/// # Errors
/// When a file cannot be read, or the two do not belong together.
pub(super) fn shown(certificate: &Path, key_file: &Path) -> Result<Arc<SingleCertAndKey>, TlsError> {
    let unusable = |what: &str| TlsError::Unusable(format!("{} and its key: {what}", certificate.display()));
    let chain = certificates(certificate)?;
    let signing = provider()
        .key_provider
        .load_private_key(key(key_file)?)
        .map_err(|error| TlsError::Unusable(format!("{}: {error}", key_file.display())))?;
    let public = signing.public_key().map(|public| public.as_ref().to_vec());
    let pair = CertifiedKey::new(chain, signing);
    let first = pair.cert.first().and_then(|first| X509Certificate::from_der(first).ok());
    match first {
        Some((_, first)) if first.version() == X509Version::V1 => {
            if public.is_none_or(|public| public != first.public_key().raw) {
                return Err(unusable("the key is of another certificate"));
            }
        }
        _ => match pair.keys_match() {
            Ok(()) => {}
            Err(rustls::Error::InconsistentKeys(_)) => {
                return Err(unusable("the key is of another certificate"));
            }
            Err(error) => return Err(unusable(&error.to_string())),
        },
    }
    Ok(Arc::new(SingleCertAndKey::from(pair)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("src/net/tls/fixtures").join(name)
    }

    #[test]
    fn a_certificate_of_version_1_is_shown_with_its_own_key_and_with_no_other() {
        let other = std::env::temp_dir().join(format!("pgweir-other-{}.key", std::process::id()));
        std::fs::write(&other, rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
        assert!(shown(&fixture("shown1.pem"), &fixture("shown1.key")).is_ok());
        let error = shown(&fixture("shown1.pem"), &other).unwrap_err().to_string();
        assert!(error.contains("the key is of another certificate"), "{error}");
        let error = shown(&fixture("authority.pem"), &other).unwrap_err().to_string();
        assert!(error.contains("the key is of another certificate"), "{error}");
        let _ = std::fs::remove_file(other);
    }
}
