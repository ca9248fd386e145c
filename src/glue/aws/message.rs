//! Error messages of failed calls: the error and its causes without secrets, and a hint if the credentials failed.

use crate::config::Credentials;
use crate::glue::error::{GlueError, Reason};
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_glue::config::http::HttpResponse;
use aws_sdk_glue::error::{ErrorMetadata, ProvideErrorMetadata, SdkError};
use aws_sdk_glue::operation::RequestId;
use std::error::Error;

const MAX_MESSAGE_CHARS: usize = 1_000;

pub const TIMED_OUT: &str = "the credentials could not be loaded in time";

/// Text before something secret: the output of a `credential_process`, or a value that STS rejects (an external ID).
const BEFORE_SECRET: [&str; 3] = [
    ". Stderr:",
    "could not parse response:",
    "validation error detected:",
];
/// Text before Rust's debug output of a request, a response or a JSON value in the SDK's errors.
const BEFORE_DEBUG_OUTPUT: [&str; 3] = ["` to request `Request {", ". Response {", ", found: "];
/// Text of the SDK before the code of an unknown error.
const BEFORE_CODE: &str = "unhandled error (";
/// Unclear texts of the SDK and its HTTP client, and their replacements.
const REPLACEMENTS: [(&str, &str); 5] = [
    ("unhandled error", "the response has no AWS error code"),
    (
        "This behavior requires following cargo feature(s) enabled: credentials-login. In order to use an active login session, the \
         `credentials-login` feature must be enabled.",
        "the profile has a `login_session` (`aws login`), which the exporter does not support",
    ),
    // The profile exists.
    ("was not defined: `", "is incomplete: `"),
    (
        "tunnel error: unsuccessful",
        "the proxy refused to connect to the endpoint: it answered CONNECT with an error status, such as 403 Forbidden",
    ),
    (
        "tunnel error: proxy authorization required",
        "the proxy requires a user and a password (407 Proxy Authentication Required)",
    ),
];
/// Text before the canonical request, which AWS repeats if a signature is wrong. It contains the session token.
const BEFORE_REQUEST: &str = "The Canonical String";

pub fn call_failed<E>(
    attempted: &str,
    reason: Reason,
    error: &SdkError<E, HttpResponse>,
    credentials: &Credentials,
) -> GlueError
where
    E: Error + ProvideErrorMetadata + 'static,
    SdkError<E, HttpResponse>: RequestId,
{
    let service_error = error.as_service_error().map(ProvideErrorMetadata::meta);
    let mut why = match service_error.filter(|metadata| metadata.code().is_some()) {
        Some(metadata) => code_and_message(metadata),
        None => {
            let status = error.raw_response().map_or_else(String::new, |response| {
                format!(" (HTTP status {})", response.status().as_u16())
            });
            chain(error) + &status
        }
    };
    why = sanitize(why, credentials);
    if reason == Reason::Credentials {
        why = with_hint(&why, credentials);
    }
    GlueError {
        request_id: error.request_id().map(str::to_owned),
        ..GlueError::new(reason, format!("{attempted} failed: {why}"))
    }
}

pub fn load_failed(error: &CredentialsError, credentials: &Credentials) -> String {
    with_hint(&sanitize(chain(error), credentials), credentials)
}

pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut message = String::new();
    let mut cause = Some(error);
    while let Some(error) = cause {
        cause = error.source();
        let text = match error.downcast_ref::<ErrorMetadata>() {
            Some(metadata) => code_and_message(metadata),
            // The source contains the code too.
            None if error.to_string().starts_with(BEFORE_CODE) => continue,
            None => clarify(&without_secret(error.to_string())),
        };
        // Some of the SDK's errors repeat their source.
        if !message.ends_with(&text) {
            if !message.is_empty() {
                message.push_str(": ");
            }
            message.push_str(&text);
        }
    }
    message
}

fn code_and_message(metadata: &ErrorMetadata) -> String {
    let parts = [metadata.code(), metadata.message()];
    parts.into_iter().flatten().collect::<Vec<_>>().join(": ")
}

