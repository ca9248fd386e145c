//! The results as a table for people, or as JSON.

use super::grant::Grant;
use crate::escape;
use clap::ValueEnum;
use serde::Serialize;
use serde_json::json;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Json,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct CheckResult {
    pub scope: String,
    pub region: String,
    pub check: &'static str,
    /// The object of the check, or `*`.
    pub of: String,
    /// `ok`, `missing`, `not_asked`, or the reason of the failure as in the log and the metrics.
    pub result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Number of tables that have reported to CloudWatch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tables: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<Grant>,
    #[serde(rename = "advice", skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl CheckResult {
    fn failure(&self) -> (&str, &str, &str, Option<&str>) {
        let message = self.message.as_deref();
        (self.check, &self.region, &self.of, message)
    }
}

/// All results, in the order of the configuration.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub ok: bool,
    checks: Vec<CheckResult>,
}

impl Report {
    pub(super) fn new(checks: Vec<CheckResult>) -> Self {
        let ok = checks.iter().all(|check| check.result == "ok");
        Self { ok, checks }
    }

    pub fn write(&self, format: Format) -> String {
        match format {
            Format::Table => self.table() + &self.failures() + &self.summary(),
            Format::Json => format!("{:#}\n", json!(self)),
        }
    }

    fn table(&self) -> String {
        let head = ["SCOPE", "REGION", "CHECK", "RESULT", "OF"].map(str::to_owned);
        let mut rows = vec![head];
        rows.extend(self.checks.iter().map(|check| {
            let details = check.identity.iter().cloned();
            let details = details.chain(check.tables.map(describe_tables));
            let details = details.map(|details| format!(": {}", escape::line(&details)));
            [
                check.scope.clone(),
                check.region.clone(),
                check.check.to_owned(),
                check.result.to_owned(),
                check.of.clone() + &details.collect::<String>(),
            ]
        }));
        let widths = [0, 1, 2, 3].map(|n| rows.iter().map(|row| row[n].len()).max().unwrap_or(0));
        let [scopes, regions, checks, results] = widths;
        rows.iter()
            .map(|[scope, region, check, result, of]| {
                format!(
                    "{scope:scopes$}  {region:regions$}  {check:checks$}  {result:results$}  {of}\n"
                )
            })
            .collect()
    }

    /// The messages and hints, which do not fit into the table. Failures that several scopes share are listed once.
    fn failures(&self) -> String {
        let mut failures: Vec<(&CheckResult, String)> = Vec::new();
        for check in self.checks.iter().filter(|check| check.message.is_some()) {
            let mut earlier = failures.iter_mut();
            match earlier.find(|(first, _)| first.failure() == check.failure()) {
                Some((_, scopes)) => *scopes += &format!(", {}", check.scope),
                None => failures.push((check, check.scope.clone())),
            }
        }
        let mut text = String::new();
        for (failure, scopes) in failures {
            let CheckResult { region, check, .. } = failure;
            let of = match failure.of.as_str() {
                "*" => String::new(),
                of => format!(" {of}"),
            };
            text += &format!("\n{scopes} in {region}: {check}{of}: {}\n", failure.result);
            if let Some(message) = &failure.message {
                text += &format!("  {}\n", escape::line(message));
            }
            if let Some(hint) = &failure.hint {
                text += &format!("  -> {}\n", escape::line(hint));
            }
        }
        text
    }

    fn summary(&self) -> String {
        let count = |result: &str| {
            let checks = self.checks.iter();
            checks.filter(|check| check.result == result).count()
        };
        let all = self.checks.len();
        let skipped = count("not_asked");
        let failed = all - count("ok") - skipped;
        match (failed, skipped) {
            (0, 0) => format!("\nAll {all} checks passed.\n"),
            (_, 0) => format!("\n{failed} of {all} checks failed.\n"),
            _ => format!(
                "\n{failed} of {all} checks failed. Skipped because they would fail too: {skipped}.\n"
            ),
        }
    }
}

fn describe_tables(count: usize) -> String {
    match count {
        0 => "no table reports; the target role may lack cloudwatch:PutMetricData".to_owned(),
        1 => "1 table reports".to_owned(),
        count => format!("{count} tables report"),
    }
}
