//! Converts `tls_server_config` to a configuration for rustls.

use super::names::{GoName, TLS13_SUITES, Version};
use super::pem::{Pem, ReadFile};
use crate::config::field::{Field, List, Reader, Section};
use crate::config::value::Checked;
use crate::config::yaml::{Node, NodePath};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::version::{TLS12, TLS13};
use rustls::{Error, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion};
use std::path::Path;
use std::sync::Arc;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::asn1::Uint;
use x509_cert::der::oid::db::rfc5912::RSA_ENCRYPTION;

const TLS_KEYS: &[&str] = &[
    "cert",
    "cert_file",
    "key",
    "key_file",
    "client_auth_type",
    "client_ca",
    "client_ca_file",
    "client_allowed_sans",
    "min_version",
    "max_version",
    "cipher_suites",
    "prefer_server_cipher_suites",
    "curve_preferences",
];

type Versions = &'static [&'static SupportedProtocolVersion];
const ONLY_12: Versions = &[&TLS12];
const ONLY_13: Versions = &[&TLS13];
const BOTH: Versions = &[&TLS13, &TLS12];

impl Reader {
    /// Returns `None` if the section is missing, contains only empty values, or has errors.
    pub(super) fn tls(
        &mut self,
        top: &Section<'_>,
        directory: &Path,
        files: &mut Vec<ReadFile>,
        notes: &mut Vec<String>,
    ) -> Option<Arc<ServerConfig>> {
        let fields = self.section_go(top, "tls_server_config", TLS_KEYS)?;
        let has_values = TLS_KEYS.iter().any(|key| {
            fields
                .get(key)
                .is_some_and(|(node, _)| *node != Node::Null && *node != Node::Text(String::new()))
        });
        if !has_values {
            return None;
        }
        let certificate = self.pem(&fields, ["cert", "cert_file"], directory, files);
        let key = self.pem(&fields, ["key", "key_file"], directory, files);
        let chain = self.chain(&fields, certificate);
        let key = self.private_key(&fields, key);
        let versions = self.versions(&fields, notes);
        let suites = self.suites(&fields, notes);
        let groups = self.supported(&fields, "curve_preferences", notes);
        let prefer = self.bool_go(&fields, "prefer_server_cipher_suites");

        let mut provider = aws_lc_rs::default_provider();
        if let Some(suites) = suites {
            provider.cipher_suites = suites;
        }
        if let Some(groups) = groups {
            provider.kx_groups = groups;
        }
        let provider = Arc::new(provider);
        let clients = self.clients(&fields, &provider, directory, files, notes);
        if !self.errors.is_empty() {
            return None;
        }
        let (chain, (key, subject, key_at), versions) = (chain?, key?, versions?);
        let builder = ServerConfig::builder_with_provider(provider);
        let Ok(builder) = builder.with_protocol_versions(versions) else {
            let text = "`max_version` is TLS12, but no entry of `cipher_suites` is for TLS 1.2";
            self.error(&fields.at, text);
            return None;
        };
        let built = match clients {
            Some(clients) => builder.with_client_cert_verifier(clients),
            None => builder.with_no_client_auth(),
        };
        let mut config = match built.with_single_cert(chain, key) {
            Ok(config) => config,
            Err(Error::InconsistentKeys(_)) => {
                let text = format!("{subject}does not match the certificate");
                self.error(&key_at, text);
                return None;
            }
            Err(Error::General(_)) => {
                let text = "is not a key of a supported type; allowed: RSA of 2048 to 8192 bits, ECDSA on P-256, P-384 or P-521, Ed25519";
                self.error(&key_at, format!("{subject}{text}"));
                return None;
            }
            Err(error) => {
                let text = format!("{subject}cannot be used: {error}");
                self.error(&key_at, text);
                return None;
            }
        };
        config.ignore_client_order = prefer.valid().unwrap_or(true);
        // A resumed session skips the verification of the client certificate, which may have expired. Scrapers do not resume sessions.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.alpn_protocols.push(b"http/1.1".to_vec());
        Some(Arc::new(config))
    }