fn clarify(text: &str) -> String {
    let debug_output = BEFORE_DEBUG_OUTPUT
        .iter()
        .filter_map(|before| text.find(before))
        .min();
    let mut text = text[..debug_output.unwrap_or(text.len())].to_owned();
    if let Some((before, status)) = text.split_once("StatusCode(") {
        text = format!("{before}HTTP status {}", status.trim_end_matches(')'));
    }
    for (unclear, clear) in REPLACEMENTS {
        text = text.replace(unclear, clear);
    }
    text
}

fn sanitize(mut message: String, credentials: &Credentials) -> String {
    let role = credentials.role.as_ref();
    if let Some(secret) = role.and_then(|role| role.external_id.as_ref()) {
        message = message.replace(secret.expose(), "***");
    }
    // The SDK lists the providers that it tried on separate lines.
    message = message.replace(":\n  ", ": ").replace("\n  ", "; ");
    if let Some(request) = message.find(BEFORE_REQUEST) {
        message.truncate(request);
        message.push('…');
    }
    // A hint may follow.
    message.truncate(message.trim_end_matches(['.', ' ']).len());
    if let Some((end, _)) = message.char_indices().nth(MAX_MESSAGE_CHARS) {
        message.truncate(end);
        message.push('…');
    }
    message
}

fn without_secret(mut text: String) -> String {
    let secret = BEFORE_SECRET
        .iter()
        .filter_map(|before| Some(text.find(before)? + before.len()))
        .min();
    if let Some(secret) = secret {
        text.truncate(secret);
        text.push_str(" (not shown)");
    }
    text
}

/// Texts of error messages, separated by `|`, and the hint for them. The first match wins, so specific texts come first.
const HINTS: [(&str, &str); 21] = [
    (
        "Signature expired|Signature not yet current|RequestExpired|Skewed|InTheFuture",
        "The system clock is wrong: synchronize it (NTP, chrony)",
    ),
    (
        "invalid peer certificate",
        "Check the CA certificates (SSL_CERT_FILE), the proxy and the system clock",
    ),
    (" is not an http or https URL", "Correct the endpoint"),
    (
        "no credentials found|MissingAuthenticationToken",
        "Set the scope's `profile` or AWS_PROFILE to an existing profile with credentials, make the AWS configuration files readable, or \
         give the machine or container a role",
    ),
    (
        "AWS configuration file ",
        "Correct the file, or let the user that the exporter runs as read it",
    ),
    (
        "login_session",
        "Give the exporter a role, keys or an SSO session; to try it out, \
         `credential_process = aws configure export-credentials --profile NAME --format process` in another profile",
    ),
    (
        "sso-session named|invalid SSO config|will resolve an access token",
        "Correct the `sso_…` keys of the profile and its [sso-session] section in the AWS config file",
    ),
    (
        "cannot find the profile|does not exist: neither [|could not find source profile|is incomplete: `|profile missing |\
         did not contain credential|has no credentials|credential source in `|infinite loop|provider is not supported",
        "Correct the profile, or name another as the scope's `profile`, AWS_PROFILE or `source_profile`",
    ),
    (
        "external process",
        "Run the profile's credential_process by hand as this user, with `sh`: it must print credentials and exit with status 0",
    ),
    (
        "explicit deny|no VPC endpoint policy|no service control policy|no resource control policy|no permissions boundary|no session policy",
        "The policy that the message names must allow it: a permission in another policy is not enough",
    ),
    (
        "AssumeRoleWithWebIdentity",
        "The trust policy of AWS_ROLE_ARN must allow sts:AssumeRoleWithWebIdentity for the issuer and service account of the token",
    ),
    (
        "AccessDenied",
        "STS denied the role: check that it exists, that the credentials may call sts:AssumeRole, its trust policy and `external_id`",
    ),
    (
        "Throttl|Rate exceeded|TooManyRequests|SlowDown|InternalFailure|InternalServerError|ServiceUnavailable",
        "The service that issues the credentials (STS, SSO, metadata) throttles or fails; nothing is wrong with the credentials",
    ),
    (
        "no AWS error code",
        "The response may not come from AWS: check the proxy, the firewall and the endpoint variables",
    ),
    (
        "SSO token|sso/cache|UnauthorizedException",
        "The SSO session has expired or does not exist: log in again with `aws sso login`",
    ),
    (
        "InvalidIdentityToken|IDPCommunicationError|IDPRejectedClaim|WebIdentityToken|(os error 2)|(os error 13)",
        "Check the token file (AWS_WEB_IDENTITY_TOKEN_FILE, AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE) and the identity provider in IAM",
    ),
    (
        "HTTP credential provider|failed to load credentials [|for ECS provider|the auth token could|IMDS",
        "The endpoint of the container or the metadata service issued no credentials: check its token and the role of the task, pod or instance",
    ),
    (
        "could not be loaded in time|timed out|failure: timeout",
        "A credential_process hangs, or an STS, SSO or metadata service does not answer: check the profile and the network",
    ),
    (
        "ExpiredToken|expired|TokenRefreshRequired",
        "The session or token has expired: log in again, or renew the keys or the token (AWS_WEB_IDENTITY_TOKEN_FILE) at their source; \
         changed environment variables need a restart",
    ),
    (
        "InvalidClientTokenId|UnrecognizedClient|security token included in the request is invalid|\
         IncompleteSignature|SignatureDoesNotMatch|InvalidSignature|AuthFailure",
        "Check the access key, its secret access key and AWS_SESSION_TOKEN, their partition, and whether the account has enabled the region",
    ),
    (
        "dispatch failure: io error",
        "The service that issues the credentials could not be reached: check the network, the proxy and the CA certificates",
    ),
];

