//! Checks that the exporter's long-running tasks still respond. A probe asks every registered task to check in. A task may take as long
//! as it likes for its work, as long as it does not block its thread.

use parking_lot::{Mutex, MutexGuard};
use std::future::{Future, pending};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// The probe number that a finished task reports: it counts as an answer to every later probe.
const FINISHED: u64 = u64::MAX;

/// Probes the registered tasks.
#[derive(Clone, Debug)]
pub struct Watchdog(Option<Arc<Probes>>);

#[derive(Debug)]
struct Probes {
    /// The number of the latest probe.
    latest: watch::Sender<u64>,
    tasks: Mutex<Vec<Task>>,
}

/// A registered task, as the watchdog sees it.
#[derive(Clone, Debug)]
struct Task {
    name: Arc<str>,
    /// The latest probe that the task has answered.
    answered: watch::Receiver<u64>,
}

/// A task's own half. A ticket that is dropped without `finish` counts as stuck: its task has panicked.
#[derive(Debug)]
pub struct Ticket(Option<ProbeChannel>);

#[derive(Debug)]
struct ProbeChannel {
    latest: watch::Receiver<u64>,
    answered: watch::Sender<u64>,
}

impl Watchdog {
    /// Creates a watchdog without any tasks.
    pub fn new() -> Self {
        Self(Some(Arc::new(Probes {
            latest: watch::Sender::new(0),
            tasks: Mutex::default(),
        })))
    }

    /// Returns a disabled watchdog, which probes nothing.
    pub fn none() -> Self {
        Self(None)
    }

    /// Registers a task, which takes part from the next probe on. The log names it by `name` when it is stuck.
    pub fn register(&self, name: impl Into<Arc<str>>) -> Ticket {
        Ticket(self.0.as_ref().map(|probes| {
            let answered = watch::Sender::new(0);
            probes.tasks().push(Task {
                name: name.into(),
                answered: answered.subscribe(),
            });
            ProbeChannel {
                latest: probes.latest.subscribe(),
                answered,
            }
        }))
    }

    /// Probes every task and returns once all have answered. Logs each task that has not answered within `answer_timeout`.
    pub async fn probe(&self, answer_timeout: Duration) {
        let Some(probes) = &self.0 else {
            return;
        };
        let (number, tasks) = probes.start();
        for mut task in tasks {
            let answered = timeout(answer_timeout, task.answers(number)).await;
            if answered.is_err() {
                tracing::error!(
                    name = &*task.name,
                    seconds = answer_timeout.as_secs_f64(),
                    "task is stuck, withholding the watchdog keep-alive"
                );
                task.answers(number).await;
            }
        }
    }
}

impl Default for Watchdog {
    fn default() -> Self {
        Self::new()
    }
}

impl Probes {
    /// Starts a probe. Returns its number and the tasks that must answer it.
    fn start(&self) -> (u64, Vec<Task>) {
        let mut tasks = self.tasks();
        tasks.retain(|task| *task.answered.borrow() != FINISHED);
        let number = *self.latest.borrow() + 1;
        self.latest.send_replace(number);
        (number, tasks.clone())
    }

    fn tasks(&self) -> MutexGuard<'_, Vec<Task>> {
        self.tasks.lock()
    }
}

impl Task {
    async fn answers(&mut self, number: u64) {
        let answered = self.answered.wait_for(|answered| *answered >= number).await;
        if answered.is_err() {
            // The ticket is gone, so no answer can come.
            pending::<()>().await;
        }
    }
}

impl Ticket {
    /// Waits for a probe and answers it. Meant as a branch of a task's own `select!`: cancelling it loses nothing.
    pub async fn check_in(&mut self) {
        let Some(ProbeChannel { latest, answered }) = &mut self.0 else {
            return pending().await;
        };
        if latest.changed().await.is_err() {
            return pending().await;
        }
        answered.send_replace(*latest.borrow_and_update());
    }

    /// Runs `work` and answers probes from the same task meanwhile. `work` may wait for any time, but must not block the thread.
    pub async fn run_checked<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = self.check_in() => {}
            }
        }
    }

    /// Unregisters the task, which has ended normally.
    pub fn finish(self) {
        if let Some(ProbeChannel { answered, .. }) = self.0 {
            answered.send_replace(FINISHED);
        }
    }
}
