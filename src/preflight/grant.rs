//! The permission to grant if a check failed.

use crate::config::Role;
use crate::glue::{GlueError, Operation, Reason};
use serde::Serialize;

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

#[derive(Debug, Serialize)]
pub(super) struct Grant {
    action: String,
    resource: String,
    #[serde(flatten)]
    to: Grantee,
    /// The entry that the role's trust policy also needs.
    #[serde(skip)]
    trust_policy_hint: String,
}

impl Grant {
    /// Returns `None` if access was denied for another reason, for example by a proxy or because the region is not enabled for the account.
    pub fn of_operation(operation: Operation, to: &Grantee, error: &GlueError) -> Option<Self> {
        let mut codes = PERMISSION_ERROR_CODES.iter();
        let lacks_permission =
            error.reason == Reason::AccessDenied && codes.any(|code| error.message.contains(code));
        lacks_permission.then(|| Self {
            action: operation.action(),
            resource: "*".to_owned(),
            to: to.clone(),
            trust_policy_hint: String::new(),
        })
    }

    pub fn of_role(role: &Role, to: Grantee) -> Self {
        let id = match role.external_id {
            Some(_) => "with the scope's `external_id`",
            None => "without a condition on sts:ExternalId, because the scope has no `external_id`",
        };
        let path = match to.lacks_path {
            true => " (with the role's path, if it has one)",
            false => "",
        };
        let principal = &to.name;
        Self {
            action: "sts:AssumeRole".to_owned(),
            resource: role.arn.to_string(),
            trust_policy_hint: format!(
                ", and allow {principal}{path} in the role's trust policy, {id}"
            ),
            to,
        }
    }

    pub fn hint(&self, message: &str) -> String {
        let (action, to) = (&self.action, &self.to.label);
        let denies = |policy: &&&str| message.contains(&format!("no {policy} allows"));
        if let Some(policy) = OTHER_POLICIES.iter().find(denies) {
            return format!(
                "allow {action} for {to} in the {policy}; granting it to the identity is not enough"
            );
        }
        if message.contains("explicit deny") {
            return format!(
                "remove {action} for {to} from the explicit deny; a grant cannot override it"
            );
        }
        let resource = match self.resource.as_str() {
            "*" => "\"*\"",
            arn => arn,
        };
        let trust = &self.trust_policy_hint;
        format!("grant {action} on {resource} to {to}{trust}")
    }
}

/// The recipient of a grant. For a session it is the session's role, because policies cannot be attached to a session.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Grantee {
    #[serde(rename = "to")]
    name: String,
    /// The identity that the policy is to be attached to.
    #[serde(skip)]
    label: String,
    /// The name lacks the path of the role.
    #[serde(skip)]
    lacks_path: bool,
}

impl Grantee {
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            label: name.to_owned(),
            lacks_path: false,
        }
    }

    pub fn of_caller(caller: &str) -> Self {
        let fields: Vec<&str> = caller.split([':', '/']).collect();
        let [_, partition, "sts", _, account, "assumed-role", role, ..] = fields[..] else {
            return Self::named(caller);
        };
        let name = format!("arn:{partition}:iam::{account}:role/{role}");
        // Roles of IAM Identity Center: the name of the permission set and a hash follow.
        let label = match role.strip_prefix("AWSReservedSSO_") {
            Some(set) => format!(
                "the permission set {} of IAM Identity Center (policies cannot be attached to its role {name} directly)",
                set.rsplit_once('_').map_or(set, |(set, _hash)| set)
            ),
            None => name.clone(),
        };
        Self {
            name,
            label,
            lacks_path: true,
        }
    }
}
