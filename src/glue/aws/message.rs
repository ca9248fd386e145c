//! What is said of a failed call: what happened, with its causes, without any secret, and of credentials what to do about it.

use super::endpoint;
use crate::config::{Credentials, Role};
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_glue::config::http::HttpResponse;
use aws_sdk_glue::error::{ErrorMetadata, ProvideErrorMetadata, SdkError};
use std::error::Error;

/// A log line is for reading: what AWS says in more than this is cut.
const MAX_MESSAGE_CHARS: usize = 1_000;

/// What is said where credentials did not come in time.
pub const TIMED_OUT: &str = "the credentials could not be loaded in time";

/// What stands before words that are not AWS's: what a `credential_process` printed, which can be the credentials themselves.
const BEFORE_OUTPUT: [&str; 2] = [". Stderr:", "could not parse response:"];
/// Where the SDK's texts go on with Rust's own print of a value: of a request, an answer, a part of a JSON document.
const BEFORE_PRINT: [&str; 3] = ["` to request `Request {", ". Response {", ", found: "];
/// What the SDK says of an error that it does not know, before the code.
const BEFORE_CODE: &str = "unhandled error (";
/// Texts of the SDK and of its HTTP client that do not say what they mean, and what they mean.
const PLAIN: [(&str, &str); 5] = [
    ("unhandled error", "the answer has no error code of AWS"),
    (
        "This behavior requires following cargo feature(s) enabled: credentials-login. In order to use an active login session, the \
         `credentials-login` feature must be enabled.",
        "the profile has a `login_session`, of `aws login`, which the exporter does not support",
    ),
    // Of a profile that is there.
    ("was not defined: `", "is incomplete: `"),
    (
        "tunnel error: unsuccessful",
        "the proxy refused to connect to the endpoint: it answered CONNECT with an error, such as 403 Forbidden",
    ),
    (
        "tunnel error: proxy authorization required",
        "the proxy asks for a user and a password (407 Proxy Authentication Required)",
    ),
];
/// Where AWS, to whom a signature is wrong, begins to repeat the request that it should have been made of: with the session's token.
const BEFORE_REQUEST: &str = "The Canonical String";
/// What STS says of a value that it does not take, before the value: in this form it repeats an external id.
const BEFORE_VALUE: &str = "validation error detected:";

/// The chain of causes in one line, the outermost first; of an error that AWS named, its name and message.
pub fn describe_error<E>(error: &SdkError<E, HttpResponse>, credentials: &Credentials) -> String
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
pub fn describe_load_error(error: &CredentialsError, credentials: &Credentials) -> String {
    presentable(chain(error), credentials)
}

/// The chain of causes in one line, the outermost first.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut words = String::new();
    let mut cause = Some(error);
    while let Some(error) = cause {
        cause = error.source();
        let text = match error.downcast_ref::<ErrorMetadata>() {
            Some(metadata) => code_and_message(metadata),
            // The code is in the source too.
            None if error.to_string().starts_with(BEFORE_CODE) => continue,
            None => plain(&without_output(error.to_string())),
        };
        // Some of the SDK's errors repeat their source.
        if !words.ends_with(&text) {
            if !words.is_empty() {
                words.push_str(": ");
            }
            words.push_str(&text);
        }
    }
    words
}

fn code_and_message(metadata: &ErrorMetadata) -> String {
    let parts = [metadata.code(), metadata.message()];
    parts.into_iter().flatten().collect::<Vec<_>>().join(": ")
}

