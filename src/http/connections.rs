//! The table of open connections. When it is full, the connection with the oldest activity is closed, so idle clients, slow readers and
//! waiting scrapes never keep a scraper out. Waiting requests get no preference, or a new client would be closed before its request.

use super::connection::{Connection, Limits, State};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// How often slow connections are looked for. A connection can exceed its timeout by this.
const DEADLINE_CHECK_INTERVAL: Duration = Duration::from_millis(250);

pub struct Connections {
    pub open: Mutex<Vec<Open>>,
    pub tasks: TaskTracker,
    pub limits: Limits,
}

pub struct Open {
    connection: Arc<Connection>,
    task: AbortHandle,
}

impl Connections {
    /// Runs `serving` in a task. Closes another connection if too many are open.
    pub fn spawn(
        &self,
        connection: Arc<Connection>,
        serving: impl Future<Output = ()> + Send + 'static,
    ) {
        let mut open = self.open.lock();
        open.retain(|open| !open.task.is_finished());
        if open.len() >= self.limits.connections {
            close_oldest(&mut open, |_| true);
        }
        let task = self.tasks.spawn(serving).abort_handle();
        open.push(Open { connection, task });
    }

    pub fn close_oldest(&self) {
        close_oldest(&mut self.open.lock(), |_| true);
    }

    /// Closes connections of slow readers while too many different large responses are being sent, because the memory for each is kept
    /// until the last client has read it.
    pub fn limit_large_responses(&self) {
        let mut open = self.open.lock();
        let responses = |open: &[Open]| {
            let states = open.iter().map(|open| open.connection.state.lock());
            let responses = states.filter_map(|it| it.large_response.as_ref().map(Arc::as_ptr));
            responses.collect::<BTreeSet<*const _>>().len()
        };
        while responses(&open) > self.limits.large_responses
            && close_oldest(&mut open, |state| state.large_response.is_some())
        {}
    }

    /// Closes connections after their deadlines. Never returns.
    pub async fn enforce_deadlines(&self) {
        loop {
            tokio::time::sleep(DEADLINE_CHECK_INTERVAL).await;
            let now = Instant::now();
            self.open.lock().retain(|open| {
                let deadline = open.connection.state.lock().deadline;
                let is_overdue = deadline.is_some_and(|at| at <= now);
                if is_overdue {
                    open.task.abort();
                }
                !is_overdue && !open.task.is_finished()
            });
        }
    }
}

/// Returns false if no connection is a candidate.
fn close_oldest(open: &mut Vec<Open>, is_candidate: impl Fn(&State) -> bool) -> bool {
    let oldest = open
        .iter()
        .enumerate()
        .filter(|(_, open)| is_candidate(&open.connection.state.lock()))
        .min_by_key(|(_, open)| open.connection.state.lock().last_activity);
    let Some((index, _)) = oldest else {
        return false;
    };
    open.swap_remove(index).task.abort();
    true
}
