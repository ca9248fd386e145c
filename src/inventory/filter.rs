//! Which rows a request asks for.

use super::query::{Refused, any_of};
use super::{Entry, Problem};
use crate::config::ScopeName;
use crate::snapshot::{Snapshot, Status};
use std::collections::BTreeSet;

/// What a row can be asked for by its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    Status(Status),
    Missing,
}

impl State {
    /// Every state.
    pub fn all() -> impl Iterator<Item = Self> {
        let statuses = Status::ALL.into_iter().map(Self::Status);
        statuses.chain([Self::Missing])
    }

    /// Of a row.
    pub fn of(entry: Entry<'_>) -> Self {
        entry.status().map_or(Self::Missing, Self::Status)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Status(status) => status.as_str(),
            Self::Missing => "MISSING",
        }
    }
}

/// What a row of the page can be asked for besides: what is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// Anything.
    Wrong,
    Stuck,
    Errors,
}

impl Trouble {
    pub const ALL: [Self; 3] = [Self::Wrong, Self::Stuck, Self::Errors];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Wrong => "WRONG",
            Self::Stuck => "STUCK",
            Self::Errors => "ERRORS",
        }
    }

    fn is(self, problem: Option<Problem>) -> bool {
        match self {
            Self::Wrong => problem.is_some(),
            Self::Stuck => problem == Some(Problem::Stuck),
            Self::Errors => problem == Some(Problem::Errors),
        }
    }
}

/// A row is asked for if it fits to everything that is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// One of them; any if none is given.
    pub states: BTreeSet<State>,
    pub troubles: BTreeSet<Trouble>,
    pub scope: Option<String>,
    pub account: Option<String>,
    pub region: Option<String>,
}

impl Filter {
    /// The parameters that it takes.
    pub const PARAMETERS: [&str; 4] = ["status", "scope", "account", "region"];

    /// Takes a parameter. Returns whether it is one of a filter.
    ///
    /// # Errors
    /// If it has a value that there is not: a filter that fits to nothing would look as if all were well.
    pub fn take(&mut self, name: &str, value: &str, snapshot: &Snapshot) -> Result<bool, Refused> {
        let only_one = match name {
            "status" => {
                let state = State::all().find(|state| state.as_str() == value);
                let states = State::all().map(State::as_str);
                let state = state.ok_or_else(|| Refused::value(name, value, any_of(states)))?;
                self.states.insert(state);
                return Ok(true);
            }
            "scope" => {
                let scopes: BTreeSet<&str> = snapshot
                    .scopes
                    .iter()
                    .map(|scope| scope.scope.as_str())
                    .collect();
                if value.parse::<ScopeName>().is_err() || !scopes.contains(value) {
                    return Err(Refused::value(name, value, any_of(scopes)));
                }
                &mut self.scope
            }
            "account" => {
                if value.len() != 12 || !value.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(Refused::value(name, value, "12 digits"));
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
                    return Err(Refused::value(name, value, any_of(regions)));
                }
                &mut self.region
            }
            _ => return Ok(false),
        };
        if only_one.replace(value.to_owned()).is_some() {
            return Err(Refused::twice(name, value));
        }
        Ok(true)
    }

    /// Whether a row fits but for its state.
    pub fn fits_elsewhere(&self, entry: Entry<'_>, snapshot: &Snapshot) -> bool {
        let fields = entry.fields();
        let is = |wanted: &Option<String>, value: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted == value)
        };
        is(&self.account, fields.account)
            && is(&self.region, fields.region)
            && self.scope.as_ref().is_none_or(|wanted| {
                let mut scopes = entry.scopes(snapshot);
                scopes.any(|scope| scope.scope == *wanted)
            })
    }

    /// Whether the state of a row fits, at `now` in Unix seconds.
    pub fn fits_state(&self, entry: Entry<'_>, now: f64) -> bool {
        if self.states.is_empty() && self.troubles.is_empty() {
            return true;
        }
        self.states.contains(&State::of(entry)) || {
            let problem = entry.problem(now);
            self.troubles.iter().any(|trouble| trouble.is(problem))
        }
    }
}
