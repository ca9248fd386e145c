//! The failures of a poll, as the web page and the API show them.

use crate::glue::GlueError;
use crate::snapshot::{Failed, Failure};
use std::collections::BTreeMap;

/// Limit for error messages: enough for a whole chain of causes, even if AWS sends a long one.
const MAX_MESSAGE_CHARS: usize = 1024;
/// Request IDs of AWS have 36 characters.
const MAX_REQUEST_ID_CHARS: usize = 128;

/// Returns the failures at a time in Unix seconds, one for each reason.
pub(crate) fn failed<'a>(errors: impl Iterator<Item = &'a GlueError>, at: f64) -> Failed {
    let mut failures: BTreeMap<_, Failure> = BTreeMap::new();
    for error in errors {
        let failure = failures.entry(error.reason).or_insert_with(|| Failure {
            reason: error.reason.as_str(),
            message: truncate(&error.message, MAX_MESSAGE_CHARS),
            request_id: error
                .request_id
                .as_deref()
                .map(|id| truncate(id, MAX_REQUEST_ID_CHARS)),
            queries: 0,
        });
        failure.queries += 1;
    }
    Failed {
        at,
        failures: failures.into_values().collect(),
    }
}

fn truncate(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
