//! An AWS Glue endpoint that speaks the real wire protocol, with an account that is simulated: for
//! `demo`, `simulate` and the tests. Nothing else of the program knows it; to a client it is AWS
//! behind another address.
//!
//! ```text
//! connection -> / (api: operation, scope, input) -> fault? -> world (the account) -> page -> wire
//!            -> /simulator/ (control) ---------------^---------^
//! ```

mod account;
mod api;
mod control;
mod demo;
mod fault;
mod fields;
mod input;
mod integration;
mod script;
mod wire;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use account::{Account, DEFAULT_ACCOUNT, Rules};
pub use fault::{Fault, FaultKind, RequestMatcher};
pub use integration::{SimulatedConfig, SimulatedError, SimulatedIntegration};
pub use script::{CYCLE, Script, script_of};

/// How many requests are remembered.
const MAX_RECORDED: usize = 10_000;
/// Longest text of a remembered request, in characters: that of the longest ARN. Refused input can
/// be longer.
const MAX_RECORDED_TEXT: usize = 512;
/// How long requests in flight may take once the simulator stops.
const GRACE: Duration = Duration::from_secs(1);
/// Pause after a connection could not be accepted, mostly for want of file descriptors: without it
/// the loop spins.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A request as it was understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordedRequest {
    /// `DescribeInboundIntegrations` or `DescribeIntegrations`.
    pub operation: &'static str,
    /// Of the signature's credential scope, as is the access key id.
    pub region: String,
    pub access_key_id: String,
    /// For `DescribeIntegrations` its `IntegrationIdentifier`.
    pub integration_arn: Option<String>,
    pub target_arn: Option<String>,
    pub marker: Option<String>,
    pub max_records: Option<u32>,
    /// Number of the page within its listing, from 1; 0 if the marker is unknown.
    pub page: u32,
}

impl RecordedRequest {
    /// What was absent in the request is absent here.
    fn json(&self) -> Value {
        let mut members = Map::new();
        let mut put = |name: &str, value: Value| {
            if !value.is_null() {
                members.insert(name.to_owned(), value);
            }
        };
        put("Operation", json!(self.operation));
        put("Region", json!(self.region));
        put("AccessKeyId", json!(self.access_key_id));
        put("IntegrationArn", json!(self.integration_arn));
        put("TargetArn", json!(self.target_arn));
        put("Marker", json!(self.marker));
        put("MaxRecords", json!(self.max_records));
        put("Page", json!(self.page));
        Value::Object(members)
    }
}

struct State {
    account: Account,
    faults: Vec<Fault>,
    markers: api::Markers,
    requests: VecDeque<RecordedRequest>,
    counts: BTreeMap<&'static str, u64>,
    answers: u64,
}

impl State {
    fn record(&mut self, mut request: RecordedRequest) {
        *self.counts.entry(request.operation).or_default() += 1;
        for text in [&mut request.region, &mut request.access_key_id] {
            if let Some((end, _)) = text.char_indices().nth(MAX_RECORDED_TEXT) {
                text.truncate(end);
            }
        }
        if self.requests.len() == MAX_RECORDED {
            self.requests.pop_front();
        }
        self.requests.push_back(request);
    }
}

/// Changes the world of a simulator and sees what it was asked, while it serves. Clones are the
/// same simulator.
#[derive(Clone)]
pub struct Handle {
    state: Arc<Mutex<State>>,
    stop: CancellationToken,
}

impl Handle {
    /// Creates or replaces an integration. It no longer follows the story, nor does any that is
    /// changed below.
    pub fn put(&self, integration: SimulatedIntegration) {
        self.state().account.put(integration);
    }

    /// Creates or replaces several.
    pub fn put_all(&self, integrations: Vec<SimulatedIntegration>) {
        let mut state = self.state();
        integrations
            .into_iter()
            .for_each(|integration| state.account.put(integration));
    }

    /// Leaves nothing but these, and ends the story.
    pub fn replace_all(&self, integrations: Vec<SimulatedIntegration>) {
        let mut state = self.state();
        state.account.clear();
        integrations
            .into_iter()
            .for_each(|integration| state.account.put(integration));
    }

    /// `false` if there is none with this ARN; so it is with `change` and `set_status`.
    pub fn remove(&self, arn: &str) -> bool {
        self.state().account.remove(arn)
    }

