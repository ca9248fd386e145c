//! The pollers of all watches, together.

use crate::board::Board;
use crate::clock::Clock;
use crate::config::Watch;
use crate::exposition::own::Own;
use crate::glue::Glue;
use crate::poll::Poller;
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Everything between the clients of AWS and the page.
pub struct Exporter {
    board: Arc<Board>,
    pollers: Vec<Poller>,
}

impl Exporter {
    /// Puts a poller before each of `glue`, the client of the watch at the same place.
    pub fn new(
        watches: Vec<Watch>,
        glue: Vec<Arc<dyn Glue>>,
        board: &Arc<Board>,
        own: &Arc<Own>,
        clock: &Clock,
    ) -> Self {
        let pollers = watches
            .into_iter()
            .zip(glue)
            .map(|(watch, glue)| {
                Poller::new(
                    watch,
                    glue,
                    Arc::clone(board),
                    Arc::clone(own),
                    clock.clone(),
                )
            })
            .collect();
        Self {
            board: Arc::clone(board),
            pollers,
        }
    }

    /// Polls on schedule and publishes, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut pollers = JoinSet::new();
        for poller in self.pollers {
            pollers.spawn(poller.run(stop.clone()));
        }
        self.board.publish(&stop).await;
        pollers.join_all().await;
    }

    /// Polls each watch once, all at the same time. Returns whether every poll got everything.
    pub async fn once(self) -> bool {
        let mut polls = JoinSet::new();
        for mut poller in self.pollers {
            polls.spawn(async move { poller.poll().await });
        }
        polls.join_all().await.into_iter().all(|up| up)
    }
}
