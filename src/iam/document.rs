//! The permissions as JSON: whole policies with their owners, which `jq` can extract.

use super::policy::{self, Policy};
use super::{AssumedRole, Identity, NamedId, Permissions};
use crate::config::ScopeName;
use serde::Serialize;
use serde_json::Value;

#[derive(Serialize)]
struct Document<'a> {
    /// The identities that the exporter runs as.
    identities: Vec<IdentityPolicy<'a>>,
    /// The roles that the exporter assumes.
    roles: Vec<RolePolicy<'a>>,
}

#[derive(Serialize)]
struct IdentityPolicy<'a> {
    /// Null for the SDK's default credentials.
    profile: Option<&'a str>,
    partition: &'a str,
    scopes: Vec<&'a str>,
    /// The placeholder of this identity in the trust policies.
    #[serde(skip_serializing_if = "Option::is_none")]
    placeholder: Option<String>,
    /// All policies are needed. There are several only if one would exceed IAM's size limit.
    policies: Vec<Policy>,
}

#[derive(Serialize)]
struct RolePolicy<'a> {
    role_arn: &'a str,
    scopes: Vec<&'a str>,
    policy: Policy,
    trust_policy: Policy,
}

pub fn write(permissions: &Permissions, show_external_ids: bool) -> serde_json::Result<String> {
    let principal = |index: usize| Value::String(placeholder(permissions, index));
    let id = |id: &NamedId| Value::String(external_id(id, show_external_ids));
    let identities = permissions.identities.iter().enumerate();
    let document = Document {
        identities: identities
            .map(|(index, identity)| identity_policy(identity, placeholder(permissions, index)))
            .collect(),
        roles: permissions
            .roles
            .iter()
            .map(|role| role_policy(role, policy::of_trust(role, principal, id)))
            .collect(),
    };
    serde_json::to_string_pretty(&document)
}

fn identity_policy(identity: &Identity, placeholder: String) -> IdentityPolicy<'_> {
    IdentityPolicy {
        profile: identity.profile.as_deref(),
        partition: &identity.partition,
        scopes: names(&identity.scopes),
        placeholder: (!identity.roles.is_empty()).then_some(placeholder),
        policies: policy::of_identity(identity),
    }
}

fn role_policy(role: &AssumedRole, trust_policy: Policy) -> RolePolicy<'_> {
    RolePolicy {
        role_arn: role.arn.as_str(),
        scopes: names(&role.scopes),
        policy: policy::of_role(role),
        trust_policy,
    }
}

fn names(scopes: &[ScopeName]) -> Vec<&str> {
    scopes.iter().map(ScopeName::as_str).collect()
}

/// Returns a placeholder in the form of a role's ARN, so that tools accept it. Its account does not exist, so IAM rejects it.
fn placeholder(permissions: &Permissions, index: usize) -> String {
    let partition = &permissions.identities[index].partition;
    let number = match index {
        0 => String::new(),
        index => format!("-{}", index + 1),
    };
    format!(
        "arn:{partition}:iam::000000000000:role/REPLACE-WITH-THE-IDENTITY-OF-THE-EXPORTER{number}"
    )
}

/// Returns the external ID or a placeholder. With the placeholder nothing can assume the role.
fn external_id((id, scope): &NamedId, show: bool) -> String {
    if show {
        id.expose().to_owned()
    } else {
        format!("REPLACE-WITH-THE-EXTERNAL-ID-OF-SCOPE-{scope}")
    }
}
