//! Computes the least permissions that a configuration needs, for the exporter's identities and for the roles that they assume. Sends no
//! requests.
//!
//! ```text
//! watches -> Permissions (actions of each identity and role, trust) -> policy -> document (JSON)
//! ```

mod document;
mod policy;

use crate::config::{ExternalId, RoleArn, ScopeName, Watch};
use crate::glue::Operation;
use clap::ValueEnum;
use std::collections::BTreeSet;

/// The operations of Glue, and which watches need them. Their resource is `*`, because listings support no other.
const OPERATIONS: &[(Operation, IsNeeded)] = &[
    (Operation::DescribeInboundIntegrations, |_| true),
    (Operation::DescribeIntegrations, |watch| watch.describe),
];

type IsNeeded = fn(&Watch) -> bool;

/// Output format of the permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Single policies, each with its owner.
    Json,
}

/// Returns the permissions that `watches` need, as text. External IDs are placeholders unless `show_external_ids` is true.
///
/// # Errors
/// Never in practice: all permissions can be written as JSON.
pub fn write(
    watches: &[Watch],
    format: Format,
    show_external_ids: bool,
) -> serde_json::Result<String> {
    let permissions = Permissions::of(watches);
    match format {
        Format::Json => document::write(&permissions, show_external_ids).map(|text| text + "\n"),
    }
}

/// Returns the operations that a watch needs.
pub fn operations(watch: &Watch) -> impl Iterator<Item = Operation> {
    OPERATIONS
        .iter()
        .filter(|(_, is_needed)| is_needed(watch))
        .map(|(operation, _)| *operation)
}

/// Returns the IAM action of an operation.
pub fn action(operation: Operation) -> String {
    format!("glue:{}", operation.as_str())
}

/// The permissions of all identities and roles, in the order of the configuration.
struct Permissions {
    identities: Vec<Identity>,
    roles: Vec<AssumedRole>,
}

/// An identity that the exporter runs as: that of a profile or of the SDK's default chain. Each partition has its own, because identities
/// are not valid in other partitions.
struct Identity {
    profile: Option<String>,
    partition: String,
    scopes: Vec<ScopeName>,
    /// The actions that it uses without a role.
    actions: BTreeSet<String>,
    roles: BTreeSet<RoleArn>,
}

/// A role that a scope assumes.
struct AssumedRole {
    arn: RoleArn,
    scopes: Vec<ScopeName>,
    actions: BTreeSet<String>,
    trusts: Vec<Trust>,
}

/// An external ID and the first scope that uses it.
type NamedId = (ExternalId, ScopeName);

/// An identity that may assume a role.
struct Trust {
    /// Index in the list of identities.
    identity: usize,
    /// External IDs without duplicates.
    ids: Vec<NamedId>,
    /// True if a scope assumes the role without an external ID.
    without_id: bool,
}

impl Permissions {
    fn of(watches: &[Watch]) -> Self {
        let mut permissions = Self {
            identities: Vec::new(),
            roles: Vec::new(),
        };
        for watch in watches {
            let identity_index = permissions.identity(watch);
            let actions = operations(watch).map(action);
            let identity = &mut permissions.identities[identity_index];
            insert_unique(&mut identity.scopes, &watch.scope);
            let Some(role) = &watch.credentials.role else {
                identity.actions.extend(actions);
                continue;
            };
            identity.roles.insert(role.arn.clone());
            let role_index = find_or_insert(
                &mut permissions.roles,
                |assumed| assumed.arn == role.arn,
                || AssumedRole {
                    arn: role.arn.clone(),
                    scopes: Vec::new(),
                    actions: BTreeSet::new(),
                    trusts: Vec::new(),
                },
            );
            let assumed = &mut permissions.roles[role_index];
            insert_unique(&mut assumed.scopes, &watch.scope);
            assumed.actions.extend(actions);
            assumed.trust(identity_index, role.external_id.as_ref(), &watch.scope);
        }
        permissions
    }

    fn identity(&mut self, watch: &Watch) -> usize {
        let profile = &watch.credentials.profile;
        let partition = match &watch.credentials.role {
            Some(role) => role.arn.partition(),
            None => watch.region.partition(),
        };
        find_or_insert(
            &mut self.identities,
            |identity| identity.profile == *profile && identity.partition == partition,
            || Identity {
                profile: profile.clone(),
                partition: partition.to_owned(),
                scopes: Vec::new(),
                actions: BTreeSet::new(),
                roles: BTreeSet::new(),
            },
        )
    }
}

impl AssumedRole {
    fn trust(&mut self, identity: usize, id: Option<&ExternalId>, scope: &ScopeName) {
        let index = find_or_insert(
            &mut self.trusts,
            |trust| trust.identity == identity,
            || Trust {
                identity,
                ids: Vec::new(),
                without_id: false,
            },
        );
        let trust = &mut self.trusts[index];
        match id {
            None => trust.without_id = true,
            Some(id) if trust.ids.iter().any(|(other, _)| other == id) => {}
            Some(id) => trust.ids.push((id.clone(), scope.clone())),
        }
    }
}

/// Returns the index of the first item that matches. Appends a new item if there is none.
fn find_or_insert<T>(
    list: &mut Vec<T>,
    matches: impl Fn(&T) -> bool,
    new: impl FnOnce() -> T,
) -> usize {
    list.iter().position(matches).unwrap_or_else(|| {
        list.push(new());
        list.len() - 1
    })
}

fn insert_unique(scopes: &mut Vec<ScopeName>, scope: &ScopeName) {
    if !scopes.contains(scope) {
        scopes.push(scope.clone());
    }
}
