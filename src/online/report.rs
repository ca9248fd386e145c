//! What was found, as a table for people or as JSON.

use super::Format;
use crate::config::{Query, RegionName, Role, RoleArn, ScopeName};
use crate::glue::aws::Unidentified;
use crate::glue::{GlueError, Operation, Reason};
use crate::iam;
use serde::Serialize;
use std::iter;

/// What a question was about.
#[derive(Debug)]
pub enum Subject {
    /// Whose credentials.
    Identity(String),
    Role(RoleArn),
    Operation(Operation),
    Query(Query),
}

impl Subject {
    fn check(&self) -> &'static str {
        match self {
            Self::Identity(_) => "identity",
            Self::Role(_) => "role",
            Self::Operation(operation) => operation.as_str(),
            Self::Query(Query::Target(_)) => "target",
            Self::Query(Query::Integration(_) | Query::All) => "integration",
        }
    }

    fn of(&self) -> &str {
        match self {
            Self::Identity(whose) => whose,
            Self::Role(arn) => arn.as_str(),
            Self::Query(Query::Integration(arn)) => arn.as_str(),
            Self::Query(Query::Target(arn)) => arn.as_str(),
            Self::Operation(_) | Self::Query(Query::All) => "*",
        }
    }
}

/// What came of a question.
#[derive(Debug)]
pub enum Outcome {
    /// With the ARN of whom AWS knows us as, if that was the question.
    Well(Option<String>),
    /// AWS answered that there is none.
    Missing(String),
    Failed {
        error: GlueError,
        grant: Option<Grant>,
    },
    /// It would fail like an earlier one.
    NotAsked,
}

impl Outcome {
    pub fn failed(error: GlueError) -> Self {
        Self::Failed { error, grant: None }
    }

    /// The grant is for a role that STS refuses.
    pub fn of_identity(asked: Result<String, Unidentified>, grant: Option<Grant>) -> Self {
        match asked {
            Ok(arn) => Self::Well(Some(arn)),
            Err(unknown) => Self::Failed {
                error: unknown.error,
                grant: grant.filter(|_| unknown.role_refused),
            },
        }
    }

    /// With what to grant, if it was refused.
    pub fn with_grant(self, grant: Grant) -> Self {
        match self {
            Self::Failed { error, .. } if error.reason == Reason::AccessDenied => Self::Failed {
                error,
                grant: Some(grant),
            },
            other => other,
        }
    }

    fn is_well(&self) -> bool {
        matches!(self, Self::Well(_))
    }

    /// One word: of a failure its reason, which is that of the log and of the metrics.
    fn word(&self) -> &'static str {
        match self {
            Self::Well(_) => "ok",
            Self::Missing(_) => "missing",
            Self::Failed { error, .. } => error.reason.as_str(),
            Self::NotAsked => "not_asked",
        }
    }

    fn message(&self) -> Option<&str> {
        match self {
            Self::Missing(message) => Some(message),
            Self::Failed { error, .. } => Some(&error.message),
            Self::Well(_) | Self::NotAsked => None,
        }
    }

    /// What a person can do about it, if it is a permission.
    fn advice(&self) -> Option<String> {
        let Self::Failed {
            error,
            grant: Some(grant),
        } = self
        else {
            return None;
        };
        // AWS says so in the message of a refusal; no grant helps against it.
        if error.message.contains("explicit deny") {
            let (action, to) = (&grant.action, &grant.to);
            return Some(format!(
                "take {action} for {to} out of the explicit deny: no grant overrules it"
            ));
        }
        Some(grant.words())
    }
}

/// What is to be allowed, and to whom.
#[derive(Debug, Serialize)]
pub struct Grant {
    action: String,
    resource: String,
    to: String,
    /// What the role's trust policy is to have besides.
    #[serde(skip)]
    trust: Option<String>,
}

impl Grant {
    pub fn of_operation(operation: Operation, to: &str) -> Self {
        Self {
            action: iam::action(operation),
            resource: "*".to_owned(),
            to: to.to_owned(),
            trust: None,
        }
    }

    pub fn of_role(role: &Role, to: String) -> Self {
        let id = if role.external_id.is_some() {
            "with the scope's `external_id`"
        } else {
            "without an external id, since the scope has no `external_id`"
        };
        Self {
            action: "sts:AssumeRole".to_owned(),
            resource: role.arn.to_string(),
            trust: Some(format!(
                "and let its trust policy name {}, {id}",
                principal(&to)
            )),
            to,
        }
    }

    fn words(&self) -> String {
        let (action, to) = (&self.action, &self.to);
        let resource = match self.resource.as_str() {
            "*" => "\"*\"",
            arn => arn,
        };
        match &self.trust {
            None => format!("grant {action} on {resource} to {to}"),
            Some(trust) => format!("grant {action} on {resource} to {to}, {trust}"),
        }
    }
}

