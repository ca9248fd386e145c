//! Checks the custom endpoints of the environment and the profiles.

use aws_runtime::env_config::EnvConfigValue;
use aws_runtime::env_config::section::EnvConfigSections;
use aws_types::os_shim_internal::Env;
use hyper::Uri;
use hyper::http::uri::Authority;
use std::env;

/// The services that a poll needs, with their names in the SDK.
pub const POLLED: [&str; 4] = ["Glue", "STS", "SSO", "SSO OIDC"];
pub const CLOUDWATCH: &str = "CloudWatch";
pub const SERVICES: [&str; 5] = ["Glue", "STS", "SSO", "SSO OIDC", CLOUDWATCH];
const VARIABLE: &str = "AWS_ENDPOINT_URL";
const IGNORE: &str = "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS";

pub fn environment_errors() -> Vec<String> {
    if env::var(IGNORE).is_ok_and(|value| value.eq_ignore_ascii_case("true")) {
        return Vec::new();
    }
    let of_service = |service: &str| {
        let service = service.replace(' ', "_").to_uppercase();
        format!("{VARIABLE}_{service}")
    };
    let names = std::iter::once(VARIABLE.to_owned()).chain(SERVICES.map(of_service));
    names
        .filter_map(|name| {
            let url = env::var_os(&name)?;
            let url = url.to_string_lossy();
            (!url.is_empty() && !is_usable(&url))
                .then(|| format!("{name}: {}", error_message(&url)))
        })
        .collect()
}

/// Checks the endpoints of `services` that are in effect for a profile. The SDK panics on an empty one.
pub fn profile_error(sections: &EnvConfigSections, services: &[&str]) -> Option<String> {
    let environment = Env::real();
    services.iter().find_map(|service| {
        let value = EnvConfigValue::new()
            .env(VARIABLE)
            .profile("endpoint_url")
            .service_id(service);
        let (url, _) = value.load(&environment, Some(sections))?;
        (!is_usable(&url)).then(|| {
            format!(
                "endpoint_url for {service} of the profile `{}`, its `services` section or {VARIABLE}: {}",
                sections.selected_profile(),
                error_message(&url)
            )
        })
    })
}

fn error_message(url: &str) -> String {
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

fn is_usable(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else {
        return false;
    };
    matches!(uri.scheme_str(), Some("http" | "https")) && uri.authority().is_some_and(has_host)
}

pub fn has_host(authority: &Authority) -> bool {
    // `Uri` reports no port if it is larger than 65535.
    !authority.host().is_empty()
        && (authority.port().is_some() || authority.as_str().ends_with(authority.host()))
}
