//! Is this the server we meant, as strictly as one `sslmode` asks?
//!
//! What libpq does and rustls does not: check the chain without the name (`verify-ca`), take the common
//! name where a certificate has no alternative names, and accept whatever certificate (`require` without a
//! CA, `prefer`). The signature over the handshake is checked in every mode: it proves that the server holds
//! the key of the certificate that SCRAM then binds itself to.
//!
//! <https://www.postgresql.org/docs/current/libpq-ssl.html#LIBQ-SSL-CERTIFICATES>

use super::{TlsError, provider};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::sync::Arc;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Checks as much as it is told to.
#[derive(Debug)]
pub(super) struct Leniently {
    /// `None`: whoever it is.
    chain: Option<Arc<WebPkiServerVerifier>>,
    checks_name: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Leniently {
    /// Whoever it is.
    pub(super) fn anybody() -> Self {
        let algorithms = provider().signature_verification_algorithms;
        Self { chain: None, checks_name: false, algorithms }
    }

    /// Signed by one of these and, if so wished, named as we called it.
    pub(super) fn signed_by(roots: RootCertStore, checks_name: bool) -> Result<Self, TlsError> {
        let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
            .build()
            .map_err(|error| TlsError::Unusable(error.to_string()))?;
        Ok(Self { chain: Some(chain), checks_name, ..Self::anybody() })
    }

    /// Checks a signature with the certificate's key, whatever version the certificate has: those that
    /// OpenSSL makes by default are X.509 version 1, which webpki does not read.
    fn check(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let bad = |error| Error::InvalidCertificate(error);
        let (_, parsed) =
            X509Certificate::from_der(certificate).map_err(|_| bad(CertificateError::BadEncoding))?;
        let key = parsed.public_key();
        let (_, algorithm) = x509_parser::der_parser::ber::parse_ber_any(key.raw)
            .ok()
            .and_then(|(_, spki)| x509_parser::der_parser::ber::parse_ber_any(spki.data).ok())
            .ok_or_else(|| bad(CertificateError::BadEncoding))?;
        let schemes = self.algorithms.mapping.iter().filter(|(scheme, _)| *scheme == signed.scheme);
        let fits = schemes
            .flat_map(|(_, candidates)| candidates.iter())
            .filter(|candidate| candidate.public_key_alg_id().as_ref() == algorithm.data)
            .any(|c| c.verify_signature(&key.subject_public_key.data, message, signed.signature()).is_ok());
        if fits { Ok(HandshakeSignatureValid::assertion()) } else { Err(bad(CertificateError::BadSignature)) }
    }
}

impl ServerCertVerifier for Leniently {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        match chain.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            // The name is looked at last: the chain is good.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.checks_name || is_common_name(certificate, name) => {
                Ok(ServerCertVerified::assertion())
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// libpq's fallback: a certificate without alternative names is valid for its common name.
fn is_common_name(certificate: &[u8], name: &ServerName<'_>) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return false };
    let has_names = match certificate.subject_alternative_name() {
        Ok(Some(names)) => names
            .value
            .general_names
            .iter()
            .any(|name| matches!(name, GeneralName::DNSName(_) | GeneralName::IPAddress(_))),
        Ok(None) => false,
        Err(_) => true,
    };
    let common = certificate.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    !has_names && common.is_some_and(|common| common.eq_ignore_ascii_case(&name.to_str()))
}
