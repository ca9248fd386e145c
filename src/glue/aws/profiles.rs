//! Finds errors in the AWS configuration files, which the SDK ignores or does not explain.

use super::endpoint;
use aws_config::default_provider::region::DefaultRegionChain;
use aws_config::profile;
use aws_runtime::env_config::file::EnvConfigFiles;
use aws_runtime::env_config::section::EnvConfigSections;
use aws_types::os_shim_internal::{Env, Fs};
use std::env;
use std::error::Error;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;

/// Allowed characters of a profile name besides letters and digits. The SDK skips sections with other characters, such as quotes.
const NAME_CHARACTERS: &str = "_-/.%@:+";

/// Returns the default region of the SDK. The error is that of the profile, if there is one.
pub async fn default_region(profile: Option<&str>) -> Result<String, Option<String>> {
    let mut chain = DefaultRegionChain::builder();
    if let Some(profile) = profile {
        chain = chain.profile_name(profile);
    }
    if let Some(error) = pipe_error() {
        return Err(Some(error));
    }
    let chain = chain.build();
    // In its own task, so that a panic of the SDK means that there is no region.
    let region = tokio::spawn(async move { chain.region().await });
    let region = region.await.ok().flatten();
    match region {
        Some(region) => Ok(region.as_ref().to_owned()),
        None => Err(profile_error(profile).await),
    }
}

/// Checks `profile`, or else the profile of the environment.
pub async fn profile_error(profile: Option<&str>) -> Option<String> {
    match sections(profile).await {
        Ok(sections) => missing(profile, &sections),
        Err(error) => Some(error),
    }
}

/// Checks the endpoints of `services`.
pub async fn endpoint_error(profile: Option<&str>, services: &[&str]) -> Option<String> {
    let sections = sections(profile).await.ok()?;
    endpoint::profile_error(&sections, services)
}

/// Returns the name and the path of the CA bundle. The SDK does not read this key.
pub async fn ca_bundle(profile: Option<&str>) -> Option<(String, String)> {
    let sections = sections(profile).await.ok()?;
    let path = sections.get("ca_bundle").filter(|path| !path.is_empty())?;
    let name = format!("ca_bundle of the profile {}", sections.selected_profile());
    Some((name, path.to_owned()))
}

async fn sections(profile: Option<&str>) -> Result<EnvConfigSections, String> {
    if let Some(error) = pipe_error() {
        return Err(error);
    }
    for (path, is_named) in files() {
        if let Err(error) = fs::read_to_string(&path)
            && (is_named || error.kind() != ErrorKind::NotFound)
        {
            return Err(format!(
                "the AWS configuration file {} cannot be read: {error}",
                path.display()
            ));
        }
    }
    let selected = profile.map(|profile| profile.to_owned().into());
    profile::load(
        &Fs::real(),
        &Env::real(),
        &EnvConfigFiles::default(),
        selected,
    )
    .await
    .map_err(|error| {
        let cause = error
            .source()
            .map_or_else(|| error.to_string(), ToString::to_string);
        format!("an AWS configuration file is invalid: {cause}").replace(":\n  ", ": ")
    })
}

/// The SDK would block on a pipe without a timeout.
pub fn pipe_error() -> Option<String> {
    files().into_iter().find_map(|(path, _)| {
        let is_pipe = fs::metadata(&path).is_ok_and(|file| file.file_type().is_fifo());
        is_pipe.then(|| {
            format!(
                "the AWS configuration file {} is a pipe; allowed: a regular file",
                path.display()
            )
        })
    })
}

fn missing(profile: Option<&str>, sections: &EnvConfigSections) -> Option<String> {
    let name = sections.selected_profile();
    let is_requested = profile.is_some() || env::var_os("AWS_PROFILE").is_some();
    if !is_requested || name.is_empty() || sections.get_profile(name).is_some() {
        return None;
    }
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || NAME_CHARACTERS.contains(c);
    if !name.chars().all(is_allowed) {
        return Some(format!(
            "the AWS SDK cannot find the profile `{}`: a profile name may contain letters, digits and {NAME_CHARACTERS}",
            name.escape_debug()
        ));
    }
    let mut names: Vec<&str> = sections.profiles().collect();
    names.sort_unstable();
    let existing = match names.as_slice() {
        [] => String::new(),
        names => format!(" (existing profiles: {})", names.join(", ")),
    };
    let [(config, _), (credentials, _)] = files();
    Some(format!(
        "the profile `{name}` does not exist: neither [profile {name}] in {} nor [{name}] in {}, without quotes{existing}",
        config.display(),
        credentials.display()
    ))
}

/// Each with true if the environment sets it.
fn files() -> [(PathBuf, bool); 2] {
    let home = PathBuf::from(env::var_os("HOME").unwrap_or_else(|| "~".into()));
    [
        ("AWS_CONFIG_FILE", ".aws/config"),
        ("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials"),
    ]
    .map(|(variable, default)| {
        let path = env::var(variable).unwrap_or_default();
        match path.strip_prefix("~/") {
            _ if path.is_empty() => (home.join(default), false),
            Some(rest) => (home.join(rest), true),
            None => (path.into(), true),
        }
    })
}
