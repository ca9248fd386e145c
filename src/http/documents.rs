//! The page, the API and their static files.
//!
//! Only one document is rendered at a time, on a blocking thread, so that many requests cannot slow down scrapes and polls. A few requests
//! wait for this thread; further ones are rejected. Static files need no rendering and do not wait.

use super::response::{Content, busy, plain, response};
use crate::clock::Clock;
use crate::exposition::gzip::{Deflater, member};
use crate::publisher::Publisher;
use crate::web::inventory::Inventory;
use crate::web::query::Rendered;
use crate::web::{api, page};
use hyper::body::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// The maximum number of waiting requests. Rendering 10,000 integrations takes about 0.3 s, so the last one waits less than 3 s.
const MAX_WAITING: usize = 8;

const HEADERS: [(&str, &str); 7] = [
    // A browser must not show an old page when the user goes back.
    ("cache-control", "no-store"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    (
        "permissions-policy",
        "camera=(), geolocation=(), microphone=()",
    ),
    ("vary", "Accept-Encoding"),
];

/// A document that a route serves.
#[derive(Debug)]
pub struct Document {
    pub source: Source,
    pub content_type: &'static str,
    pub content_security_policy: &'static str,
}

#[derive(Debug)]
pub enum Source {
    Static(&'static str),
    Page,
    Integrations,
    Scopes,
}

/// A request for a document.
pub struct DocumentRequest {
    pub document: &'static Document,
    pub publisher: Arc<Publisher>,
    pub clock: Clock,
    pub telemetry_path: String,
    /// The query of the URL.
    pub query: String,
    /// True if the client accepts gzip.
    pub gzip: bool,
}

/// Renders documents.
#[derive(Debug)]
pub struct Renderer {
    rendering: Arc<Semaphore>,
    waiting: Semaphore,
}

impl Default for Renderer {
    fn default() -> Self {
        Self {
            rendering: Arc::new(Semaphore::new(1)),
            waiting: Semaphore::new(MAX_WAITING),
        }
    }
}

impl Renderer {
    /// Returns the response with the current version of a document.
    pub async fn respond(&self, request: DocumentRequest) -> Response<Content> {
        let (document, gzip) = (request.document, request.gzip);
        let rendered = if matches!(document.source, Source::Static(_)) {
            request.render()
        } else {
            let Ok(waiting) = self.waiting.try_acquire() else {
                return busy("Too many requests are waiting for pages. Try again later.\n");
            };
            let permit = Arc::clone(&self.rendering).acquire_owned().await;
            drop(waiting);
            let rendering = tokio::task::spawn_blocking(move || {
                // The thread holds the permit to its end, even if the client disconnects.
                let _permit = permit;
                request.render()
            });
            // The panic handler has logged a panic.
            rendering
                .await
                .unwrap_or_else(|error| Err(error.to_string()))
        };
        let (status, content) = match rendered {
            Ok(rendered) => rendered,
            Err(error) => {
                tracing::error!(error, "failed to render a response");
                return plain(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "Failed to render the page. The log of the exporter has the reason.\n",
                );
            }
        };
        let mut response = response(status, document.content_type, Arc::new(content));
        let headers = response.headers_mut();
        let policy = ("content-security-policy", document.content_security_policy);
        let encoding = gzip.then_some(("content-encoding", "gzip"));
        for (name, value) in HEADERS.into_iter().chain([policy]).chain(encoding) {
            headers.insert(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        response
    }
}

impl DocumentRequest {
    fn render(&self) -> Result<(StatusCode, Vec<Bytes>), String> {
        let (status, text) = self.text()?;
        let content = if self.gzip {
            Deflater::with(|deflater| member(&[&deflater.deflate(&text)]))
        } else {
            vec![text]
        };
        Ok((status, content))
    }

    fn text(&self) -> Result<(StatusCode, Bytes), String> {
        let snapshot = self.publisher.published();
        let inventory = Inventory {
            next_polls: &self.publisher.next_polls(&snapshot.scopes),
            snapshot: &snapshot,
            now: self.clock.unix_now(),
        };
        let Rendered {
            body,
            is_bad_request,
        } = match self.document.source {
            Source::Static(text) => return Ok((StatusCode::OK, text.into())),
            Source::Page => page::render(&inventory, &self.telemetry_path, &self.query)
                .map_err(|error| error.to_string())?,
            Source::Integrations => api::integrations(&inventory, &self.query),
            Source::Scopes => api::scopes(&inventory, &self.query),
        };
        let status = if is_bad_request {
            StatusCode::BAD_REQUEST
        } else {
            StatusCode::OK
        };
        Ok((status, body.into()))
    }
}
