//! The page for people: what is wrong first, then the rest, then the scopes. Written on the server from what was last published, by
//! templates that escape every value. Works without a script; `page.js` only asks for it again and puts in what has changed.

mod rows;
mod view_query;

use crate::inventory::query::Refused;
use crate::inventory::{Entry, Problem, entries};
use crate::snapshot::{Snapshot, Status};
use crate::version;
use askama::Template;
use rows::{Moment, Row, ScopeRow};
use view_query::{Chip, LONGEST_SEARCH, ViewQuery};

/// The style sheet, as it is served.
pub const STYLE: &str = include_str!("page/page.css");
/// The script, as it is served.
pub const SCRIPT: &str = include_str!("page/page.js");

/// Nothing but this page's own style, script and data; no frame, no other host. The icon is in the page itself.
pub const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
    base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// So many integrations are on one page, and so many scopes: what a browser shows at once.
const ROWS: usize = 100;
/// So many bytes of AWS's messages are on one page; whatever has more is shown on a page of its own.
const MOST_TEXT: usize = 1024 * 1024;
/// So many scopes that fail are named at the top.
const MOST_NAMED: usize = 5;

/// What the page shows.
pub struct View<'a> {
    pub snapshot: &'a Snapshot,
    /// When each scope of the snapshot is polled next, in Unix seconds.
    pub next_polls: &'a [Option<f64>],
    /// Unix time in seconds.
    pub now: f64,
    pub telemetry_path: &'a str,
}

/// A page that was written.
pub struct Written {
    pub html: String,
    /// The request had a parameter that is not understood; the page says so.
    pub refused: bool,
}

#[derive(Template)]
#[template(path = "page.html", config = "src/page/askama.toml")]
struct Html<'a> {
    title: String,
    version: &'static str,
    as_of: Moment,
    telemetry: String,
    asked: &'a ViewQuery,
    longest_search: usize,
    refused: Option<Refused>,
    summary: String,
    all_well: bool,
    unpolled: usize,
    scopes_all: usize,
    failing: usize,
    named: Vec<ScopeRow<'a>>,
    old: usize,
    oldest: Option<Moment>,
    hidden_wrong: usize,
    chips: Vec<Chip>,
    states: Vec<Chip>,
    sections: Vec<Section<'a>>,
    rows: Pages,
    scope_rows: Pages,
    scopes: Vec<ScopeRow<'a>>,
}

/// Rows that belong together, of those on this page.
struct Section<'a> {
    id: &'static str,
    title: &'static str,
    total: usize,
    rows: Vec<Row<'a>>,
}

/// Which of many rows are shown.
struct Pages {
    first: usize,
    last: usize,
    total: usize,
    before: Option<String>,
    next: Option<String>,
}

/// The order of the sections.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Wrong(Problem),
    Moving,
    Well,
}

impl Part {
    fn of(entry: Entry<'_>, now: f64) -> Self {
        match (entry.problem(now), entry.status()) {
            (Some(problem), _) => Self::Wrong(problem),
            (None, Some(Status::Active)) => Self::Well,
            (None, _) => Self::Moving,
        }
    }

    fn section(self) -> (&'static str, &'static str) {
        match self {
            Self::Wrong(_) => ("wrong", "What is wrong"),
            Self::Moving => ("moving", "Being changed or synchronized"),
            Self::Well => ("well", "Healthy"),
        }
    }
}

