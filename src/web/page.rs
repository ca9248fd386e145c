//! The HTML page: integrations with problems first, then the other ones, then the scopes.
//!
//! The server renders it from the published snapshot with a template that escapes every value. The page works without JavaScript;
//! `page.js` only fetches it again and updates what changed.

mod rows;
mod view_query;

use crate::snapshot::{Snapshot, Status};
use crate::version;
use crate::web::inventory::query::InvalidParameter;
use crate::web::inventory::{Problem, Row, rows};
use askama::Template;
use rows::{RowView, ScopeRow, Timestamp};
use view_query::{Chip, MAX_SEARCH_CHARS, ViewQuery};

/// The style sheet.
pub const STYLE: &str = include_str!("page/page.css");
/// The script.
pub const SCRIPT: &str = include_str!("page/page.js");

/// Allows only this page's own style, script and data: no frames and no other hosts. The icon is a `data:` URL.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
    base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// The maximum number of integrations, and of scopes, on one page.
const ROWS_PER_PAGE: usize = 100;
/// The maximum size of AWS's errors on one page.
const MAX_ERROR_TEXT_BYTES: usize = 1024 * 1024;
/// The maximum number of failing scopes that the alert at the top names.
const MAX_NAMED_SCOPES: usize = 5;

/// The data of the page.
pub struct View<'a> {
    pub snapshot: &'a Snapshot,
    /// The time of the next poll of each scope of the snapshot, in Unix seconds.
    pub next_polls: &'a [Option<f64>],
    /// The current time in Unix seconds.
    pub now: f64,
    pub telemetry_path: &'a str,
}

/// A rendered page.
pub struct RenderedPage {
    pub html: String,
    /// True if the query has an invalid parameter, which the page names.
    pub is_bad_request: bool,
}

#[derive(Template)]
#[template(path = "page.html", config = "src/web/page/askama.toml")]
struct Html<'a> {
    title: String,
    version: &'static str,
    as_of: Timestamp,
    telemetry: String,
    query: &'a ViewQuery,
    max_search_chars: usize,
    invalid: Option<InvalidParameter>,
    summary: String,
    is_healthy: bool,
    pending_first_poll: usize,
    scope_count: usize,
    failing: usize,
    first_failing: Vec<ScopeRow<'a>>,
    old: usize,
    oldest: Option<Timestamp>,
    hidden_problems: usize,
    problem_chips: Vec<Chip>,
    status_chips: Vec<Chip>,
    sections: Vec<SectionRows<'a>>,
    rows: Pagination,
    scope_rows: Pagination,
    scopes: Vec<ScopeRow<'a>>,
}

/// The rows of a section on this page.
struct SectionRows<'a> {
    id: &'static str,
    title: &'static str,
    /// The number of rows of the section on all pages.
    total: usize,
    rows: Vec<RowView<'a>>,
}

/// The position of the listed rows, counted from 1, and the links to the other pages.
struct Pagination {
    first: usize,
    last: usize,
    total: usize,
    previous: Option<String>,
    next: Option<String>,
}

/// The section of a row, in the order of the page.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Section {
    Problem(Problem),
    InProgress,
    Healthy,
}

impl Section {
    fn of(row: Row<'_>, now: f64) -> Self {
        match (row.problem(now), row.status()) {
            (Some(problem), _) => Self::Problem(problem),
            (None, Some(Status::Active)) => Self::Healthy,
            (None, _) => Self::InProgress,
        }
    }

    fn id(self) -> &'static str {
        match self {
            Self::Problem(_) => "wrong",
            Self::InProgress => "moving",
            Self::Healthy => "well",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Problem(_) => "Problems",
            Self::InProgress => "Being changed or synchronized",
            Self::Healthy => "Healthy",
        }
    }
}

