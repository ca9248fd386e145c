//! The proxy variables of the environment. The SDK reads them, but it silently ignores a variable that it cannot parse, and its `NO_PROXY`
//! supports neither ports nor `*` for IP addresses.

use super::endpoint;
use hyper::Uri;
use std::env;

const VARIABLES: [&str; 6] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
];

#[derive(Clone, Debug, Default)]
pub struct Proxies {
    pub enabled: bool,
    /// The entries of `NO_PROXY` with a port. The SDK matches the other entries.
    bypassed: Vec<(String, u16)>,
}

impl Proxies {
    pub fn from_env() -> Result<Self, Vec<String>> {
        let no_proxy = env::var("NO_PROXY").or_else(|_| env::var("no_proxy"));
        let no_proxy = no_proxy.unwrap_or_default();
        if no_proxy.split(',').any(|entry| entry.trim() == "*") {
            return Ok(Self::default());
        }
        let values = VARIABLES.iter().filter_map(|name| {
            let value = env::var_os(name).filter(|value| !value.is_empty())?;
            Some((name, value))
        });
        let errors: Vec<String> = values
            .filter(|(_, value)| !value.to_str().is_some_and(is_proxy_url))
            // Without the value, because it may contain a password.
            .map(|(name, _)| {
                format!(
                    "{name} is not a valid proxy URL (its value is not shown); allowed: http://host:port or https://host:port, with \
                     user:password@ before the host if the proxy requires it; write special characters of the password as %XX, such as %40 \
                     for @"
                )
            })
            .collect();
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Self {
            enabled: true,
            bypassed: no_proxy.split(',').filter_map(host_and_port).collect(),
        })
    }

    pub fn are_bypassed(&self, uri: &str) -> bool {
        let Ok(uri) = uri.parse::<Uri>() else {
            return true;
        };
        let is_https = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let host = uri.host().unwrap_or_default().to_ascii_lowercase();
        self.bypassed.iter().any(|(name, number)| {
            let before = host.strip_suffix(name.as_str());
            *number == port && before.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        })
    }
}

/// The scheme is http if there is none.
fn is_proxy_url(value: &str) -> bool {
    let Ok(uri) = value.parse::<Uri>() else {
        return false;
    };
    uri.authority().is_some_and(|authority| {
        // A password with /, ? or # ends the authority too early, and the SDK splits at the first @.
        let at_signs = authority.as_str().matches('@').count();
        at_signs <= 1
            && value.matches('@').count() == at_signs
            && matches!(uri.scheme_str(), None | Some("http" | "https"))
            && endpoint::has_host(authority)
    })
}

/// An IPv6 address with a port has brackets.
fn host_and_port(entry: &str) -> Option<(String, u16)> {
    let (host, port) = entry.trim().rsplit_once(':')?;
    let is_host = !host.is_empty() && (!host.contains(':') || host.starts_with('['));
    let name = host.trim_start_matches('.').to_ascii_lowercase();
    let port = port.parse().ok()?;
    is_host.then_some((name, port))
}

#[cfg(test)]
mod tests {
    use super::{Proxies, host_and_port};

    #[test]
    fn no_proxy_with_port_bypasses_that_port() {
        let list = "Glue.example.com:443, .local:8443,127.0.0.1:80,[::1]:8080,::2,:1,a:b";
        let proxies = Proxies {
            enabled: true,
            bypassed: list.split(',').filter_map(host_and_port).collect(),
        };
        for (uri, bypassed) in [
            ("https://eu.glue.example.com/", true),
            ("https://LOCAL:8443/", true),
            ("http://127.0.0.1/", true),
            ("http://[::1]:8080/", true),
            ("https://glue.example.com:8443/", false),
            ("https://notglue.example.com/", false),
            ("https://a:443/", false),
            ("http://127.0.0.1:8080/", false),
            ("http://[::1]/", false),
        ] {
            assert_eq!(proxies.are_bypassed(uri), bypassed, "{uri}");
        }
    }
}
