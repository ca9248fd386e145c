//! Which permissions a configuration needs, and whose they are: the least that the exporter's identities and the roles that they assume
//! can do with. Asks nobody.
//!
//! ```text
//! watches -> Grants (who asks for what, who assumes whom) -> policy -> document (JSON) or cloudformation
//! ```

mod cloudformation;
mod document;
mod policy;

use crate::config::{ExternalId, RoleArn, ScopeName, Watch};
use crate::glue::Operation;
use clap::ValueEnum;
use std::collections::BTreeSet;

/// What is asked of Glue, and by which watches. The policies have these on `*`, the only resource that a listing knows.
const ASKED: &[(Operation, Asks)] = &[
    (Operation::DescribeInboundIntegrations, |_| true),
    (Operation::DescribeIntegrations, |watch| watch.describe),
];

type Asks = fn(&Watch) -> bool;

/// How the permissions are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Policies one by one, each with whom it belongs to.
    Json,
    /// A template that makes the roles and the policies.
    Cloudformation,
}

/// The permissions that `watches` need, as text. External ids are placeholders in it, unless they are to be shown.
///
/// # Errors
/// If they cannot be written as JSON, which has a form for all that is in them.
pub fn write(
    watches: &[Watch],
    format: Format,
    show_external_ids: bool,
) -> serde_json::Result<String> {
    let grants = GrantedActions::of(watches);
    let text = match format {
        Format::Json => document::write(&grants, show_external_ids),
        Format::Cloudformation => cloudformation::write(&grants, show_external_ids),
    };
    text.map(|text| text + "\n")
}

/// What a watch asks of Glue.
pub fn operations(watch: &Watch) -> impl Iterator<Item = Operation> {
    ASKED
        .iter()
        .filter(|(_, asks)| asks(watch))
        .map(|(operation, _)| *operation)
}

/// The permission that an operation needs.
pub fn action(operation: Operation) -> String {
    format!("glue:{}", operation.as_str())
}

/// Who needs what. Everything is in the order of the configuration.
struct GrantedActions {
    identities: Vec<Identity>,
    roles: Vec<AssumedRole>,
}

/// What the exporter itself runs as: the identity of a profile or of the SDK's default chain. In each partition it is another one, since
/// no identity of one has a say in another.
struct Identity {
    profile: Option<String>,
    partition: String,
    scopes: Vec<ScopeName>,
    /// What it asks of Glue without a role.
    actions: BTreeSet<String>,
    roles: BTreeSet<RoleArn>,
}

/// A role that a scope names.
struct AssumedRole {
    arn: RoleArn,
    scopes: Vec<ScopeName>,
    actions: BTreeSet<String>,
    trusts: Vec<Trust>,
}

/// An external id, and the first scope that names it.
type NamedId = (ExternalId, ScopeName);

/// Who may assume a role.
struct Trust {
    /// Its place among the identities.
    identity: usize,
    /// Each once.
    ids: Vec<NamedId>,
    /// A scope assumes the role without any.
    without_id: bool,
}

impl GrantedActions {
    fn of(watches: &[Watch]) -> Self {
        let mut grants = Self {
            identities: Vec::new(),
            roles: Vec::new(),
        };
        for watch in watches {
            let place = grants.identity(watch);
            let actions = operations(watch).map(action);
            let identity = &mut grants.identities[place];
            note(&mut identity.scopes, &watch.scope);
            let Some(role) = &watch.credentials.role else {
                identity.actions.extend(actions);
                continue;
            };
            identity.roles.insert(role.arn.clone());
            let assumed = place_of(
                &mut grants.roles,
                |known| known.arn == role.arn,
                || AssumedRole {
                    arn: role.arn.clone(),
                    scopes: Vec::new(),
                    actions: BTreeSet::new(),
                    trusts: Vec::new(),
                },
            );
            let assumed = &mut grants.roles[assumed];
            note(&mut assumed.scopes, &watch.scope);
            assumed.actions.extend(actions);
            assumed.trust(place, role.external_id.as_ref(), &watch.scope);
        }
        grants
    }

    fn identity(&mut self, watch: &Watch) -> usize {
        let profile = &watch.credentials.profile;
        let partition = match &watch.credentials.role {
            Some(role) => role.arn.partition(),
            None => watch.region.partition(),
        };
        place_of(
            &mut self.identities,
            |known| known.profile == *profile && known.partition == partition,
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
        let place = place_of(
            &mut self.trusts,
            |known| known.identity == identity,
            || Trust {
                identity,
                ids: Vec::new(),
                without_id: false,
            },
        );
        let trust = &mut self.trusts[place];
        match id {
            None => trust.without_id = true,
            Some(id) if trust.ids.iter().any(|(known, _)| known == id) => {}
            Some(id) => trust.ids.push((id.clone(), scope.clone())),
        }
    }
}

/// The place of the first that fits, or of a new one at the end.
fn place_of<T>(list: &mut Vec<T>, fits: impl Fn(&T) -> bool, new: impl FnOnce() -> T) -> usize {
    list.iter().position(fits).unwrap_or_else(|| {
        list.push(new());
        list.len() - 1
    })
}

fn note(scopes: &mut Vec<ScopeName>, scope: &ScopeName) {
    if !scopes.contains(scope) {
        scopes.push(scope.clone());
    }
}