pub fn with_hint(message: &str, credentials: &Credentials) -> String {
    let profile = credentials.profile.as_deref();
    let role = credentials.role.as_ref().map(|role| role.arn.as_str());
    let owner = match (profile, role) {
        (Some(profile), Some(role)) => format!(" (profile {profile}, role {role})"),
        (Some(profile), None) => format!(" (profile {profile})"),
        (None, Some(role)) => format!(" (role {role})"),
        (None, None) => String::new(),
    };
    let hint = HINTS
        .iter()
        .find(|(texts, _)| texts.split('|').any(|text| message.contains(text)))
        .map_or(
            "Check the scope's profile and role, and the source of its credentials",
            |(_, hint)| hint,
        );
    format!("{message}{owner}. {hint}")
}

#[cfg(test)]
mod tests {
    use super::{chain, with_hint};
    use crate::config::Credentials;
    use aws_credential_types::provider::error::CredentialsError;

    #[test]
    fn hint_matches_cause_and_not_a_name() {
        for (message, part) in [
            ("certificate: certificate expired", "log in again"),
            ("invalid peer certificate: certificate expired", "CA cert"),
            ("AccessDenied: AWSReservedSSO_Admin_1/expired", "trust pol"),
            ("AccessDenied: AssumeRoleWithWebIdentity", "service account"),
            ("AccessDenied: with an explicit deny", "must allow it"),
            ("`p` is incomplete: `sso_start_url`", "Correct the profile"),
            ("failed to read `.aws/sso/cache`: (os error 2)", "sso login"),
            ("external process: No such file (os error 2)", "by hand"),
            (
                "service error: Throttling: Rate exceeded",
                "nothing is wrong",
            ),
            ("IncompleteSignatureException: …", "the access key"),
            ("something else", "Check the scope's profile"),
        ] {
            let hint = with_hint(message, &Credentials::default());
            assert!(hint.contains(part), "{hint}");
        }
    }

    #[test]
    fn chain_has_no_debug_output() {
        for (sdk, plain) in [
            ("IMDS (code: 500). Response { status }", "IMDS (code: 500)"),
            ("provider: StatusCode(403)", "provider: HTTP status 403"),
            ("expected key, found: Some(Ok(ValueNull))", "expected key"),
        ] {
            let text = chain(&CredentialsError::unhandled(sdk));
            let start = format!("unexpected credentials error: {plain}");
            assert!(text.starts_with(&start), "{text}");
            assert!(!text.contains('{') && !text.contains("(Ok"), "{text}");
        }
    }
}
