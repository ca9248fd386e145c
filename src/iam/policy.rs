//! IAM policy documents. Their keys are in the usual order.

use super::{AssumedRole, Identity, NamedId, Trust};
use serde::Serialize;
use serde_json::{Value, json};

/// IAM's limit for a managed policy, without white space. The roles of many scopes can need several policies.
const MAX_POLICY_BYTES: usize = 6_144;
/// The size of a policy without its ARNs, rounded up. It includes the other statement.
const BASE_POLICY_BYTES: usize = 400;

/// A policy of an identity, or the trust policy of a role.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Policy {
    version: &'static str,
    statement: Vec<Statement>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Statement {
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<&'static str>,
    effect: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<Value>,
    action: OneOrMany<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<OneOrMany<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<Value>,
}

/// A single value, or a list of several. IAM accepts a single value without a list.
#[derive(Serialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> From<Vec<T>> for OneOrMany<T> {
    fn from(mut list: Vec<T>) -> Self {
        match (list.pop(), list.is_empty()) {
            (Some(one), true) => Self::One(one),
            (last, _) => {
                list.extend(last);
                Self::Many(list)
            }
        }
    }
}

impl Policy {
    fn of(statement: Vec<Statement>) -> Self {
        Self {
            version: "2012-10-17",
            statement,
        }
    }
}

/// Returns the policies of an identity: one, or several if one would exceed IAM's size limit.
pub fn of_identity(identity: &Identity) -> Vec<Policy> {
    let mut policies = Vec::new();
    let mut statements = Vec::new();
    if !identity.actions.is_empty() {
        statements.push(read_statement(&identity.actions));
    }
    let mut arns: Vec<String> = Vec::new();
    let mut length = BASE_POLICY_BYTES;
    for role in &identity.roles {
        // Plus quotes and comma.
        let arn_length = role.as_str().len() + 3;
        if length + arn_length > MAX_POLICY_BYTES && !arns.is_empty() {
            statements.push(assume_statement(std::mem::take(&mut arns)));
            policies.push(Policy::of(std::mem::take(&mut statements)));
            length = BASE_POLICY_BYTES;
        }
        arns.push(role.to_string());
        length += arn_length;
    }
    if !arns.is_empty() {
        statements.push(assume_statement(arns));
    }
    policies.push(Policy::of(statements));
    policies
}

/// Returns the policy of a role.
pub fn of_role(role: &AssumedRole) -> Policy {
    Policy::of(vec![read_statement(&role.actions)])
}

/// Returns the trust policy of a role. `principal` and `external_id` write values that may be placeholders.
pub fn of_trust(
    role: &AssumedRole,
    principal: impl Fn(usize) -> Value,
    external_id: impl Fn(&NamedId) -> Value,
) -> Policy {
    let statement = |trust: &Trust| Statement {
        sid: None,
        effect: "Allow",
        principal: Some(json!({"AWS": principal(trust.identity)})),
        action: OneOrMany::One("sts:AssumeRole".to_owned()),
        resource: None,
        condition: condition(trust, &external_id),
    };
    Policy::of(role.trusts.iter().map(statement).collect())
}

/// Returns the condition on the external ID. There is none if any scope assumes the role without an external ID.
fn condition(trust: &Trust, external_id: impl Fn(&NamedId) -> Value) -> Option<Value> {
    if trust.without_id {
        return None;
    }
    let ids: Vec<Value> = trust.ids.iter().map(external_id).collect();
    let ids = OneOrMany::from(ids);
    Some(json!({"StringEquals": {"sts:ExternalId": ids}}))
}

fn read_statement<'a>(actions: impl IntoIterator<Item = &'a String>) -> Statement {
    let actions: Vec<String> = actions.into_iter().cloned().collect();
    Statement {
        sid: Some("ReadInboundIntegrations"),
        effect: "Allow",
        principal: None,
        action: actions.into(),
        resource: Some(OneOrMany::One("*".to_owned())),
        condition: None,
    }
}

fn assume_statement(roles: Vec<String>) -> Statement {
    Statement {
        sid: Some("AssumeTheRolesOfTheScopes"),
        effect: "Allow",
        principal: None,
        action: OneOrMany::One("sts:AssumeRole".to_owned()),
        resource: Some(roles.into()),
        condition: None,
    }
}
