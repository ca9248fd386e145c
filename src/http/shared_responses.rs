//! Scrapes that arrive while a page is rendered share the next rendering of the same representation. Pages also share most of their
//! buffers until the next poll.

use super::negotiate::Representation;
use super::response::Content;
use hyper::body::Bytes;
use std::sync::{Arc, Weak};
use tokio::sync::Mutex;
use tokio::task::JoinError;
use tokio::time::Instant;

#[derive(Debug, Default)]
pub struct SharedResponses {
    /// The lock is held while a page is rendered. It is fair, so a scrape waits at most for the current rendering and the next one.
    last: [[Mutex<Option<Rendered>>; 2]; 2],
}

#[derive(Debug)]
struct Rendered {
    started: Instant,
    /// Only the connections that send the page keep it in memory.
    content: Weak<Vec<Bytes>>,
}

impl SharedResponses {
    /// Returns a page whose rendering started after this call. Renders it on a blocking thread, or inline if `inline` is true.
    pub async fn get(
        &self,
        Representation { format, gzip }: Representation,
        inline: bool,
        render: impl FnOnce() -> Vec<Bytes> + Send + 'static,
    ) -> Result<Content, JoinError> {
        let requested = Instant::now();
        let mut last = self.last[format as usize][usize::from(gzip)].lock().await;
        let newer = last.as_ref().filter(|last| last.started > requested);
        if let Some(content) = newer.and_then(|last| last.content.upgrade()) {
            return Ok(content);
        }
        let started = Instant::now();
        let content = Arc::new(if inline {
            render()
        } else {
            tokio::task::spawn_blocking(render).await?
        });
        *last = Some(Rendered {
            started,
            content: Arc::downgrade(&content),
        });
        Ok(content)
    }
}
