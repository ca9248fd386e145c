//! What was found, as a table for people or as JSON.

use super::Format;
use super::check_result::{CheckResult, Grant, Outcome};
use crate::escape;
use serde::Serialize;
use std::collections::HashMap;
use std::iter;

/// All that was found, in the order of the configuration.
#[derive(Debug)]
pub struct Report(Vec<CheckResult>);

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
    hint: Option<String>,
}

impl<'a> Row<'a> {
    fn of(finding: &'a CheckResult) -> Self {
        let (request_id, grant) = match &finding.outcome {
            Outcome::Failed { error, grant } => (error.request_id.as_deref(), grant.as_ref()),
            Outcome::Well(_) | Outcome::Missing(_) | Outcome::Skipped => (None, None),
        };
        Self {
            scope: finding.scope.as_str(),
            region: finding.region.as_str(),
            check: finding.subject.check(),
            of: finding.subject.of(),
            result: finding.outcome.as_str(),
            identity: match &finding.outcome {
                Outcome::Well(identity) => identity.as_deref(),
                Outcome::Missing(_) | Outcome::Failed { .. } | Outcome::Skipped => None,
            },
            message: finding.outcome.message(),
            request_id,
            grant,
            hint: finding.outcome.hint(),
        }
    }
}

impl Report {
    pub fn new(findings: Vec<CheckResult>) -> Self {
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
                Some(identity) => format!("{}: {}", row.of, escape::line(identity)),
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

    /// What a row has no room for. Scopes that share an identity share its troubles: each is told once.
    fn troubles(&self) -> String {
        let mut told: Vec<(Row<'_>, Vec<&str>)> = Vec::new();
        let mut places = HashMap::new();
        for row in self.0.iter().map(Row::of) {
            if row.message.is_none() {
                continue;
            }
            let scope = row.scope;
            let place = *places
                .entry((row.region, row.check, row.of, row.message))
                .or_insert(told.len());
            match told.get_mut(place) {
                Some((_, scopes)) => scopes.push(scope),
                None => told.push((row, vec![scope])),
            }
        }
        let mut text = String::new();
        for (row, scopes) in told {
            let (scopes, region, check) = (scopes.join(", "), row.region, row.check);
            let of = match row.of {
                "*" => String::new(),
                of => format!(" {of}"),
            };
            text += &format!("\n{scopes} in {region}: {check}{of}: {}\n", row.result);
            if let Some(message) = row.message {
                text += &format!("  {}\n", escape::line(message));
            }
            if let Some(hint) = row.hint {
                text += &format!("  -> {}\n", escape::line(&hint));
            }
        }
        text
    }

    fn summary(&self) -> String {
        let count = |is: fn(&Outcome) -> bool| self.0.iter().filter(|row| is(&row.outcome)).count();
        let all = self.0.len();
        let well = count(Outcome::is_well);
        let not_asked = count(|outcome| matches!(outcome, Outcome::Skipped));
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
