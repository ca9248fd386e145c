//! What is said of a failed call: what happened, with its causes, without any secret, and of credentials what to do about it.

use crate::config::{Credentials, Role};
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_glue::config::http::HttpResponse;
use aws_sdk_glue::error::{ProvideErrorMetadata, SdkError};
use std::error::Error;

/// A log line is for reading: what AWS says in more than this is cut.
const LONGEST_MESSAGE: usize = 1_000;

/// What is said where credentials did not come in time.
pub const LATE: &str = "the credentials could not be loaded in time";

/// What stands before words that are not AWS's: what a `credential_process` printed, which can be the credentials themselves.
const BEFORE_OUTPUT: [&str; 2] = [". Stderr:", "could not parse response:"];
/// Where AWS, to whom a signature is wrong, begins to repeat the request that it should have been made of: with the session's token.
const BEFORE_REQUEST: &str = "The Canonical String";
/// What STS says of a value that it does not take, before the value: in this form it repeats an external id.
const BEFORE_VALUE: &str = "validation error detected:";

/// The chain of causes in one line, the outermost first; of an error that AWS named, its name and message.
pub fn of<E>(error: &SdkError<E, HttpResponse>, credentials: &Credentials) -> String
where
    E: Error + ProvideErrorMetadata + 'static,
{
    let mut words = String::new();
    if let Some(service) = error.as_service_error()
        && let Some(code) = service.code()
    {
        words.push_str(code);
        if let Some(message) = service.message() {
            words.push_str(": ");
            words.push_str(message);
        }
    } else {
        words = chain(error);
        if let Some(response) = error.raw_response() {
            words.push_str(&format!(" (HTTP status {})", response.status().as_u16()));
        }
    }
    presentable(words, credentials)
}

/// The same of credentials that could not be loaded.
pub fn of_load(error: &CredentialsError, credentials: &Credentials) -> String {
    presentable(chain(error), credentials)
}

fn chain(error: &(dyn Error + 'static)) -> String {
    let mut words = String::new();
    let mut cause = Some(error);
    while let Some(error) = cause {
        let text = without_output(error.to_string());
        // Some of the SDK's errors repeat their source.
        if !words.ends_with(&text) {
            if !words.is_empty() {
                words.push_str(": ");
            }
            words.push_str(&text);
        }
        cause = error.source();
    }
    words
}

/// Without secrets, in one line and not too long.
fn presentable(mut words: String, credentials: &Credentials) -> String {
    if let Some(Role {
        external_id: Some(secret),
        ..
    }) = &credentials.role
    {
        words = words.replace(secret.expose(), "***");
    }
    // The SDK lists what it tried, a line for each.
    words = words.replace(":\n  ", ": ").replace("\n  ", "; ");
    if let Some(request) = words.find(BEFORE_REQUEST) {
        words.truncate(request);
        words.push('…');
    }
    if let Some((end, _)) = words.char_indices().nth(LONGEST_MESSAGE) {
        words.truncate(end);
        words.push('…');
    }
    words
}

fn without_output(mut text: String) -> String {
    let before = BEFORE_OUTPUT.iter().chain([&BEFORE_VALUE]);
    let output = before
        .filter_map(|before| Some(text.find(before)? + before.len()))
        .min();
    if let Some(output) = output {
        text.truncate(output);
        text.push_str(" (not shown)");
    }
    text
}

/// Whose credentials failed so, and what a person can do about it.
pub fn what_to_do(words: &str, credentials: &Credentials) -> String {
    // The first that fits, from the particular to the general.
    const REMEDIES: [(&[&str], &str); 11] = [
        (
            &[LATE, "timed out"],
            "A credential_process that hangs, or an STS, SSO or metadata service that does not answer: look at what the profile names, \
             and at the network",
        ),
        (
            &["external process"],
            "Run the profile's credential_process by hand as this user: it must print credentials (1 MiB at most) and exit with 0",
        ),
        (
            &[
                "no credentials found",
                "MissingAuthenticationToken",
                "was not enabled",
            ],
            "There are no credentials: set the scope's `profile` or AWS_PROFILE to one that exists and has some, or give the machine or \
             container a role",
        ),
        (
            &["was not defined"],
            "Add what is missing to the profile, or name another as the scope's `profile` or in AWS_PROFILE",
        ),
        (
            &["SSO", "sso"],
            "The SSO session has ended or there never was one: log in again with `aws sso login`",
        ),
        (
            &[
                "WebIdentity",
                "InvalidIdentityToken",
                "IDPCommunicationError",
                "(os error 2)",
                "(os error 13)",
            ],
            "Look at the token file that AWS_WEB_IDENTITY_TOKEN_FILE, AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE or the profile names, and at the \
             role's trust in the identity provider",
        ),
        (
            &["HTTP credential provider"],
            "The container's endpoint (AWS_CONTAINER_CREDENTIALS_FULL_URI or _RELATIVE_URI) issued nothing: look at its token \
             (AWS_CONTAINER_AUTHORIZATION_TOKEN or _TOKEN_FILE) and at the role of the task or the association of the pod",
        ),
        (
            &["code: \"AccessDenied"],
            "STS refused the role: its trust policy must allow these credentials, and `external_id` must be the one that it asks for",
        ),
        (
            &["ExpiredToken", "expired", "TokenRefreshRequired"],
            "The session or token has expired: log in again, or renew the keys or the token (AWS_WEB_IDENTITY_TOKEN_FILE) where they come from; \
             environment variables need a restart",
        ),
        (
            &["Signature", "Skewed", "InTheFuture", "RequestExpired"],
            "The secret key does not fit the access key, or this machine's clock is wrong",
        ),
        (
            &["credentials: dispatch failure"],
            "What issues the credentials (STS, SSO) could not be reached: look at the network, the proxy and the CA certificates",
        ),
    ];
    let profile = credentials.profile.as_deref();
    let role = credentials.role.as_ref().map(|role| role.arn.as_str());
    let whose = match (profile, role) {
        (Some(profile), Some(role)) => format!(" (profile {profile}, role {role})"),
        (Some(profile), None) => format!(" (profile {profile})"),
        (None, Some(role)) => format!(" (role {role})"),
        (None, None) => String::new(),
    };
    let remedy = REMEDIES
        .iter()
        .find(|(signs, _)| signs.iter().any(|sign| words.contains(sign)))
        .map_or(
            "Look at the scope's profile and role, and at where its credentials come from",
            |(_, remedy)| remedy,
        );
    format!("{whose}. {remedy}")
}
