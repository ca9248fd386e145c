//! The result of one check, and the permission to grant if it failed.

use crate::config::{Query, RegionName, Role, RoleArn, ScopeName};
use crate::glue::aws::IdentityError;
use crate::glue::{GlueError, Operation, Reason};
use crate::iam;
use serde::Serialize;
use std::fmt;

/// Error codes of AWS that a granted permission fixes.
const PERMISSION_ERROR_CODES: [&str; 3] =
    ["AccessDenied", "NotAuthorized", "UnauthorizedOperation"];

/// Policies that must also allow an action, besides those of the caller. AWS names the one that does not.
const OTHER_POLICIES: [&str; 5] = [
    "VPC endpoint policy",
    "service control policy",
    "resource control policy",
    "permissions boundary",
    "session policy",
];

/// The object of a check.
#[derive(Debug)]
pub enum CheckTarget {
    /// The owner of the credentials.
    Identity(String),
    Role(RoleArn),
    Operation(Operation),
    Query(Query),
}

impl CheckTarget {
    /// Returns the name of the check.
    pub fn check(&self) -> &'static str {
        match self {
            Self::Identity(_) => "identity",
            Self::Role(_) => "role",
            Self::Operation(operation) => operation.as_str(),
            Self::Query(Query::Target(_)) => "target",
            Self::Query(Query::Integration(_) | Query::All) => "integration",
        }
    }

    /// Returns the name of the object, or `*`.
    pub fn name(&self) -> &str {
        match self {
            Self::Identity(owner) => owner,
            Self::Role(arn) => arn.as_str(),
            Self::Query(Query::Integration(arn)) => arn.as_str(),
            Self::Query(Query::Target(arn)) => arn.as_str(),
            Self::Operation(_) | Self::Query(Query::All) => "*",
        }
    }
}

/// The outcome of a check.
#[derive(Debug)]
pub enum Status {
    /// The check passed. A check of an identity has its ARN.
    Passed(Option<String>),
    /// AWS answered that the object does not exist.
    Missing(String),
    Failed {
        error: GlueError,
        grant: Option<Grant>,
    },
    /// The check would fail for the same reason as an earlier one.
    Skipped,
}

impl Status {
    pub fn failed(error: GlueError) -> Self {
        Self::Failed { error, grant: None }
    }

    /// Converts the answer of STS. `grant` applies if STS refused the role.
    pub fn of_identity(identity: Result<String, IdentityError>, grant: Option<Grant>) -> Self {
        match identity {
            Ok(arn) => Self::Passed(Some(arn)),
            Err(failure) => Self::Failed {
                error: failure.error,
                grant: grant.filter(|_| failure.role_refused),
            },
        }
    }

    /// Adds the permission to grant, if the check failed because it is missing. A proxy, or a region that is not enabled for the account,
    /// denies access for other reasons.
    pub fn with_grant(self, grant: Grant) -> Self {
        let lacks_permission = |error: &GlueError| {
            error.reason == Reason::AccessDenied
                && PERMISSION_ERROR_CODES
                    .iter()
                    .any(|code| error.message.contains(code))
        };
        match self {
            Self::Failed { error, .. } if lacks_permission(&error) => Self::Failed {
                error,
                grant: Some(grant),
            },
            other => other,
        }
    }

    pub fn is_ok(&self) -> bool {
        matches!(self, Self::Passed(_))
    }

    /// Returns one word. For a failure it is the reason, as in the log and the metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Passed(_) => "ok",
            Self::Missing(_) => "missing",
            Self::Failed { error, .. } => error.reason.as_str(),
            Self::Skipped => "not_asked",
        }
    }

    pub fn message(&self) -> Option<&str> {
        match self {
            Self::Missing(message) => Some(message),
            Self::Failed { error, .. } => Some(&error.message),
            Self::Passed(_) | Self::Skipped => None,
        }
    }

    /// Returns how to fix a missing permission.
    pub fn hint(&self) -> Option<String> {
        let Self::Failed {
            error,
            grant: Some(grant),
        } = self
        else {
            return None;
        };
        let (action, to) = (&grant.action, &grant.to);
        if let Some(policy) = OTHER_POLICIES
            .iter()
            .find(|policy| error.message.contains(&format!("no {policy} allows")))
        {
            return Some(format!(
                "allow {action} for {to} in the {policy}; granting it to the identity is not enough"
            ));
        }
        if error.message.contains("explicit deny") {
            return Some(format!(
                "remove {action} for {to} from the explicit deny; a grant cannot override it"
            ));
        }
        Some(grant.describe())
    }
}

