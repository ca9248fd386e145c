//! The results as a table for people, or as JSON.

use super::Format;
use super::check_result::{CheckResult, Grant, Status};
use crate::escape;
use serde::Serialize;
use std::collections::HashMap;
use std::iter;

/// All results, in the order of the configuration.
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
    #[serde(rename = "advice", skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl<'a> Row<'a> {
    fn new(result: &'a CheckResult) -> Self {
        let (request_id, grant) = match &result.status {
            Status::Failed { error, grant } => (error.request_id.as_deref(), grant.as_ref()),
            Status::Passed(_) | Status::Missing(_) | Status::Skipped => (None, None),
        };
        Self {
            scope: result.scope.as_str(),
            region: result.region.as_str(),
            check: result.target.check(),
            of: result.target.name(),
            result: result.status.as_str(),
            identity: match &result.status {
                Status::Passed(identity) => identity.as_deref(),
                Status::Missing(_) | Status::Failed { .. } | Status::Skipped => None,
            },
            message: result.status.message(),
            request_id,
            grant,
            hint: result.status.hint(),
        }
    }
}

impl Report {
    pub fn new(results: Vec<CheckResult>) -> Self {
        Self(results)
    }

    /// Returns true if all checks passed.
    pub fn is_ok(&self) -> bool {
        self.0.iter().all(|result| result.status.is_ok())
    }

    /// Writes the report in `format`.
    ///
    /// # Errors
    /// Never in practice: everything in the report can be written as JSON.
    pub fn write(&self, format: Format) -> serde_json::Result<String> {
        match format {
            Format::Table => Ok(self.table()),
            Format::Json => serde_json::to_string_pretty(&Document {
                ok: self.is_ok(),
                checks: self.0.iter().map(Row::new).collect(),
            })
            .map(|text| text + "\n"),
        }
    }

    fn table(&self) -> String {
        let head = ["SCOPE", "REGION", "CHECK", "RESULT", "OF"].map(str::to_owned);
        let rows = self.0.iter().map(|result| {
            let row = Row::new(result);
            let of = match row.identity {
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
        text += &self.failures();
        text + &self.summary()
    }

    /// Returns the messages and hints, which do not fit into the table. Failures that several scopes share are listed once.
    fn failures(&self) -> String {
        let mut failures: Vec<(Row<'_>, Vec<&str>)> = Vec::new();
        let mut places = HashMap::new();
        for row in self.0.iter().map(Row::new) {
            if row.message.is_none() {
                continue;
            }
            let scope = row.scope;
            let place = *places
                .entry((row.region, row.check, row.of, row.message))
                .or_insert(failures.len());
            match failures.get_mut(place) {
                Some((_, scopes)) => scopes.push(scope),
                None => failures.push((row, vec![scope])),
            }
        }
        let mut text = String::new();
        for (row, scopes) in failures {
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
        let count =
            |is: fn(&Status) -> bool| self.0.iter().filter(|result| is(&result.status)).count();
        let all = self.0.len();
        let passed = count(Status::is_ok);
        let skipped = count(|status| matches!(status, Status::Skipped));
        let failed = all - passed - skipped;
        match (failed, skipped) {
            (0, 0) => format!("\nAll {all} checks passed.\n"),
            (_, 0) => format!("\n{failed} of {all} checks failed.\n"),
            _ => format!(
                "\n{failed} of {all} checks failed. Skipped because they would fail too: {skipped}.\n"
            ),
        }
    }
}
