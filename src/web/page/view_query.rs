//! The query of the page's URL: filters, search and page numbers, and the links that change them.

use super::Section;
use crate::snapshot::{MAX_ARN_BYTES, Snapshot, Status};
use crate::web::inventory::filter::{Filter, ProblemFilter, StatusFilter};
use crate::web::inventory::query::{InvalidParameter, link, list_values, parse_query};
use crate::web::inventory::{Problem, Row};
use memchr::memmem::Finder;
use std::collections::BTreeSet;

/// The maximum length of a search. A row can link to a search for its ARN, so this is the maximum length of an ARN.
pub(super) const MAX_SEARCH_CHARS: usize = MAX_ARN_BYTES;

/// The parsed query of the page's URL.
#[derive(Debug)]
pub struct ViewQuery {
    pub filter: Filter,
    /// Words that a row must contain.
    pub search: String,
    /// The page of integrations, counted from 1.
    pub page: usize,
    /// The page of scopes, counted from 1.
    pub scopes: usize,
    /// True if the page refreshes automatically.
    pub refresh: bool,
}

/// A count of rows that links to the list of these rows.
pub struct Chip {
    pub label: &'static str,
    pub title: &'static str,
    pub count: usize,
    pub link: String,
    /// True if these rows are listed now.
    pub current: bool,
}

impl ViewQuery {
    const PARAMETERS: [&str; 8] = [
        "q", "status", "scope", "account", "region", "page", "scopes", "refresh",
    ];

    /// Parses `query`. If a parameter is invalid, returns a query that selects everything, and the error.
    pub fn read(query: &str, snapshot: &Snapshot) -> (Self, Option<InvalidParameter>) {
        let everything = || Self {
            filter: Filter::default(),
            search: String::new(),
            page: 1,
            scopes: 1,
            refresh: true,
        };
        let mut view = everything();
        let parsed = parse_query(query).and_then(|parameters| {
            parameters
                .iter()
                // A form sends its empty fields too.
                .filter(|(_, value)| !value.is_empty())
                .try_for_each(|(name, value)| view.set(name, value, snapshot))
        });
        match parsed {
            Ok(()) => (view, None),
            Err(invalid) => (everything(), Some(invalid)),
        }
    }

    fn set(
        &mut self,
        name: &str,
        value: &str,
        snapshot: &Snapshot,
    ) -> Result<(), InvalidParameter> {
        let number = || {
            let number = value.parse().ok().filter(|number| *number > 0);
            number.ok_or_else(|| InvalidParameter::new(name, value, "a number from 1"))
        };
        match name {
            "q" if value.chars().count() <= MAX_SEARCH_CHARS => value.clone_into(&mut self.search),
            "q" => {
                let allowed = format!("up to {MAX_SEARCH_CHARS} characters");
                return Err(InvalidParameter::new(name, value, allowed));
            }
            "page" => self.page = number()?,
            "scopes" => self.scopes = number()?,
            "refresh" if value == "off" => self.refresh = false,
            "refresh" => return Err(InvalidParameter::new(name, value, "off")),
            "status" => {
                let problem = ProblemFilter::ALL
                    .into_iter()
                    .find(|it| it.as_str() == value);
                if let Some(problem) = problem {
                    self.filter.problems.insert(problem);
                } else if self.filter.set(name, value, snapshot).is_err() {
                    let problems = ProblemFilter::ALL.map(ProblemFilter::as_str);
                    let states = StatusFilter::all()
                        .map(StatusFilter::as_str)
                        .chain(problems);
                    return Err(InvalidParameter::new(name, value, list_values(states)));
                }
            }
            _ => {
                if !self.filter.set(name, value, snapshot)? {
                    return Err(InvalidParameter::unknown(name, value, &Self::PARAMETERS));
                }
            }
        }
        Ok(())
    }

    /// Returns the rows that match the search and every filter except `status`.
    pub fn matching<'a>(
        &self,
        all: &[(Section, Row<'a>)],
        snapshot: &Snapshot,
    ) -> Vec<(Section, Row<'a>)> {
        let words = self.search.to_lowercase();
        // A set, because each row is searched for every word.
        let words: BTreeSet<&str> = words.split_whitespace().collect();
        let words: Vec<Finder<'_>> = words.into_iter().map(Finder::new).collect();
        let mut text = String::new();
        let has_words = |section: Section, row: Row<'_>, text: &mut String| {
            write_search_text(section, row, text);
            words
                .iter()
                .all(|word| word.find(text.as_bytes()).is_some())
        };
        all.iter()
            .filter(|(_, row)| self.filter.matches_location(*row, snapshot))
            .filter(|(section, row)| words.is_empty() || has_words(*section, *row, &mut text))
            .copied()
            .collect()
    }

    /// Returns the URL of this page with these parameters changed.
    pub fn link(&self, changes: &[(&str, Option<String>)]) -> String {
        let mut pairs: Vec<(&str, String)> = self.pairs();
        for (name, value) in changes {
            pairs.retain(|(before, _)| before != name);
            pairs.extend(value.clone().map(|value| (*name, value)));
        }
        link(pairs.iter().map(|(name, value)| (*name, value.as_str())))
    }

