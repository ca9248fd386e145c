//! The permissions as JSON: whole policies, each beside whom it belongs to, to be taken out with `jq`.

use super::policy::{self, Policy};
use super::{AssumedRole, GrantedActions, Identity, NamedId};
use crate::config::ScopeName;
use serde::Serialize;
use serde_json::Value;

#[derive(Serialize)]
struct Document<'a> {
    /// What the exporter itself runs as.
    identities: Vec<IdentityPolicy<'a>>,
    /// What it assumes.
    roles: Vec<RolePolicy<'a>>,
}

#[derive(Serialize)]
struct IdentityPolicy<'a> {
    /// Null for the SDK's default credentials.
    profile: Option<&'a str>,
    partition: &'a str,
    scopes: Vec<&'a str>,
    /// What stands for it in the trust policies, to be replaced there.
    #[serde(skip_serializing_if = "Option::is_none")]
    placeholder: Option<String>,
    /// All of them are needed; more than one only where one would be larger than IAM allows.
    policies: Vec<Policy>,
}

#[derive(Serialize)]
struct RolePolicy<'a> {
    role_arn: &'a str,
    scopes: Vec<&'a str>,
    policy: Policy,
    trust_policy: Policy,
}

pub fn write(grants: &GrantedActions, show_external_ids: bool) -> serde_json::Result<String> {
    let principal = |place: usize| Value::String(placeholder(grants, place));
    let id = |id: &NamedId| Value::String(external_id(id, show_external_ids));
    let identities = grants.identities.iter().enumerate();
    let document = Document {
        identities: identities
            .map(|(place, identity)| of_identity(identity, placeholder(grants, place)))
            .collect(),
        roles: grants
            .roles
            .iter()
            .map(|role| of_role(role, policy::of_trust(role, principal, id)))
            .collect(),
    };
    serde_json::to_string_pretty(&document)
}

fn of_identity(identity: &Identity, placeholder: String) -> IdentityPolicy<'_> {
    IdentityPolicy {
        profile: identity.profile.as_deref(),
        partition: &identity.partition,
        scopes: names(&identity.scopes),
        placeholder: (!identity.roles.is_empty()).then_some(placeholder),
        policies: policy::of_identity(identity),
    }
}

fn of_role(role: &AssumedRole, trust_policy: Policy) -> RolePolicy<'_> {
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

/// Has the form of a role's ARN, so that whatever reads policies reads it, and names an account that there is not: pasted as it is,
/// IAM refuses it.
fn placeholder(grants: &GrantedActions, place: usize) -> String {
    let partition = &grants.identities[place].partition;
    let number = match place {
        0 => String::new(),
        place => format!("-{}", place + 1),
    };
    format!(
        "arn:{partition}:iam::000000000000:role/REPLACE-WITH-THE-IDENTITY-OF-THE-EXPORTER{number}"
    )
}

/// Pasted as it is, the role can be assumed by nobody.
fn external_id((id, scope): &NamedId, show: bool) -> String {
    if show {
        id.expose().to_owned()
    } else {
        format!("REPLACE-WITH-THE-EXTERNAL-ID-OF-SCOPE-{scope}")
    }
}