    fn chain(
        &mut self,
        fields: &Section<'_>,
        certificate: Field<Pem>,
    ) -> Option<Vec<CertificateDer<'static>>> {
        match certificate {
            Field::Valid(pem, at) => {
                let chain = self.certificates(&pem)?;
                // rustls reports certificates that cannot be parsed here.
                let first = chain.first().map(|first| Certificate::from_der(first));
                if let Some(Ok(first)) = first
                    && first.tbs_certificate().version() != x509_cert::Version::V3
                {
                    let reason = "contains an X.509 v1 or v2 certificate, which has no extensions such as alternative names; allowed: X.509 v3";
                    self.error(&at, format!("{}{reason}", pem.subject));
                    return None;
                }
                if let Some(reason) = chain.first().and_then(unsupported_rsa_key) {
                    self.error(&at, format!("{}{reason}", pem.subject));
                    return None;
                }
                Some(chain)
            }
            Field::Absent => {
                self.error(&fields.at, "`cert` or `cert_file` is missing");
                None
            }
            Field::Invalid => None,
        }
    }

    pub(super) fn certificates(&mut self, pem: &Pem) -> Option<Vec<CertificateDer<'static>>> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem.bytes).collect();
        let reason = match certificates {
            Ok(certificates) if !certificates.is_empty() => return Some(certificates),
            Ok(_) => "contains no PEM certificate",
            Err(_) => "is not valid PEM",
        };
        self.error(&pem.at, format!("{}{reason}", pem.subject));
        None
    }

    fn private_key(
        &mut self,
        fields: &Section<'_>,
        key: Field<Pem>,
    ) -> Option<(PrivateKeyDer<'static>, String, NodePath)> {
        match key {
            Field::Valid(pem, at) => match PrivateKeyDer::from_pem_slice(&pem.bytes) {
                Ok(key) => Some((key, pem.subject, at)),
                Err(_) => {
                    let reason = "contains no unencrypted PEM private key";
                    self.error(&at, format!("{}{reason}", pem.subject));
                    None
                }
            },
            Field::Absent => {
                self.error(&fields.at, "`key` or `key_file` is missing");
                None
            }
            Field::Invalid => None,
        }
    }

    /// Returns the enabled TLS versions; `None` on errors.
    fn versions(&mut self, fields: &Section<'_>, notes: &mut Vec<String>) -> Option<Versions> {
        let lowest = self.value_go::<Version>(fields, "min_version");
        let highest = self.value_go::<Version>(fields, "max_version");
        if let Field::Valid(highest @ (Version::Tls10 | Version::Tls11), at) = &highest {
            let text =
                format!("`{highest}` is insecure and not supported; allowed: TLS12 or TLS13");
            self.error(at, text);
            return None;
        }
        if let Field::Valid(lowest @ (Version::Tls10 | Version::Tls11), _) = &lowest {
            notes.push(format!(
                "tls_server_config.min_version: {lowest} is not supported; using TLS 1.2 as the minimum"
            ));
        }
        if matches!(lowest, Field::Invalid) || matches!(highest, Field::Invalid) {
            return None;
        }
        let low = lowest.as_valid().copied().unwrap_or(Version::Tls12);
        let high = highest.as_valid().copied().unwrap_or(Version::Tls13);
        match (low, high) {
            (Version::Tls13, Version::Tls12) => {
                if let Field::Valid(_, at) = highest {
                    let text = "`TLS12` is below `min_version`, so no version is left";
                    self.error(&at, text);
                }
                None
            }
            (Version::Tls13, _) => Some(ONLY_13),
            (_, Version::Tls12) => Some(ONLY_12),
            _ => Some(BOTH),
        }
    }

    /// Returns the suites of the list and all suites of TLS 1.3; `None` without a list.
    fn suites(
        &mut self,
        fields: &Section<'_>,
        notes: &mut Vec<String>,
    ) -> Option<Vec<SupportedCipherSuite>> {
        let mut suites = self.supported::<SupportedCipherSuite>(fields, "cipher_suites", notes)?;
        suites.retain(|suite| suite.tls13().is_none());
        suites.extend(TLS13_SUITES);
        Some(suites)
    }

    /// Returns the entries that rustls supports, and notes the others. Returns `None` without a list or on errors.
    fn supported<T>(
        &mut self,
        fields: &Section<'_>,
        key: &str,
        notes: &mut Vec<String>,
    ) -> Option<Vec<T>>
    where
        GoName<T>: Checked,
    {
        let listed = self.list_go::<GoName<T>>(fields, key);
        let at = listed.at.clone()?;
        if listed.items.is_empty() || !listed.complete {
            return None;
        }
        let (mut supported, mut unsupported) = (Vec::new(), Vec::new());
        for name in listed.values() {
            match name {
                GoName::Supported(value) => supported.push(value),
                GoName::Unsupported(name) => unsupported.push(name),
            }
        }
        let unsupported = unsupported.join(", ");
        if supported.is_empty() {
            let text = format!(
                "no entry is supported: {unsupported}; allowed: {}",
                GoName::<T>::EXPECTED
            );
            self.error(&at, text);
        } else if !unsupported.is_empty() {
            notes.push(format!(
                "{}: not supported and ignored: {unsupported}",
                at.path
            ));
        }
        Some(supported)
    }

    /// Returns the value at `key`. A key without a value counts as missing, as in Go.
    pub(super) fn value_go<T: Checked>(&mut self, fields: &Section<'_>, key: &str) -> Field<T> {
        match fields.get(key) {
            None | Some((Node::Null, _)) => Field::Absent,
            Some((Node::Text(text), _)) if text.is_empty() => Field::Absent,
            Some(_) => self.value(fields, key),
        }
    }

    /// Returns the list at `key`. A key without a value is an empty list, as in Go.
    pub(super) fn list_go<T: Checked>(&mut self, fields: &Section<'_>, key: &str) -> List<T> {
        match fields.get(key) {
            None | Some((Node::Null, _)) => List::default(),
            Some(_) => self.list(fields, key),
        }
    }
}

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