impl View<'_> {
    /// Renders the page for the query of its URL.
    ///
    /// # Errors
    /// If the template fails, which is a bug.
    pub fn render(&self, query: &str) -> Result<RenderedPage, askama::Error> {
        let (query, invalid) = ViewQuery::read(query, self.snapshot);
        let is_bad_request = invalid.is_some();
        let html = self.html(&query, invalid).render()?;
        Ok(RenderedPage {
            html,
            is_bad_request,
        })
    }

    fn html<'a>(&'a self, query: &'a ViewQuery, invalid: Option<InvalidParameter>) -> Html<'a> {
        let (snapshot, now) = (self.snapshot, self.now);
        let all: Vec<(Section, Row<'_>)> = rows(snapshot)
            .into_iter()
            .map(|row| (Section::of(row, now), row))
            .collect();
        let has_problem = |section: &Section| matches!(section, Section::Problem(_));
        let problems = all
            .iter()
            .filter(|(section, _)| has_problem(section))
            .count();
        let mut listed = query.matching(&all, snapshot);
        let (problem_chips, status_chips) = query.chips(&listed, now);
        listed.retain(|(_, row)| query.filter.matches_status(*row, now));
        let listed_problems = listed
            .iter()
            .filter(|(section, _)| has_problem(section))
            .count();
        // Within a section rows are sorted by name, and rows without a name follow, sorted by ARN.
        listed.sort_by_key(|(section, row)| (*section, row.name().is_empty(), row.name()));
        let rows = Pagination::of("page", query.page, listed.len(), query);
        let sections = self.sections(&listed, &rows);

        let mut scopes = self.matching_scopes(query);
        let scope_rows = Pagination::of("scopes", query.scopes, scopes.len(), query);
        scopes.truncate(scope_rows.last);
        let scopes = scopes.split_off(scope_rows.first.saturating_sub(1).min(scopes.len()));
        let failing: Vec<usize> = (0..snapshot.scopes.len())
            .filter(|index| {
                let polled = snapshot.scopes[*index].polled.as_ref();
                polled.is_some_and(|polled| !polled.up)
            })
            .collect();
        let pending = snapshot
            .scopes
            .iter()
            .filter(|scope| scope.polled.is_none());
        let pending_first_poll = pending.count();
        let old = all.iter().filter(|(_, row)| row.is_old());
        let oldest = old
            .clone()
            .map(|(_, row)| row.observed_at())
            .reduce(f64::min);
        let old = old.count();
        let is_healthy =
            problems + failing.len() + pending_first_poll + old == 0 && !snapshot.scopes.is_empty();
        let scope_row = |index: &usize| ScopeRow::of(self, *index);
        let title = match (problems, failing.len()) {
            (0, 0) => "glue-integration-exporter".to_owned(),
            (_, 0) => format!("Problems: {problems} · glue-integration-exporter"),
            (_, _) => format!("Problems: {problems}, polls failing · glue-integration-exporter"),
        };
        let integrations = count_integrations(all.len());
        Html {
            title,
            version: version::VERSION,
            as_of: Timestamp::at(now, now),
            telemetry: format!(".{}", self.telemetry_path),
            query,
            max_search_chars: MAX_SEARCH_CHARS,
            invalid,
            summary: match problems {
                0 => format!("No known problems in {integrations}."),
                1 => format!("1 of {integrations} has a problem."),
                _ => format!("{problems} of {integrations} have problems."),
            },
            is_healthy,
            pending_first_poll,
            scope_count: snapshot.scopes.len(),
            failing: failing.len(),
            first_failing: failing
                .iter()
                .take(MAX_NAMED_SCOPES)
                .map(scope_row)
                .collect(),
            old,
            oldest: oldest.map(|oldest| Timestamp::at(oldest, now)),
            hidden_problems: problems - listed_problems,
            problem_chips,
            status_chips,
            sections,
            rows,
            scope_rows,
            scopes: scopes.iter().map(scope_row).collect(),
        }
    }

    fn sections<'a>(
        &'a self,
        listed: &[(Section, Row<'a>)],
        pages: &Pagination,
    ) -> Vec<SectionRows<'a>> {
        let mut error_bytes = MAX_ERROR_TEXT_BYTES;
        let shown = pages.first.saturating_sub(1)..pages.last;
        let mut sections: Vec<SectionRows<'a>> = Vec::new();
        for (section, row) in &listed[shown] {
            let id = section.id();
            if sections.last().is_none_or(|last| last.id != id) {
                let total = listed.iter().filter(|(section, _)| section.id() == id);
                sections.push(SectionRows {
                    id,
                    title: section.title(),
                    total: total.count(),
                    rows: Vec::new(),
                });
            }
            if let Some(last) = sections.last_mut() {
                last.rows.push(RowView::of(self, *row, &mut error_bytes));
            }
        }
        sections
    }

    /// Returns the indexes of the scopes that match the filter, failing scopes first.
    fn matching_scopes(&self, query: &ViewQuery) -> Vec<usize> {
        let scopes = &self.snapshot.scopes;
        let filter = &query.filter;
        let mut indexes: Vec<usize> = (0..scopes.len())
            .filter(|index| {
                let matches = |wanted: &Option<String>, value: &str| {
                    wanted.as_ref().is_none_or(|wanted| wanted == value)
                };
                let scope = &scopes[*index];
                matches(&filter.scope, &scope.scope) && matches(&filter.region, &scope.region)
            })
            .collect();
        indexes.sort_by_key(|index| match &scopes[*index].polled {
            Some(polled) if !polled.up => 0,
            None => 1,
            Some(polled) if polled.stale => 2,
            Some(_) => 3,
        });
        indexes
    }
}

impl Pagination {
    fn of(parameter: &'static str, wanted: usize, total: usize, query: &ViewQuery) -> Self {
        let pages = total.div_ceil(ROWS_PER_PAGE).max(1);
        let page = wanted.clamp(1, pages);
        let link = |page: usize| query.link(&[(parameter, Some(page.to_string()))]);
        Self {
            first: ((page - 1) * ROWS_PER_PAGE + 1).min(total),
            last: (page * ROWS_PER_PAGE).min(total),
            total,
            previous: (page > 1).then(|| link(page - 1)),
            next: (page < pages).then(|| link(page + 1)),
        }
    }
}

fn count_integrations(integrations: usize) -> String {
    match integrations {
        1 => "1 integration".to_owned(),
        many => format!("{many} integrations"),
    }
}
