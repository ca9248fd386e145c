//! Computes the least permissions that a configuration needs, for the exporter's identities and for the roles that they assume. Sends no
//! requests. The result is JSON: whole policies with their owners, which `jq` can extract.

use crate::config::{ExternalId, ScopeRegion};
use crate::glue::Operation;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// IAM's limit for a managed policy, without white space. The roles of many scopes can need several policies.
const MAX_POLICY_BYTES: usize = 6_144;
/// The size of a policy without its ARNs, rounded up. It includes the other statement.
const BASE_POLICY_BYTES: usize = 400;

/// An identity that the exporter runs as: the profile, or None for the SDK's default chain, and the partition. Each partition has its own,
/// because identities are not valid in other partitions.
type Identity<'a> = (Option<&'a str>, &'a str);

fn identity(watch: &ScopeRegion) -> Identity<'_> {
    let role = watch.credentials.role.as_ref();
    let partition = role.map_or(watch.region.partition(), |role| role.arn.partition());
    (watch.credentials.profile.as_deref(), partition)
}

/// Returns the permissions that `watches` need, as text. External IDs are placeholders unless `show_external_ids` is true.
pub fn write(watches: &[ScopeRegion], show_external_ids: bool) -> String {
    let identities = group_by(watches, |watch| Some(identity(watch)));
    // A placeholder has the form of a role's ARN, so that tools accept it. Its account does not exist, so IAM rejects it.
    let placeholder = |identity: Identity<'_>| {
        let number = match identities.iter().position(|(it, _)| *it == identity) {
            None | Some(0) => String::new(),
            Some(index) => format!("-{}", index + 1),
        };
        let (_, partition) = identity;
        format!(
            "arn:{partition}:iam::000000000000:role/REPLACE-WITH-THE-IDENTITY-OF-THE-EXPORTER{number}"
        )
    };
    let external_id = |id: &ExternalId, watch: &ScopeRegion| {
        if show_external_ids {
            id.expose().to_owned()
        } else {
            format!("REPLACE-WITH-THE-EXTERNAL-ID-OF-SCOPE-{}", watch.scope)
        }
    };
    let roles = group_by(watches, role_arn);
    let document = json!({
        "identities": identities
            .iter()
            .map(|(identity, watches)| identity_json(*identity, watches, &placeholder(*identity)))
            .collect::<Vec<_>>(),
        "roles": roles
            .iter()
            .map(|(arn, watches)| json!({
                "role_arn": arn,
                "scopes": scopes(watches),
                "policy": policy(&[read_statement(&actions(watches.iter().copied()))]),
                "trust_policy": trust_policy(watches, placeholder, external_id),
            }))
            .collect::<Vec<_>>(),
    });
    format!("{document:#}\n")
}

pub fn operations(watch: &ScopeRegion) -> impl Iterator<Item = Operation> {
    let operations = Operation::ALL.iter().copied();
    operations.filter(|operation| match operation {
        Operation::DescribeInboundIntegrations => true,
        Operation::DescribeIntegrations => watch.describe,
        Operation::ListMetrics | Operation::GetMetricData => watch.freshness.is_some(),
    })
}

fn identity_json(
    (profile, partition): Identity<'_>,
    watches: &[&ScopeRegion],
    placeholder: &str,
) -> Value {
    let mut json = json!({
        // Null for the SDK's default credentials.
        "profile": profile,
        "partition": partition,
        "scopes": scopes(watches),
    });
    let watches = watches.iter().copied();
    let mut roles: Vec<&str> = watches.clone().filter_map(role_arn).collect();
    roles.sort_unstable();
    roles.dedup();
    if !roles.is_empty() {
        json["placeholder"] = json!(placeholder);
    }
    let actions = actions(watches.filter(|watch| role_arn(watch).is_none()));
    let reads = (!actions.is_empty()).then(|| read_statement(&actions));
    let mut statements = Vec::from_iter(reads);
    let mut policies = Vec::new();
    let longest = roles.iter().map(|arn| arn.len()).max().unwrap_or_default();
    // Each ARN has two quotes and a comma.
    let roles_per_policy = (MAX_POLICY_BYTES - BASE_POLICY_BYTES) / (longest + 3);
    for roles in roles.chunks(roles_per_policy) {
        statements.push(json!({
            "Sid": "AssumeTheRolesOfTheScopes",
            "Effect": "Allow",
            "Action": "sts:AssumeRole",
            "Resource": one_or_many(roles),
        }));
        policies.push(policy(&std::mem::take(&mut statements)));
    }
    if !statements.is_empty() {
        policies.push(policy(&statements));
    }
    json["policies"] = json!(policies);
    json
}

