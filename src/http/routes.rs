//! The routes of the HTTP server.

use super::Handler;
use super::negotiate::Representation;
use super::shared_responses::{Content, SharedResponses};
use crate::clock::Clock;
use crate::escape;
use crate::publisher::Publisher;
use crate::site::{self, RenderError, Renderer};
use crate::telemetry::Telemetry;
use crate::toolkit::access::{AccessControl, Refusal};
use hyper::body::Incoming;
use hyper::header::{
    ALLOW, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
    RETRY_AFTER, VARY, WWW_AUTHENTICATE,
};
use hyper::{Method, Request, Response, StatusCode};
use rustls::ServerConfig;
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

/// The handler of all routes, with the data that they serve.
pub struct Routes {
    pub publisher: Arc<Publisher>,
    pub telemetry: Arc<Telemetry>,
    pub clock: Clock,
    pub shared_responses: SharedResponses,
    pub telemetry_path: String,
    pub site: Renderer,
    /// The access control of `--web.config.file`, or `None` without that flag.
    pub access: Option<Arc<AccessControl>>,
    /// Requests a reload; `None` without `--web.enable-lifecycle`.
    pub reload: Option<mpsc::Sender<oneshot::Sender<Result<(), String>>>>,
    /// Ends the wait for the first polls when the exporter stops.
    pub stop: CancellationToken,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Route {
    Metrics,
    Healthy,
    Ready,
    Reload,
    Site(&'static site::Route),
    Unknown,
}

const HEALTHY: &str = "/-/healthy";
const READY: &str = "/-/ready";
const RELOAD: &str = "/-/reload";

/// Starts the request counters of every path and code at 0.
pub fn start_counters(telemetry: &Telemetry, telemetry_path: &str) {
    for (path, codes) in [
        (telemetry_path, &[200, 405, 500][..]),
        (HEALTHY, &[200, 405]),
        (READY, &[200, 405, 503]),
        (RELOAD, &[200, 403, 405, 500]),
        ("other", &[404]),
    ]
    .into_iter()
    .chain(site::ROUTES.iter().map(|route| (route.path, route.codes)))
    {
        for code in codes {
            telemetry.add_path(path, *code);
        }
    }
}

/// Starts the counters of the codes for requests that `--web.config.file` refuses.
pub fn start_refusal_counters(telemetry: &Telemetry, telemetry_path: &str) {
    let own_paths = [telemetry_path, HEALTHY, READY, RELOAD, "other"];
    for path in own_paths
        .into_iter()
        .chain(site::ROUTES.iter().map(|route| route.path))
    {
        for code in [401, 429, 503] {
            telemetry.add_path(path, code);
        }
    }
}

impl Routes {
    fn route(&self, path: &str) -> (Route, &str) {
        match path {
            path if path == self.telemetry_path => (Route::Metrics, &self.telemetry_path),
            HEALTHY => (Route::Healthy, HEALTHY),
            READY => (Route::Ready, READY),
            RELOAD => (Route::Reload, RELOAD),
            path => match site::find(path) {
                Some(route) => (Route::Site(route), route.path),
                None => (Route::Unknown, "other"),
            },
        }
    }

    async fn respond(&self, route: Route, request: &Request<Incoming>) -> Response<Content> {
        let allowed = match route {
            Route::Unknown => {
                return plain(
                    StatusCode::NOT_FOUND,
                    "Not found. The page at / shows the path of the metrics.\n",
                );
            }
            Route::Reload => &[Method::POST][..],
            Route::Metrics | Route::Healthy | Route::Ready | Route::Site(_) => {
                &[Method::GET, Method::HEAD]
            }
        };
        if !allowed.contains(request.method()) {
            let names: Vec<&str> = allowed.iter().map(Method::as_str).collect();
            let allow = names.join(", ");
            let mut response = plain(
                StatusCode::METHOD_NOT_ALLOWED,
                &format!("Method not allowed. Allowed: {allow}.\n"),
            );
            if let Ok(allow) = HeaderValue::from_str(&allow) {
                response.headers_mut().insert(ALLOW, allow);
            }
            return response;
        }
        match route {
            Route::Metrics => {
                self.publisher
                    .first_page(max_wait(request.headers()), &self.stop)
                    .await;
                self.metrics(Representation::from_headers(request.headers()))
                    .await
            }
            Route::Healthy => plain(StatusCode::OK, "glue-integration-exporter is healthy.\n"),
            Route::Ready if self.publisher.page().is_ready() => {
                plain(StatusCode::OK, "glue-integration-exporter is ready.\n")
            }
            Route::Ready => plain(
                StatusCode::SERVICE_UNAVAILABLE,
                "glue-integration-exporter is not ready: not every scope has been polled yet.\n",
            ),
            Route::Reload => self.reload().await,
            Route::Site(route) => self.site(route, request).await,
            Route::Unknown => plain(StatusCode::NOT_FOUND, "Not found.\n"),
        }
    }

    async fn metrics(&self, representation: Representation) -> Response<Content> {
        let (publisher, telemetry) = (Arc::clone(&self.publisher), Arc::clone(&self.telemetry));
        let (clock, format) = (self.clock.clone(), representation.format);
        let render = move || {
            let page = publisher.page();
            if representation.gzip {
                page.gzip(format, &telemetry, clock.unix_now())
            } else {
                page.text(format, &telemetry, clock.unix_now())
            }
        };
        let inline = self.publisher.page().render_inline();
        let Ok(body) = self
            .shared_responses
            .get(representation, inline, render)
            .await
        else {
            return plain(
                StatusCode::INTERNAL_SERVER_ERROR,
                "Failed to render the metrics. The log of the exporter has the reason.\n",
            );
        };
        let mut response = response(StatusCode::OK, format.content_type(), body);
        let headers = response.headers_mut();
        headers.insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
        if representation.gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }

    /// Serves the page for people, its files, and the API.
    async fn site(
        &self,
        route: &'static site::Route,
        request: &Request<Incoming>,
    ) -> Response<Content> {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let gzip = Representation::from_headers(request.headers()).gzip;
        let request = site::Request {
            route,
            query,
            gzip,
            telemetry_path: self.telemetry_path.clone(),
        };
        let rendered = match self
            .site
            .render(&self.publisher, &self.clock, request)
            .await
        {
            Ok(rendered) => rendered,
            Err(RenderError::Busy) => {
                return busy("Too many requests are waiting for pages. Try again later.\n");
            }
            Err(RenderError::Failed) => {
                return plain(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "Failed to render the page. The log of the exporter has the reason.\n",
                );
            }
        };
        let content = self.shared_responses.tracked(rendered.content);
        let mut response = response(StatusCode::OK, route.content_type, content);
        if rendered.is_bad_request {
            *response.status_mut() = StatusCode::BAD_REQUEST;
        }
        let headers = response.headers_mut();
        for (name, value) in route.headers {
            headers.insert(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
        if gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }

    async fn reload(&self) -> Response<Content> {
        let Some(reload) = &self.reload else {
            return plain(
                StatusCode::FORBIDDEN,
                "The lifecycle API is not enabled: start with --web.enable-lifecycle.\n",
            );
        };
        let (sender, outcome) = oneshot::channel();
        let result = match reload.send(sender).await {
            Ok(()) => outcome.await,
            Err(_) => Ok(Err("the exporter is stopping".to_owned())),
        };
        match result {
            Ok(Ok(())) => plain(StatusCode::OK, "Reloaded the configuration.\n"),
            Ok(Err(message)) => plain(
                StatusCode::INTERNAL_SERVER_ERROR,
                &format!(
                    "Invalid configuration, keeping the previous one:\n{}\n",
                    escape::lines(&message)
                ),
            ),
            Err(_) => plain(
                StatusCode::INTERNAL_SERVER_ERROR,
                "Did not reload the configuration: the exporter is stopping.\n",
            ),
        }
    }
}

impl Handler for Routes {
    async fn handle(&self, request: Request<Incoming>, peer: Option<IpAddr>) -> Response<Content> {
        let (route, path) = self.route(request.uri().path());
        let refusal = match &self.access {
            Some(access) => {
                let is_probe = matches!(route, Route::Healthy | Route::Ready);
                access.check(request.headers(), peer, is_probe).await
            }
            None => None,
        };
        let mut response = match refusal {
            Some(refusal) => refused(refusal),
            None => self.respond(route, &request).await,
        };
        if let Some(access) = &self.access {
            access.add_headers(response.headers_mut());
        }
        self.telemetry
            .http_request(path, response.status().as_u16());
        response
    }

    fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.access.as_ref()?.tls()
    }
}

fn refused(refusal: Refusal) -> Response<Content> {
    match refusal {
        Refusal::RateLimited => plain(
            StatusCode::TOO_MANY_REQUESTS,
            "Too many requests: the rate limit of the web configuration is exceeded.\n",
        ),
        Refusal::Unauthorized => {
            let mut response = plain(
                StatusCode::UNAUTHORIZED,
                "Unauthorized: send a user and a password of the web configuration.\n",
            );
            let basic = HeaderValue::from_static("Basic");
            response.headers_mut().insert(WWW_AUTHENTICATE, basic);
            response
        }
        Refusal::Busy => busy(
            "Too many requests are waiting for their passwords to be checked. Try again later.\n",
        ),
    }
}

/// Returns 503 for a full queue, which is usually free again within a second.
fn busy(text: &str) -> Response<Content> {
    let mut response = plain(StatusCode::SERVICE_UNAVAILABLE, text);
    let seconds = HeaderValue::from_static("1");
    response.headers_mut().insert(RETRY_AFTER, seconds);
    response
}

/// Returns how long a scrape may wait for the first polls, based on the timeout that the scraper announces.
fn max_wait(headers: &HeaderMap) -> Duration {
    headers
        .get("X-Prometheus-Scrape-Timeout-Seconds")
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .and_then(|seconds: f64| Duration::try_from_secs_f64(seconds).ok())
        .map_or(DEFAULT_WAIT, |timeout| {
            timeout - MAX_SCRAPE_MARGIN.min(timeout / 10)
        })
        .min(MAX_WAIT)
}

fn plain(status: StatusCode, text: &str) -> Response<Content> {
    response(status, "text/plain; charset=utf-8", text.to_owned())
}

/// Returns a response with its length, so that a response to HEAD has the header too. hyper omits the body of a response to HEAD.
fn response(
    status: StatusCode,
    content_type: &'static str,
    content: impl Into<Content>,
) -> Response<Content> {
    let content = content.into();
    let length = HeaderValue::from(content.length());
    let mut response = Response::new(content);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CONTENT_LENGTH, length);
    response
}