fn plain(text: &str) -> String {
    let print = BEFORE_PRINT
        .iter()
        .filter_map(|print| text.find(print))
        .min();
    let mut text = text[..print.unwrap_or(text.len())].to_owned();
    if let Some((before, status)) = text.split_once("StatusCode(") {
        text = format!("{before}HTTP status {}", status.trim_end_matches(')'));
    }
    for (sdk, words) in PLAIN {
        text = text.replace(sdk, words);
    }
    text
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
    // More may follow it.
    words.truncate(words.trim_end_matches(['.', ' ']).len());
    if let Some((end, _)) = words.char_indices().nth(MAX_MESSAGE_CHARS) {
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

/// What a person can do, by what the words have in them. The first that fits, from the particular to the general: what AWS says in a message
/// (a role's name, a certificate's end) must not be taken for the cause.
const HINTS: [(&[&str], &str); 33] = [
    (
        &[
            "Signature expired",
            "Signature not yet current",
            "RequestExpired",
            "Skewed",
            "InTheFuture",
        ],
        "This machine's clock is wrong: AWS accepts a request for some minutes before and after the time that it is signed with. Set the clock \
         (NTP, chrony)",
    ),
    (
        &["invalid peer certificate"],
        "The certificate of what issues the credentials (STS, SSO) or of the proxy before it was not accepted: look at the CA certificates \
         (SSL_CERT_FILE), at the proxy and at this machine's clock",
    ),
    (&[endpoint::SOURCES], "Correct the endpoint"),
    (
        &["no credentials found", "MissingAuthenticationToken"],
        "There are no credentials: set the scope's `profile` or AWS_PROFILE to one that exists and has some, make the AWS configuration files \
         readable, or give the machine or container a role",
    ),
    (
        &["AWS configuration file "],
        "Correct the file, or let the user that the exporter runs as read it",
    ),
    (
        &["cannot find the profile"],
        "Rename the profile, in the file and where it is named",
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
        "A credential_process is started by `sh`, which is not on the PATH: an image without a shell cannot have one",
    ),
    (
        &["external process"],
        "Run the profile's credential_process by hand as this user: it must print credentials and exit with 0",
    ),
    (
        &["explicit deny"],
        "A policy denies it explicitly, which no grant overrules: look for the deny that the message names",
    ),
    (
        &[
            "no VPC endpoint policy",
            "no service control policy",
            "no resource control policy",
            "no permissions boundary",
            "no session policy",
        ],
        "The policy that the message names must allow it too: a grant to the identity alone does not help",
    ),
    (
        &["AssumeRoleWithWebIdentity"],
        "STS refused the role of AWS_ROLE_ARN: its trust policy must allow sts:AssumeRoleWithWebIdentity for the issuer and the service account of \
         the token",
    ),
    (
        &["AccessDenied"],
        "STS refused the role: it must exist, the credentials must be allowed sts:AssumeRole on it, its trust policy must allow these \
         credentials, and `external_id` must be the one that it asks for",
    ),
    (
        &["RegionDisabled"],
        "STS is not active in this region: activate it in the account's settings (IAM, security token service), or enable the region",
    ),
    (
        &["Throttl", "Rate exceeded", "TooManyRequests", "SlowDown"],
        "AWS throttles what issues the credentials (STS, SSO, metadata); nothing is wrong with the credentials",
    ),
    (
        &[
            "InternalFailure",
            "InternalServerError",
            "ServiceUnavailable",
        ],
        "What issues the credentials (STS, SSO) fails at AWS; nothing is wrong with the credentials",
    ),
    (
        &["no error code of AWS"],
        "What answered may not be AWS: look at the proxy, the firewall and the endpoint variables",
    ),
    (
        &["ForbiddenException"],
        "IAM Identity Center does not let this user have the role: look at `sso_account_id` and `sso_role_name`, and at the assignment of the \
         permission set",
    ),
    (
        &["SSO token", "sso/cache", "UnauthorizedException"],
        "The SSO session has ended or there never was one: log in again with `aws sso login`",
    ),
    (
        &[
            "InvalidIdentityToken",
            "IDPCommunicationError",
            "IDPRejectedClaim",
            "WebIdentityToken",
        ],
        "Look at the token file that AWS_WEB_IDENTITY_TOKEN_FILE or the profile names, and at the identity provider in IAM",
    ),
    (
        &["(os error 2)", "(os error 13)"],
        "Look at the token file that AWS_WEB_IDENTITY_TOKEN_FILE, AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE or the profile names: it must exist, and \
         this user must be allowed to read it",
    ),
    (
        &[
            "HTTP credential provider",
            "failed to load credentials [",
            "for ECS provider",
            "the auth token could",
        ],
        "The container's endpoint (AWS_CONTAINER_CREDENTIALS_FULL_URI or _RELATIVE_URI) issued nothing: look at its token \
         (AWS_CONTAINER_AUTHORIZATION_TOKEN or _TOKEN_FILE) and at the role of the task or the association of the pod",
    ),
    (
        &["IMDS"],
        "The instance metadata service issued no credentials: look at its answer, at the instance's role and at the role's trust in \
         ec2.amazonaws.com",
    ),
    (
        &[TIMED_OUT, "timed out", "failure: timeout"],
        "A credential_process that hangs, or an STS, SSO or metadata service that does not answer: look at what the profile names, \
         and at the network",
    ),
    (
        &["ExpiredToken", "expired", "TokenRefreshRequired"],
        "The session or token has expired: log in again, or renew the keys or the token (AWS_WEB_IDENTITY_TOKEN_FILE) where they come from; \
         environment variables need a restart",
    ),
    (
        &[
            "InvalidClientTokenId",
            "UnrecognizedClient",
            "security token included in the request is invalid",
        ],
        "AWS does not know the access key: it was deleted or deactivated, AWS_SESSION_TOKEN is missing, it is of another partition, or the \
         account has not enabled this region",
    ),
    (
        &["IncompleteSignature"],
        "The access key id or the session token has a character that does not belong there, such as a space or a line break",
    ),
    (
        &["SignatureDoesNotMatch", "InvalidSignature", "AuthFailure"],
        "The secret access key does not belong to the access key id, or a proxy changes requests",
    ),
    (
        &["dispatch failure: io error"],
        "What issues the credentials (STS, SSO, the container's endpoint) could not be reached: look at the network, the proxy and the CA certificates",
    ),
];

/// Whose credentials failed so, and what a person can do about it.
pub fn hint(words: &str, credentials: &Credentials) -> String {
    let profile = credentials.profile.as_deref();
    let role = credentials.role.as_ref().map(|role| role.arn.as_str());
    let whose = match (profile, role) {
        (Some(profile), Some(role)) => format!(" (profile {profile}, role {role})"),
        (Some(profile), None) => format!(" (profile {profile})"),
        (None, Some(role)) => format!(" (role {role})"),
        (None, None) => String::new(),
    };
    let remedy = HINTS
        .iter()
        .find(|(signs, _)| signs.iter().any(|sign| words.contains(sign)))
        .map_or(
            "Look at the scope's profile and role, and at where its credentials come from",
            |(_, remedy)| remedy,
        );
    format!("{whose}. {remedy}")
}

#[cfg(test)]
mod tests {
    use super::{chain, describe_load_error, hint};
    use crate::config::Credentials;
    use aws_credential_types::provider::error::CredentialsError;
    use aws_sdk_glue::error::ErrorMetadata;

    fn remedy(words: &str) -> String {
        hint(words, &Credentials::default())
    }

    #[test]
    fn remedy_fits_the_cause_and_not_a_name_in_it() {
        for (words, part) in [
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
                "failed to read `/root/.aws/sso/cache/1.json`: No such file (os error 2)",
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
            ("something else", "Look at the scope's profile"),
        ] {
            assert!(remedy(words).contains(part), "{words}: {}", remedy(words));
        }
    }

    #[test]
    fn chain_has_no_debug_print() {
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
            let told = chain(&CredentialsError::unhandled(sdk));
            assert!(
                told.starts_with(&format!("unexpected credentials error: {plain}")),
                "{told}"
            );
            assert!(!told.contains('{') && !told.contains("(Ok"), "{told}");
        }
    }

    #[test]
    fn message_does_not_end_in_two_full_stops() {
        let credentials = Credentials::default();
        let words = describe_load_error(&CredentialsError::unhandled("It ends. "), &credentials);
        let message = format!("{words}{}", hint(&words, &credentials));
        assert!(message.contains("It ends. Look"), "{message}");
    }
}
