//! The route table of the HTTP server, and the handlers of all routes but the page and the API.

use super::documents::{Document, DocumentRequest, Renderer};
use super::negotiate::Representation;
use super::response::{Content, busy, plain, response};
use super::shared_responses::SharedResponses;
use crate::clock::Clock;
use crate::escape;
use crate::publisher::Publisher;
use crate::telemetry::Telemetry;
use crate::toolkit::access::{AccessControl, Refusal};
use crate::web::{api, page};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_ENCODING, HeaderMap, HeaderValue, VARY, WWW_AUTHENTICATE};
use hyper::{Method, Request, Response, StatusCode};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// How long a scrape waits for the first polls if it announces no valid timeout.
const DEFAULT_WAIT: Duration = Duration::from_secs(5);
/// The part of the scrape timeout that is reserved for rendering and sending the page; at most a tenth of the timeout.
const MAX_SCRAPE_MARGIN: Duration = Duration::from_millis(500);
/// The maximum wait for the first polls. A scraper that announces more may have disconnected long ago.
const MAX_WAIT: Duration = Duration::from_secs(900);

#[derive(Debug)]
pub struct Route {
    /// The path. `--web.telemetry-path` replaces that of the metrics.
    pub path: &'static str,
    pub methods: &'static [Method],
    /// The status codes of the handler. Every route can also return `METHOD_NOT_ALLOWED`, and those of `REFUSALS` with a web configuration.
    pub codes: &'static [u16],
    endpoint: Endpoint,
}

#[derive(Debug)]
enum Endpoint {
    Metrics,
    Healthy,
    Ready,
    Reload,
    Document(Document),
}

const METHOD_NOT_ALLOWED: u16 = 405;
const REFUSALS: [u16; 3] = [401, 429, 503];
/// The path of requests to unknown paths in `http_requests_total`.
const OTHER: &str = "other";

pub static ROUTES: [Route; 10] = [
    get("/metrics", &[200, 500], Endpoint::Metrics),
    get("/-/healthy", &[200], Endpoint::Healthy),
    get("/-/ready", &[200, 503], Endpoint::Ready),
    Route {
        path: "/-/reload",
        methods: &[Method::POST],
        codes: &[200, 403, 500],
        endpoint: Endpoint::Reload,
    },
    document("/", Document::Page),
    file("/page.css", "text/css; charset=utf-8", page::STYLE),
    file("/page.js", "text/javascript; charset=utf-8", page::SCRIPT),
    document("/api/v1/integrations", Document::Integrations),
    document("/api/v1/scopes", Document::Scopes),
    file("/api/v1/openapi.yaml", "application/yaml", api::OPENAPI),
];

const fn get(path: &'static str, codes: &'static [u16], endpoint: Endpoint) -> Route {
    Route {
        path,
        methods: &[Method::GET, Method::HEAD],
        codes,
        endpoint,
    }
}

const fn document(path: &'static str, document: Document) -> Route {
    get(path, &[200, 400, 500, 503], Endpoint::Document(document))
}

const fn file(path: &'static str, content_type: &'static str, text: &'static str) -> Route {
    let file = Document::Static { content_type, text };
    get(path, &[200], Endpoint::Document(file))
}

impl Route {
    fn path<'a>(&'a self, telemetry_path: &'a str) -> &'a str {
        match self.endpoint {
            Endpoint::Metrics => telemetry_path,
            _ => self.path,
        }
    }
}

/// Starts the request counters of every path and code at 0. `has_access_control` is true with a web configuration.
pub fn start_counters(telemetry: &Telemetry, telemetry_path: &str, has_access_control: bool) {
    let refusals = REFUSALS.iter().filter(|_| has_access_control);
    for route in &ROUTES {
        let codes = route.codes.iter().chain([&METHOD_NOT_ALLOWED]);
        for code in codes.chain(refusals.clone()) {
            telemetry.add_path(route.path(telemetry_path), *code);
        }
    }
    for code in [404].iter().chain(refusals) {
        telemetry.add_path(OTHER, *code);
    }
}

pub struct Routes {
    pub publisher: Arc<Publisher>,
    pub telemetry: Arc<Telemetry>,
    pub clock: Clock,
    pub telemetry_path: String,
    pub access: Option<Arc<AccessControl>>,
    /// `None` without `--web.enable-lifecycle`.
    pub reload: Option<mpsc::Sender<oneshot::Sender<Result<(), String>>>>,
    pub stop: CancellationToken,
    pub shared_responses: SharedResponses,
    pub renderer: Renderer,
}

impl Routes {
    /// `peer` is `None` for a Unix socket.
    pub async fn handle(
        &self,
        request: Request<Incoming>,
        peer: Option<IpAddr>,
    ) -> Response<Content> {
        let path = request.uri().path();
        let route = ROUTES
            .iter()
            .find(|route| route.path(&self.telemetry_path) == path);
        let mut checked = Ok(());
        if let Some(access) = &self.access {
            let endpoint = route.map(|route| &route.endpoint);
            let is_probe = matches!(endpoint, Some(Endpoint::Healthy | Endpoint::Ready));
            checked = access.check(request.headers(), peer, is_probe).await;
        }
        let mut response = match (checked, route) {
            (Err(refusal), _) => refused(refusal),
            (Ok(()), Some(route)) => self.respond(route, &request).await,
            (Ok(()), None) => plain(
                StatusCode::NOT_FOUND,
                "Not found. The page at / shows the path of the metrics.\n",
            ),
        };
        if let Some(access) = &self.access {
            access.add_headers(response.headers_mut());
        }
        let path = route.map_or(OTHER, |route| route.path(&self.telemetry_path));
        self.telemetry
            .http_request(path, response.status().as_u16());
        response
    }

