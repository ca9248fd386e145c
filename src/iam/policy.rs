//! IAM's policy documents, in the order in which people write them.

use super::{AssumedRole, Identity, NamedId, Trust};
use serde::Serialize;
use serde_json::{Value, json};

/// IAM's limit for a managed policy, in characters without white space. A fleet's roles can be more than fit into one.
const LARGEST_POLICY: usize = 6_144;
/// What a policy has around its ARNs, generously: the other statement is in it too.
const AROUND: usize = 400;

/// A policy, of an identity or of whom a role trusts.
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
    action: OneOrMore<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<OneOrMore<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<Value>,
}

/// One stands for itself, without a list around it.
#[derive(Serialize)]
#[serde(untagged)]
enum OneOrMore<T> {
    One(T),
    More(Vec<T>),
}

impl<T> From<Vec<T>> for OneOrMore<T> {
    fn from(mut list: Vec<T>) -> Self {
        match (list.pop(), list.is_empty()) {
            (Some(one), true) => Self::One(one),
            (last, _) => {
                list.extend(last);
                Self::More(list)
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

/// What an identity of the exporter may do: one policy, or as many as IAM's limit asks for.
pub fn of_identity(identity: &Identity) -> Vec<Policy> {
    let mut policies = Vec::new();
    let mut statements = Vec::new();
    if !identity.actions.is_empty() {
        statements.push(reads(&identity.actions));
    }
    let mut arns: Vec<String> = Vec::new();
    let mut length = AROUND;
    for role in &identity.roles {
        // With its quotes and its comma.
        let arn_length = role.as_str().len() + 3;
        if length + arn_length > LARGEST_POLICY && !arns.is_empty() {
            statements.push(assumes(std::mem::take(&mut arns)));
            policies.push(Policy::of(std::mem::take(&mut statements)));
            length = AROUND;
        }
        arns.push(role.to_string());
        length += arn_length;
    }
    if !arns.is_empty() {
        statements.push(assumes(arns));
    }
    policies.push(Policy::of(statements));
    policies
}

/// What a role may do.
pub fn of_role(role: &AssumedRole) -> Policy {
    Policy::of(vec![reads(&role.actions)])
}

/// Who may assume a role. What only the reader knows is written as `principal` and `external_id` say.
pub fn of_trust(
    role: &AssumedRole,
    principal: impl Fn(usize) -> Value,
    external_id: impl Fn(&NamedId) -> Value,
) -> Policy {
    let trusts = |trust: &Trust| Statement {
        sid: None,
        effect: "Allow",
        principal: Some(json!({"AWS": principal(trust.identity)})),
        action: OneOrMore::One("sts:AssumeRole".to_owned()),
        resource: None,
        condition: condition(trust, &external_id),
    };
    Policy::of(role.trusts.iter().map(trusts).collect())
}

/// Where one scope assumes the role without an external id, asking for one would shut it out.
fn condition(trust: &Trust, external_id: impl Fn(&NamedId) -> Value) -> Option<Value> {
    if trust.without_id {
        return None;
    }
    let ids: Vec<Value> = trust.ids.iter().map(external_id).collect();
    let ids = OneOrMore::from(ids);
    Some(json!({"StringEquals": {"sts:ExternalId": ids}}))
}

fn reads<'a>(actions: impl IntoIterator<Item = &'a String>) -> Statement {
    let actions: Vec<String> = actions.into_iter().cloned().collect();
    Statement {
        sid: Some("ReadInboundIntegrations"),
        effect: "Allow",
        principal: None,
        action: actions.into(),
        resource: Some(OneOrMore::One("*".to_owned())),
        condition: None,
    }
}

fn assumes(roles: Vec<String>) -> Statement {
    Statement {
        sid: Some("AssumeTheRolesOfTheScopes"),
        effect: "Allow",
        principal: None,
        action: OneOrMore::One("sts:AssumeRole".to_owned()),
        resource: Some(roles.into()),
        condition: None,
    }
}
