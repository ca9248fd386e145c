//! What is answered at which path.

use super::Handler;
use super::access::{AccessControl, Refusal};
use super::negotiate::Representation;
use super::shared_responses::{Content, SharedResponses};
use crate::clock::Clock;
use crate::escape;
use crate::publisher::Publisher;
use crate::site::{self, Site, Unwritten};
use crate::telemetry::Telemetry;
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

/// How long a scrape without a readable timeout waits for the first polls.
const DEFAULT_WAIT: Duration = Duration::from_secs(5);
/// What is left of the scraper's timeout for writing and sending the page: this much, or a tenth where that is less.
const MARGIN: Duration = Duration::from_millis(500);
/// No scrape waits longer, whatever its scraper says: it may have gone long since.
const LONGEST_WAIT: Duration = Duration::from_secs(900);

/// The routes, and what they answer from.
pub struct Routes {
    pub publisher: Arc<Publisher>,
    pub telemetry: Arc<Telemetry>,
    pub clock: Clock,
    pub scrapes: SharedResponses,
    pub telemetry_path: String,
    pub site: Site,
    /// What requests must pass first; all of them do without `--web.config.file`.
    pub access: Option<Arc<AccessControl>>,
    /// Where a reload is asked for; none without `--web.enable-lifecycle`.
    pub reload: Option<mpsc::Sender<oneshot::Sender<Result<(), String>>>>,
    /// Stops the waiting for the first polls.
    pub stop: CancellationToken,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Route {
    Metrics,
    Healthy,
    Ready,
    Reload,
    Site(&'static site::Path),
    Unknown,
}

const HEALTHY: &str = "/-/healthy";
const READY: &str = "/-/ready";
const RELOAD: &str = "/-/reload";

/// Starts the counter of every answer that there can be.
pub fn start_counters(telemetry: &Telemetry, telemetry_path: &str) {
    for (path, codes) in [
        (telemetry_path, &[200, 405, 500][..]),
        (HEALTHY, &[200, 405]),
        (READY, &[200, 405, 503]),
        (RELOAD, &[200, 403, 405, 500]),
        ("other", &[404]),
    ]
    .into_iter()
    .chain(site::PATHS.iter().map(|path| (path.path, path.codes)))
    {
        for code in codes {
            telemetry.add_path(path, *code);
        }
    }
}

/// Starts the counters of what `--web.config.file` refuses.
pub fn start_refusal_counters(telemetry: &Telemetry, telemetry_path: &str) {
    let own_paths = [telemetry_path, HEALTHY, READY, RELOAD, "other"];
    for path in own_paths
        .into_iter()
        .chain(site::PATHS.iter().map(|path| path.path))
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
                Some(path) => (Route::Site(path), path.path),
                None => (Route::Unknown, "other"),
            },
        }
    }

    async fn answer(&self, route: Route, request: &Request<Incoming>) -> Response<Content> {
        let allowed = match route {
            Route::Unknown => {
                return plain(
                    StatusCode::NOT_FOUND,
                    "Not found. The metrics are at the path that / names.\n",
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
                    .first_page(patience(request.headers()), &self.stop)
                    .await;
                self.page(Representation::of(request.headers())).await
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
            Route::Site(path) => self.site(path, request).await,
            Route::Unknown => plain(StatusCode::NOT_FOUND, "Not found.\n"),
        }
    }

    async fn page(&self, representation: Representation) -> Response<Content> {
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
        let quick = self.publisher.page().render_inline();
        let Ok(scraped) = self.scrapes.get(representation, quick, render).await else {
            return plain(
                StatusCode::INTERNAL_SERVER_ERROR,
                "The page could not be rendered; the log says why.\n",
            );
        };
        let mut response = response(StatusCode::OK, format.content_type(), scraped);
        let headers = response.headers_mut();
        headers.insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
        if representation.gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }

    /// The page for people, and what belongs to it.
    async fn site(
        &self,
        path: &'static site::Path,
        request: &Request<Incoming>,
    ) -> Response<Content> {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let gzip = Representation::of(request.headers()).gzip;
        let asked = site::Asked {
            path,
            query,
            gzip,
            telemetry_path: self.telemetry_path.clone(),
        };
        let answer = match self.site.answer(&self.publisher, &self.clock, asked).await {
            Ok(answer) => answer,
            Err(Unwritten::Busy) => return busy("Too many pages wait to be written.\n"),
            Err(Unwritten::Failed) => {
                return plain(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "The page could not be written; the log says why.\n",
                );
            }
        };
        let content = self.scrapes.admitted(answer.content);
        let mut response = response(StatusCode::OK, path.content_type, content);
        if answer.refused {
            *response.status_mut() = StatusCode::BAD_REQUEST;
        }
        let headers = response.headers_mut();
        for (name, value) in path.headers {
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
        let (answer, outcome) = oneshot::channel();
        let refused = match reload.send(answer).await {
            Ok(()) => outcome.await,
            Err(_) => Ok(Err("the exporter is stopping".to_owned())),
        };
        match refused {
            Ok(Ok(())) => plain(StatusCode::OK, "The configuration was loaded again.\n"),
            Ok(Err(why)) => plain(
                StatusCode::INTERNAL_SERVER_ERROR,
                &format!(
                    "The new configuration was refused, the old one goes on:\n{}\n",
                    escape::lines(&why)
                ),
            ),
            Err(_) => plain(
                StatusCode::INTERNAL_SERVER_ERROR,
                "The configuration was not loaded: the exporter is stopping.\n",
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
            None => self.answer(route, &request).await,
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
        Refusal::TooMany => plain(
            StatusCode::TOO_MANY_REQUESTS,
            "Too many requests: the rate limit of the web configuration is reached.\n",
        ),
        Refusal::Unauthorized => {
            let mut response = plain(
                StatusCode::UNAUTHORIZED,
                "Unauthorized: a user and a password of the web configuration are needed.\n",
            );
            let basic = HeaderValue::from_static("Basic");
            response.headers_mut().insert(WWW_AUTHENTICATE, basic);
            response
        }
        Refusal::Busy => busy("Too many passwords wait to be checked.\n"),
    }
}

/// A queue is full, which is over in a moment.
fn busy(text: &str) -> Response<Content> {
    let mut response = plain(StatusCode::SERVICE_UNAVAILABLE, text);
    let seconds = HeaderValue::from_static("1");
    response.headers_mut().insert(RETRY_AFTER, seconds);
    response
}

/// How long a scrape may wait for the first polls, by what the scraper says of its own patience.
fn patience(headers: &HeaderMap) -> Duration {
    headers
        .get("X-Prometheus-Scrape-Timeout-Seconds")
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .and_then(|seconds: f64| Duration::try_from_secs_f64(seconds).ok())
        .map_or(DEFAULT_WAIT, |timeout| timeout - MARGIN.min(timeout / 10))
        .min(LONGEST_WAIT)
}

fn plain(status: StatusCode, text: &str) -> Response<Content> {
    response(status, "text/plain; charset=utf-8", text.to_owned())
}

/// An answer with its length, so that HEAD has the header too: the server leaves out the body of an answer to HEAD by itself.
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
