//! The keys of `tls_server_config` for client certificates.

use super::client_certificate::{ClientCertificates, Issuers};
use super::pem::{Pem, ReadFile};
use super::tls::unsupported_rsa_key;
use crate::config::field::{Field, Reader, Section};
use crate::config::value::{Checked, ValueError};
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use std::collections::BTreeSet;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

/// Go's `tls.ClientAuthType`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ClientAuth {
    #[default]
    No,
    Request,
    RequireAny,
    VerifyIfGiven,
    RequireAndVerify,
}

impl Checked for ClientAuth {
    const EXPECTED: &'static str = "NoClientCert, RequestClientCert, RequireAnyClientCert, VerifyClientCertIfGiven or RequireAndVerifyClientCert";
}

impl FromStr for ClientAuth {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text {
            "NoClientCert" => Ok(Self::No),
            "RequestClientCert" => Ok(Self::Request),
            // The old name in the toolkit.
            "RequireAnyClientCert" | "RequireClientCert" => Ok(Self::RequireAny),
            "VerifyClientCertIfGiven" => Ok(Self::VerifyIfGiven),
            "RequireAndVerifyClientCert" => Ok(Self::RequireAndVerify),
            _ => Err(ValueError::of::<Self>(
                "is not a client authentication type",
            )),
        }
    }
}

/// An alternative name that a client certificate may contain.
struct AllowedName(String);

impl Checked for AllowedName {
    const EXPECTED: &'static str = "a DNS name, IP address, e-mail address or URI";
}

impl FromStr for AllowedName {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if text.is_empty() {
            return Err(ValueError::of::<Self>("is empty"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl Reader {
    /// Returns the verifier of client certificates; `None` if they are not requested.
    pub(super) fn clients(
        &mut self,
        fields: &Section<'_>,
        provider: &Arc<CryptoProvider>,
        directory: &Path,
        files: &mut Vec<ReadFile>,
        notes: &mut Vec<String>,
    ) -> Option<Arc<dyn ClientCertVerifier>> {
        let given = self.value_go::<ClientAuth>(fields, "client_auth_type");
        let authorities = self.pem(fields, ["client_ca", "client_ca_file"], directory, files);
        let names = self.list_go::<AllowedName>(fields, "client_allowed_sans");
        if matches!(given, Field::Invalid) {
            return None;
        }
        let (auth, auth_at) = match given {
            Field::Valid(auth, at) => (auth, at),
            Field::Absent | Field::Invalid => (ClientAuth::No, fields.at.clone()),
        };
        let mandatory = matches!(auth, ClientAuth::RequireAny | ClientAuth::RequireAndVerify);
        let verified = matches!(
            auth,
            ClientAuth::VerifyIfGiven | ClientAuth::RequireAndVerify
        );
        if let Some(at) = &names.at {
            if names.items.is_empty() && names.complete {
                let text =
                    "is empty, so every client would be rejected; remove it to accept every name";
                self.error(at, text);
            } else if !mandatory {
                let text = "does not apply to clients without a certificate; set `client_auth_type` to RequireAndVerifyClientCert";
                self.error(at, text);
            } else if !verified {
                notes.push(format!(
                    "{}: RequireAnyClientCert does not verify certificates, so any client can claim these names; use RequireAndVerifyClientCert",
                    at.path
                ));
            }
        }
        let issuers = match authorities {
            Field::Valid(_, at) if auth == ClientAuth::No => {
                let text = "has no effect, because NoClientCert does not request certificates; set another `client_auth_type`";
                self.error(&at, text);
                None
            }
            Field::Valid(pem, _) => self.issuers(&pem, provider, notes),
            Field::Absent if verified => {
                notes.push(format!(
                    "{}: neither `client_ca` nor `client_ca_file` is set; verifying client certificates with the system's CA certificates",
                    auth_at.path
                ));
                Some(system_issuers(provider))
            }
            Field::Absent | Field::Invalid => None,
        };
        let allowed_names = names.at.is_some().then(|| {
            let names = names.values().into_iter().map(|name| name.0);
            names.collect::<BTreeSet<_>>()
        });
        (auth != ClientAuth::No).then(|| {
            Arc::new(ClientCertificates {
                provider: Arc::clone(provider),
                mandatory,
                issuers: issuers.filter(|_| verified),
                allowed_names,
            }) as _
        })
    }

    /// Returns a verifier with the CA certificates in `pem`.
    fn issuers(
        &mut self,
        pem: &Pem,
        provider: &Arc<CryptoProvider>,
        notes: &mut Vec<String>,
    ) -> Option<Issuers> {
        let certificates = self.certificates(pem)?;
        let mut roots = RootCertStore::empty();
        let usable = certificates
            .iter()
            .filter(|certificate| unsupported_rsa_key(certificate).is_none());
        let (added, _) = roots.add_parsable_certificates(usable.cloned());
        let provider = Arc::clone(provider);
        match WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build() {
            Ok(verifier) => {
                let unusable = certificates.len() - added;
                if unusable > 0 {
                    let path = &pem.at.path;
                    notes.push(format!(
                        "{path}: certificates ignored because they cannot be used as a CA: {unusable}"
                    ));
                }
                Some(Issuers {
                    chain_verifier: Some(verifier),
                    trusted: certificates,
                })
            }
            Err(_) => {
                let reason = certificates.iter().find_map(unsupported_rsa_key);
                let reason = reason.unwrap_or_else(|| {
                    "contains no certificate that can be used as a CA".to_owned()
                });
                self.error(&pem.at, format!("{}{reason}", pem.subject));
                None
            }
        }
    }
}

/// Returns a verifier with the system's CA certificates, as Go does without `ClientCAs`. It sends no list of accepted CAs to clients,
/// because the list would be long.
fn system_issuers(provider: &Arc<CryptoProvider>) -> Issuers {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::clone(provider);
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    Issuers {
        chain_verifier: builder.clear_root_hint_subjects().build().ok(),
        trusted: Vec::new(),
    }
}
