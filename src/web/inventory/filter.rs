//! The filter that selects the rows of a request.

use super::query::{InvalidParameter, list_values};
use super::{Problem, Row};
use crate::config::ScopeName;
use crate::snapshot::{Snapshot, Status};
use std::collections::BTreeSet;

/// A value of the filter `status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StatusFilter {
    Status(Status),
    Missing,
}

impl StatusFilter {
    /// Returns every value.
    pub fn all() -> impl Iterator<Item = Self> {
        let statuses = Status::ALL.into_iter().map(Self::Status);
        statuses.chain([Self::Missing])
    }

    /// Returns the value that selects `row`.
    pub fn of(row: Row<'_>) -> Self {
        row.status().map_or(Self::Missing, Self::Status)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Status(status) => status.as_str(),
            Self::Missing => "MISSING",
        }
    }
}

/// A value of the filter `status` that selects rows by their problem. Only the page has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProblemFilter {
    /// Any problem.
    Any,
    Stuck,
    Errors,
}

impl ProblemFilter {
    pub const ALL: [Self; 3] = [Self::Any, Self::Stuck, Self::Errors];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Any => "WRONG",
            Self::Stuck => "STUCK",
            Self::Errors => "ERRORS",
        }
    }

    fn matches(self, problem: Option<Problem>) -> bool {
        match self {
            Self::Any => problem.is_some(),
            Self::Stuck => problem == Some(Problem::Stuck),
            Self::Errors => problem == Some(Problem::Errors),
        }
    }
}

/// A filter. It selects a row that matches every parameter that is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// A row must match one of `statuses` and `problems`; both empty selects all.
    pub statuses: BTreeSet<StatusFilter>,
    pub problems: BTreeSet<ProblemFilter>,
    pub scope: Option<String>,
    pub account: Option<String>,
    pub region: Option<String>,
}

impl Filter {
    /// The names of its parameters.
    pub const PARAMETERS: [&str; 4] = ["status", "scope", "account", "region"];

    /// Sets a parameter. Returns false if the filter has no such parameter.
    ///
    /// # Errors
    /// If the value does not exist. A filter that cannot match would look as if there were no problems.
    pub fn set(
        &mut self,
        name: &str,
        value: &str,
        snapshot: &Snapshot,
    ) -> Result<bool, InvalidParameter> {
        let single = match name {
            "status" => {
                let status = StatusFilter::all().find(|status| status.as_str() == value);
                let allowed = StatusFilter::all().map(StatusFilter::as_str);
                let status = status
                    .ok_or_else(|| InvalidParameter::new(name, value, list_values(allowed)))?;
                self.statuses.insert(status);
                return Ok(true);
            }
            "scope" => {
                let scopes: BTreeSet<&str> = snapshot
                    .scopes
                    .iter()
                    .map(|scope| scope.scope.as_str())
                    .collect();
                if value.parse::<ScopeName>().is_err() || !scopes.contains(value) {
                    return Err(InvalidParameter::new(name, value, list_values(scopes)));
                }
                &mut self.scope
            }
            "account" => {
                if value.len() != 12 || !value.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(InvalidParameter::new(name, value, "12 digits"));
                }
                &mut self.account
            }
            "region" => {
                let regions: BTreeSet<&str> = snapshot
                    .scopes
                    .iter()
                    .map(|scope| scope.region.as_str())
                    .collect();
                if !regions.contains(value) {
                    return Err(InvalidParameter::new(name, value, list_values(regions)));
                }
                &mut self.region
            }
            _ => return Ok(false),
        };
        if single.replace(value.to_owned()).is_some() {
            return Err(InvalidParameter::repeated(name, value));
        }
        Ok(true)
    }

    /// Returns true if the scope, account and region of a row match.
    pub fn matches_location(&self, row: Row<'_>, snapshot: &Snapshot) -> bool {
        let fields = row.arn_fields();
        let matches = |wanted: &Option<String>, value: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted == value)
        };
        matches(&self.account, fields.account)
            && matches(&self.region, fields.region)
            && self.scope.as_ref().is_none_or(|wanted| {
                let mut scopes = row.scopes(snapshot);
                scopes.any(|scope| scope.scope == *wanted)
            })
    }

    /// Returns true if the status or the problem of a row at `now`, in Unix seconds, matches.
    pub fn matches_status(&self, row: Row<'_>, now: f64) -> bool {
        if self.statuses.is_empty() && self.problems.is_empty() {
            return true;
        }
        self.statuses.contains(&StatusFilter::of(row)) || {
            let problem = row.problem(now);
            self.problems.iter().any(|wanted| wanted.matches(problem))
        }
    }
}
