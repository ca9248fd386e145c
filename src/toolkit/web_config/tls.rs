//! Converts `tls_server_config` to a configuration for rustls.

use super::clients;
use super::names::{GoName, MaxVersion, MinVersion};
use super::pem::Context;
use super::schema::TlsKeys;
use crate::toolkit::yaml::{At, Checked, Field, List};
use rustls::crypto::aws_lc_rs;
use rustls::server::NoServerSessionStorage;
use rustls::version::{TLS12, TLS13};
use rustls::{Error, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion};
use std::sync::Arc;

/// Returns `None` if no key has a value, and on errors.
pub(super) fn tls(context: &mut Context<'_>, keys: TlsKeys, at: At) -> Option<Arc<ServerConfig>> {
    if keys.is_empty() {
        return None;
    }
    let report = context.report;
    let certificate = context.pem(keys.cert, keys.cert_file);
    let key = context.pem(keys.key, keys.key_file);
    let certificate = report.required(certificate, at, "`cert` or `cert_file` is missing");
    let key = report.required(key, at, "`key` or `key_file` is missing");
    let chain = certificate.as_ref();
    let chain = chain.and_then(|(pem, _)| pem.certificates(report));
    let private_key = key.as_ref().and_then(|(pem, _)| pem.private_key(report));
    let versions = versions(context, &keys.min_version, &keys.max_version);

    let mut provider = aws_lc_rs::default_provider();
    if let Some(mut suites) = supported::<SupportedCipherSuite>(context, keys.cipher_suites) {
        // The suites of TLS 1.3 are always enabled, as in Go, where the list applies only to older versions.
        suites.retain(|suite| suite.tls13().is_none());
        let default = provider.cipher_suites.into_iter();
        suites.extend(default.filter(|suite| suite.tls13().is_some()));
        provider.cipher_suites = suites;
    }
    if let Some(groups) = supported(context, keys.curve_preferences) {
        provider.kx_groups = groups;
    }
    let provider = Arc::new(provider);
    let authorities = context.pem(keys.client_ca, keys.client_ca_file);
    let auth = (keys.client_auth_type, keys.client_allowed_sans);
    let clients = clients::verifier(context, &provider, auth, authorities, at);
    let ((certificate, _), chain) = (certificate?, chain?);
    let ((key, _), private_key) = (key?, private_key?);
    if report.has_errors() {
        return None;
    }
    let builder = ServerConfig::builder_with_provider(provider);
    let Ok(builder) = builder.with_protocol_versions(&versions) else {
        let text = "`max_version` is TLS12, but no entry of `cipher_suites` is for TLS 1.2";
        report.error(at, text);
        return None;
    };
    let builder = match clients {
        Some(clients) => builder.with_client_cert_verifier(clients),
        None => builder.with_no_client_auth(),
    };
    let mut config = match builder.with_single_cert(chain, private_key) {
        Ok(config) => config,
        Err(Error::InconsistentKeys(_)) => {
            key.error(report, "does not match the certificate");
            return None;
        }
        Err(Error::General(_)) => {
            let text = "is not a key of a supported type; allowed: RSA of 2048 to 8192 bits, ECDSA on P-256, P-384 or P-521, Ed25519";
            key.error(report, text);
            return None;
        }
        Err(error) => {
            certificate.error(report, &format!("cannot be used: {error}"));
            return None;
        }
    };
    config.ignore_client_order = keys.prefer_server_cipher_suites.valid().unwrap_or(true);
    // A resumed session skips the verification of the client certificate, which may have expired. Scrapers do not resume sessions.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols.push(b"http/1.1".to_vec());
    Some(Arc::new(config))
}

fn versions(
    context: &mut Context<'_>,
    min: &Field<MinVersion>,
    max: &Field<MaxVersion>,
) -> Vec<&'static SupportedProtocolVersion> {
    if let Field::Valid(MinVersion::Tls10 | MinVersion::Tls11, at) = min {
        let text = "TLS 1.0 and TLS 1.1 are not supported; using TLS 1.2 as the minimum";
        context.note(*at, text);
    }
    match (min, max) {
        (Field::Valid(MinVersion::Tls13, _), Field::Valid(MaxVersion::Tls12, at)) => {
            let text = "`TLS12` is below `min_version`, so no version is left";
            context.report.error(*at, text);
            Vec::new()
        }
        (Field::Valid(MinVersion::Tls13, _), _) => vec![&TLS13],
        (_, Field::Valid(MaxVersion::Tls12, _)) => vec![&TLS12],
        _ => vec![&TLS13, &TLS12],
    }
}

/// Returns the entries that rustls supports, and notes the others. Returns `None` without a list or on errors.
fn supported<T>(context: &mut Context<'_>, list: List<GoName<T>>) -> Option<Vec<T>>
where
    GoName<T>: Checked,
{
    let at = list.at.filter(|_| !list.has_errors && !list.is_empty())?;
    let (mut supported, mut unsupported) = (Vec::new(), Vec::new());
    for entry in list.values() {
        match entry.supported {
            Some(value) => supported.push(value),
            None => unsupported.push(entry.name),
        }
    }
    let unsupported = unsupported.join(", ");
    if supported.is_empty() {
        let allowed = GoName::<T>::EXPECTED;
        let text = format!("no entry is supported: {unsupported}; allowed: {allowed}");
        context.report.error(at, text);
    } else if !unsupported.is_empty() {
        context.note(at, &format!("not supported and ignored: {unsupported}"));
    }
    Some(supported)
}
