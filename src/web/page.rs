//! The HTML page: integrations with problems first, then the other ones, then the scopes.
//!
//! The server renders it from the published snapshot with a template that escapes every value. The page works without JavaScript;
//! `page.js` only fetches it again and updates what changed.

mod rows;

use super::inventory::{Condition, Inventory, Row, ScopeRow, statuses};
use super::query::{InvalidParameter, Query, Rendered, one_of};
use crate::snapshot::MAX_ARN_BYTES;
use askama::Template;
use rows::Timestamp;
use std::ops::Range;

pub const STYLE: &str = include_str!("page/page.css");
pub const SCRIPT: &str = include_str!("page/page.js");

/// Allows only this page's own style, script and data: no frames and no other hosts. The icon is a `data:` URL.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
    base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

const ROWS_PER_PAGE: usize = 100;
/// The maximum number of AWS's errors on one page; all its rows may have the same number. A message has up to 2,048 characters.
const MAX_ERRORS: usize = 500;
/// The maximum number of tables on one page, and of one row. All rows of a page may have the same number.
const MAX_TABLES: usize = 1_000;
const MAX_ROW_TABLES: usize = 100;
const MAX_NAMED_SCOPES: usize = 5;
/// The maximum length of a search. A row can link to a search for its ARN, so this is the maximum length of an ARN.
const MAX_SEARCH_CHARS: usize = MAX_ARN_BYTES;

const PARAMETERS: [&str; 8] = [
    "q", "status", "scope", "account", "region", "page", "scopes", "refresh",
];
const PROBLEM_WORDS: [&str; 5] = ["WRONG", "STUCK", "ERRORS", "TABLES_FAILING", "DATA_OVERDUE"];

#[derive(Template)]
#[template(path = "page.html", config = "src/web/page/askama.toml")]
struct Html<'a> {
    telemetry_path: &'a str,
    inventory: &'a Inventory<'a>,
    query: &'a Query,
    invalid: Option<InvalidParameter>,
    is_healthy: bool,
    integrations: usize,
    problems: usize,
    hidden_problems: usize,
    pending_first_poll: usize,
    failing: Vec<ScopeRow<'a>>,
    freshness_failing: usize,
    old: usize,
    oldest: f64,
    /// The rows that the search and every filter except `status` select.
    found: Vec<Row<'a>>,
    sections: Vec<Section<'a>>,
    max_errors: usize,
    max_tables: usize,
    row_pages: Pagination,
    scopes: Vec<ScopeRow<'a>>,
    scope_pages: Pagination,
}

struct Section<'a> {
    id: &'static str,
    title: &'static str,
    total: usize,
    rows: Vec<Row<'a>>,
}

struct Pagination {
    rows: Range<usize>,
    total: usize,
    previous: Option<String>,
    next: Option<String>,
}

/// Renders the page for the query of its URL. An invalid query selects everything.
pub fn render(
    inventory: &Inventory<'_>,
    telemetry_path: &str,
    query: &str,
) -> askama::Result<Rendered> {
    let (query, invalid) = match parse(query, inventory) {
        Ok(query) => (query, None),
        Err(invalid) => (Query::default(), Some(invalid)),
    };
    let html = Html::new(inventory, telemetry_path, &query, invalid);
    Ok(Rendered {
        body: html.render()?,
        is_bad_request: html.invalid.is_some(),
    })
}

fn parse(query: &str, inventory: &Inventory<'_>) -> Result<Query, InvalidParameter> {
    // A form sends its empty fields too.
    let has_value = |pair: &&str| {
        pair.split_once('=')
            .is_some_and(|(_, value)| !value.is_empty())
    };
    let pairs: Vec<&str> = query.split('&').filter(has_value).collect();
    Query::parse(&pairs.join("&"), &PARAMETERS, |name, value| match name {
        "q" if value.chars().count() <= MAX_SEARCH_CHARS => Ok(()),
        "q" => Err(format!("up to {MAX_SEARCH_CHARS} characters")),
        "page" | "scopes" => match value.parse::<usize>() {
            Ok(1..) => Ok(()),
            _ => Err("a number from 1".to_owned()),
        },
        "refresh" => one_of(value, ["off"]),
        "status" => one_of(value, statuses().chain(PROBLEM_WORDS)),
        filter => inventory.check_filter(filter, value),
    })
}

