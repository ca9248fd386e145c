//! The permissions as one CloudFormation template for all accounts. In each account it creates only the resources of that account, so a
//! stack set can use it unchanged. Values that only the user knows are parameters without defaults, so that none is forgotten.

use super::policy::{self, Policy};
use super::{AssumedRole, Identity, NamedId, Permissions};
use crate::config::ExternalId;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::HashSet;

const DESCRIPTION: &str = "Permissions of glue-integration-exporter: the policies of its own identity, which you attach by hand, and \
                           the roles that it assumes. Each account gets only its own resources.";

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Template {
    #[serde(rename = "AWSTemplateFormatVersion")]
    version: &'static str,
    description: &'static str,
    parameters: Map<String, Value>,
    conditions: Map<String, Value>,
    resources: Map<String, Value>,
}

pub fn write(permissions: &Permissions, show_external_ids: bool) -> serde_json::Result<String> {
    let mut template = Template {
        version: "2010-09-09",
        description: DESCRIPTION,
        parameters: Map::new(),
        conditions: Map::new(),
        resources: Map::new(),
    };
    let mut names = UniqueNames::default();
    let principals: Vec<String> = permissions
        .identities
        .iter()
        .map(|identity| template.identity(&mut names, identity))
        .collect();
    let mut ids = Vec::new();
    if !show_external_ids {
        template.external_ids(permissions, &mut ids);
    }
    let principal = |index: usize| json!({"Ref": principals[index]});
    let id = |(id, _): &NamedId| match ids.iter().find(|(other, _)| *other == id) {
        Some((_, parameter)) => json!({"Ref": parameter}),
        None => json!(id.expose()),
    };
    for role in &permissions.roles {
        template.role(&mut names, role, &policy::of_trust(role, principal, id));
    }
    serde_json::to_string_pretty(&template)
}

impl Template {
    /// Adds an identity. Returns the name of the parameter for its ARN.
    fn identity(&mut self, names: &mut UniqueNames, identity: &Identity) -> String {
        let (owner, profile) = match &identity.profile {
            Some(profile) => (
                format!("the profile {profile}"),
                format!("OfProfile{profile}"),
            ),
            None => ("the default credentials".to_owned(), String::new()),
        };
        let partition = &identity.partition;
        let parameter = names.unique(&format!("ExporterPrincipal{profile}"));
        self.parameters.insert(
            parameter.clone(),
            json!({
                "Type": "String",
                "Description": format!("ARN of the role or user that the exporter runs as with {owner}."),
                "AllowedPattern": format!("arn:{partition}:iam::[0-9]{{12}}:(role|user)/.+"),
            }),
        );
        let condition = names.unique(&format!("InTheAccountOf{parameter}"));
        let account = json!({"Fn::Select": [4, {"Fn::Split": [":", {"Ref": parameter}]}]});
        self.conditions
            .insert(condition.clone(), is_current_account(&account));
        for policy in policy::of_identity(identity) {
            self.resources.insert(
                names.unique(&format!("ExporterPolicy{profile}")),
                json!({
                    "Type": "AWS::IAM::ManagedPolicy",
                    "Condition": condition,
                    "Properties": {
                        "Description": "Permissions of glue-integration-exporter itself",
                        "PolicyDocument": policy,
                    },
                }),
            );
        }
        parameter
    }

    fn external_ids<'a>(
        &mut self,
        permissions: &'a Permissions,
        ids: &mut Vec<(&'a ExternalId, String)>,
    ) {
        let trusts = permissions.roles.iter().flat_map(|role| &role.trusts);
        for (id, scope) in trusts
            .filter(|trust| !trust.without_id)
            .flat_map(|trust| &trust.ids)
        {
            if ids.iter().any(|(other, _)| *other == id) {
                continue;
            }
            let parameter = format!("ExternalId{}", ids.len() + 1);
            self.parameters.insert(
                parameter.clone(),
                json!({
                    "Type": "String",
                    "Description": format!("The external_id of scope {scope}."),
                    "NoEcho": true,
                    "MinLength": 2,
                    "MaxLength": 1224,
                }),
            );
            ids.push((id, parameter));
        }
    }

    fn role(&mut self, names: &mut UniqueNames, role: &AssumedRole, trust: &Policy) {
        let account = role.arn.account();
        let condition = format!("InAccount{account}");
        self.conditions
            .insert(condition.clone(), is_current_account(&json!(account)));
        let (path, name) = role.arn.path_and_name();
        // Named after the role, so that adding a scope does not rename the resources of others.
        self.resources.insert(
            names.unique(&format!("Role{account}{name}")),
            json!({
                "Type": "AWS::IAM::Role",
                "Condition": condition,
                "Properties": {
                    "Path": path,
                    "RoleName": name,
                    "Description": "Assumed by glue-integration-exporter",
                    "AssumeRolePolicyDocument": trust,
                    "Policies": [{
                        "PolicyName": "glue-integration-exporter",
                        "PolicyDocument": policy::of_role(role),
                    }],
                },
            }),
        );
    }
}

fn is_current_account(account: &Value) -> Value {
    json!({"Fn::Equals": [{"Ref": "AWS::AccountId"}, account]})
}

/// Generates unique names of letters and digits.
#[derive(Default)]
struct UniqueNames(HashSet<String>);

impl UniqueNames {
    fn unique(&mut self, wanted: &str) -> String {
        let plain: String = wanted.chars().filter(char::is_ascii_alphanumeric).collect();
        let mut name = plain.clone();
        let mut number = 1;
        while !self.0.insert(name.clone()) {
            number += 1;
            name = format!("{plain}{number}");
        }
        name
    }
}