fn trust_policy(
    watches: &[&ScopeRegion],
    principal: impl Fn(Identity<'_>) -> String,
    external_id: impl Fn(&ExternalId, &ScopeRegion) -> String,
) -> Value {
    let mut statements = Vec::new();
    let watches = watches.iter().copied();
    for (identity, watches) in group_by(watches, |watch| Some(identity(watch))) {
        let mut statement = json!({
            "Effect": "Allow",
            "Principal": {"AWS": principal(identity)},
            "Action": "sts:AssumeRole",
        });
        let watch_count = watches.len();
        let by_id = group_by(watches, |watch| {
            watch.credentials.role.as_ref()?.external_id.as_ref()
        });
        let with_id: usize = by_id.iter().map(|(_, watches)| watches.len()).sum();
        // A condition would lock out a scope that assumes the role without an external ID.
        if with_id == watch_count {
            let ids = by_id.iter();
            let ids: Vec<_> = ids.map(|(id, it)| external_id(id, it[0])).collect();
            statement["Condition"] = json!({"StringEquals": {"sts:ExternalId": one_or_many(&ids)}});
        }
        statements.push(statement);
    }
    policy(&statements)
}

fn policy(statements: &[Value]) -> Value {
    json!({"Version": "2012-10-17", "Statement": statements})
}

/// Allows reading. The resource is `*`, because listings support no other.
fn read_statement(actions: &[String]) -> Value {
    json!({
        "Sid": "ReadInboundIntegrations",
        "Effect": "Allow",
        "Action": one_or_many(actions),
        "Resource": "*",
    })
}

/// Returns a single value without a list, as IAM policies are usually written.
fn one_or_many<T: serde::Serialize>(values: &[T]) -> Value {
    match values {
        [one] => json!(one),
        many => json!(many),
    }
}

fn actions<'a>(watches: impl Iterator<Item = &'a ScopeRegion>) -> Vec<String> {
    let actions: BTreeSet<String> = watches
        .flat_map(operations)
        .map(Operation::action)
        .collect();
    actions.into_iter().collect()
}

fn role_arn(watch: &ScopeRegion) -> Option<&str> {
    Some(watch.credentials.role.as_ref()?.arn.as_str())
}

fn scopes<'a>(watches: &[&'a ScopeRegion]) -> Vec<&'a str> {
    let mut names: Vec<&str> = watches.iter().map(|watch| watch.scope.as_str()).collect();
    names.dedup();
    names
}

/// Groups the watches that have a key, in the order in which the keys appear first.
fn group_by<'a, K: PartialEq>(
    watches: impl IntoIterator<Item = &'a ScopeRegion>,
    key: impl Fn(&'a ScopeRegion) -> Option<K>,
) -> Vec<(K, Vec<&'a ScopeRegion>)> {
    let mut groups: Vec<(K, Vec<&ScopeRegion>)> = Vec::new();
    for watch in watches {
        let Some(key) = key(watch) else { continue };
        match groups.iter_mut().find(|(other, _)| *other == key) {
            Some((_, group)) => group.push(watch),
            None => groups.push((key, vec![watch])),
        }
    }
    groups
}
