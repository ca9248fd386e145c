//! Checks that the exporter's long-running tasks still respond. A probe asks every registered task to check in.

use parking_lot::Mutex;
use std::future::{Future, pending};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

#[derive(Clone, Debug, Default)]
pub struct Watchdog(Arc<Mutex<Vec<Task>>>);

#[derive(Clone, Debug)]
struct Task {
    name: Arc<str>,
    /// Has room for one probe.
    probes: mpsc::Sender<()>,
    is_finished: Arc<AtomicBool>,
}

/// A task's own half. A ticket that is dropped without `finish` counts as stuck: its task has panicked.
#[derive(Debug)]
pub struct Ticket {
    probes: mpsc::Receiver<()>,
    is_finished: Arc<AtomicBool>,
}

impl Watchdog {
    pub fn register(&self, name: impl Into<Arc<str>>) -> Ticket {
        let (sender, probes) = mpsc::channel(1);
        let is_finished = Arc::default();
        let mut tasks = self.0.lock();
        tasks.retain(|task| !task.is_finished.load(Ordering::Acquire));
        tasks.push(Task {
            name: name.into(),
            probes: sender,
            is_finished: Arc::clone(&is_finished),
        });
        Ticket {
            probes,
            is_finished,
        }
    }

    /// Returns once all tasks have answered. Logs each task that has not answered within `answer_timeout`.
    pub async fn probe(&self, answer_timeout: Duration) {
        let tasks = self.0.lock().clone();
        for task in tasks {
            let mut answer = pin!(task.answer());
            if timeout(answer_timeout, &mut answer).await.is_err() {
                tracing::error!(
                    name = &*task.name,
                    seconds = answer_timeout.as_secs_f64(),
                    "task is stuck, withholding the watchdog keep-alive"
                );
                answer.await;
            }
        }
    }
}

impl Task {
    async fn answer(&self) {
        let is_sent = self.probes.send(()).await.is_ok();
        // There is room again when the task has received the probe.
        let is_answered = is_sent && self.probes.reserve().await.is_ok();
        if !is_answered && !self.is_finished.load(Ordering::Acquire) {
            // The ticket was dropped, so no answer can come.
            pending::<()>().await;
        }
    }
}

impl Ticket {
    /// Waits for a probe and answers it. Cancelling it loses nothing.
    pub async fn check_in(&mut self) {
        if self.probes.recv().await.is_none() {
            pending::<()>().await;
        }
    }

    /// Answers probes while `work` runs. `work` may wait for any time, but must not block the thread.
    pub async fn run_checked<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = self.check_in() => {}
            }
        }
    }

    pub fn finish(self) {
        self.is_finished.store(true, Ordering::Release);
    }
}