impl View<'_> {
    /// The page that `query` asks for.
    ///
    /// # Errors
    /// If the template fails, which it has no reason to.
    pub fn write(&self, query: &str) -> Result<Written, askama::Error> {
        let (asked, refused) = ViewQuery::read(query, self.snapshot);
        let html = self.html(&asked, refused.clone()).render()?;
        Ok(Written {
            html,
            refused: refused.is_some(),
        })
    }

    fn html<'a>(&'a self, asked: &'a ViewQuery, refused: Option<Refused>) -> Html<'a> {
        let (snapshot, now) = (self.snapshot, self.now);
        let all: Vec<(Part, Entry<'_>)> = entries(snapshot)
            .into_iter()
            .map(|entry| (Part::of(entry, now), entry))
            .collect();
        let is_wrong = |part: &Part| matches!(part, Part::Wrong(_));
        let wrong = all.iter().filter(|(part, _)| is_wrong(part)).count();
        let of_filter = asked.matching(&all, snapshot);
        let (chips, states) = asked.chips(&of_filter, now);
        let mut listed = of_filter;
        listed.retain(|(_, entry)| asked.filter.fits_state(*entry, now));
        let wrong_listed = listed.iter().filter(|(part, _)| is_wrong(part)).count();
        // Each by its name, and those without one by their ARN behind them.
        listed.sort_by_key(|(part, entry)| (*part, entry.name().is_empty(), entry.name()));
        let rows = Pages::of("page", asked.page, listed.len(), asked);
        let sections = self.sections(&listed, &rows);

        let mut places = self.scopes_listed(asked);
        let scope_rows = Pages::of("scopes", asked.scopes, places.len(), asked);
        places.truncate(scope_rows.last);
        let places = places.split_off(scope_rows.first.saturating_sub(1).min(places.len()));
        let polled = || snapshot.scopes.iter().map(|scope| scope.polled.as_ref());
        let failing: Vec<usize> = (0..snapshot.scopes.len())
            .filter(|place| {
                snapshot.scopes[*place]
                    .polled
                    .as_ref()
                    .is_some_and(|it| !it.up)
            })
            .collect();
        let unpolled = polled().filter(Option::is_none).count();
        let old = all.iter().filter(|(_, entry)| entry.is_old());
        let oldest = old.clone().map(|(_, entry)| entry.seen()).reduce(f64::min);
        let old = old.count();
        let all_well = wrong + failing.len() + unpolled + old == 0 && !snapshot.scopes.is_empty();
        let row = |place: &usize| ScopeRow::of(self, *place);
        let title = match (wrong, failing.len()) {
            (0, 0) => "glue-integration-exporter".to_owned(),
            (wrong, 0) => format!("{wrong} wrong · glue-integration-exporter"),
            (wrong, _) => format!("{wrong} wrong, blind · glue-integration-exporter"),
        };
        let integrations = all.len();
        Html {
            title,
            version: version::VERSION,
            as_of: Moment::at(now, now),
            telemetry: format!(".{}", self.telemetry_path),
            asked,
            longest_search: LONGEST_SEARCH,
            refused,
            summary: match wrong {
                0 => format!(
                    "Nothing is known to be wrong with {}.",
                    counted(integrations)
                ),
                wrong => format!("{wrong} of {} need a look.", counted(integrations)),
            },
            all_well,
            unpolled,
            scopes_all: snapshot.scopes.len(),
            failing: failing.len(),
            named: failing.iter().take(MOST_NAMED).map(row).collect(),
            old,
            oldest: oldest.map(|oldest| Moment::at(oldest, now)),
            hidden_wrong: wrong - wrong_listed,
            chips,
            states,
            sections,
            rows,
            scope_rows,
            scopes: places.iter().map(row).collect(),
        }
    }

    fn sections<'a>(&'a self, listed: &[(Part, Entry<'a>)], pages: &Pages) -> Vec<Section<'a>> {
        let mut text = MOST_TEXT;
        let shown = pages.first.saturating_sub(1)..pages.last;
        let mut sections: Vec<Section<'a>> = Vec::new();
        for (part, entry) in &listed[shown] {
            let (id, title) = part.section();
            if sections.last().is_none_or(|section| section.id != id) {
                let total = listed.iter().filter(|(part, _)| part.section().0 == id);
                sections.push(Section {
                    id,
                    title,
                    total: total.count(),
                    rows: Vec::new(),
                });
            }
            if let Some(section) = sections.last_mut() {
                section.rows.push(Row::of(self, *entry, &mut text));
            }
        }
        sections
    }

    /// The places of the scopes that fit, those first that do not get everything.
    fn scopes_listed(&self, asked: &ViewQuery) -> Vec<usize> {
        let scopes = &self.snapshot.scopes;
        let mut places: Vec<usize> = (0..scopes.len())
            .filter(|place| {
                let is = |wanted: &Option<String>, value: &str| {
                    wanted.as_ref().is_none_or(|wanted| wanted == value)
                };
                let scope = &scopes[*place];
                is(&asked.filter.scope, &scope.scope) && is(&asked.filter.region, &scope.region)
            })
            .collect();
        places.sort_by_key(|place| match &scopes[*place].polled {
            Some(polled) if !polled.up => 0,
            None => 1,
            Some(polled) if polled.stale => 2,
            Some(_) => 3,
        });
        places
    }
}

impl Pages {
    fn of(parameter: &'static str, wanted: usize, total: usize, asked: &ViewQuery) -> Self {
        let pages = total.div_ceil(ROWS).max(1);
        let page = wanted.clamp(1, pages);
        let link = |page: usize| asked.link(&[(parameter, Some(page.to_string()))]);
        Self {
            first: ((page - 1) * ROWS + 1).min(total),
            last: (page * ROWS).min(total),
            total,
            before: (page > 1).then(|| link(page - 1)),
            next: (page < pages).then(|| link(page + 1)),
        }
    }
}

fn counted(integrations: usize) -> String {
    match integrations {
        1 => "1 integration".to_owned(),
        many => format!("{many} integrations"),
    }
}
