//! The verification of client certificates.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::oid::db::rfc5280::{ANY_EXTENDED_KEY_USAGE, ID_KP_CLIENT_AUTH};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{ExtendedKeyUsage, SubjectAltName};

#[derive(Debug)]
pub(super) struct ClientCertificates {
    pub(super) provider: Arc<CryptoProvider>,
    pub(super) mandatory: bool,
    /// The accepted issuers; any issuer is accepted if `None`.
    pub(super) issuers: Option<Issuers>,
    pub(super) allowed_names: Option<BTreeSet<String>>,
}

#[derive(Debug)]
pub(super) struct Issuers {
    /// `None` if there is no CA, so that no chain is valid.
    pub(super) chain_verifier: Option<Arc<dyn ClientCertVerifier>>,
    /// Certificates that clients may use directly. Go accepts a certificate from the list of CAs without a chain, but webpki
    /// rejects a self-signed CA certificate, which is the default of `openssl req -x509`.
    pub(super) trusted: Vec<CertificateDer<'static>>,
}

/// Checks validity period and key usage, which Go checks even without a chain.
fn verify_trusted(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let certificate = Certificate::from_der(certificate).map_err(bad_encoding)?;
    let certificate = certificate.tbs_certificate();
    let validity = certificate.validity();
    if now.as_secs() < validity.not_before.to_unix_duration().as_secs() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now.as_secs() > validity.not_after.to_unix_duration().as_secs() {
        return Err(CertificateError::Expired.into());
    }
    let usages = certificate.get_extension::<ExtendedKeyUsage>();
    let usages = usages.map_err(bad_encoding)?;
    let allowed = [ID_KP_CLIENT_AUTH, ANY_EXTENDED_KEY_USAGE];
    if usages.is_some_and(|(_, usages)| !usages.0.iter().any(|usage| allowed.contains(usage))) {
        return Err(CertificateError::InvalidPurpose.into());
    }
    Ok(())
}

impl ClientCertVerifier for ClientCertificates {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        let issuers = self.issuers.as_ref();
        issuers
            .and_then(|issuers| issuers.chain_verifier.as_ref())
            .map_or(&[], |verifier| verifier.root_hint_subjects())
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Some(issuers) = &self.issuers {
            if issuers.trusted.iter().any(|trusted| trusted == certificate) {
                verify_trusted(certificate, now)?;
            } else {
                let verifier = issuers.chain_verifier.as_ref();
                let verifier = verifier.ok_or(CertificateError::UnknownIssuer)?;
                verifier.verify_client_cert(certificate, intermediates, now)?;
            }
        }
        if let Some(allowed) = &self.allowed_names
            && allowed.is_disjoint(&names(certificate)?)
        {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

fn bad_encoding(_: x509_cert::der::Error) -> Error {
    CertificateError::BadEncoding.into()
}

/// Returns the DNS names, e-mail addresses, IP addresses and URIs of the certificate, in the format of Go.
fn names(certificate: &CertificateDer<'_>) -> Result<BTreeSet<String>, Error> {
    let certificate = Certificate::from_der(certificate).map_err(bad_encoding)?;
    let certificate = certificate.tbs_certificate();
    let extension = certificate.get_extension::<SubjectAltName>();
    let extension = extension.map_err(bad_encoding)?;
    let Some((_, SubjectAltName(names))) = extension else {
        return Ok(BTreeSet::new());
    };
    Ok(names.iter().filter_map(name_text).collect())
}

fn name_text(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name)
        | GeneralName::Rfc822Name(name)
        | GeneralName::UniformResourceIdentifier(name) => Some(name.as_str().to_owned()),
        GeneralName::IpAddress(octets) => {
            let octets = octets.as_bytes();
            let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
            let ip = v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from));
            ip.ok().map(|ip| ip.to_canonical().to_string())
        }
        _ => None,
    }
}
