//! Go's names for TLS versions, cipher suites and curves, and the ones that rustls supports.

use crate::config::value::{Checked, ValueError};
use rustls::SupportedCipherSuite;
use rustls::crypto::SupportedKxGroup;
use rustls::crypto::aws_lc_rs::{cipher_suite as suite, kx_group};
use std::fmt;
use std::str::FromStr;

/// A TLS version that Go supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Version {
    Tls10,
    Tls11,
    Tls12,
    Tls13,
}

impl Checked for Version {
    const EXPECTED: &'static str =
        "TLS12 or TLS13; TLS10 and TLS11 only as min_version, where they mean TLS12";
}

impl FromStr for Version {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text {
            "TLS10" => Ok(Self::Tls10),
            "TLS11" => Ok(Self::Tls11),
            "TLS12" => Ok(Self::Tls12),
            "TLS13" => Ok(Self::Tls13),
            _ => Err(ValueError::of::<Self>("is not a TLS version")),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls10 => "TLS10",
            Self::Tls11 => "TLS11",
            Self::Tls12 => "TLS12",
            Self::Tls13 => "TLS13",
        })
    }
}

/// A cipher suite or curve that Go supports.
#[derive(Clone, Copy, Debug)]
pub(super) enum GoName<T> {
    Supported(T),
    /// rustls does not support it.
    Unsupported(&'static str),
}

pub(super) type Cipher = GoName<SupportedCipherSuite>;

/// The cipher suites of TLS 1.3. They are always enabled, as in Go, where the list applies only to older versions.
pub(super) const TLS13_SUITES: [SupportedCipherSuite; 3] = [
    suite::TLS13_AES_256_GCM_SHA384,
    suite::TLS13_AES_128_GCM_SHA256,
    suite::TLS13_CHACHA20_POLY1305_SHA256,
];

/// Go's cipher suites that rustls does not support: CBC, no forward secrecy, or broken ciphers.
const UNSUPPORTED_SUITES: &[&str] = &[
    "TLS_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
];

impl Checked for Cipher {
    const EXPECTED: &'static str = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, \
        TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, \
        TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, TLS_AES_128_GCM_SHA256, TLS_AES_256_GCM_SHA384, TLS_CHACHA20_POLY1305_SHA256";
}

impl FromStr for Cipher {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        Ok(Self::Supported(match text {
            "TLS_AES_128_GCM_SHA256" => suite::TLS13_AES_128_GCM_SHA256,
            "TLS_AES_256_GCM_SHA384" => suite::TLS13_AES_256_GCM_SHA384,
            "TLS_CHACHA20_POLY1305_SHA256" => suite::TLS13_CHACHA20_POLY1305_SHA256,
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256" => {
                suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
            }
            "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384" => {
                suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
            }
            // Go accepts the older name without the hash too.
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"
            | "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305" => {
                suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
            }
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256" => suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384" => suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
            "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"
            | "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305" => {
                suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
            }
            _ => {
                let unsupported = UNSUPPORTED_SUITES.iter().find(|name| **name == text);
                return unsupported
                    .map(|name| Self::Unsupported(name))
                    .ok_or(ValueError::of::<Self>("is not a cipher suite"));
            }
        }))
    }
}

/// A curve or another key exchange group.
pub(super) type Curve = GoName<&'static dyn SupportedKxGroup>;

impl Checked for Curve {
    const EXPECTED: &'static str =
        "CurveP256, CurveP384, X25519, X25519MLKEM768, SecP256r1MLKEM768";
}

impl FromStr for Curve {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        Ok(match text {
            "CurveP256" => Self::Supported(kx_group::SECP256R1),
            "CurveP384" => Self::Supported(kx_group::SECP384R1),
            "X25519" => Self::Supported(kx_group::X25519),
            "X25519MLKEM768" => Self::Supported(kx_group::X25519MLKEM768),
            "SecP256r1MLKEM768" => Self::Supported(kx_group::SECP256R1MLKEM768),
            "CurveP521" => Self::Unsupported("CurveP521"),
            "SecP384r1MLKEM1024" => Self::Unsupported("SecP384r1MLKEM1024"),
            _ => return Err(ValueError::of::<Self>("is not a curve")),
        })
    }
}
