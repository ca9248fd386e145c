//! An AWS account: the simulated endpoint with as many integrations as wanted, in a thread of the benchmark.

use super::client::Client;
use glue_integration_exporter::simulator::{Account, Handle, Simulator};
use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Of the simulated service.
const PAGE: usize = 100;

pub struct FakeAccount {
    pub address: SocketAddr,
    pub integrations: usize,
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl FakeAccount {
    pub fn of(integrations: usize) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let world = Account::generated(integrations);
                let simulator = Simulator::bind(([127, 0, 0, 1], 0).into(), world)
                    .await
                    .unwrap();
                tell.send((simulator.local_addr(), simulator.handle()))
                    .unwrap();
                simulator.serve(async { drop(stopped.await) }).await;
            });
        });
        let (address, handle) = told.recv().unwrap();
        Self {
            address,
            integrations,
            handle,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// How many answers a listing takes.
    pub fn pages(&self) -> usize {
        self.integrations.div_ceil(PAGE)
    }

    /// How many requests it has got.
    pub fn asked(&self) -> u64 {
        self.handle.request_counts().values().sum()
    }

    /// Lets something happen, so that a poll brings something new.
    pub fn move_on(&self) {
        let mut first = self.handle.integrations().swap_remove(0);
        first.status = if first.status == "ACTIVE" {
            "SYNCING"
        } else {
            "ACTIVE"
        }
        .to_owned();
        self.handle.put(first);
    }

    /// How long it takes to answer all pages to a client that does nothing with them.
    pub fn listing(&self) -> Duration {
        let mut client = Client::connect(self.address);
        let mut marker: Option<String> = None;
        let start = Instant::now();
        loop {
            let input = marker.map_or("{}".to_owned(), |marker| {
                format!("{{\"Marker\":\"{marker}\"}}")
            });
            let page = client.ask(&format!(
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
        // If it panicked, that has been told.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
