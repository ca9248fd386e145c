//! What is answered at which path.

use super::Handler;
use super::negotiate::Representation;
use super::scrapes::{Content, Scrapes};
use crate::board::Board;
use crate::clock::Clock;
use crate::exposition::own::Own;
use crate::version;
use hyper::body::Incoming;
use hyper::header::{
    ALLOW, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, VARY,
};
use hyper::{Method, Request, Response, StatusCode};
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
    pub board: Arc<Board>,
    pub own: Arc<Own>,
    pub clock: Clock,
    pub scrapes: Scrapes,
    pub telemetry_path: String,
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
    Home,
    Unknown,
}

const HEALTHY: &str = "/-/healthy";
const READY: &str = "/-/ready";
const RELOAD: &str = "/-/reload";
const HOME: &str = "/";

/// Starts the counter of every answer that there can be.
pub fn start_counters(own: &Own, telemetry_path: &str) {
    for (path, codes) in [
        (telemetry_path, &[200, 405, 500][..]),
        (HEALTHY, &[200, 405]),
        (READY, &[200, 405, 503]),
        (RELOAD, &[200, 403, 405, 500]),
        (HOME, &[200, 405]),
        ("other", &[404]),
    ] {
        for code in codes {
            own.add_path(path, *code);
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
            HOME => (Route::Home, HOME),
            _ => (Route::Unknown, "other"),
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
            Route::Metrics | Route::Healthy | Route::Ready | Route::Home => {
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
                self.board
                    .first_page(patience(request.headers()), &self.stop)
                    .await;
                self.page(Representation::of(request.headers())).await
            }
            Route::Healthy => plain(StatusCode::OK, "glue-integration-exporter is healthy.\n"),
            Route::Ready if self.board.page().is_ready() => {
                plain(StatusCode::OK, "glue-integration-exporter is ready.\n")
            }
            Route::Ready => plain(
                StatusCode::SERVICE_UNAVAILABLE,
                "glue-integration-exporter is not ready: not every scope has been polled yet.\n",
            ),
            Route::Reload => self.reload().await,
            Route::Home => response(
                StatusCode::OK,
                "text/html; charset=utf-8",
                home(&self.telemetry_path),
            ),
            Route::Unknown => plain(StatusCode::NOT_FOUND, "Not found.\n"),
        }
    }

    async fn page(&self, representation: Representation) -> Response<Content> {
        let (board, own) = (Arc::clone(&self.board), Arc::clone(&self.own));
        let (clock, format) = (self.clock.clone(), representation.format);
        let render = move || {
            let page = board.page();
            if representation.gzip {
                page.gzip(format, &own, clock.wall())
            } else {
                page.text(format, &own, clock.wall())
            }
        };
        let quick = self.board.page().is_quick();
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
                &format!("The new configuration was refused, the old one goes on:\n{why}\n"),
            ),
            Err(_) => plain(
                StatusCode::INTERNAL_SERVER_ERROR,
                "The configuration was not loaded: the exporter is stopping.\n",
            ),
        }
    }
}

impl Handler for Routes {
    async fn handle(&self, request: Request<Incoming>) -> Response<Content> {
        let (route, path) = self.route(request.uri().path());
        let response = self.answer(route, &request).await;
        self.own.http_request(path, response.status().as_u16());
        response
    }
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

fn home(telemetry_path: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>glue-integration-exporter</title></head>\n\
         <body>\n<h1>glue-integration-exporter</h1>\n<p>Prometheus exporter for AWS Glue zero-ETL inbound integrations, version {}.</p>\n\
         <ul>\n<li><a href=\"{telemetry_path}\">Metrics</a></li>\n<li><a href=\"{READY}\">Ready</a></li>\n\
         <li><a href=\"{HEALTHY}\">Healthy</a></li>\n</ul>\n</body>\n</html>\n",
        version::VERSION
    )
}
