//! A simulated endpoint of AWS Glue, Amazon CloudWatch and `GetCallerIdentity` of STS, with the real wire protocols. `demo`, `simulate` and
//! the tests use it.
//!
//! ```text
//! connection -> POST / and /service/ (api: request) -> fault? -> account -> page -> response
//!            -> /simulator/ (control) --------------------^---------^
//! ```

mod account;
mod api;
mod cloudwatch;
mod control;
mod fault;
mod handle;
mod integration;
mod metric_series;
mod protocol;
mod request;
mod response;

pub use account::{Account, DEFAULT_ACCOUNT};
pub use fault::{Fault, FaultKind, RequestMatcher};
pub use handle::Handle;
pub use integration::{
    SimulatedConfig, SimulatedError, SimulatedIntegration, SimulatedTable, SimulatedTag,
};
pub use request::RecordedRequest;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Without a pause the loop would spin while file descriptors are lacking.
const ACCEPT_RETRY_INTERVAL: Duration = Duration::from_millis(50);

pub struct Simulator {
    listener: TcpListener,
    pub local_addr: SocketAddr,
    pub handle: Handle,
}

impl Simulator {
    pub async fn bind(addr: SocketAddr, account: Account) -> io::Result<Self> {
        let listener = TcpListener::bind(addr).await?;
        Ok(Self {
            local_addr: listener.local_addr()?,
            listener,
            handle: Handle::new(account),
        })
    }

    /// Serves until `stop` resolves. All connections then close, also those of requests in flight.
    pub async fn serve(self, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = &mut stop => return,
                Some(_) = connections.join_next() => {}
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
    }
}

async fn serve_connection(stream: TcpStream, handle: Handle) {
    // Otherwise small responses wait for delayed acknowledgements. A failure only makes them slower.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| route(&handle, request));
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // Connection errors are ignored: either the client or a fault closed the connection.
    let _ = connection.await;
}

async fn route(
    handle: &Handle,
    request: Request<Incoming>,
) -> Result<Response<response::ResponseBody>, Infallible> {
    let path = request.uri().path();
    let is_api = request.method() == Method::POST && (path == "/" || path.starts_with("/service/"));
    Ok(if is_api {
        api::respond(handle, request).await
    } else {
        control::respond(handle, request).await
    })
}
