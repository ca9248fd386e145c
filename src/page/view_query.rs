//! What a reader has chosen to see, as the URL of the page says it, and links to something else.

use super::Part;
use crate::inventory::filter::{Filter, State, Trouble};
use crate::inventory::query::{Refused, any_of, link, parameters};
use crate::inventory::{Entry, Problem};
use crate::snapshot::{MAX_ARN_BYTES, Snapshot, Status};
use memchr::memmem::Finder;
use std::collections::BTreeSet;

/// So many characters can be searched for: each row has a link that does so for its ARN.
pub(super) const LONGEST_SEARCH: usize = MAX_ARN_BYTES;

/// Of the URL.
#[derive(Debug)]
pub struct ViewQuery {
    pub filter: Filter,
    /// Words that all must occur.
    pub search: String,
    /// Counted from 1.
    pub page: usize,
    pub scopes: usize,
    /// The page asks for itself again now and then.
    pub refresh: bool,
}

/// A count that is a link to what it counts.
pub struct Chip {
    pub label: &'static str,
    pub title: &'static str,
    pub count: usize,
    pub link: String,
    /// It is what is listed.
    pub current: bool,
}

impl ViewQuery {
    const PARAMETERS: [&str; 8] = [
        "q", "status", "scope", "account", "region", "page", "scopes", "refresh",
    ];

    /// What `query` asks for, and what of it is not understood: then everything is shown, with the reason.
    pub fn read(query: &str, snapshot: &Snapshot) -> (Self, Option<Refused>) {
        let everything = || Self {
            filter: Filter::default(),
            search: String::new(),
            page: 1,
            scopes: 1,
            refresh: true,
        };
        let mut view = everything();
        let taken = parameters(query).and_then(|parameters| {
            parameters
                .iter()
                // A form sends its empty fields too.
                .filter(|(_, value)| !value.is_empty())
                .try_for_each(|(name, value)| view.take(name, value, snapshot))
        });
        match taken {
            Ok(()) => (view, None),
            Err(refused) => (everything(), Some(refused)),
        }
    }

    fn take(&mut self, name: &str, value: &str, snapshot: &Snapshot) -> Result<(), Refused> {
        let number = || {
            let number = value.parse().ok().filter(|number| *number > 0);
            number.ok_or_else(|| Refused::value(name, value, "a number from 1 on"))
        };
        match name {
            "q" if value.chars().count() <= LONGEST_SEARCH => value.clone_into(&mut self.search),
            "q" => {
                let allowed = format!("up to {LONGEST_SEARCH} characters");
                return Err(Refused::value(name, value, allowed));
            }
            "page" => self.page = number()?,
            "scopes" => self.scopes = number()?,
            "refresh" if value == "off" => self.refresh = false,
            "refresh" => return Err(Refused::value(name, value, "off, or no such parameter")),
            "status" => {
                let trouble = Trouble::ALL.into_iter().find(|it| it.as_str() == value);
                if let Some(trouble) = trouble {
                    self.filter.troubles.insert(trouble);
                } else if self.filter.take(name, value, snapshot).is_err() {
                    let troubles = Trouble::ALL.map(Trouble::as_str);
                    let states = State::all().map(State::as_str).chain(troubles);
                    return Err(Refused::value(name, value, any_of(states)));
                }
            }
            _ => {
                if !self.filter.take(name, value, snapshot)? {
                    return Err(Refused::unknown(name, value, &Self::PARAMETERS));
                }
            }
        }
        Ok(())
    }

    /// The rows that fit but for their state.
    pub fn matching<'a>(
        &self,
        all: &[(Part, Entry<'a>)],
        snapshot: &Snapshot,
    ) -> Vec<(Part, Entry<'a>)> {
        let words = folded(&self.search);
        // Each once: a row is searched for every word.
        let words: BTreeSet<&str> = words.split_whitespace().collect();
        let words: Vec<Finder<'_>> = words.into_iter().map(Finder::new).collect();
        let mut text = String::new();
        let has_words = |part: Part, entry: Entry<'_>, text: &mut String| {
            searched(part, entry, text);
            words
                .iter()
                .all(|word| word.find(text.as_bytes()).is_some())
        };
        all.iter()
            .filter(|(_, entry)| self.filter.fits_elsewhere(*entry, snapshot))
            .filter(|(part, entry)| words.is_empty() || has_words(*part, *entry, &mut text))
            .copied()
            .collect()
    }

