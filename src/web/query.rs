//! The query of a URL: its parameters, and links with other parameters.

use serde::Serialize;

const MAX_VALUE_CHARS: usize = 100;
const MAX_LISTED_VALUES: usize = 20;
const REPEATABLE: &str = "status";

pub struct Rendered {
    pub body: String,
    /// True if the query has an invalid parameter, which `body` names.
    pub is_bad_request: bool,
}

#[derive(Debug, Serialize)]
pub(crate) struct InvalidParameter {
    pub parameter: String,
    pub value: String,
    pub allowed: String,
    pub message: String,
}

impl InvalidParameter {
    fn new(parameter: &str, value: &str, allowed: String) -> Self {
        let shorten = |text: &str| text.chars().take(MAX_VALUE_CHARS).collect();
        let (parameter, value): (String, String) = (shorten(parameter), shorten(value));
        Self {
            message: format!("{parameter}={value:?} is not allowed; allowed: {allowed}"),
            parameter,
            value,
            allowed,
        }
    }
}

/// Returns the allowed values as an error. A long list is truncated.
pub(crate) fn one_of<'a>(
    value: &str,
    allowed: impl IntoIterator<Item = &'a str>,
) -> Result<(), String> {
    let mut listed: Vec<&str> = Vec::new();
    for allowed in allowed {
        if allowed == value {
            return Ok(());
        }
        if !listed.contains(&allowed) {
            listed.push(allowed);
        }
    }
    let others = listed.len().saturating_sub(MAX_LISTED_VALUES);
    listed.truncate(MAX_LISTED_VALUES);
    let list = listed.join(", ");
    Err(match (list.is_empty(), others) {
        (true, _) => "no value, because none exists".to_owned(),
        (false, 0) => list,
        (false, others) => format!("{list} and {others} others"),
    })
}

#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(&'static str, String)>);

impl Query {
    /// Parses names and values as a form encodes them: `+` and `%20` are a space. `check` returns what is allowed if a value is not.
    pub fn parse(
        query: &str,
        names: &[&'static str],
        check: impl Fn(&str, &str) -> Result<(), String>,
    ) -> Result<Self, InvalidParameter> {
        let mut parameters = Self::default();
        for (decoded, value) in form_urlencoded::parse(query.as_bytes()) {
            let invalid = |allowed| InvalidParameter::new(&decoded, &value, allowed);
            let Some(name) = names.iter().find(|name| **name == decoded) else {
                return Err(invalid(format!("the parameters {}", names.join(", "))));
            };
            if value.contains(char::REPLACEMENT_CHARACTER) {
                return Err(invalid("percent-encoded UTF-8".to_owned()));
            }
            check(name, &value).map_err(invalid)?;
            if *name != REPEATABLE && parameters.get(name).is_some() {
                return Err(invalid("this parameter only once".to_owned()));
            }
            parameters.0.push((*name, value.into_owned()));
        }
        Ok(parameters)
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    pub fn number(&self, name: &str) -> Option<usize> {
        self.get(name)?.parse().ok()
    }

    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> + Clone {
        let found = self.0.iter().filter(move |(other, _)| *other == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Returns true if the parameter has this value, or is not set.
    pub fn allows(&self, name: &str, value: &str) -> bool {
        self.get(name).is_none_or(|wanted| wanted == value)
    }

    pub fn without(&self, without: &[&str]) -> Vec<(&'static str, &str)> {
        let kept = self.0.iter().filter(|(it, _)| !without.contains(it));
        kept.map(|(name, value)| (*name, value.as_str())).collect()
    }

    /// Returns a relative URL with the parameters of `changes` set or removed.
    pub fn link(&self, changes: &[(&'static str, Option<&str>)]) -> String {
        let changed: Vec<&str> = changes.iter().map(|(name, _)| *name).collect();
        let set = changes.iter().filter_map(|&(name, to)| Some((name, to?)));
        let pairs = self.without(&changed).into_iter().chain(set);
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(pairs)
            .finish();
        if query.is_empty() {
            "./".to_owned()
        } else {
            format!("?{query}")
        }
    }
}
