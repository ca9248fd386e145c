//! The page, the API and their static files. Only one document is rendered at a time, on a blocking thread, so that many requests cannot
//! slow down scrapes and polls. A few requests wait for it; further ones are rejected. Static files do not wait.

use super::response::{Content, busy, plain, response};
use crate::clock::Clock;
use crate::exposition::gzip::{Deflater, member};
use crate::publisher::Publisher;
use crate::web::inventory::Inventory;
use crate::web::{api, page};
use hyper::body::Bytes;
use hyper::header::HeaderValue;
use hyper::{Response, StatusCode};
use std::error::Error;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// The maximum number of waiting requests. Rendering 10,000 integrations takes about 0.3 s, so the last one waits less than 3 s.
const MAX_WAITING: usize = 8;

type RenderError = Box<dyn Error + Send + Sync>;

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

#[derive(Clone, Copy, Debug)]
pub enum Document {
    Page,
    Integrations,
    Scopes,
    Static {
        content_type: &'static str,
        text: &'static str,
    },
}

pub struct DocumentRequest {
    pub document: Document,
    pub publisher: Arc<Publisher>,
    pub clock: Clock,
    pub telemetry_path: String,
    pub query: String,
    pub gzip: bool,
}

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
    pub async fn respond(&self, request: DocumentRequest) -> Response<Content> {
        let (document, gzip) = (request.document, request.gzip);
        let rendered = if let Document::Static { .. } = document {
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
            rendering.await.unwrap_or_else(|error| Err(error.into()))
        };
        let (status, content) = match rendered {
            Ok(rendered) => rendered,
            Err(error) => {
                tracing::error!(%error, "failed to render a response");
                let text = "Failed to render the page. The log of the exporter has the reason.\n";
                return plain(StatusCode::INTERNAL_SERVER_ERROR, text);
            }
        };
        let content_type = match document {
            Document::Page => "text/html; charset=utf-8",
            Document::Integrations | Document::Scopes => "application/json",
            Document::Static { content_type, .. } => content_type,
        };
        let mut response = response(status, content_type, Arc::new(content));
        let headers = response.headers_mut();
        let policy = match document {
            Document::Page => page::CONTENT_SECURITY_POLICY,
            _ => "default-src 'none'; frame-ancestors 'none'",
        };
        let policy = ("content-security-policy", policy);
        let encoding = gzip.then_some(("content-encoding", "gzip"));
        for (name, value) in HEADERS.into_iter().chain([policy]).chain(encoding) {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

impl DocumentRequest {
    fn render(&self) -> Result<(StatusCode, Vec<Bytes>), RenderError> {
        let (status, text) = self.text()?;
        let content = if self.gzip {
            Deflater::with(|deflater| member(&[&deflater.deflate(&text)]))
        } else {
            vec![text]
        };
        Ok((status, content))
    }

    fn text(&self) -> Result<(StatusCode, Bytes), RenderError> {
        let snapshot = self.publisher.published();
        let inventory = Inventory {
            next_polls: &self.publisher.next_polls(&snapshot.scopes),
            snapshot: &snapshot,
            now: self.clock.unix_now(),
        };
        let rendered = match self.document {
            Document::Page => page::render(&inventory, &self.telemetry_path, &self.query)?,
            Document::Integrations => api::integrations(&inventory, &self.query),
            Document::Scopes => api::scopes(&inventory, &self.query),
            Document::Static { text, .. } => return Ok((StatusCode::OK, text.into())),
        };
        let mut status = StatusCode::OK;
        if rendered.is_bad_request {
            status = StatusCode::BAD_REQUEST;
        }
        Ok((status, rendered.body.into()))
    }
}
