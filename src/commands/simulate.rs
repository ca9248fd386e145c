//! `simulate`: the simulated AWS endpoint alone.

use super::output::Failure;
use super::signals::Signals;
use crate::clock::Clock;
use crate::simulator::{Account, Simulator};
use std::net::SocketAddr;

pub(super) async fn simulate(address: SocketAddr) -> Result<(), Failure> {
    let signals = Signals::handle()?;
    let simulator = bind_simulator(address).await?;
    tracing::info!(address = %simulator.local_addr, "listening");
    simulator.serve(signals.stop.cancelled_owned()).await;
    Ok(())
}

pub(super) async fn bind_simulator(address: SocketAddr) -> Result<Simulator, Failure> {
    let account = Account::demo(Clock::system().unix_now())
        .map_err(|error| Failure::run("reading the demo account", error))?;
    let bound = Simulator::bind(address, account).await;
    bound.map_err(|error| Failure::run(format!("listening on {address}"), error))
}