    /// Changes one integration in place. Its ARN must stay.
    pub fn change(&self, arn: &str, change: impl FnOnce(&mut SimulatedIntegration)) -> bool {
        self.state().account.change(arn, change)
    }

    pub fn set_status(&self, arn: &str, status: &str) -> bool {
        self.change(arn, |integration| integration.status = status.to_owned())
    }

    pub fn set_rules(&self, rules: Rules) {
        self.state().account.rules = rules;
    }

    /// All integrations of all accounts as they are now, by ARN.
    pub fn integrations(&self) -> Vec<SimulatedIntegration> {
        self.state().account.all().cloned().collect()
    }

    /// Adds a fault after those that there are: the first that hits a request is the one that it
    /// gets.
    pub fn push_fault(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    pub fn clear_faults(&self) {
        self.state().faults.clear();
    }

    /// What was asked, oldest first: the last 10,000 requests whose operation and signature were
    /// understood.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.state().requests.iter().cloned().collect()
    }

    /// How many such requests there were since the start, by operation.
    pub fn request_counts(&self) -> BTreeMap<&'static str, u64> {
        self.state().counts.clone()
    }

    /// The state, with the story told up to now.
    fn state(&self) -> MutexGuard<'_, State> {
        // The world is plain data: what a panicked test thread left in it can still be read.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.account.advance();
        state
    }

    /// Returns once the simulator is told to stop.
    async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// Like a UUID, but counted: the same requests get the same ids.
    fn next_request_id(&self) -> String {
        let mut state = self.state();
        state.answers += 1;
        format!("00000000-0000-4000-8000-{:012x}", state.answers)
    }
}

/// A simulator that is bound and knows its address, but does not serve yet.
pub struct Simulator {
    listener: TcpListener,
    local_addr: SocketAddr,
    handle: Handle,
}

impl Simulator {
    /// Port 0 takes a free one.
    pub async fn bind(addr: SocketAddr, account: Account) -> io::Result<Self> {
        let listener = TcpListener::bind(addr).await?;
        let local_addr = listener.local_addr()?;
        let state = State {
            account,
            faults: Vec::new(),
            markers: api::Markers::default(),
            requests: VecDeque::new(),
            counts: BTreeMap::new(),
            answers: 0,
        };
        let handle = Handle {
            state: Arc::new(Mutex::new(state)),
            stop: CancellationToken::new(),
        };
        Ok(Self {
            listener,
            local_addr,
            handle,
        })
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Serves until `stop` resolves. Then requests in flight get a second to finish; those that
    /// hang are dropped at once.
    pub async fn serve(self, stop: impl Future<Output = ()>) {
        let connections = TaskTracker::new();
        // Also when this future is dropped half-way, no connection outlives it.
        let _stop_connections = self.handle.stop.clone().drop_guard();
        let mut stop = std::pin::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(serve_connection(stream, self.handle.clone()));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the simulator could not accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(self.listener);
        self.handle.stop.cancel();
        connections.close();
        connections.wait().await;
    }
}

async fn serve_connection(stream: TcpStream, handle: Handle) {
    // The address that it arrived at, which is not the bound one where that is 0.0.0.0.
    let Ok(local) = stream.local_addr().map(|local| local.ip()) else {
        return;
    };
    // Small answers must not wait for the client's delayed acknowledgement; a refusal here only
    // makes them slower.
    let _ = stream.set_nodelay(true);
    let answer_with = handle.clone();
    let service = service_fn(move |request| {
        let handle = answer_with.clone();
        async move { route(&handle, request, local).await }
    });
    let mut connection =
        std::pin::pin!(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    // How a connection ends is the client's affair, or a fault's.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = handle.stopped() => {
            connection.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(GRACE, connection).await;
        }
    }
}

async fn route(
    handle: &Handle,
    request: Request<Incoming>,
    local: IpAddr,
) -> Result<Response<wire::Answer>, wire::Dropped> {
    match (request.uri().path(), request.method().as_str()) {
        ("/", "POST") => api::answer(handle, request).await,
        (path, _) if path.starts_with("/simulator/") => {
            control::answer(handle, request, local).await
        }
        _ => {
            let body = json!({"message": "There are POST / (AWS Glue) and /simulator/ (control)."})
                .to_string();
            Ok(wire::json(
                StatusCode::NOT_FOUND,
                "application/json",
                body.into(),
            ))
        }
    }
}