/// A permission to grant, and its recipient.
#[derive(Debug, Serialize)]
pub struct Grant {
    action: String,
    resource: String,
    #[serde(flatten)]
    to: Grantee,
    /// The entry that the role's trust policy also needs.
    #[serde(skip)]
    trust_policy_hint: Option<String>,
}

impl Grant {
    pub fn of_operation(operation: Operation, to: &Grantee) -> Self {
        Self {
            action: iam::action(operation),
            resource: "*".to_owned(),
            to: to.clone(),
            trust_policy_hint: None,
        }
    }

    pub fn of_role(role: &Role, to: Grantee) -> Self {
        let id = if role.external_id.is_some() {
            "with the scope's `external_id`"
        } else {
            "without a condition on sts:ExternalId, because the scope has no `external_id`"
        };
        Self {
            action: "sts:AssumeRole".to_owned(),
            resource: role.arn.to_string(),
            trust_policy_hint: Some(format!(
                "and allow {} in the role's trust policy, {id}",
                to.as_principal()
            )),
            to,
        }
    }

    fn describe(&self) -> String {
        let (action, to) = (&self.action, &self.to);
        let resource = match self.resource.as_str() {
            "*" => "\"*\"",
            arn => arn,
        };
        match &self.trust_policy_hint {
            None => format!("grant {action} on {resource} to {to}"),
            Some(trust) => format!("grant {action} on {resource} to {to}, {trust}"),
        }
    }
}

/// The prefix of roles of IAM Identity Center. The name of the permission set and a hash follow.
const SSO_ROLE_PREFIX: &str = "AWSReservedSSO_";

/// The recipient of a grant. For a session it is the session's role, because policies cannot be attached to a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Grantee {
    #[serde(rename = "to")]
    name: String,
    /// The permission set of the role. Policies are attached to the permission set instead of the role.
    #[serde(skip)]
    permission_set: Option<String>,
    /// True if the name lacks the role's path, which a session's ARN does not contain.
    #[serde(skip)]
    without_path: bool,
}

impl Grantee {
    /// Returns an identity with a name or a permanent ARN.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            permission_set: None,
            without_path: false,
        }
    }

    /// Returns the owner of credentials from the caller ARN that STS returns.
    pub fn of_caller(caller: &str) -> Self {
        let parts: Vec<&str> = caller.splitn(6, ':').collect();
        let &[_, partition, "sts", _, account, session] = parts.as_slice() else {
            return Self::named(caller);
        };
        let mut session = session.split('/');
        let (Some("assumed-role"), Some(role)) = (session.next(), session.next()) else {
            return Self::named(caller);
        };
        let set = role.strip_prefix(SSO_ROLE_PREFIX);
        Self {
            name: format!("arn:{partition}:iam::{account}:role/{role}"),
            permission_set: set.map(|set| {
                let (name, _hash) = set.rsplit_once('_').unwrap_or((set, ""));
                name.to_owned()
            }),
            without_path: true,
        }
    }

    /// Returns the name for the principal of a trust policy.
    fn as_principal(&self) -> String {
        let name = &self.name;
        match (&self.permission_set, self.without_path) {
            (Some(_), _) => {
                format!("{name} (with its path, which begins with aws-reserved/sso.amazonaws.com/)")
            }
            (None, true) => format!("{name} (with the role's path, if it has one)"),
            (None, false) => name.clone(),
        }
    }
}

impl fmt::Display for Grantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.permission_set {
            Some(set) => write!(
                f,
                "the permission set {set} of IAM Identity Center (policies cannot be attached to its role {} directly)",
                self.name
            ),
            None => f.write_str(&self.name),
        }
    }
}

/// One check and its outcome.
#[derive(Debug)]
pub struct CheckResult {
    pub scope: ScopeName,
    pub region: RegionName,
    pub target: CheckTarget,
    pub status: Status,
}
