//! Error messages of failed calls: the error and its causes without secrets, and a hint if the credentials failed.

use super::endpoint;
use crate::config::{Credentials, Role};
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_glue::config::http::HttpResponse;
use aws_sdk_glue::error::{ErrorMetadata, ProvideErrorMetadata, SdkError};
use std::error::Error;

/// Longer messages are truncated, to keep log lines readable.
const MAX_MESSAGE_CHARS: usize = 1_000;

/// The error message if loading the credentials timed out.
pub const TIMED_OUT: &str = "the credentials could not be loaded in time";

/// Text before the output of a `credential_process`, which can contain the credentials.
const BEFORE_OUTPUT: [&str; 2] = [". Stderr:", "could not parse response:"];
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
/// Text of STS before an invalid value, which can be an external ID.
const BEFORE_VALUE: &str = "validation error detected:";

/// Returns the code and message of an AWS error, or else the chain of causes in one line, the outermost first.
pub fn describe_error<E>(error: &SdkError<E, HttpResponse>, credentials: &Credentials) -> String
where
    E: Error + ProvideErrorMetadata + 'static,
{
    let mut description = String::new();
    if let Some(service) = error.as_service_error()
        && let Some(code) = service.code()
    {
        description.push_str(code);
        if let Some(message) = service.message() {
            description.push_str(": ");
            description.push_str(message);
        }
    } else {
        description = chain(error);
        if let Some(response) = error.raw_response() {
            description.push_str(&format!(" (HTTP status {})", response.status().as_u16()));
        }
    }
    sanitize(description, credentials)
}

/// Returns the same for credentials that could not be loaded.
pub fn describe_load_error(error: &CredentialsError, credentials: &Credentials) -> String {
    sanitize(chain(error), credentials)
}

