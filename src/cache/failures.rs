//! The failures of a poll, as the web page and the API show them.

use crate::glue::GlueError;
use crate::snapshot::{Failed, Failure};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Limit for error messages: enough for a whole chain of causes, even if AWS sends a long one.
const MAX_MESSAGE_CHARS: usize = 1024;
/// Request IDs of AWS have 36 characters.
const MAX_REQUEST_ID_CHARS: usize = 128;

pub(crate) fn failed(errors: &[&GlueError], at: f64) -> Arc<Failed> {
    let mut failures: BTreeMap<_, Failure> = BTreeMap::new();
    for error in errors {
        let request_id = error.request_id.as_ref();
        let failure = failures.entry(error.reason).or_insert_with(|| Failure {
            reason: error.reason.as_str(),
            message: truncate(&error.message, MAX_MESSAGE_CHARS),
            request_id: request_id.map(|id| truncate(id, MAX_REQUEST_ID_CHARS)),
            queries: 0,
        });
        failure.queries += 1;
    }
    let failures = failures.into_values().collect();
    Arc::new(Failed { at, failures })
}

fn truncate(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
