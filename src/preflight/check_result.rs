//! One question, what came of it, and what to grant for another answer.

use crate::config::{Query, RegionName, Role, RoleArn, ScopeName};
use crate::glue::aws::IdentityError;
use crate::glue::{GlueError, Operation, Reason};
use crate::iam;
use serde::Serialize;
use std::fmt;

/// Codes of AWS's errors that a grant puts right.
const PERMISSION_LACKS: [&str; 3] = ["AccessDenied", "NotAuthorized", "UnauthorizedOperation"];

/// Policies that must allow an action too, whatever is granted to the caller. AWS names the one that does not.
const OTHER_POLICIES: [&str; 5] = [
    "VPC endpoint policy",
    "service control policy",
    "resource control policy",
    "permissions boundary",
    "session policy",
];

/// What a question was about.
#[derive(Debug)]
pub enum Subject {
    /// Whose credentials.
    Identity(String),
    Role(RoleArn),
    Operation(Operation),
    Query(Query),
}

impl Subject {
    pub fn check(&self) -> &'static str {
        match self {
            Self::Identity(_) => "identity",
            Self::Role(_) => "role",
            Self::Operation(operation) => operation.as_str(),
            Self::Query(Query::Target(_)) => "target",
            Self::Query(Query::Integration(_) | Query::All) => "integration",
        }
    }

    pub fn of(&self) -> &str {
        match self {
            Self::Identity(whose) => whose,
            Self::Role(arn) => arn.as_str(),
            Self::Query(Query::Integration(arn)) => arn.as_str(),
            Self::Query(Query::Target(arn)) => arn.as_str(),
            Self::Operation(_) | Self::Query(Query::All) => "*",
        }
    }
}

/// What came of a question.
#[derive(Debug)]
pub enum Outcome {
    /// With the ARN of whom AWS knows us as, if that was the question.
    Well(Option<String>),
    /// AWS answered that there is none.
    Missing(String),
    Failed {
        error: GlueError,
        grant: Option<Grant>,
    },
    /// It would fail like an earlier one.
    Skipped,
}

impl Outcome {
    pub fn failed(error: GlueError) -> Self {
        Self::Failed { error, grant: None }
    }

    /// The grant is for a role that STS refuses.
    pub fn of_identity(asked: Result<String, IdentityError>, grant: Option<Grant>) -> Self {
        match asked {
            Ok(arn) => Self::Well(Some(arn)),
            Err(unknown) => Self::Failed {
                error: unknown.error,
                grant: grant.filter(|_| unknown.role_refused),
            },
        }
    }

    /// With what to grant, if AWS refused it for want of a permission: a proxy denies access too, and so does a region that the
    /// account has not opted into.
    pub fn with_grant(self, grant: Grant) -> Self {
        let lacks_permission = |error: &GlueError| {
            error.reason == Reason::AccessDenied
                && PERMISSION_LACKS
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

    pub fn is_well(&self) -> bool {
        matches!(self, Self::Well(_))
    }

    /// One word: of a failure its reason, which is that of the log and of the metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Well(_) => "ok",
            Self::Missing(_) => "missing",
            Self::Failed { error, .. } => error.reason.as_str(),
            Self::Skipped => "not_asked",
        }
    }

    pub fn message(&self) -> Option<&str> {
        match self {
            Self::Missing(message) => Some(message),
            Self::Failed { error, .. } => Some(&error.message),
            Self::Well(_) | Self::Skipped => None,
        }
    }

    /// What a person can do about it, if it is a permission.
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
                "allow {action} for {to} in the {policy}: a grant to the identity alone does not help"
            ));
        }
        // AWS says so in the message of a refusal; no grant helps against it.
        if error.message.contains("explicit deny") {
            return Some(format!(
                "take {action} for {to} out of the explicit deny: no grant overrules it"
            ));
        }
        Some(grant.words())
    }
}

/// What is to be allowed, and to whom.
#[derive(Debug, Serialize)]
pub struct Grant {
    action: String,
    resource: String,
    #[serde(flatten)]
    to: Grantee,
    /// What the role's trust policy is to have besides.
    #[serde(skip)]
    trust: Option<String>,
}

impl Grant {
    pub fn of_operation(operation: Operation, to: &Grantee) -> Self {
        Self {
            action: iam::action(operation),
            resource: "*".to_owned(),
            to: to.clone(),
            trust: None,
        }
    }

    pub fn of_role(role: &Role, to: Grantee) -> Self {
        let id = if role.external_id.is_some() {
            "with the scope's `external_id`"
        } else {
            "without an external id, since the scope has no `external_id`"
        };
        Self {
            action: "sts:AssumeRole".to_owned(),
            resource: role.arn.to_string(),
            trust: Some(format!(
                "and let its trust policy name {}, {id}",
                to.as_principal()
            )),
            to,
        }
    }

    fn words(&self) -> String {
        let (action, to) = (&self.action, &self.to);
        let resource = match self.resource.as_str() {
            "*" => "\"*\"",
            arn => arn,
        };
        match &self.trust {
            None => format!("grant {action} on {resource} to {to}"),
            Some(trust) => format!("grant {action} on {resource} to {to}, {trust}"),
        }
    }
}

/// Before the name of its permission set and a hash, in the name of a role of IAM Identity Center.
const SSO_ROLE: &str = "AWSReservedSSO_";

/// To whom something is granted: of a session its role, since no policy can be attached to a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Grantee {
    #[serde(rename = "to")]
    name: String,
    /// The permission set that the role belongs to, which takes no policy itself.
    #[serde(skip)]
    permission_set: Option<String>,
    /// AWS leaves a role's path out of the session's ARN.
    #[serde(skip)]
    without_path: bool,
}

impl Grantee {
    /// An identity by its name, or by an ARN that AWS knows it by for good.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            permission_set: None,
            without_path: false,
        }
    }

    /// The owner of credentials, by what STS says of them.
    pub fn of_caller(caller: &str) -> Self {
        let parts: Vec<&str> = caller.splitn(6, ':').collect();
        let &[_, partition, "sts", _, account, session] = parts.as_slice() else {
            return Self::named(caller);
        };
        let mut session = session.split('/');
        let (Some("assumed-role"), Some(role)) = (session.next(), session.next()) else {
            return Self::named(caller);
        };
        let set = role.strip_prefix(SSO_ROLE);
        Self {
            name: format!("arn:{partition}:iam::{account}:role/{role}"),
            permission_set: set.map(|set| {
                let (name, _hash) = set.rsplit_once('_').unwrap_or((set, ""));
                name.to_owned()
            }),
            without_path: true,
        }
    }

    /// As a trust policy names it.
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
                "the permission set {set} of IAM Identity Center (its role {} takes no policy itself)",
                self.name
            ),
            None => f.write_str(&self.name),
        }
    }
}

/// One question, and what came of it.
#[derive(Debug)]
pub struct CheckResult {
    pub scope: ScopeName,
    pub region: RegionName,
    pub subject: Subject,
    pub outcome: Outcome,
}
