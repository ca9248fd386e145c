//! The state of a running simulator, and the handle to read and change it.

use super::account::Account;
use super::fault::{Fault, FaultKind};
use super::integration::SimulatedIntegration;
use super::request::RecordedRequest;
use parking_lot::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::sync::Arc;

const MAX_RECORDED_REQUESTS: usize = 10_000;

pub(super) struct State {
    pub account: Account,
    faults: Vec<Fault>,
    requests: VecDeque<RecordedRequest>,
    request_count: u64,
}

impl State {
    pub fn record(&mut self, request: &RecordedRequest) -> Option<FaultKind> {
        if self.requests.len() == MAX_RECORDED_REQUESTS {
            self.requests.pop_front();
        }
        self.requests.push_back(request.clone());
        self.faults.retain(|fault| fault.times != Some(0));
        let mut faults = self.faults.iter_mut();
        let fault = faults.find(|fault| fault.matcher.matches(request))?;
        fault.times = fault.times.map(|times| times.saturating_sub(1));
        Some(fault.kind.clone())
    }
}

/// Changes and reads the account, faults and requests of a simulator, which all clones share.
#[derive(Clone)]
pub struct Handle(Arc<Mutex<State>>);

impl Handle {
    pub(super) fn new(account: Account) -> Self {
        Self(Arc::new(Mutex::new(State {
            account,
            faults: Vec::new(),
            requests: VecDeque::new(),
            request_count: 0,
        })))
    }

    /// Creates or replaces an integration. A changed integration no longer follows the script.
    pub fn put(&self, integration: SimulatedIntegration) {
        self.put_all(vec![integration]);
    }

    pub fn put_all(&self, integrations: Vec<SimulatedIntegration>) {
        let account = &mut self.state().account;
        for integration in integrations {
            account.script.remove(&integration.arn);
            let arn = integration.arn.clone();
            let integration = integration.with_defaults();
            account.integrations.insert(arn, integration);
        }
    }

    /// Returns `false` if there is no integration with this ARN.
    pub fn remove(&self, arn: &str) -> bool {
        let account = &mut self.state().account;
        account.script.remove(arn);
        account.integrations.remove(arn).is_some()
    }

    /// Changes an integration, but not its ARN. Returns `false` if there is none with this ARN.
    pub fn change(&self, arn: &str, change: impl FnOnce(&mut SimulatedIntegration)) -> bool {
        let account = &mut self.state().account;
        account.script.remove(arn);
        account.integrations.get_mut(arn).map(change).is_some()
    }

    pub fn set_status(&self, arn: &str, status: &str) -> bool {
        self.change(arn, |integration| integration.status = status.to_owned())
    }

    pub fn integrations(&self) -> Vec<SimulatedIntegration> {
        let integrations = &self.state().account.integrations;
        integrations.values().cloned().collect()
    }

    pub fn push_fault(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    pub fn clear_faults(&self) {
        self.state().faults.clear();
    }

    /// Returns the last 10,000 API requests that were parsed, oldest first.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.state().requests.iter().cloned().collect()
    }

    /// Returns the number of API requests since the start, valid or not.
    pub fn request_count(&self) -> u64 {
        self.state().request_count
    }

    pub(super) fn count_request(&self) -> u64 {
        let mut state = self.state();
        state.request_count += 1;
        state.request_count
    }

    /// Locks the state, after advancing the script to the present time.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.0.lock();
        state.account.advance();
        state
    }
}
