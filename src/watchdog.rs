//! Whether the loops that must never stick still turn. Each is asked in turn and answers from within itself; what it is doing beside
//! that, and how long that takes, does not matter. Knows nothing of who wants to know.

use std::future::{Future, pending};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// The answer of a loop that has ended as it should: to every question that will be asked.
const LEFT: u64 = u64::MAX;

/// Asks the loops that have joined.
#[derive(Clone, Debug)]
pub struct Watchdog(Option<Arc<Rounds>>);

#[derive(Debug)]
struct Rounds {
    /// The number of the round that is asked.
    asked: watch::Sender<u64>,
    loops: Mutex<Vec<Loop>>,
}

/// A loop that has joined, as seen by who asks.
#[derive(Clone, Debug)]
struct Loop {
    name: Arc<str>,
    /// The last round that it has answered.
    answered: watch::Receiver<u64>,
}

/// A loop's own side. One that is dropped without `leave` counts as a loop that does not turn any more: its task has panicked.
#[derive(Debug)]
pub struct Ticket(Option<Answers>);

#[derive(Debug)]
struct Answers {
    asked: watch::Receiver<u64>,
    answered: watch::Sender<u64>,
}

impl Watchdog {
    /// One that asks.
    pub fn new() -> Self {
        Self(Some(Arc::new(Rounds {
            asked: watch::Sender::new(0),
            loops: Mutex::default(),
        })))
    }

    /// One that nobody wants to know of: nothing is asked, nothing kept.
    pub fn none() -> Self {
        Self(None)
    }

    /// A loop joins under a name, which is logged when it sticks. It is asked from the next round on.
    pub fn register(&self, name: impl Into<Arc<str>>) -> Ticket {
        Ticket(self.0.as_ref().map(|rounds| {
            let answered = watch::Sender::new(0);
            rounds.loops().push(Loop {
                name: name.into(),
                answered: answered.subscribe(),
            });
            Answers {
                asked: rounds.asked.subscribe(),
                answered,
            }
        }))
    }

    /// Asks every loop, and ends once all have answered. Which one has not within `patience` is logged.
    pub async fn probe(&self, patience: Duration) {
        let Some(rounds) = &self.0 else {
            return;
        };
        let (number, loops) = rounds.ask();
        for mut one in loops {
            let answered = timeout(patience, one.answers(number)).await;
            if answered.is_err() {
                tracing::error!(
                    name = &*one.name,
                    seconds = patience.as_secs_f64(),
                    "a loop does not turn; the watchdog is not fed while that lasts"
                );
                one.answers(number).await;
            }
        }
    }
}

impl Default for Watchdog {
    fn default() -> Self {
        Self::new()
    }
}

impl Rounds {
    /// Begins a round: its number, and who is to answer.
    fn ask(&self) -> (u64, Vec<Loop>) {
        let mut loops = self.loops();
        loops.retain(|one| *one.answered.borrow() != LEFT);
        let number = *self.asked.borrow() + 1;
        self.asked.send_replace(number);
        (number, loops.clone())
    }

    fn loops(&self) -> MutexGuard<'_, Vec<Loop>> {
        self.loops.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Loop {
    async fn answers(&mut self, number: u64) {
        let answered = self.answered.wait_for(|answered| *answered >= number).await;
        if answered.is_err() {
            // It never will.
            pending::<()>().await;
        }
    }
}

impl Ticket {
    /// Waits to be asked, and answers. For a branch of a loop's own `select!`; dropped before its end it has done nothing.
    pub async fn check_in(&mut self) {
        let Some(Answers { asked, answered }) = &mut self.0 else {
            return pending().await;
        };
        if asked.changed().await.is_err() {
            return pending().await;
        }
        answered.send_replace(*asked.borrow_and_update());
    }

    /// Does `work`, and answers from the same task whenever it is asked meanwhile: `work` may wait as long as it likes, but not hold
    /// up its task.
    pub async fn run_checked<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = self.check_in() => {}
            }
        }
    }

    /// The loop has ended as it should.
    pub fn finish(self) {
        if let Some(Answers { answered, .. }) = self.0 {
            answered.send_replace(LEFT);
        }
    }
}
