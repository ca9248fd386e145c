//! Settings of the AWS profile files that the SDK ignores.

use aws_config::profile::{self, ProfileSet};
use aws_runtime::env_config::file::EnvConfigFiles;

/// Parses the profile files. Returns None if that fails: the SDK reports it when it loads credentials.
async fn read(profile: Option<&str>) -> Option<ProfileSet> {
    let selected = profile.map(|name| name.to_owned().into());
    let (fs, env) = Default::default();
    profile::load(&fs, &env, &EnvConfigFiles::default(), selected)
        .await
        .ok()
}

/// Returns the name and the `ca_bundle` of `profile`, or without one of the profile that the environment selects.
pub async fn ca_bundle(profile: Option<&str>) -> Option<(String, String)> {
    let profiles = read(profile).await?;
    let path = profiles.get("ca_bundle").filter(|path| !path.is_empty())?;
    Some((profiles.selected_profile().to_owned(), path.to_owned()))
}
