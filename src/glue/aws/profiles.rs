//! Settings of the AWS profile files: reads those that the SDK ignores, and bounds the output of `credential_process`.

use super::http_client::MAX_CREDENTIALS_BYTES;
use aws_config::profile::{self, ProfileSet};
use aws_runtime::env_config::file::{Builder, EnvConfigFileKind, EnvConfigFiles};

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

/// Returns the profile files with the output of each `credential_process` bounded. The SDK reads all of it into memory.
pub async fn bounded() -> EnvConfigFiles {
    let mut overlay = String::new();
    if let Some(profiles) = read(None).await {
        for name in profiles.profiles() {
            let command = profiles
                .get_profile(name)
                .and_then(|profile| profile.get("credential_process"))
                .filter(|command| !command.is_empty());
            if let Some(command) = command {
                let command = bounded_command(command).replace('\n', "\n ");
                overlay += &format!("[{name}]\ncredential_process = {command}\n");
            }
        }
    }
    Builder::new()
        .include_default_config_file(true)
        .include_default_credentials_file(true)
        // The last value of a key wins.
        .with_contents(EnvConfigFileKind::Credentials, overlay)
        .build()
}

/// Wraps `command` so that at most `MAX_CREDENTIALS_BYTES` + 1 bytes of its output are passed on. Keeps its exit status; a command that
/// writes more gets SIGPIPE. Its standard error is discarded, because it is never shown. The wrapper must not contain ` #` or ` ;`, which
/// begin a comment in a profile file.
fn bounded_command(command: &str) -> String {
    let quoted = command.replace('\'', r"'\''");
    format!(
        "exec 4>&1; status=$({{ {{ sh -c '{quoted}' 2>/dev/null 3>&- 4>&-; echo $? >&3; }} | head -c {} >&4; }} 3>&1); exit $status",
        MAX_CREDENTIALS_BYTES + 1
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Output};

    fn sh(command: &str) -> Output {
        Command::new("sh").args(["-c", command]).output().unwrap()
    }

    #[test]
    fn bounded_command_runs_as_it_is_written() {
        for command in [
            "echo one; echo two",
            "printf %s 'a  b' \"c'd\" \"$0\" $#",
            "echo one\nprintf two\\\n\n",
            "false",
            "exit 7",
            "kill -9 $$",
            "not-a-program",
            "echo }; )",
            "echo '",
            "read line; echo \"[$line]\"",
        ] {
            let (plain, bounded) = (sh(command), sh(&bounded_command(command)));
            assert_eq!(plain.stdout, bounded.stdout, "{command}");
            // A shell has no signal to end by.
            let code = plain.status.code().unwrap_or(128 + 9);
            assert_eq!(bounded.status.code(), Some(code), "{command}");
        }
    }

    #[test]
    fn bounded_command_passes_on_no_more_than_its_bound() {
        let bounded = sh(&bounded_command("yes; yes; echo end"));
        assert_eq!(bounded.stdout.len(), MAX_CREDENTIALS_BYTES + 1);
    }
}