/// Whom a policy names for a caller: of a session its role, since the session's name can be another one tomorrow.
fn principal(caller: &str) -> String {
    let parts: Vec<&str> = caller.splitn(6, ':').collect();
    let &[_, partition, "sts", _, account, session] = parts.as_slice() else {
        return caller.to_owned();
    };
    let mut session = session.split('/');
    match (session.next(), session.next()) {
        (Some("assumed-role"), Some(name)) => {
            // AWS leaves the path out of a session's ARN.
            format!(
                "arn:{partition}:iam::{account}:role/{name} (with the role's path, if it has one)"
            )
        }
        _ => caller.to_owned(),
    }
}

/// One question, and what came of it.
#[derive(Debug)]
pub struct Finding {
    pub scope: ScopeName,
    pub region: RegionName,
    pub subject: Subject,
    pub outcome: Outcome,
}

/// All that was found, in the order of the configuration.
#[derive(Debug)]
pub struct Report(Vec<Finding>);

#[derive(Serialize)]
struct Document<'a> {
    ok: bool,
    checks: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    scope: &'a str,
    region: &'a str,
    check: &'static str,
    of: &'a str,
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grant: Option<&'a Grant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

impl<'a> Row<'a> {
    fn of(finding: &'a Finding) -> Self {
        let (request_id, grant) = match &finding.outcome {
            Outcome::Failed { error, grant } => (error.request_id.as_deref(), grant.as_ref()),
            Outcome::Well(_) | Outcome::Missing(_) | Outcome::NotAsked => (None, None),
        };
        Self {
            scope: finding.scope.as_str(),
            region: finding.region.as_str(),
            check: finding.subject.check(),
            of: finding.subject.of(),
            result: finding.outcome.word(),
            identity: match &finding.outcome {
                Outcome::Well(identity) => identity.as_deref(),
                Outcome::Missing(_) | Outcome::Failed { .. } | Outcome::NotAsked => None,
            },
            message: finding.outcome.message(),
            request_id,
            grant,
            advice: finding.outcome.advice(),
        }
    }
}

impl Report {
    pub fn new(findings: Vec<Finding>) -> Self {
        Self(findings)
    }

    /// Nothing is refused, missing or out of reach.
    pub fn is_well(&self) -> bool {
        self.0.iter().all(|finding| finding.outcome.is_well())
    }

    /// # Errors
    /// If it cannot be written as JSON, which has a form for all that is in it.
    pub fn write(&self, format: Format) -> serde_json::Result<String> {
        match format {
            Format::Table => Ok(self.table()),
            Format::Json => serde_json::to_string_pretty(&Document {
                ok: self.is_well(),
                checks: self.0.iter().map(Row::of).collect(),
            })
            .map(|text| text + "\n"),
        }
    }

    fn table(&self) -> String {
        let head = ["SCOPE", "REGION", "CHECK", "RESULT", "OF"].map(str::to_owned);
        let rows = self.0.iter().map(|finding| {
            let row = Row::of(finding);
            let of = match row.identity {
                // Of a role that is the session, whose name begins with the role's.
                Some(identity) => format!("{}: {identity}", row.of),
                None => row.of.to_owned(),
            };
            [row.scope, row.region, row.check, row.result]
                .map(str::to_owned)
                .into_iter()
                .chain([of])
                .collect()
        });
        let rows: Vec<Vec<String>> = iter::once(head.to_vec()).chain(rows).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..4).map(width).collect();
        let mut text = String::new();
        for row in &rows {
            for (cell, width) in row.iter().zip(&widths) {
                text += &format!("{cell:width$}  ");
            }
            text += &format!("{}\n", row[4]);
        }
        text += &self.troubles();
        text + &self.summary()
    }

    /// What a row has no room for.
    fn troubles(&self) -> String {
        let mut text = String::new();
        for finding in &self.0 {
            let row = Row::of(finding);
            let Some(message) = row.message else {
                continue;
            };
            let of = match row.of {
                "*" => String::new(),
                of => format!(" {of}"),
            };
            let (scope, region, check, result) = (row.scope, row.region, row.check, row.result);
            text += &format!("\n{scope} in {region}: {check}{of}: {result}\n  {message}\n");
            if let Some(advice) = row.advice {
                text += &format!("  -> {advice}\n");
            }
        }
        text
    }

    fn summary(&self) -> String {
        let count = |is: fn(&Outcome) -> bool| self.0.iter().filter(|row| is(&row.outcome)).count();
        let all = self.0.len();
        let well = count(Outcome::is_well);
        let not_asked = count(|outcome| matches!(outcome, Outcome::NotAsked));
        let wrong = all - well - not_asked;
        match (wrong, not_asked) {
            (0, 0) => format!("\nAll is well: {all} checks.\n"),
            (_, 0) => format!("\n{wrong} of {all} checks failed.\n"),
            _ => format!(
                "\n{wrong} of {all} checks failed. Not asked, since they would fail too: {not_asked}.\n"
            ),
        }
    }
}
