//! A simulated AWS endpoint with a given number of integrations, in a thread of the benchmark.

use super::client::Client;
use glue_integration_exporter::simulator::{Account, Handle, Simulator};
use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Number of integrations on a page of the simulator.
const PAGE_SIZE: usize = 100;

pub struct FakeAccount {
    pub address: SocketAddr,
    pub integrations: usize,
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl FakeAccount {
    pub fn start(integrations: usize) -> Self {
        let (stop, stop_rx) = oneshot::channel::<()>();
        let (started_tx, started_rx) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let account = Account::generated(integrations);
                let simulator = Simulator::bind(([127, 0, 0, 1], 0).into(), account)
                    .await
                    .unwrap();
                started_tx
                    .send((simulator.local_addr, simulator.handle.clone()))
                    .unwrap();
                simulator.serve(async { drop(stop_rx.await) }).await;
            });
        });
        let (address, handle) = started_rx.recv().unwrap();
        Self {
            address,
            integrations,
            handle,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Returns the number of pages of a listing.
    pub fn pages(&self) -> usize {
        self.integrations.div_ceil(PAGE_SIZE)
    }

    /// Returns the number of received requests.
    pub fn request_count(&self) -> u64 {
        self.handle.request_count()
    }

    /// Changes a status, so that the next poll returns different data.
    pub fn change(&self) {
        let mut first = self.handle.integrations().swap_remove(0);
        first.status = if first.status == "ACTIVE" {
            "SYNCING"
        } else {
            "ACTIVE"
        }
        .to_owned();
        self.handle.put(first);
    }

    /// Returns the time of listing all pages with a client that does not parse them.
    pub fn listing(&self) -> Duration {
        let mut client = Client::connect(self.address);
        let mut marker: Option<String> = None;
        let start = Instant::now();
        loop {
            let input = marker.map_or("{}".to_owned(), |marker| {
                format!("{{\"Marker\":\"{marker}\"}}")
            });
            let page = client.fetch(&format!(
                "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-amz-json-1.1\r\n\
                 X-Amz-Target: AWSGlue.DescribeInboundIntegrations\r\nAuthorization: AWS4-HMAC-SHA256 \
                 Credential=AKIDEXAMPLE/20261122/eu-west-1/glue/aws4_request, SignedHeaders=host, Signature=0\r\n\
                 Content-Length: {}\r\n\r\n{input}",
                input.len()
            ));
            let page = str::from_utf8(page).unwrap();
            marker = page
                .rsplit_once("\"Marker\":\"")
                .and_then(|(_, rest)| Some(rest.split_once('"')?.0.to_owned()));
            if marker.is_none() {
                return start.elapsed();
            }
        }
    }
}

impl Drop for FakeAccount {
    fn drop(&mut self) {
        self.stop.take().map(|stop| stop.send(()));
        // A panic of the thread was already printed.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
