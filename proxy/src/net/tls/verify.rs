//! Is this the server we meant, as strictly as one `sslmode` asks?
//!
//! What libpq does and rustls does not: check the chain without the name (`verify-ca`), take the common
//! name where a certificate has no alternative names, take certificates of X.509 version 1 (OpenSSL makes them
//! where nothing else is asked, by the recipe in the PostgreSQL documentation, too) if a CA of ours signed them
//! directly, and accept whatever certificate (`require` without a CA, `prefer`). The signature over the handshake is checked in every mode: it proves that the server holds
//! the key of the certificate that SCRAM then binds itself to.
//!
//! <https://www.postgresql.org/docs/current/libpq-ssl.html#LIBQ-SSL-CERTIFICATES>

use super::{TlsError, end_point, provider};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::sync::Arc;
use x509_parser::prelude::{ASN1Time, FromDer, GeneralName, X509Certificate, X509Version};

/// Checks as much as it is told to.
#[derive(Debug)]
pub(super) struct Leniently {
    /// `None`: whoever it is.
    chain: Option<Arc<WebPkiServerVerifier>>,
    /// For certificates of version 1.
    authorities: Vec<CertificateDer<'static>>,
    checks_name: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Leniently {
    /// Whoever it is.
    pub(super) fn anybody() -> Self {
        let algorithms = provider().signature_verification_algorithms;
        Self { chain: None, authorities: vec![], checks_name: false, algorithms }
    }

    /// Signed by one of these and, if so wished, named as we called it.
    pub(super) fn signed_by(
        authorities: Vec<CertificateDer<'static>>,
        checks_name: bool,
    ) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(authorities.iter().cloned());
        let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
            .build()
            .map_err(|error| TlsError::Unusable(error.to_string()))?;
        Ok(Self { chain: Some(chain), authorities, checks_name, ..Self::anybody() })
    }

    /// A certificate of version 1, which webpki does not read. It has no extensions, so there is but the
    /// common name to go by, and only those that signed it directly.
    fn check_version_1(
        &self,
        certificate: &[u8],
        parsed: &X509Certificate<'_>,
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), CertificateError> {
        let is_signed_by = |authority: &CertificateDer<'_>| {
            X509Certificate::from_der(authority).is_ok_and(|(_, authority)| {
                authority.subject().as_raw() == parsed.issuer().as_raw()
                    && parsed.verify_signature(Some(authority.public_key())).is_ok()
            })
        };
        let now = i64::try_from(now.as_secs()).ok().and_then(|now| ASN1Time::from_timestamp(now).ok());
        if end_point::is_signed_with_sha1(parsed) || !self.authorities.iter().any(is_signed_by) {
            Err(CertificateError::UnknownIssuer)
        } else if !now.is_some_and(|now| parsed.validity().is_valid_at(now)) {
            Err(CertificateError::Expired)
        } else if self.checks_name && !is_common_name(certificate, name) {
            Err(CertificateError::NotValidForName)
        } else {
            Ok(())
        }
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
        if let Ok((_, parsed)) = X509Certificate::from_der(certificate)
            && parsed.version() == X509Version::V1
        {
            self.check_version_1(certificate, &parsed, name, now).map_err(Error::InvalidCertificate)?;
            return Ok(ServerCertVerified::assertion());
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use rustls_pki_types::pem::PemObject;
    use std::time::Duration;

    #[test]
    fn a_certificate_of_version_1_is_taken_from_a_ca_that_signed_it_itself() {
        let pem = |bytes| CertificateDer::from_pem_slice(bytes).unwrap();
        let authority = pem(include_bytes!("fixtures/authority.pem"));
        let certificate = pem(include_bytes!("fixtures/version1.pem"));
        let key = rcgen::KeyPair::generate().unwrap();
        let mut other = rcgen::CertificateParams::new([]).unwrap();
        other.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        other.distinguished_name.push(rcgen::DnType::CommonName, "authority");
        let other = other.self_signed(&key).unwrap().der().clone();

        let check = |authority: &CertificateDer<'static>, checks_name, name: &'static str, years: u64| {
            let verifier = Leniently::signed_by(vec![authority.clone()], checks_name).unwrap();
            let now = UnixTime::since_unix_epoch(Duration::from_secs(years * 365 * 86_400));
            verifier
                .verify_server_cert(&certificate, &[], &ServerName::try_from(name).unwrap(), &[], now)
                .map(|_| ())
        };
        let bad = |error| Err(Error::InvalidCertificate(error));
        assert_eq!(check(&authority, true, "localhost", 70), Ok(()));
        assert_eq!(check(&authority, false, "elsewhere", 70), Ok(()));
        assert_eq!(check(&authority, true, "elsewhere", 70), bad(CertificateError::NotValidForName));
        assert_eq!(check(&other, false, "localhost", 70), bad(CertificateError::UnknownIssuer));
        assert_eq!(check(&authority, false, "localhost", 300), bad(CertificateError::Expired));
    }
}
