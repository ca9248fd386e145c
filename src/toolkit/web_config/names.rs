//! Go's names for TLS versions, cipher suites and curves, and the ones that rustls supports.

use crate::toolkit::yaml::{Checked, ValueError};
use rustls::SupportedCipherSuite;
use rustls::crypto::SupportedKxGroup;
use rustls::crypto::aws_lc_rs::{ALL_CIPHER_SUITES, kx_group};
use serde::Deserialize;
use std::str::FromStr;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum MinVersion {
    Tls10,
    Tls11,
    Tls12,
    Tls13,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum MaxVersion {
    Tls12,
    Tls13,
}

#[derive(Clone, Debug)]
pub(super) struct GoName<T> {
    pub(super) name: String,
    /// `None` if rustls does not support it.
    pub(super) supported: Option<T>,
}

pub(super) type Suite = GoName<SupportedCipherSuite>;

impl Checked for Suite {
    const EXPECTED: &'static str = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, \
        TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, \
        TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, TLS_AES_128_GCM_SHA256, TLS_AES_256_GCM_SHA384, TLS_CHACHA20_POLY1305_SHA256";
}

impl FromStr for Suite {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let is_named = |suite: &&SupportedCipherSuite| {
            let name = format!("{:?}", suite.suite()).replace("TLS13_", "TLS_");
            // Go accepts the older names of ChaCha20 without the hash too.
            name == text || (text.ends_with("_POLY1305") && name == format!("{text}_SHA256"))
        };
        let supported = ALL_CIPHER_SUITES.iter().find(is_named).copied();
        // Go supports more: CBC, suites without forward secrecy, and broken ciphers.
        if supported.is_none() && !text.starts_with("TLS_") {
            return Err(ValueError::of::<Self>("is not a cipher suite"));
        }
        Ok(Self {
            name: text.to_owned(),
            supported,
        })
    }
}

pub(super) type Curve = GoName<&'static dyn SupportedKxGroup>;

impl Checked for Curve {
    const EXPECTED: &'static str =
        "CurveP256, CurveP384, X25519, X25519MLKEM768, SecP256r1MLKEM768";
}

impl FromStr for Curve {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let supported = match text {
            "CurveP256" => Some(kx_group::SECP256R1),
            "CurveP384" => Some(kx_group::SECP384R1),
            "X25519" => Some(kx_group::X25519),
            "X25519MLKEM768" => Some(kx_group::X25519MLKEM768),
            "SecP256r1MLKEM768" => Some(kx_group::SECP256R1MLKEM768),
            "CurveP521" | "SecP384r1MLKEM1024" => None,
            _ => return Err(ValueError::of::<Self>("is not a curve")),
        };
        Ok(Self {
            name: text.to_owned(),
            supported,
        })
    }
}
