//! The proxy variables of the environment. They are not left to the SDK, because it silently ignores a variable that it cannot parse, and
//! its `NO_PROXY` supports neither ports nor `*` for IP addresses.

use aws_smithy_http_client::proxy::ProxyConfig;
use hyper::Uri;
use std::ffi::OsString;
use std::fmt;

const ALLOWED: &str = "allowed: http://host:port or https://host:port, with user:password@ before the host if the proxy requires it; \
                       write special characters of the password as %XX, such as %40 for @";

/// The proxies of the environment, and the hosts that bypass them. Upper case names take precedence over lower case names.
#[derive(Clone, Default)]
pub struct Proxies {
    pub http: Option<ProxyConfig>,
    pub https: Option<ProxyConfig>,
    /// The entries of `NO_PROXY` with a port. The SDK matches the other entries.
    no_proxy: Vec<(String, u16)>,
}

/// Which connection a request takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    Direct,
    HttpProxy,
    HttpsProxy,
}

impl Proxies {
    /// Reads the variables.
    ///
    /// # Errors
    /// One message for each variable that cannot be used.
    pub fn from_env(env: impl Fn(&str) -> Option<OsString>) -> Result<Self, Vec<String>> {
        let first = |names: &[&'static str]| {
            names.iter().find_map(|name| {
                // As in boto3, an empty variable is not set.
                let value = env(name).filter(|value| !value.is_empty())?;
                Some((*name, value))
            })
        };
        let no_proxy = first(&["NO_PROXY", "no_proxy"])
            .map(|(_, list)| list.to_string_lossy().into_owned())
            .unwrap_or_default();
        if no_proxy.split(',').any(|entry| entry.trim() == "*") {
            return Ok(Self::default());
        }
        let mut errors = Vec::new();
        let mut proxy = |names: &[&'static str]| {
            let (name, value) = first(names)?;
            let uri = value.to_str().and_then(proxy_uri);
            if uri.is_none() {
                // Without the value, because it may contain a password.
                errors.push(format!(
                    "{name} is not a valid proxy URL (its value is not shown); {ALLOWED}"
                ));
            }
            uri
        };
        let http = proxy(&["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"]);
        let https = proxy(&["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]);
        if !errors.is_empty() {
            errors.dedup();
            return Err(errors);
        }
        Ok(Self {
            http: http
                .and_then(|uri| ProxyConfig::http(uri).ok())
                .map(|proxy| proxy.no_proxy(&no_proxy)),
            https: https
                .and_then(|uri| ProxyConfig::https(uri).ok())
                .map(|proxy| proxy.no_proxy(&no_proxy)),
            no_proxy: no_proxy.split(',').filter_map(host_and_port).collect(),
        })
    }

    /// Returns the route to `uri`. The connector of a proxy bypasses it for the `NO_PROXY` entries without a port.
    pub fn route(&self, uri: &str) -> Route {
        let Ok(uri) = uri.parse::<Uri>() else {
            return Route::Direct;
        };
        let is_https = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let host = uri.host().unwrap_or_default().to_ascii_lowercase();
        let bypassed = self.no_proxy.iter().any(|(name, number)| {
            let before = host.strip_suffix(name.as_str());
            *number == port && before.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        });
        match (bypassed, is_https) {
            (false, true) if self.https.is_some() => Route::HttpsProxy,
            (false, false) if self.http.is_some() => Route::HttpProxy,
            _ => Route::Direct,
        }
    }
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the passwords.
        f.write_str("Proxies")
    }
}

/// Parses the URL of a proxy. The scheme is http if there is none.
fn proxy_uri(value: &str) -> Option<Uri> {
    let uri: Uri = value.parse().ok()?;
    let authority = uri.authority()?;
    let scheme = uri.scheme_str().unwrap_or("http");
    let (user, host_and_port) = match authority.as_str().rsplit_once('@') {
        Some((user, rest)) => (Some(user), rest),
        None => (None, authority.as_str()),
    };
    // A password with /, ? or # ends the authority too early, and the SDK splits at the first @.
    let has_one_at_sign = value.matches('@').count() == usize::from(user.is_some());
    let port_is_valid =
        host_and_port == authority.host() || authority.port_u16().is_some_and(|port| port > 0);
    if !has_one_at_sign || !port_is_valid || authority.host().is_empty() {
        return None;
    }
    Uri::builder()
        .scheme(scheme)
        .authority(authority.clone())
        .path_and_query("/")
        .build()
        .ok()
        .filter(|_| matches!(scheme, "http" | "https"))
}

/// Parses an entry of `NO_PROXY` with a port. An IPv6 address with a port has brackets.
fn host_and_port(entry: &str) -> Option<(String, u16)> {
    let (host, port) = entry.trim().rsplit_once(':')?;
    let is_host = !host.is_empty() && (!host.contains(':') || host.starts_with('['));
    let name = host.trim_start_matches('.').to_ascii_lowercase();
    port.parse()
        .ok()
        .filter(|_| is_host)
        .map(|port| (name, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_variables(variables: &[(&str, &str)]) -> Result<Proxies, Vec<String>> {
        Proxies::from_env(|name| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| value.into())
        })
    }

    fn route(no_proxy: &str, uri: &str) -> Route {
        let variables = [("ALL_PROXY", "http://proxy:3128"), ("no_proxy", no_proxy)];
        from_variables(&variables).unwrap().route(uri)
    }

    #[test]
    fn proxy_valid_url_is_accepted() {
        for value in [
            "proxy",
            "proxy:3128",
            "http://proxy",
            "http://proxy:3128/",
            "HTTP://proxy:3128",
            "https://proxy:3128",
            "http://user:p%5Ess@proxy:3128",
            "user:password@proxy:3128",
            "http://user@proxy",
            "http://[::1]:3128",
        ] {
            assert!(
                from_variables(&[("HTTPS_PROXY", value)])
                    .unwrap()
                    .https
                    .is_some()
            );
        }
    }

    #[test]
    fn proxy_invalid_url_is_reported_without_value() {
        for value in [
            "http://user:p^sswort@proxy:3128",
            "http://user:p@sswort@proxy:3128",
            "http://user:1#sswort@proxy:3128",
            "http://user:1/sswort@proxy:3128",
            "http://user:1?sswort@proxy:3128",
            "http://user:sswort@",
            "http://user:sswort@:3128",
            "http://proxy:sswort",
            "http://proxy:",
            "http://proxy:0",
            "http://proxy:65536",
            "http//proxy",
            "http:/proxy",
            "//proxy",
            "http://",
            "socks5://user:sswort@proxy",
            "\"http://proxy\"",
            "'http://proxy'",
            " http://proxy",
            "http://proxy ",
            "http://pro xy",
            "http://proxy\n",
        ] {
            for name in ["HTTPS_PROXY", "https_proxy", "all_proxy"] {
                let errors = from_variables(&[(name, value)]).unwrap_err();
                assert_eq!(errors.len(), 1, "{value}: {errors:?}");
                assert!(errors[0].starts_with(&format!("{name} ")), "{errors:?}");
                assert!(!errors[0].contains("sswort"), "{errors:?}");
            }
        }
    }

    #[test]
    fn proxy_empty_variable_counts_as_not_set() {
        let set = [("HTTPS_PROXY", ""), ("https_proxy", "http://proxy")];
        assert!(from_variables(&set).unwrap().https.is_some());
        let none = from_variables(&[("HTTPS_PROXY", ""), ("NO_PROXY", "")]).unwrap();
        assert!(none.https.is_none() && none.http.is_none());
    }

    #[test]
    fn no_proxy_star_bypasses_every_proxy() {
        for list in ["*", "example.com, *"] {
            for uri in [
                "http://169.254.169.254/latest",
                "https://[::1]",
                "https://a",
            ] {
                assert_eq!(route(list, uri), Route::Direct, "{list} {uri}");
            }
        }
    }

    #[test]
    fn no_proxy_with_port_bypasses_that_port() {
        let list = "Glue.example.com:443, .local:8443,127.0.0.1:80,[::1]:8080,::2,:1,a:b";
        for uri in [
            "https://glue.example.com/",
            "https://eu.glue.example.com:443/",
            "https://LOCAL:8443/",
            "https://a.local:8443/",
            "http://127.0.0.1/",
            "http://[::1]:8080/",
        ] {
            assert_eq!(route(list, uri), Route::Direct, "{uri}");
        }
        for uri in [
            "https://glue.example.com:8443/",
            "https://notglue.example.com/",
            "https://a.local/",
            "https://a:443/",
        ] {
            assert_eq!(route(list, uri), Route::HttpsProxy, "{uri}");
        }
        for uri in [
            "http://127.0.0.1:8080/",
            "http://1.127.0.0.2/",
            "http://[::1]/",
        ] {
            assert_eq!(route(list, uri), Route::HttpProxy, "{uri}");
        }
    }
}
