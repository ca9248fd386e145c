//! What is wrong with the AWS configuration files. The SDK itself goes on without a file that it cannot read, and names neither the file
//! nor the profiles that it does find.

use super::endpoint;
use aws_config::profile;
use aws_runtime::env_config::EnvConfigValue;
use aws_runtime::env_config::file::EnvConfigFiles;
use aws_runtime::env_config::section::EnvConfigSections;
use aws_types::os_shim_internal::{Env, Fs};
use std::env;
use std::error::Error;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;

/// Characters of a profile's name beside letters and digits. The SDK skips a section with any other, and quotes are others to it.
const NAME_CHARACTERS: &str = "_-/.%@:+";
/// As many profiles as a message names.
const MAX_NAMES: usize = 10;

/// Returns why the SDK can load nothing from the profile, or from that of the environment.
pub async fn mistake(profile: Option<&str>) -> Option<String> {
    match sections(profile).await {
        Ok(sections) => missing(profile, &sections),
        Err(unusable) => Some(unusable),
    }
}

/// Returns the same, or else which endpoint of the profile cannot be used.
pub async fn mistake_with_endpoints(profile: Option<&str>) -> Option<String> {
    let sections = match sections(profile).await {
        Ok(sections) => sections,
        Err(unusable) => return Some(unusable),
    };
    missing(profile, &sections).or_else(|| {
        let environment = Env::from_slice(&[]);
        endpoint::SERVICES.iter().find_map(|service| {
            let (url, _) = EnvConfigValue::new()
                .profile("endpoint_url")
                .service_id(service)
                .load(&environment, Some(&sections))?;
            (!endpoint::is_usable(&url)).then(|| {
                format!(
                    "endpoint_url for {service} of the profile `{}`: {}",
                    sections.selected_profile(),
                    endpoint::mistake(&url)
                )
            })
        })
    })
}

/// Returns the name and the `ca_bundle` of the profile, or of that of the environment. The SDK does not read this key.
pub async fn ca_bundle(profile: Option<&str>) -> Option<(String, String)> {
    let sections = sections(profile).await.ok()?;
    let path = sections.get("ca_bundle").filter(|path| !path.is_empty())?;
    Some((sections.selected_profile().to_owned(), path.to_owned()))
}

/// The AWS configuration files as they are now, or why they cannot be used.
async fn sections(profile: Option<&str>) -> Result<EnvConfigSections, String> {
    if let Some(mistake) = pipe() {
        return Err(mistake);
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
        format!("an AWS configuration file is broken: {cause}").replace(":\n  ", ": ")
    })
}

/// Returns which of the files is a pipe. The SDK would wait for its other end, and nothing could end that.
pub fn pipe() -> Option<String> {
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

/// Returns that the files have no profile of the name that is asked for, if one is.
fn missing(profile: Option<&str>, sections: &EnvConfigSections) -> Option<String> {
    let name = sections.selected_profile();
    let is_asked_for = profile.is_some() || env::var_os("AWS_PROFILE").is_some();
    if !is_asked_for || name.is_empty() || sections.get_profile(name).is_some() {
        return None;
    }
    let is_readable = |c: char| c.is_ascii_alphanumeric() || NAME_CHARACTERS.contains(c);
    if !name.chars().all(is_readable) {
        return Some(format!(
            "the AWS SDK cannot find the profile `{}`: allowed in a profile's name are letters, digits and {NAME_CHARACTERS}",
            name.escape_debug()
        ));
    }
    let mut names: Vec<&str> = sections.profiles().collect();
    names.sort_unstable();
    let more = if names.len() > MAX_NAMES { ", …" } else { "" };
    names.truncate(MAX_NAMES);
    let others = match names.as_slice() {
        [] => String::new(),
        names => format!(" (profiles there: {}{more})", names.join(", ")),
    };
    let [(config, _), (credentials, _)] = files();
    Some(format!(
        "the profile `{name}` does not exist: neither [profile {name}] in {} nor [{name}] in {}, without quotes{others}",
        config.display(),
        credentials.display()
    ))
}

fn files() -> [(PathBuf, bool); 2] {
    [
        file("AWS_CONFIG_FILE", ".aws/config"),
        file("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials"),
    ]
}

/// Returns where a file is, and whether the environment says so.
fn file(variable: &str, default: &str) -> (PathBuf, bool) {
    let home = PathBuf::from(env::var_os("HOME").unwrap_or_else(|| "~".into()));
    match env::var(variable).ok().filter(|path| !path.is_empty()) {
        Some(path) => match path.strip_prefix("~/") {
            Some(rest) => (home.join(rest), true),
            None => (path.into(), true),
        },
        None => (home.join(default), false),
    }
}