    /// The page as it is, but for these parameters.
    pub fn link(&self, changes: &[(&str, Option<String>)]) -> String {
        let mut pairs: Vec<(&str, String)> = self.pairs();
        for (name, value) in changes {
            pairs.retain(|(before, _)| before != name);
            pairs.extend(value.clone().map(|value| (*name, value)));
        }
        link(pairs.iter().map(|(name, value)| (*name, value.as_str())))
    }

    /// What a form keeps besides its own field.
    pub fn hidden_fields(&self) -> Vec<(&'static str, String)> {
        let mut pairs = self.pairs();
        pairs.retain(|(name, _)| *name != "q" && *name != "page" && *name != "scopes");
        pairs
    }

    /// Something is left out.
    pub fn is_filtered(&self) -> bool {
        !self.search.is_empty() || self.filter != Filter::default()
    }

    /// Filters other than by state and words, for people.
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
        let states = self.filter.states.iter().map(|state| state.as_str());
        let troubles = self.filter.troubles.iter().map(|trouble| trouble.as_str());
        let states = states
            .chain(troubles)
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

    /// The counts of what is wrong, and of the other states.
    pub fn chips(&self, rows: &[(Part, Entry<'_>)], now: f64) -> (Vec<Chip>, Vec<Chip>) {
        let chip = |label: &'static str, title: &'static str, filter: &Filter| Chip {
            label,
            title,
            count: rows
                .iter()
                .filter(|(_, entry)| filter.fits_state(*entry, now))
                .count(),
            link: {
                let mut pairs = self.pairs();
                pairs.retain(|(name, _)| *name != "status" && *name != "page");
                let states = filter.states.iter().map(|state| state.as_str());
                let states = states.chain(filter.troubles.iter().map(|it| it.as_str()));
                let states = states.map(|state| ("status", state));
                link(
                    pairs
                        .iter()
                        .map(|(name, value)| (*name, value.as_str()))
                        .chain(states),
                )
            },
            current: filter.states == self.filter.states && filter.troubles == self.filter.troubles,
        };
        let state = |state: State, title: &'static str| {
            let filter = Filter {
                states: [state].into(),
                ..Filter::default()
            };
            chip(state.as_str(), title, &filter)
        };
        let status =
            |status: Status| state(State::Status(status), "Whatever else is wrong with it");
        let trouble = |trouble: Trouble, title: &'static str| {
            let filter = Filter {
                troubles: [trouble].into(),
                ..Filter::default()
            };
            chip(trouble.as_str(), title, &filter)
        };
        let wrong = vec![
            trouble(Trouble::Wrong, "All that is wrong"),
            state(
                State::Status(Status::Failed),
                "Cannot be recovered: delete it and create it anew",
            ),
            state(State::Status(Status::NeedsAttention), "Somebody must act"),
            trouble(
                Trouble::Stuck,
                "CREATING, MODIFYING or DELETING for more than an hour",
            ),
            state(
                State::Missing,
                "Configured, and AWS answers that there is none",
            ),
            trouble(Trouble::Errors, "Any other state, with errors"),
            state(
                State::Status(Status::Unknown),
                "A status that this exporter does not know",
            ),
        ];
        let states = vec![
            chip("ALL", "Everything", &Filter::default()),
            status(Status::Active),
            status(Status::Creating),
            status(Status::Modifying),
            status(Status::Syncing),
            status(Status::Deleting),
        ];
        (wrong, states)
    }
}

/// What is searched of a row: what it shows.
fn searched(part: Part, entry: Entry<'_>, text: &mut String) {
    text.clear();
    let mut add = |part: &str| {
        text.push_str(part);
        text.push('\n');
    };
    add(entry.arn());
    add(entry.name());
    add(State::of(entry).as_str());
    if part == Part::Wrong(Problem::Stuck) {
        add(Trouble::Stuck.as_str());
    }
    if let Some(integration) = entry.integration() {
        add(&integration.source_arn);
        add(&integration.target_arn);
    }
    if let Entry::Shown(shown, _) = entry {
        let unknown = shown.integration.status_text.as_deref();
        add(unknown.unwrap_or_default());
    }
    for error in entry.errors() {
        add(error.code.as_deref().unwrap_or_default());
        add(error.message.as_deref().unwrap_or_default());
    }
    if text.is_ascii() {
        text.make_ascii_lowercase();
    } else {
        *text = folded(text);
    }
}

fn folded(text: &str) -> String {
    text.to_lowercase()
}