impl<'a> Html<'a> {
    fn new(
        inventory: &'a Inventory<'a>,
        telemetry_path: &'a str,
        query: &'a Query,
        invalid: Option<InvalidParameter>,
    ) -> Self {
        let all = inventory.rows();
        let count_problems = |rows: &[Row<'_>]| {
            let problems = rows.iter().filter(|row| row.condition.is_problem());
            problems.count()
        };
        let problems = count_problems(&all);
        let mut found = all.clone();
        found.retain(|row| inventory.has_location(row, query) && matches_search(row, query));
        let mut listed = found.clone();
        listed.retain(|row| row.has_status(query.all("status")));
        // Within a condition rows are sorted by name, and rows without a name follow, sorted by ARN.
        listed.sort_by_key(|row| (row.condition, row.name.is_empty(), row.name));
        let row_pages = Pagination::of("page", listed.len(), query);

        let scopes = &inventory.snapshot.scopes;
        let pending_first_poll = scopes.iter().filter(|it| it.polled.is_none()).count();
        let freshness_failing = scopes.iter().filter(|it| it.freshness_up == Some(false));
        let freshness_failing = freshness_failing.count();
        let mut failing = inventory.scopes(&Query::default());
        failing.retain(ScopeRow::is_failing);
        let mut listed_scopes = inventory.scopes(query);
        listed_scopes.sort_by_key(|row| match &row.state.polled {
            Some(polled) if !polled.up => 0,
            None => 1,
            Some(polled) if polled.stale => 2,
            Some(_) => 3,
        });
        let scope_pages = Pagination::of("scopes", listed_scopes.len(), query);

        let old = all.iter().filter(|row| row.old).map(|row| row.observed_at);
        let old: Vec<f64> = old.collect();
        let blind = failing.len() + freshness_failing + pending_first_poll;
        let faults = problems + blind + old.len();
        Self {
            telemetry_path,
            inventory,
            query,
            invalid,
            is_healthy: faults == 0 && !scopes.is_empty(),
            problems,
            hidden_problems: problems - count_problems(&listed),
            integrations: all.len(),
            pending_first_poll,
            failing,
            freshness_failing,
            old: old.len(),
            oldest: old.into_iter().fold(f64::INFINITY, f64::min),
            found,
            sections: sections(&listed, &row_pages),
            max_errors: MAX_ERRORS / row_pages.rows.len().max(1),
            max_tables: MAX_ROW_TABLES.min(MAX_TABLES / row_pages.rows.len().max(1)),
            row_pages,
            scopes: listed_scopes.drain(scope_pages.rows.clone()).collect(),
            scope_pages,
        }
    }

    /// Returns the number of rows with a value of `status`, or of all rows, a link to the list of them, and whether it is listed now.
    fn chip(&self, label: &str) -> (usize, String, bool) {
        let status = (label != "ALL").then_some(label);
        let has_status = |row: &&Row<'_>| row.has_status(status.into_iter());
        let mut current = self.query.all("status");
        (
            self.found.iter().filter(has_status).count(),
            self.query.link(&[("status", status), ("page", None)]),
            current.clone().next() == status && current.all(|it| Some(it) == status),
        )
    }

    fn timestamp(&self, at: &f64) -> Timestamp {
        Timestamp::at(*at, self.inventory.now)
    }

    /// Returns true if a scope that sees the integration got no full answer from CloudWatch.
    fn freshness_fails(&self, row: &Row<'_>) -> bool {
        let mut scopes = self.inventory.scopes_of(row);
        scopes.any(|it| it.freshness_up == Some(false))
    }

    fn is_filtered(&self) -> bool {
        let filters = self.query.without(&["page", "scopes", "refresh"]);
        !filters.is_empty()
    }

    fn refreshes(&self) -> bool {
        self.query.get("refresh").is_none()
    }

    /// Returns the filters by scope, account and region: name, value and the URL without this filter.
    fn active_filters(&self) -> Vec<(&'static str, &str, String)> {
        let names = ["scope", "account", "region"].into_iter();
        names
            .filter_map(|name| {
                let without = [(name, None), ("page", None), ("scopes", None)];
                Some((name, self.query.get(name)?, self.query.link(&without)))
            })
            .collect()
    }
}

fn matches_search(row: &Row<'_>, query: &Query) -> bool {
    let search = query.get("q").unwrap_or_default().to_lowercase();
    if search.is_empty() {
        return true;
    }
    let mut texts = vec![row.arn, row.name, row.status];
    texts.extend(row.condition.word());
    if let Some(integration) = row.integration {
        texts.extend([integration.source_arn.as_str(), &integration.target_arn]);
    }
    texts.extend(row.status_text());
    for error in row.errors {
        texts.extend(error.code.as_deref());
        texts.extend(error.message.as_deref());
    }
    let text = texts.join("\n").to_lowercase();
    let mut words = search.split_whitespace();
    words.all(|word| text.contains(word))
}

fn sections<'a>(listed: &[Row<'a>], pages: &Pagination) -> Vec<Section<'a>> {
    listed[pages.rows.clone()]
        .chunk_by(|row, next| section(row) == section(next))
        .map(|rows| {
            let (id, title) = section(&rows[0]);
            let total = listed.iter().filter(|row| section(row) == (id, title));
            Section {
                id,
                title,
                total: total.count(),
                rows: rows.to_vec(),
            }
        })
        .collect()
}

/// Returns the HTML id and the title of the section of a row.
fn section(row: &Row<'_>) -> (&'static str, &'static str) {
    match row.condition {
        Condition::InProgress => ("moving", "Being changed or synchronized"),
        Condition::Healthy => ("well", "Healthy"),
        _ => ("wrong", "Problems"),
    }
}

impl Pagination {
    fn of(parameter: &'static str, total: usize, query: &Query) -> Self {
        let pages = total.div_ceil(ROWS_PER_PAGE).max(1);
        let page = query.number(parameter).unwrap_or(1).min(pages);
        let link = |page: usize| query.link(&[(parameter, Some(&page.to_string()))]);
        Self {
            rows: (page - 1) * ROWS_PER_PAGE..(page * ROWS_PER_PAGE).min(total),
            total,
            previous: (page > 1).then(|| link(page - 1)),
            next: (page < pages).then(|| link(page + 1)),
        }
    }
}
