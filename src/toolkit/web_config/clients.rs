//! The keys of `tls_server_config` for client certificates.

use super::client_certificate::{ClientCertificates, Issuers};
use super::pem::{Context, Pem};
use crate::toolkit::yaml::{At, Field, List, NonEmpty};
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use serde::Deserialize;
use std::sync::Arc;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) enum ClientAuth {
    #[default]
    NoClientCert,
    RequestClientCert,
    /// The alias is the old name in the toolkit.
    #[serde(alias = "RequireClientCert")]
    RequireAnyClientCert,
    VerifyClientCertIfGiven,
    RequireAndVerifyClientCert,
}

pub(super) fn verifier(
    context: &mut Context<'_>,
    provider: &Arc<CryptoProvider>,
    (auth, names): (Field<ClientAuth>, List<NonEmpty>),
    authorities: Field<Pem>,
    tls_at: At,
) -> Option<Arc<dyn ClientCertVerifier>> {
    let report = context.report;
    let (auth, auth_at) = auth.located_or(ClientAuth::NoClientCert, tls_at)?;
    let (mandatory, verified) = match auth {
        ClientAuth::NoClientCert | ClientAuth::RequestClientCert => (false, false),
        ClientAuth::RequireAnyClientCert => (true, false),
        ClientAuth::VerifyClientCertIfGiven => (false, true),
        ClientAuth::RequireAndVerifyClientCert => (true, true),
    };
    if let Some(at) = names.at {
        if names.is_empty() {
            let text =
                "is empty, so every client would be rejected; remove it to accept every name";
            report.error(at, text);
        } else if !mandatory {
            let text = "does not apply to clients without a certificate; set `client_auth_type` to RequireAndVerifyClientCert";
            report.error(at, text);
        } else if !verified {
            let text = "RequireAnyClientCert does not verify certificates, so any client can claim these names; use RequireAndVerifyClientCert";
            context.note(at, text);
        }
    }
    let issuers = match authorities {
        Field::Valid(pem, _) if auth == ClientAuth::NoClientCert => {
            let text = "has no effect, because NoClientCert does not request certificates; set another `client_auth_type`";
            report.error(pem.at, text);
            None
        }
        Field::Valid(pem, _) => issuers(context, &pem, Arc::clone(provider)),
        Field::Absent if verified => {
            let text = "neither `client_ca` nor `client_ca_file` is set; verifying client certificates with the system's CA certificates";
            context.note(auth_at, text);
            Some(system_issuers(provider))
        }
        Field::Absent | Field::Invalid => None,
    };
    let has_names = names.at.is_some();
    let allowed_names = names.values().into_iter().map(|name| name.0).collect();
    (auth != ClientAuth::NoClientCert).then(|| {
        Arc::new(ClientCertificates {
            provider: Arc::clone(provider),
            mandatory,
            issuers: issuers.filter(|_| verified),
            allowed_names: has_names.then_some(allowed_names),
        }) as _
    })
}

fn issuers(context: &mut Context<'_>, pem: &Pem, provider: Arc<CryptoProvider>) -> Option<Issuers> {
    let certificates = pem.certificates(context.report)?;
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates.iter().cloned());
    let builder = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
    let Ok(verifier) = builder.build() else {
        let text = "contains no certificate that can be used as a CA";
        pem.error(context.report, text);
        return None;
    };
    let unusable = certificates.len() - added;
    if unusable > 0 {
        let text = format!("certificates ignored because they cannot be used as a CA: {unusable}");
        context.note(pem.at, &text);
    }
    Some(Issuers {
        chain_verifier: Some(verifier),
        trusted: certificates,
    })
}

/// As Go does without `ClientCAs`. Sends no list of accepted CAs to clients, because the list would be long.
fn system_issuers(provider: &Arc<CryptoProvider>) -> Issuers {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let builder = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
    Issuers {
        chain_verifier: builder.clear_root_hint_subjects().build().ok(),
        trusted: Vec::new(),
    }
}
