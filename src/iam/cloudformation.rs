//! The permissions as a template for CloudFormation. It is one for all accounts: in each it makes what belongs there, so that it can
//! be given to a stack set as it is. What only the reader knows are its parameters; none has a default, so none can be forgotten.

use super::policy::{self, Policy};
use super::{AssumedRole, GrantedActions, Identity, NamedId};
use crate::config::ExternalId;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::HashSet;

const DESCRIPTION: &str = "What glue-integration-exporter may do: the policies of its own identity, to be attached to it by hand, and \
                           the roles that it assumes. Each account gets what belongs there.";

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

pub fn write(grants: &GrantedActions, show_external_ids: bool) -> serde_json::Result<String> {
    let mut template = Template {
        version: "2010-09-09",
        description: DESCRIPTION,
        parameters: Map::new(),
        conditions: Map::new(),
        resources: Map::new(),
    };
    let mut names = Names::default();
    let principals: Vec<String> = grants
        .identities
        .iter()
        .map(|identity| template.identity(&mut names, identity))
        .collect();
    let mut ids = Vec::new();
    if !show_external_ids {
        template.external_ids(grants, &mut ids);
    }
    let principal = |place: usize| json!({"Ref": principals[place]});
    let id = |(id, _): &NamedId| match ids.iter().find(|(known, _)| *known == id) {
        Some((_, parameter)) => json!({"Ref": parameter}),
        None => json!(id.expose()),
    };
    for role in &grants.roles {
        template.role(&mut names, role, &policy::of_trust(role, principal, id));
    }
    serde_json::to_string_pretty(&template)
}

impl Template {
    /// Returns the name of the parameter that stands for the identity.
    fn identity(&mut self, names: &mut Names, identity: &Identity) -> String {
        let (whose, profile) = match &identity.profile {
            Some(profile) => (
                format!("the profile {profile}"),
                format!("OfProfile{profile}"),
            ),
            None => ("the default credentials".to_owned(), String::new()),
        };
        let partition = &identity.partition;
        let parameter = names.fresh(&format!("ExporterPrincipal{profile}"));
        self.parameters.insert(
            parameter.clone(),
            json!({
                "Type": "String",
                "Description": format!("ARN of the role or user that the exporter runs as with {whose}."),
                "AllowedPattern": format!("arn:{partition}:iam::[0-9]{{12}}:(role|user)/.+"),
            }),
        );
        let condition = names.fresh(&format!("InTheAccountOf{parameter}"));
        let account = json!({"Fn::Select": [4, {"Fn::Split": [":", {"Ref": parameter}]}]});
        self.conditions.insert(condition.clone(), is_here(&account));
        for policy in policy::of_identity(identity) {
            self.resources.insert(
                names.fresh(&format!("ExporterPolicy{profile}")),
                json!({
                    "Type": "AWS::IAM::ManagedPolicy",
                    "Condition": condition,
                    "Properties": {
                        "Description": "What glue-integration-exporter itself may do",
                        "PolicyDocument": policy,
                    },
                }),
            );
        }
        parameter
    }

    fn external_ids<'a>(
        &mut self,
        grants: &'a GrantedActions,
        ids: &mut Vec<(&'a ExternalId, String)>,
    ) {
        let trusts = grants.roles.iter().flat_map(|role| &role.trusts);
        for (id, scope) in trusts
            .filter(|trust| !trust.without_id)
            .flat_map(|trust| &trust.ids)
        {
            if ids.iter().any(|(known, _)| *known == id) {
                continue;
            }
            let parameter = format!("ExternalId{}", ids.len() + 1);
            self.parameters.insert(
                parameter.clone(),
                json!({
                    "Type": "String",
                    "Description": format!("The external_id of the scope {scope}."),
                    "NoEcho": true,
                    "MinLength": 2,
                    "MaxLength": 1224,
                }),
            );
            ids.push((id, parameter));
        }
    }

    fn role(&mut self, names: &mut Names, role: &AssumedRole, trust: &Policy) {
        let account = role.arn.account();
        let condition = format!("InAccount{account}");
        self.conditions
            .insert(condition.clone(), is_here(&json!(account)));
        let (path, name) = role.arn.path_and_name();
        // Not numbered: a scope that is added must not give a role's name to another one.
        self.resources.insert(
            names.fresh(&format!("Role{account}{name}")),
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

fn is_here(account: &Value) -> Value {
    json!({"Fn::Equals": [{"Ref": "AWS::AccountId"}, account]})
}

/// Names within a template: of letters and digits, each once.
#[derive(Default)]
struct Names(HashSet<String>);

impl Names {
    fn fresh(&mut self, wanted: &str) -> String {
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
