//! The paths of the page for people and of the API: what is answered there, with which headers. Writing takes a thread of its own, one
//! at a time, so that however many ask, scrapes and polls keep theirs; a few requests wait for it, more are refused. Files that never
//! change wait for nobody.

use crate::api::{self, NoAnswer};
use crate::clock::Clock;
use crate::exposition::gzip::{Deflater, member};
use crate::page::{self, POLICY, View};
use crate::publisher::Publisher;
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// A page of 10,000 integrations takes some 0.3 s: the last of them is there before a reader gives up.
const MAX_WAITING: usize = 8;

/// Where something is.
#[derive(Debug)]
pub struct Path {
    pub path: &'static str,
    pub content_type: &'static str,
    pub headers: &'static [(&'static str, &'static str)],
    /// Every status code that there can be.
    pub codes: &'static [u16],
    what: What,
}

impl PartialEq for Path {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

impl Eq for Path {}

#[derive(Clone, Copy, Debug)]
enum What {
    Page,
    Style,
    Script,
    Integrations,
    Scopes,
    OpenApi,
}

const COMMON: [(&str, &str); 6] = [
    // What was true a minute ago is not to be shown by a browser that goes back.
    ("cache-control", "no-store"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    (
        "permissions-policy",
        "camera=(), geolocation=(), microphone=()",
    ),
];
const OF_PAGE: &[(&str, &str)] = &with_policy(POLICY);
/// Nothing of it is a page.
const OF_DATA: &[(&str, &str)] = &with_policy("default-src 'none'; frame-ancestors 'none'");

const fn with_policy(policy: &'static str) -> [(&'static str, &'static str); 7] {
    let [cache, sniff, referrer, resources, opener, permissions] = COMMON;
    let policy = ("content-security-policy", policy);
    [
        cache,
        sniff,
        referrer,
        resources,
        opener,
        permissions,
        policy,
    ]
}

const JSON: &str = "application/json";

const fn path(
    path: &'static str,
    what: What,
    content_type: &'static str,
    codes: &'static [u16],
) -> Path {
    Path {
        path,
        content_type,
        headers: match what {
            What::Page => OF_PAGE,
            What::Style | What::Script | What::Integrations | What::Scopes | What::OpenApi => {
                OF_DATA
            }
        },
        codes,
        what,
    }
}

/// Every path.
pub static PATHS: [Path; 6] = [
    path(
        "/",
        What::Page,
        "text/html; charset=utf-8",
        &[200, 400, 405, 500, 503],
    ),
    path(
        "/page.css",
        What::Style,
        "text/css; charset=utf-8",
        &[200, 405],
    ),
    path(
        "/page.js",
        What::Script,
        "text/javascript; charset=utf-8",
        &[200, 405],
    ),
    path(
        "/api/v1/integrations",
        What::Integrations,
        JSON,
        &[200, 400, 405, 500, 503],
    ),
    path(
        "/api/v1/scopes",
        What::Scopes,
        JSON,
        &[200, 400, 405, 500, 503],
    ),
    path(
        "/api/v1/openapi.yaml",
        What::OpenApi,
        "application/yaml",
        &[200, 405],
    ),
];

/// What is at `path`.
pub fn find(path: &str) -> Option<&'static Path> {
    PATHS.iter().find(|known| known.path == path)
}

/// Writes answers.
#[derive(Debug)]
pub struct Site {
    writing: Arc<Semaphore>,
    waiting: Semaphore,
}

impl Default for Site {
    fn default() -> Self {
        Self {
            writing: Arc::new(Semaphore::new(1)),
            waiting: Semaphore::new(MAX_WAITING),
        }
    }
}

/// A request.
pub struct Asked {
    pub path: &'static Path,
    /// What stands behind the question mark.
    pub query: String,
    /// The client wants it compressed.
    pub gzip: bool,
    pub telemetry_path: String,
}

/// What is sent.
pub struct Answer {
    pub content: Vec<Bytes>,
    /// The request had a parameter that is not understood; the answer says so.
    pub refused: bool,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwritten {
    /// Too many requests wait for theirs.
    Busy,
    /// The log says why.
    Failed,
}

impl Site {
    /// Returns what is at that path at this moment.
    ///
    /// # Errors
    /// If too many requests wait, or if it could not be written.
    pub async fn answer(
        &self,
        publisher: &Arc<Publisher>,
        clock: &Clock,
        asked: Asked,
    ) -> Result<Answer, Unwritten> {
        let written = match asked.path.what {
            What::Style | What::Script | What::OpenApi => write(publisher, clock, &asked),
            What::Page | What::Integrations | What::Scopes => {
                let (publisher, clock) = (Arc::clone(publisher), clock.clone());
                let waiting = self.waiting.try_acquire().map_err(|_| Unwritten::Busy)?;
                let place = Arc::clone(&self.writing).acquire_owned().await;
                let place = place.map_err(|_| Unwritten::Failed)?;
                drop(waiting);
                let writing = tokio::task::spawn_blocking(move || {
                    // Until it is written, also where the client goes meanwhile.
                    let _place = place;
                    write(&publisher, &clock, &asked)
                });
                // The log has the panic.
                writing.await.map_err(|_| Unwritten::Failed)?
            }
        };
        written.map_err(|error| {
            tracing::error!(error, "an answer could not be written");
            Unwritten::Failed
        })
    }
}

fn write(publisher: &Publisher, clock: &Clock, asked: &Asked) -> Result<Answer, String> {
    let snapshot = publisher.published();
    let now = clock.unix_now();
    let query = asked.query.as_str();
    let (text, refused) = match asked.path.what {
        What::Style => (Bytes::from_static(page::STYLE.as_bytes()), false),
        What::Script => (Bytes::from_static(page::SCRIPT.as_bytes()), false),
        What::OpenApi => (Bytes::from_static(api::OPENAPI.as_bytes()), false),
        What::Page => {
            let view = View {
                next_polls: &publisher.next_polls(&snapshot.scopes),
                snapshot: &snapshot,
                now,
                telemetry_path: &asked.telemetry_path,
            };
            let written = view.write(query).map_err(|error| error.to_string())?;
            (Bytes::from(written.html), written.refused)
        }
        What::Integrations => json(api::integrations(&snapshot, now, query))?,
        What::Scopes => {
            let next_polls = publisher.next_polls(&snapshot.scopes);
            json(api::scopes(&snapshot, &next_polls, now, query))?
        }
    };
    let content = if asked.gzip {
        Deflater::with(|deflater| member(&[&deflater.deflate(&text)]))
    } else {
        vec![text]
    };
    Ok(Answer { content, refused })
}

fn json(answer: Result<Vec<u8>, NoAnswer>) -> Result<(Bytes, bool), String> {
    match answer {
        Ok(json) => Ok((Bytes::from(json), false)),
        Err(NoAnswer::Refused(json)) => Ok((Bytes::from(json), true)),
        Err(NoAnswer::Failed(error)) => Err(error.to_string()),
    }
}
