//! Checks the custom endpoints of the environment and the profiles.

use aws_config::SdkConfig;
use aws_types::service_config::ServiceConfigKey;
use hyper::Uri;
use hyper::http::uri::Authority;
use std::env;

/// The variables of the services that the exporter calls.
const VARIABLES: [&str; 5] = [
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_GLUE",
    "AWS_ENDPOINT_URL_STS",
    "AWS_ENDPOINT_URL_SSO",
    "AWS_ENDPOINT_URL_SSO_OIDC",
];
/// The same services with their names in the SDK.
pub const SERVICES: [&str; 4] = ["Glue", "STS", "SSO", "SSO OIDC"];
/// Names the places where an endpoint can be configured. Part of the error message.
pub const SOURCES: &str =
    " (from `endpoint_url` in the profile or in its `services` section, or from AWS_ENDPOINT_URL)";
const IGNORE: &str = "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS";

/// Returns an error message for each endpoint variable of the environment that cannot be used.
pub fn environment_errors() -> Vec<String> {
    if env::var(IGNORE).is_ok_and(|value| value.eq_ignore_ascii_case("true")) {
        return Vec::new();
    }
    VARIABLES
        .iter()
        .filter_map(|name| {
            let url = env::var_os(name)?;
            // An empty variable counts as not set.
            let url = url.to_string_lossy();
            (!url.is_empty() && !is_usable(&url))
                .then(|| format!("{name}: {}", error_message(&url)))
        })
        .collect()
}

/// Returns an error message for the first configured endpoint that cannot be used. The SDK panics on an empty one.
pub fn configuration_error(sdk: &SdkConfig) -> Option<String> {
    let configured = sdk.service_config()?;
    SERVICES.iter().find_map(|service| {
        let key = ServiceConfigKey::builder()
            .service_id(service)
            .env("AWS_ENDPOINT_URL")
            .profile("endpoint_url")
            .build()
            .ok()?;
        let url = configured.load_config(key)?;
        (!is_usable(&url)).then(|| format!("{service}: {}{SOURCES}", error_message(&url)))
    })
}

/// Returns the error message for a `url` that cannot be used.
pub fn error_message(url: &str) -> String {
    // The part before the host can contain a password.
    let shown = match url.rsplit_once('@') {
        Some((_, host)) => format!("***@{host}"),
        None => url.to_owned(),
    };
    format!(
        "the endpoint `{}` is not an http or https URL; allowed: http://HOST[:PORT] or https://HOST[:PORT], such as http://localhost:4566",
        shown.escape_debug()
    )
}

/// Returns true if requests can be sent to `url`.
pub fn is_usable(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else {
        return false;
    };
    matches!(uri.scheme_str(), Some("http" | "https")) && uri.authority().is_some_and(has_host)
}

/// Returns true if there is a host, and a valid port if there is one.
pub fn has_host(authority: &Authority) -> bool {
    // `Uri` reports no port if it is larger than 65535.
    !authority.host().is_empty()
        && (authority.port().is_some() || authority.as_str().ends_with(authority.host()))
}

#[cfg(test)]
mod tests {
    use super::{error_message, is_usable};

    #[test]
    fn endpoint_with_scheme_and_host_is_usable() {
        for url in [
            "http://localhost:4566",
            "https://vpce-1.glue.eu-west-1.vpce.amazonaws.com",
            "http://[::1]:80/path",
            "HTTP://localhost",
            "http://user:secret@localhost:1",
        ] {
            assert!(is_usable(url), "{url}");
        }
    }

    #[test]
    fn endpoint_without_scheme_or_host_is_unusable() {
        for url in [
            "localhost:4566",
            "localhost",
            "//localhost:4566",
            "ftp://localhost",
            "http://",
            "http:/localhost",
            "http://local host",
            "http://localhost:99999",
            "http://localhost:4566\n",
            " http://localhost",
        ] {
            assert!(!is_usable(url), "{url:?}");
        }
    }

    #[test]
    fn endpoint_error_hides_password() {
        assert!(!error_message("user:secret@host:1").contains("secret"));
    }
}