/// Returns the chain of causes in one line, the outermost first.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut message = String::new();
    let mut cause = Some(error);
    while let Some(error) = cause {
        cause = error.source();
        let text = match error.downcast_ref::<ErrorMetadata>() {
            Some(metadata) => code_and_message(metadata),
            // The source contains the code too.
            None if error.to_string().starts_with(BEFORE_CODE) => continue,
            None => clarify(&without_output(error.to_string())),
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

/// Removes debug output and replaces unclear texts.
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

/// Removes secrets, joins the lines and truncates the message.
fn sanitize(mut message: String, credentials: &Credentials) -> String {
    if let Some(Role {
        external_id: Some(secret),
        ..
    }) = &credentials.role
    {
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

/// Texts of error messages and the hint for them. The first match wins, so specific texts come before general ones: a role's name or a
/// certificate's expiry in a message must not be taken for the cause.
const HINTS: [(&[&str], &str); 33] = [
    (
        &[
            "Signature expired",
            "Signature not yet current",
            "RequestExpired",
            "Skewed",
            "InTheFuture",
        ],
        "The system clock is wrong: AWS rejects a request that was signed more than some minutes ago or ahead. Synchronise the clock \
         (NTP, chrony)",
    ),
    (
        &["invalid peer certificate"],
        "The certificate of the service that issues the credentials (STS, SSO), or of a proxy, is not trusted: check the CA certificates \
         (SSL_CERT_FILE), the proxy and the system clock",
    ),
    (&[endpoint::SOURCES], "Correct the endpoint"),
    (
        &["no credentials found", "MissingAuthenticationToken"],
        "There are no credentials: set the scope's `profile` or AWS_PROFILE to an existing profile with credentials, make the AWS configuration files \
         readable, or give the machine or container a role",
    ),
    (
        &["AWS configuration file "],
        "Correct the file, or let the user that the exporter runs as read it",
    ),
    (
        &["cannot find the profile"],
        "Rename the profile in the file and in the setting that names it",
    ),
    (
        &["does not exist: neither [", "could not find source profile"],
        "Add the profile, or correct its name in the scope's `profile`, AWS_PROFILE or `source_profile`",
    ),
    (
        &["login_session"],
        "Sessions of `aws login` are for a person at a terminal and end after 12 hours at most. Give the exporter a role, keys or an SSO \
         session; to try it out, `credential_process = aws configure export-credentials --profile NAME --format process` in another profile",
    ),
    (
        &[
            "sso-session named",
            "invalid SSO config",
            "will resolve an access token",
        ],
        "Correct the `sso_…` keys of the profile and its [sso-session] section in the AWS config file",
    ),
    (
        &[
            "is incomplete: `",
            "profile missing ",
            "did not contain credential",
            "has no credentials",
        ],
        "Add what is missing to the profile, or name another as the scope's `profile`, AWS_PROFILE or `source_profile`",
    ),
    (
        &[
            "credential source in `",
            "infinite loop",
            "provider is not supported",
        ],
        "Correct the profile: `role_arn` needs `source_profile`, another profile that has credentials, or `credential_source`, one of \
         Environment, Ec2InstanceMetadata and EcsContainer",
    ),
    (
        &["external process: No such file"],
        "The SDK starts a credential_process with `sh`, which is not on the PATH: an image without a shell cannot use one",
    ),
    (
        &["external process"],
        "Run the profile's credential_process by hand as this user: it must print credentials and exit with status 0",
    ),
    (
        &["explicit deny"],
        "A policy denies it explicitly, and no other policy can override that: look for the deny that the message names",
    ),
    (
        &[
            "no VPC endpoint policy",
            "no service control policy",
            "no resource control policy",
            "no permissions boundary",
            "no session policy",
        ],
        "The policy that the message names must allow it too: a policy of the identity alone is not enough",
    ),
    (
        &["AssumeRoleWithWebIdentity"],
        "STS refused the role of AWS_ROLE_ARN: its trust policy must allow sts:AssumeRoleWithWebIdentity for the issuer and the service account of \
         the token",
    ),
    (
        &["AccessDenied"],
        "STS refused the role: it must exist, the credentials must be allowed sts:AssumeRole on it, its trust policy must allow these \
         credentials, and `external_id` must be the one that it requires",
    ),
    (
        &["RegionDisabled"],
        "STS is not active in this region: activate it in the account's settings (IAM, security token service), or enable the region",
    ),
    (
        &["Throttl", "Rate exceeded", "TooManyRequests", "SlowDown"],
        "AWS throttles the service that issues the credentials (STS, SSO, metadata); nothing is wrong with the credentials",
    ),
    (
        &[
            "InternalFailure",
            "InternalServerError",
            "ServiceUnavailable",
        ],
        "The service that issues the credentials (STS, SSO) fails; nothing is wrong with the credentials",
    ),
    (
        &["no AWS error code"],
        "The response may not come from AWS: check the proxy, the firewall and the endpoint variables",
    ),
    (
        &["ForbiddenException"],
        "IAM Identity Center does not allow this user to use the role: check `sso_account_id`, `sso_role_name` and the assignment of the \
         permission set",
    ),
    (
        &["SSO token", "sso/cache", "UnauthorizedException"],
        "The SSO session has expired or does not exist: log in again with `aws sso login`",
    ),
    (
        &[
            "InvalidIdentityToken",
            "IDPCommunicationError",
            "IDPRejectedClaim",
            "WebIdentityToken",
        ],
        "Check the token file that AWS_WEB_IDENTITY_TOKEN_FILE or the profile names, and the identity provider in IAM",
    ),
    (
        &["(os error 2)", "(os error 13)"],
        "Check the token file that AWS_WEB_IDENTITY_TOKEN_FILE, AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE or the profile names: it must exist, and \
         the exporter's user must be allowed to read it",
    ),
    (
        &[
            "HTTP credential provider",
            "failed to load credentials [",
            "for ECS provider",
            "the auth token could",
        ],
        "The container's endpoint (AWS_CONTAINER_CREDENTIALS_FULL_URI or _RELATIVE_URI) issued no credentials: check its token \
         (AWS_CONTAINER_AUTHORIZATION_TOKEN or _TOKEN_FILE) and the role of the task or the association of the pod",
    ),
    (
        &["IMDS"],
        "The instance metadata service issued no credentials: check its response, the role of the instance and the role's trust in \
         ec2.amazonaws.com",
    ),
    (
        &[TIMED_OUT, "timed out", "failure: timeout"],
        "A credential_process hangs, or an STS, SSO or metadata service does not answer: check the profile and the network",
    ),
    (
        &["ExpiredToken", "expired", "TokenRefreshRequired"],
        "The session or token has expired: log in again, or renew the keys or the token (AWS_WEB_IDENTITY_TOKEN_FILE) at their source; \
         changed environment variables need a restart",
    ),
    (
        &[
            "InvalidClientTokenId",
            "UnrecognizedClient",
            "security token included in the request is invalid",
        ],
        "AWS does not know the access key: it was deleted or deactivated, AWS_SESSION_TOKEN is missing, it belongs to another partition, or the \
         account has not enabled this region",
    ),
    (
        &["IncompleteSignature"],
        "The access key ID or the session token contains an invalid character, such as a space or a line break",
    ),
    (
        &["SignatureDoesNotMatch", "InvalidSignature", "AuthFailure"],
        "The secret access key does not belong to the access key ID, or a proxy changes requests",
    ),
    (
        &["dispatch failure: io error"],
        "The service that issues the credentials (STS, SSO, the container's endpoint) could not be reached: check the network, the proxy and the CA \
         certificates",
    ),
];

/// Returns the profile and role of the credentials that failed, and a hint how to fix the error.
pub fn hint(message: &str, credentials: &Credentials) -> String {
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
        .find(|(texts, _)| texts.iter().any(|text| message.contains(text)))
        .map_or(
            "Check the scope's profile and role, and the source of its credentials",
            |(_, hint)| hint,
        );
    format!("{owner}. {hint}")
}

#[cfg(test)]
mod tests {
    use super::{chain, describe_load_error, hint};
    use crate::config::Credentials;
    use aws_credential_types::provider::error::CredentialsError;
    use aws_sdk_glue::error::ErrorMetadata;

    fn hint_for(message: &str) -> String {
        hint(message, &Credentials::default())
    }

    #[test]
    fn hint_matches_cause_and_not_a_name() {
        for (message, part) in [
            (
                "InvalidSignatureException: Signature expired: 20261127T000000Z is now earlier than 20261127T092000Z",
                "clock",
            ),
            (
                "SignatureDoesNotMatch: Signature not yet current: 20261127T000000Z is still later than",
                "clock",
            ),
            ("RequestExpired: Request has expired.", "clock"),
            (
                "InvalidSignatureException: The request signature we calculated does not match the signature you provided",
                "secret access key does not belong",
            ),
            (
                "dispatch failure: io error: invalid peer certificate: certificate expired: verification time 1",
                "CA certificates",
            ),
            (
                "service error: AccessDenied: User: arn:aws:sts::1:assumed-role/AWSReservedSSO_Admin_1/me is not authorized to perform: \
                 sts:AssumeRole on resource: arn:aws:iam::1:role/expired",
                "trust policy",
            ),
            (
                "AccessDenied: Not authorized to perform sts:AssumeRoleWithWebIdentity",
                "service account",
            ),
            (
                "AccessDenied: … with an explicit deny in a service control policy",
                "explicitly",
            ),
            (
                "AccessDenied: … because no VPC endpoint policy allows the sts:AssumeRole action",
                "must allow it too",
            ),
            (
                "sso-session named `corp` (referenced by profile `p`) was not found",
                "[sso-session]",
            ),
            (
                "profile `p` is incomplete: `sso_start_url` was missing",
                "Add what is missing",
            ),
            (
                "the SSO token has expired and cannot be refreshed",
                "aws sso login",
            ),
            (
                "failed to read `/home/exporter/.aws/sso/cache/1.json`: No such file (os error 2)",
                "aws sso login",
            ),
            (
                "service error: ForbiddenException: No access",
                "permission set",
            ),
            (
                "the AWS configuration file /c cannot be read: Permission denied (os error 13)",
                "Correct the file",
            ),
            (
                "external process: No such file or directory (os error 2)",
                "without a shell",
            ),
            ("No such file or directory (os error 2)", "token file"),
            (
                "service error: Throttling: Rate exceeded",
                "nothing is wrong with the credentials",
            ),
            (
                "service error: RegionDisabledException: STS is not activated",
                "not active in this region",
            ),
            (
                "UnrecognizedClientException: The security token included in the request is invalid.",
                "does not know the access key",
            ),
            (
                "ExpiredTokenException: The security token included in the request is expired",
                "log in again",
            ),
            ("IncompleteSignatureException: …", "line break"),
            (
                "an error occurred while loading credentials: dispatch failure: io error: x",
                "could not be reached",
            ),
            ("something else", "Check the scope's profile"),
        ] {
            let hint = hint_for(message);
            assert!(hint.contains(part), "{message}: {hint}");
        }
    }

    #[test]
    fn chain_has_no_debug_output() {
        let metadata = ErrorMetadata::builder()
            .code("AccessDenied")
            .message("not you.")
            .build();
        let error = CredentialsError::provider_error(metadata);
        assert_eq!(
            chain(&error),
            "an error occurred while loading credentials: AccessDenied: not you."
        );
        for (sdk, plain) in [
            (
                "error response from IMDS (code: 500). Response { status: StatusCode(500) }",
                "error response from IMDS (code: 500)",
            ),
            (
                "from HTTP credential provider: StatusCode(403)",
                "from HTTP credential provider: HTTP status 403",
            ),
            (
                "expected object key, found: Some(Ok(ValueNull))",
                "expected object key",
            ),
        ] {
            let text = chain(&CredentialsError::unhandled(sdk));
            assert!(
                text.starts_with(&format!("unexpected credentials error: {plain}")),
                "{text}"
            );
            assert!(!text.contains('{') && !text.contains("(Ok"), "{text}");
        }
    }

    #[test]
    fn message_has_no_double_full_stop() {
        let credentials = Credentials::default();
        let error = describe_load_error(&CredentialsError::unhandled("It ends. "), &credentials);
        let message = format!("{error}{}", hint(&error, &credentials));
        assert!(message.contains("It ends. Check"), "{message}");
    }
}
