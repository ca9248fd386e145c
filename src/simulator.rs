//! A simulated AWS Glue endpoint for `demo`, `simulate` and the tests. It speaks the real wire
//! protocol, so to a client it is AWS at another address.
//!
//! ```text
//! connection -> / (api: operation, region, input) -> fault? -> account -> page -> wire
//!            -> /simulator/ (control) ----------------^---------^
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

use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
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
pub use script::{SCRIPT_DURATION, ScriptedState, scripted_state};

/// Maximum number of requests that the simulator keeps for `Handle::requests`.
const MAX_RECORDED_REQUESTS: usize = 10_000;
/// Maximum length of a recorded region or access key id, in characters.
const MAX_RECORDED_CHARS: usize = 512;
/// How long requests in flight may take after the simulator was stopped.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);
/// Pause after a failed `accept`. The usual cause is a lack of file descriptors, and without a pause
/// the loop would spin.
const ACCEPT_RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// An API request as the simulator parsed it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordedRequest {
    /// `DescribeInboundIntegrations` or `DescribeIntegrations`.
    pub operation: &'static str,
    /// The region of the signature's credential scope.
    pub region: String,
    pub access_key_id: String,
    /// `IntegrationArn`, or `IntegrationIdentifier` of `DescribeIntegrations`.
    pub integration_arn: Option<String>,
    pub target_arn: Option<String>,
    pub marker: Option<String>,
    pub max_records: Option<u32>,
    /// Number of the page within its listing, starting at 1; 0 if the marker is unknown.
    pub page: u32,
}

impl RecordedRequest {
    /// Returns the request as JSON, without the members that the request did not have.
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
    responses: u64,
}

impl State {
    fn record(&mut self, mut request: RecordedRequest) {
        *self.counts.entry(request.operation).or_default() += 1;
        for text in [&mut request.region, &mut request.access_key_id] {
            if let Some((end, _)) = text.char_indices().nth(MAX_RECORDED_CHARS) {
                text.truncate(end);
            }
        }
        if self.requests.len() == MAX_RECORDED_REQUESTS {
            self.requests.pop_front();
        }
        self.requests.push_back(request);
    }
}

/// Changes the account and the faults of a running simulator, and reads the requests that it got.
/// All clones refer to the same simulator.
#[derive(Clone)]
pub struct Handle {
    state: Arc<Mutex<State>>,
    stop: CancellationToken,
}

impl Handle {
    /// Creates or replaces an integration. An integration that was changed through the handle no
    /// longer follows the script.
    pub fn put(&self, integration: SimulatedIntegration) {
        self.state().account.put(integration);
    }

    /// Creates or replaces several integrations.
    pub fn put_all(&self, integrations: Vec<SimulatedIntegration>) {
        let mut state = self.state();
        integrations
            .into_iter()
            .for_each(|integration| state.account.put(integration));
    }

    /// Replaces all integrations, and ends the script.
    pub fn replace_all(&self, integrations: Vec<SimulatedIntegration>) {
        let mut state = self.state();
        state.account.clear();
        integrations
            .into_iter()
            .for_each(|integration| state.account.put(integration));
    }

    /// Removes an integration. Returns `false` if there is no integration with this ARN.
    pub fn remove(&self, arn: &str) -> bool {
        self.state().account.remove(arn)
    }

    /// Changes one integration in place; the ARN must stay the same. Returns `false` if there is no
    /// integration with this ARN.
    pub fn change(&self, arn: &str, change: impl FnOnce(&mut SimulatedIntegration)) -> bool {
        self.state().account.change(arn, change)
    }

    /// Sets the status of an integration. Returns `false` if there is no integration with this ARN.
    pub fn set_status(&self, arn: &str, status: &str) -> bool {
        self.change(arn, |integration| integration.status = status.to_owned())
    }

    pub fn set_rules(&self, rules: Rules) {
        self.state().account.rules = rules;
    }

    /// Returns the current integrations of all accounts, ordered by ARN.
    pub fn integrations(&self) -> Vec<SimulatedIntegration> {
        self.state().account.all().cloned().collect()
    }

    /// Adds a fault at the end of the list. A request gets the first fault that matches it.
    pub fn push_fault(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    pub fn clear_faults(&self) {
        self.state().faults.clear();
    }

    /// Returns the last 10,000 API requests with a valid operation and signature, oldest first.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.state().requests.iter().cloned().collect()
    }

    /// Returns the number of these requests since the start, by operation.
    pub fn request_counts(&self) -> BTreeMap<&'static str, u64> {
        self.state().counts.clone()
    }

    /// Locks the state, after advancing the script to the present time.
    fn state(&self) -> MutexGuard<'_, State> {
        // The state is plain data, so it is still usable after a test thread panicked.
        let mut state = self.state.lock();
        state.account.advance();
        state
    }

    /// Resolves when the simulator stops.
    async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// Returns a request id in the form of a UUID. The ids are numbered, so a repeated test run gets
    /// the same ones.
    fn next_request_id(&self) -> String {
        let mut state = self.state();
        state.responses += 1;
        format!("00000000-0000-4000-8000-{:012x}", state.responses)
    }
}

/// A simulator that is bound to an address but does not serve yet.
pub struct Simulator {
    listener: TcpListener,
    local_addr: SocketAddr,
    handle: Handle,
}

impl Simulator {
    /// Binds to an address. Port 0 selects a free port.
    pub async fn bind(addr: SocketAddr, account: Account) -> io::Result<Self> {
        let listener = TcpListener::bind(addr).await?;
        let local_addr = listener.local_addr()?;
        let state = State {
            account,
            faults: Vec::new(),
            markers: api::Markers::default(),
            requests: VecDeque::new(),
            counts: BTreeMap::new(),
            responses: 0,
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

    /// Serves until `stop` resolves. Requests in flight then have one second to finish. Requests
    /// with the fault `Hang` are dropped immediately.
    pub async fn serve(self, stop: impl Future<Output = ()>) {
        let connections = TaskTracker::new();
        // Connections end with this future even if it is dropped before `stop` resolves.
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
                        tracing::warn!(%error, "simulator failed to accept a connection, retrying");
                        tokio::time::sleep(ACCEPT_RETRY_INTERVAL).await;
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
    // The simulator can be bound to 0.0.0.0, so take the address of this connection.
    let Ok(local) = stream.local_addr().map(|local| local.ip()) else {
        return;
    };
    // Without this, small responses wait for the client's delayed acknowledgement. A failure only
    // makes them slower.
    let _ = stream.set_nodelay(true);
    let service_handle = handle.clone();
    let service = service_fn(move |request| {
        let handle = service_handle.clone();
        async move { route(&handle, request, local).await }
    });
    let mut connection =
        std::pin::pin!(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    // Connection errors are ignored: either the client or a fault closed the connection.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = handle.stopped() => {
            connection.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(SHUTDOWN_TIMEOUT, connection).await;
        }
    }
}

async fn route(
    handle: &Handle,
    request: Request<Incoming>,
    local: IpAddr,
) -> Result<Response<wire::ResponseBody>, wire::ConnectionDropped> {
    match (request.uri().path(), request.method().as_str()) {
        ("/", "POST") => api::respond(handle, request).await,
        (path, _) if path.starts_with("/simulator/") => {
            control::respond(handle, request, local).await
        }
        _ => {
            let body = json!({"message": "Not found. The simulator serves POST / (AWS Glue API) and /simulator/ (control)."})
                .to_string();
            Ok(wire::json(
                StatusCode::NOT_FOUND,
                "application/json",
                body.into(),
            ))
        }
    }
}