    async fn respond(
        &self,
        route: &'static Route,
        request: &Request<Incoming>,
    ) -> Response<Content> {
        if !route.methods.contains(request.method()) {
            return method_not_allowed(route.methods);
        }
        let headers = request.headers();
        match &route.endpoint {
            Endpoint::Metrics => {
                let wait = max_wait(headers);
                self.publisher.first_page(wait, &self.stop).await;
                self.metrics(Representation::from_headers(headers)).await
            }
            Endpoint::Healthy => plain(StatusCode::OK, "glue-integration-exporter is healthy.\n"),
            Endpoint::Ready if !self.publisher.page().pending_first_poll => {
                plain(StatusCode::OK, "glue-integration-exporter is ready.\n")
            }
            Endpoint::Ready => plain(
                StatusCode::SERVICE_UNAVAILABLE,
                "glue-integration-exporter is not ready: not every scope has been polled yet.\n",
            ),
            Endpoint::Reload => self.reload().await,
            Endpoint::Document(document) => {
                let request = DocumentRequest {
                    document: *document,
                    publisher: Arc::clone(&self.publisher),
                    clock: self.clock.clone(),
                    telemetry_path: self.telemetry_path.clone(),
                    query: request.uri().query().unwrap_or_default().to_owned(),
                    gzip: Representation::from_headers(headers).gzip,
                };
                self.renderer.respond(request).await
            }
        }
    }

    async fn metrics(&self, representation: Representation) -> Response<Content> {
        let (publisher, telemetry) = (Arc::clone(&self.publisher), Arc::clone(&self.telemetry));
        let (clock, Representation { format, gzip }) = (self.clock.clone(), representation);
        let render = move || {
            let (page, now) = (publisher.page(), clock.unix_now());
            if gzip {
                page.gzip(format, &telemetry, now)
            } else {
                page.text(format, &telemetry, now)
            }
        };
        let inline = self.publisher.page().render_inline();
        let rendering = self.shared_responses.get(representation, inline, render);
        let Ok(content) = rendering.await else {
            let text = "Failed to render the metrics. The log of the exporter has the reason.\n";
            return plain(StatusCode::INTERNAL_SERVER_ERROR, text);
        };
        let mut response = response(StatusCode::OK, format.content_type(), content);
        let headers = response.headers_mut();
        headers.insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
        if gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }

    async fn reload(&self) -> Response<Content> {
        let Some(reload) = &self.reload else {
            let text = "The lifecycle API is not enabled: start with --web.enable-lifecycle.\n";
            return plain(StatusCode::FORBIDDEN, text);
        };
        let (sender, outcome) = oneshot::channel();
        // If sending fails, the sender of the outcome is dropped.
        let _ = reload.send(sender).await;
        let failure = match outcome.await {
            Ok(Ok(())) => return plain(StatusCode::OK, "Reloaded the configuration.\n"),
            Ok(Err(message)) => format!(
                "Failed to reload. The previous version of each invalid file stays in use:\n{}\n",
                escape::lines(&message)
            ),
            Err(_) => "Did not reload the configuration: the exporter is stopping.\n".to_owned(),
        };
        plain(StatusCode::INTERNAL_SERVER_ERROR, failure)
    }
}

fn method_not_allowed(methods: &[Method]) -> Response<Content> {
    let names: Vec<&str> = methods.iter().map(Method::as_str).collect();
    let allow = names.join(", ");
    let text = format!("Method not allowed. Allowed: {allow}.\n");
    let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, text);
    if let Ok(allow) = HeaderValue::from_str(&allow) {
        response.headers_mut().insert(ALLOW, allow);
    }
    response
}

fn refused(refusal: Refusal) -> Response<Content> {
    match refusal {
        Refusal::RateLimited => plain(
            StatusCode::TOO_MANY_REQUESTS,
            "Too many requests: the rate limit of the web configuration is exceeded.\n",
        ),
        Refusal::Unauthorized => {
            let text = "Unauthorized: send a user and a password of the web configuration.\n";
            let mut response = plain(StatusCode::UNAUTHORIZED, text);
            let basic = HeaderValue::from_static("Basic");
            response.headers_mut().insert(WWW_AUTHENTICATE, basic);
            response
        }
        Refusal::Busy => busy(
            "Too many requests are waiting for their passwords to be checked. Try again later.\n",
        ),
    }
}

fn max_wait(headers: &HeaderMap) -> Duration {
    headers
        .get("X-Prometheus-Scrape-Timeout-Seconds")
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .and_then(|seconds: f64| Duration::try_from_secs_f64(seconds).ok())
        .map_or(DEFAULT_WAIT, |it| it - MAX_SCRAPE_MARGIN.min(it / 10))
        .min(MAX_WAIT)
}
