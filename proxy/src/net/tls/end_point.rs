//! The channel binding `tls-server-end-point`: a hash of the server's certificate.
//!
//! <https://www.rfc-editor.org/rfc/rfc5929#section-4>

use ring::digest::{self, Algorithm, SHA256, SHA384, SHA512};
use std::sync::Arc;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::signature_algorithm::RsaSsaPssParams;

/// The hash of a certificate, by the algorithm that it was signed with. `None` where the RFC defines
/// none (Ed25519).
pub fn hash(certificate: &[u8]) -> Option<Arc<[u8]>> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let signed_by = &parsed.signature_algorithm;
    let algorithm = match signed_by.algorithm.to_id_string().as_str() {
        "1.2.840.113549.1.1.10" => {
            let parameters = RsaSsaPssParams::try_from(signed_by.parameters.as_ref()?).ok()?;
            of_hash(&parameters.hash_algorithm_oid().to_id_string())?
        }
        oid => of_signature(oid)?,
    };
    Some(digest::digest(algorithm, certificate).as_ref().into())
}

/// SHA-1 no longer proves who signed.
pub(super) fn is_signed_with_sha1(certificate: &X509Certificate<'_>) -> bool {
    let oid = certificate.signature_algorithm.algorithm.to_id_string();
    matches!(oid.as_str(), "1.2.840.113549.1.1.5" | "1.2.840.10045.4.1")
}

fn of_signature(oid: &str) -> Option<&'static Algorithm> {
    match oid {
        // MD5 and SHA-1, with RSA and with ECDSA, count as SHA-256.
        "1.2.840.113549.1.1.4" | "1.2.840.113549.1.1.5" | "1.2.840.10045.4.1" => Some(&SHA256),
        "1.2.840.113549.1.1.11" | "1.2.840.10045.4.3.2" => Some(&SHA256),
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => Some(&SHA384),
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => Some(&SHA512),
        _ => None,
    }
}

fn of_hash(oid: &str) -> Option<&'static Algorithm> {
    match oid {
        // SHA-1 counts as SHA-256.
        "1.3.14.3.2.26" | "2.16.840.1.101.3.4.2.1" => Some(&SHA256),
        "2.16.840.1.101.3.4.2.2" => Some(&SHA384),
        "2.16.840.1.101.3.4.2.3" => Some(&SHA512),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed_with(algorithm: &'static rcgen::SignatureAlgorithm) -> Vec<u8> {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let parameters = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        parameters.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn a_certificate_is_hashed_by_its_own_signature_algorithm() {
        let p256 = signed_with(&rcgen::PKCS_ECDSA_P256_SHA256);
        assert_eq!(&hash(&p256).unwrap()[..], digest::digest(&SHA256, &p256).as_ref());
        let p384 = signed_with(&rcgen::PKCS_ECDSA_P384_SHA384);
        assert_eq!(&hash(&p384).unwrap()[..], digest::digest(&SHA384, &p384).as_ref());
    }

    #[test]
    fn where_no_binding_is_defined_none_is_made() {
        assert_eq!(hash(&signed_with(&rcgen::PKCS_ED25519)), None);
        assert_eq!(hash(b"no certificate"), None);
    }
}
