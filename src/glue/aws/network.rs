//! Network settings of the environment and the AWS profiles: proxies and CA bundles.

use super::proxy::Proxies;
use super::{endpoint, profiles};
use crate::toolkit::files;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

const CA_VARIABLE: &str = "AWS_CA_BUNDLE";

/// The default is no proxy and the system's CA certificates.
#[derive(Clone, Debug, Default)]
pub struct Network {
    pub(super) proxies: Proxies,
    /// The CA bundle of each profile that has one; the key is the scope's `profile`.
    pub(super) bundles: HashMap<Option<String>, CaBundle>,
}

impl Network {
    pub async fn load(profiles: BTreeSet<Option<String>>) -> Result<Self, Vec<String>> {
        let mut errors = endpoint::environment_errors();
        let proxies = Proxies::from_env().unwrap_or_else(|found| {
            errors.extend(found);
            Proxies::default()
        });
        let mut bundles = HashMap::new();
        let variable = std::env::var_os(CA_VARIABLE).filter(|path| !path.is_empty());
        for profile in profiles {
            // The variable wins, as in AWS's other tools.
            let read = match &variable {
                Some(path) => CaBundle::read(CA_VARIABLE, Path::new(path)).map(Some),
                None => profiles::ca_bundle(profile.as_deref())
                    .await
                    .map(|(name, path)| CaBundle::read(&name, Path::new(&path)))
                    .transpose(),
            };
            match read {
                Ok(Some(bundle)) => drop(bundles.insert(profile, bundle)),
                Ok(None) => {}
                Err(error) if errors.contains(&error) => {}
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() {
            Ok(Self { proxies, bundles })
        } else {
            Err(errors)
        }
    }
}

/// CA certificates that replace the system's, as PEM.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct CaBundle(pub(super) Arc<str>);

impl CaBundle {
    fn read(name: &str, path: &Path) -> Result<Self, String> {
        let pem = files::read(path, files::MIB).map_err(|error| format!("cannot be read: {error}"));
        pem.and_then(|pem| Self::parse(&pem)).map_err(|why| {
            format!(
                "{name}: {} {why}; the file replaces the system's CA certificates",
                path.display()
            )
        })
    }

    /// Keeps the certificates that rustls can parse. The SDK panics on any other.
    fn parse(pem: &[u8]) -> Result<Self, String> {
        let mut trusted = String::new();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| format!("is not valid PEM: {error}"))?;
            let encoded = STANDARD.encode(&certificate);
            // Like the SDK with the system's bundle: an unusable certificate does not invalidate the others.
            if RootCertStore::empty().add(certificate).is_ok() {
                trusted +=
                    &format!("-----BEGIN CERTIFICATE-----\n{encoded}\n-----END CERTIFICATE-----\n");
            }
        }
        if trusted.is_empty() {
            return Err("has no CA certificate in PEM".to_owned());
        }
        Ok(Self(trusted.into()))
    }
}
