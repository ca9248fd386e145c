//! RSA keys of certificates.

use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::asn1::Uint;
use x509_cert::der::oid::db::rfc5912::RSA_ENCRYPTION;

/// Returns an error if the certificate has an RSA key of a size that rustls does not support.
pub(super) fn unsupported_rsa_key(certificate: &CertificateDer<'_>) -> Option<String> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let key = certificate.tbs_certificate().subject_public_key_info();
    if key.algorithm.oid != RSA_ENCRYPTION {
        return None;
    }
    // An RSA public key is a sequence of modulus and exponent.
    let numbers = Vec::<Uint>::from_der(key.subject_public_key.raw_bytes()).ok()?;
    let modulus = numbers.first()?.as_bytes();
    let bits = modulus.len() * 8 - modulus.first()?.leading_zeros() as usize;
    let supported = (2048..=8192).contains(&bits);
    (!supported).then(|| {
        format!("contains a certificate with an RSA key of {bits} bits; allowed: 2048 to 8192 bits")
    })
}
