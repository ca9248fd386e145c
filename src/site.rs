//! The routes of the page and the API, with their headers.
//!
//! Only one response is rendered at a time, on a blocking thread, so that many requests cannot slow down scrapes and polls. A few
//! requests wait for this thread; further ones are rejected. Static files need no rendering and do not wait.

use crate::clock::Clock;
use crate::exposition::gzip::{Deflater, member};
use crate::publisher::Publisher;
use crate::web::api;
use crate::web::inventory::Inventory;
use crate::web::page::{self, CONTENT_SECURITY_POLICY};
use crate::web::query::Rendered;
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// The maximum number of waiting requests. Rendering 10,000 integrations takes about 0.3 s, so the last one waits less than 3 s.
const MAX_WAITING: usize = 8;

/// A route of the page or the API.
#[derive(Debug)]
pub struct Route {
    pub path: &'static str,
    pub content_type: &'static str,
    pub headers: &'static [(&'static str, &'static str)],
    /// Every status code that the route can return.
    pub codes: &'static [u16],
    resource: Resource,
}

impl PartialEq for Route {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

impl Eq for Route {}

#[derive(Clone, Copy, Debug)]
enum Resource {
    Page,
    Style,
    Script,
    Integrations,
    Scopes,
    OpenApi,
}

const COMMON_HEADERS: [(&str, &str); 6] = [
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
];
const PAGE_HEADERS: &[(&str, &str)] = &with_policy(CONTENT_SECURITY_POLICY);
const DATA_HEADERS: &[(&str, &str)] = &with_policy("default-src 'none'; frame-ancestors 'none'");

const fn with_policy(policy: &'static str) -> [(&'static str, &'static str); 7] {
    let [cache, sniff, referrer, resources, opener, permissions] = COMMON_HEADERS;
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

const fn route(
    path: &'static str,
    resource: Resource,
    content_type: &'static str,
    codes: &'static [u16],
) -> Route {
    Route {
        path,
        content_type,
        headers: match resource {
            Resource::Page => PAGE_HEADERS,
            Resource::Style
            | Resource::Script
            | Resource::Integrations
            | Resource::Scopes
            | Resource::OpenApi => DATA_HEADERS,
        },
        codes,
        resource,
    }
}

/// Every route of the page and the API.
pub static ROUTES: [Route; 6] = [
    route(
        "/",
        Resource::Page,
        "text/html; charset=utf-8",
        &[200, 400, 405, 500, 503],
    ),
    route(
        "/page.css",
        Resource::Style,
        "text/css; charset=utf-8",
        &[200, 405],
    ),
    route(
        "/page.js",
        Resource::Script,
        "text/javascript; charset=utf-8",
        &[200, 405],
    ),
    route(
        "/api/v1/integrations",
        Resource::Integrations,
        JSON,
        &[200, 400, 405, 500, 503],
    ),
    route(
        "/api/v1/scopes",
        Resource::Scopes,
        JSON,
        &[200, 400, 405, 500, 503],
    ),
    route(
        "/api/v1/openapi.yaml",
        Resource::OpenApi,
        "application/yaml",
        &[200, 405],
    ),
];

/// Returns the route with this path.
pub fn find(path: &str) -> Option<&'static Route> {
    ROUTES.iter().find(|route| route.path == path)
}

/// Renders responses of these routes.
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

/// A request for one of these routes.
pub struct Request {
    pub route: &'static Route,
    /// The query of the URL.
    pub query: String,
    /// True if the client accepts gzip.
    pub gzip: bool,
    pub telemetry_path: String,
}

/// A rendered response.
pub struct Response {
    pub content: Vec<Bytes>,
    /// True if the request has an invalid parameter, which `content` names.
    pub is_bad_request: bool,
}

/// The reason why a response was not rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenderError {
    /// Too many requests are waiting.
    Busy,
    /// Rendering failed; the log says why.
    Failed,
}

impl Renderer {
    /// Renders the current response to a request.
    ///
    /// # Errors
    /// If too many requests are waiting, or if rendering fails.
    pub async fn render(
        &self,
        publisher: &Arc<Publisher>,
        clock: &Clock,
        request: Request,
    ) -> Result<Response, RenderError> {
        let rendered = match request.route.resource {
            Resource::Style | Resource::Script | Resource::OpenApi => {
                render(publisher, clock, &request)
            }
            Resource::Page | Resource::Integrations | Resource::Scopes => {
                let (publisher, clock) = (Arc::clone(publisher), clock.clone());
                let waiting = self.waiting.try_acquire().map_err(|_| RenderError::Busy)?;
                let permit = Arc::clone(&self.rendering).acquire_owned().await;
                let permit = permit.map_err(|_| RenderError::Failed)?;
                drop(waiting);
                let rendering = tokio::task::spawn_blocking(move || {
                    // The thread holds the permit to its end, even if the client disconnects.
                    let _permit = permit;
                    render(&publisher, &clock, &request)
                });
                // The panic handler has logged the panic.
                rendering.await.map_err(|_| RenderError::Failed)?
            }
        };
        rendered.map_err(|error| {
            tracing::error!(error, "failed to render a response");
            RenderError::Failed
        })
    }
}

fn render(publisher: &Publisher, clock: &Clock, request: &Request) -> Result<Response, String> {
    let snapshot = publisher.published();
    let inventory = Inventory {
        next_polls: &publisher.next_polls(&snapshot.scopes),
        snapshot: &snapshot,
        now: clock.unix_now(),
    };
    let query = request.query.as_str();
    let fixed = |body: &'static str| (Bytes::from_static(body.as_bytes()), false);
    let rendered = |rendered: Rendered| (Bytes::from(rendered.body), rendered.is_bad_request);
    let (body, is_bad_request) = match request.route.resource {
        Resource::Style => fixed(page::STYLE),
        Resource::Script => fixed(page::SCRIPT),
        Resource::OpenApi => fixed(api::OPENAPI),
        Resource::Page => page::render(&inventory, &request.telemetry_path, query)
            .map(rendered)
            .map_err(|error| error.to_string())?,
        Resource::Integrations => api::integrations(&inventory, query)
            .map(rendered)
            .map_err(|error| error.to_string())?,
        Resource::Scopes => api::scopes(&inventory, query)
            .map(rendered)
            .map_err(|error| error.to_string())?,
    };
    let content = if request.gzip {
        Deflater::with(|deflater| member(&[&deflater.deflate(&body)]))
    } else {
        vec![body]
    };
    Ok(Response {
        content,
        is_bad_request,
    })
}