    /// Returns the parameters that the search form keeps in hidden fields.
    pub fn hidden_fields(&self) -> Vec<(&'static str, String)> {
        let mut pairs = self.pairs();
        pairs.retain(|(name, _)| *name != "q" && *name != "page" && *name != "scopes");
        pairs
    }

    /// Returns true if a search or a filter is set.
    pub fn is_filtered(&self) -> bool {
        !self.search.is_empty() || self.filter != Filter::default()
    }

    /// Returns the filters by scope, account and region: name, value and the URL without this filter.
    pub fn active_filters(&self) -> Vec<(&'static str, &str, String)> {
        let filter = &self.filter;
        [
            ("scope", &filter.scope),
            ("account", &filter.account),
            ("region", &filter.region),
        ]
        .into_iter()
        .filter_map(|(name, value)| {
            let without = self.link(&[(name, None), ("page", None), ("scopes", None)]);
            Some((name, value.as_deref()?, without))
        })
        .collect()
    }

    fn pairs(&self) -> Vec<(&'static str, String)> {
        let states = self.filter.statuses.iter().map(|state| state.as_str());
        let problems = self.filter.problems.iter().map(|problem| problem.as_str());
        let states = states
            .chain(problems)
            .map(|state| ("status", state.to_owned()));
        let filter = &self.filter;
        let number = |number: usize| (number > 1).then(|| number.to_string());
        let others = [
            (
                "q",
                Some(self.search.clone()).filter(|search| !search.is_empty()),
            ),
            ("scope", filter.scope.clone()),
            ("account", filter.account.clone()),
            ("region", filter.region.clone()),
            ("page", number(self.page)),
            ("scopes", number(self.scopes)),
            ("refresh", (!self.refresh).then(|| "off".to_owned())),
        ];
        let others = others
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        others.chain(states).collect()
    }

    /// Returns the chips of problems and those of the other statuses.
    pub fn chips(&self, rows: &[(Section, Row<'_>)], now: f64) -> (Vec<Chip>, Vec<Chip>) {
        let chip = |label: &'static str, title: &'static str, filter: &Filter| Chip {
            label,
            title,
            count: rows
                .iter()
                .filter(|(_, row)| filter.matches_status(*row, now))
                .count(),
            link: {
                let mut pairs = self.pairs();
                pairs.retain(|(name, _)| *name != "status" && *name != "page");
                let states = filter.statuses.iter().map(|state| state.as_str());
                let states = states.chain(filter.problems.iter().map(|it| it.as_str()));
                let states = states.map(|state| ("status", state));
                link(
                    pairs
                        .iter()
                        .map(|(name, value)| (*name, value.as_str()))
                        .chain(states),
                )
            },
            current: filter.statuses == self.filter.statuses
                && filter.problems == self.filter.problems,
        };
        let by_status = |status: StatusFilter, title: &'static str| {
            let filter = Filter {
                statuses: [status].into(),
                ..Filter::default()
            };
            chip(status.as_str(), title, &filter)
        };
        let plain_status = |status: Status| {
            by_status(
                StatusFilter::Status(status),
                "With or without other problems",
            )
        };
        let by_problem = |problem: ProblemFilter, title: &'static str| {
            let filter = Filter {
                problems: [problem].into(),
                ..Filter::default()
            };
            chip(problem.as_str(), title, &filter)
        };
        let problems = vec![
            by_problem(ProblemFilter::Any, "All integrations with problems"),
            by_status(
                StatusFilter::Status(Status::Failed),
                "Cannot recover: delete and recreate the integration",
            ),
            by_status(
                StatusFilter::Status(Status::NeedsAttention),
                "Requires manual action",
            ),
            by_problem(
                ProblemFilter::Stuck,
                "CREATING, MODIFYING or DELETING for more than an hour",
            ),
            by_status(
                StatusFilter::Missing,
                "Configured, but does not exist in AWS",
            ),
            by_problem(ProblemFilter::Errors, "Any other status, with errors"),
            by_status(
                StatusFilter::Status(Status::Unknown),
                "A status that the exporter does not know",
            ),
        ];
        let statuses = vec![
            chip("ALL", "All integrations", &Filter::default()),
            plain_status(Status::Active),
            plain_status(Status::Creating),
            plain_status(Status::Modifying),
            plain_status(Status::Syncing),
            plain_status(Status::Deleting),
        ];
        (problems, statuses)
    }
}

/// Writes the lower-case text in which the search looks for its words.
fn write_search_text(section: Section, row: Row<'_>, text: &mut String) {
    text.clear();
    let mut add = |value: &str| {
        text.push_str(value);
        text.push('\n');
    };
    add(row.arn());
    add(row.name());
    add(StatusFilter::of(row).as_str());
    if section == Section::Problem(Problem::Stuck) {
        add(ProblemFilter::Stuck.as_str());
    }
    if let Some(integration) = row.integration() {
        add(&integration.source_arn);
        add(&integration.target_arn);
    }
    if let Row::Shown(shown, _) = row {
        let unknown = shown.integration.status_text.as_deref();
        add(unknown.unwrap_or_default());
    }
    for error in row.errors() {
        add(error.code.as_deref().unwrap_or_default());
        add(error.message.as_deref().unwrap_or_default());
    }
    if text.is_ascii() {
        text.make_ascii_lowercase();
    } else {
        *text = text.to_lowercase();
    }
}
