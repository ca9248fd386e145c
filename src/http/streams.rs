//! What a connection that speaks HTTP/2 is about: several requests at a time, each at its own point. A client has as long for its part
//! of each as it has on a connection of HTTP/1.1. What counts are the frames as they pass, since between them and the handlers there
//! are buffers.

use super::Limits;
use super::frames::{CONTINUATION, DATA, Frame, Frames, HEADERS, RST_STREAM, Seen};
use std::collections::BTreeMap;
use tokio::time::Instant;

/// Requests of one connection at a time: as many as a page in a browser asks for, and more than any scraper.
pub const MOST_STREAMS: u32 = 16;
/// Requests that a client may make at a time all the same: it may ask for 100 before it was told (RFC 9113, section 6.5.2). Those
/// beyond the limit are refused one after the other.
pub const MOST_AT_ONCE: usize = 8 * MOST_STREAMS as usize;
/// Requests that were taken back or refused, less those that were answered: asking costs a client little, answering costs us more.
const MOST_RESETS: usize = 100;
/// Frames that bring nobody further, in a row: some 20 MB of an answer are acknowledged with as many.
const MOST_IDLE_FRAMES: usize = 10_000;

/// The requests of a connection.
#[derive(Debug)]
pub struct Streams {
    received: Frames,
    sent: Frames,
    open: BTreeMap<u32, Stream>,
    /// The highest number that a request had.
    last: u32,
    /// Since when a frame, or a head of several frames, is incomplete.
    incomplete: Option<Instant>,
    /// The head that is incomplete is of this stream.
    head: Option<u32>,
    /// Without any request: until the next one must have come.
    idle_until: Instant,
    /// Since when the client has made no room for more, if there is more.
    blocked: Option<Instant>,
    resets: usize,
    idle_frames: usize,
}

#[derive(Debug)]
enum Stream {
    /// With the handler, which has limits of its own.
    Handling,
    Writing {
        until: Instant,
        progress: Instant,
    },
}

impl Streams {
    /// The first request must have come until then.
    pub fn new(first_until: Instant) -> Self {
        Self {
            received: Frames::of_client(),
            sent: Frames::default(),
            open: BTreeMap::new(),
            last: 0,
            incomplete: None,
            head: None,
            idle_until: first_until,
            blocked: None,
            resets: 0,
            idle_frames: 0,
        }
    }

    /// Requests are being answered.
    pub fn is_answering(&self) -> bool {
        !self.open.is_empty() || self.holds_back()
    }

    /// Answers are being written.
    pub fn is_writing(&self) -> bool {
        let writing = |stream: &Stream| matches!(stream, Stream::Writing { .. });
        self.open.values().any(writing) || self.holds_back()
    }

    /// There is something in the last buffer, where an answer's end counts as sent: it is emptied until the client takes no more.
    fn holds_back(&self) -> bool {
        self.blocked.is_some()
    }

    /// The client sent this. True if a request has come.
    pub fn received(&mut self, bytes: &[u8], limits: &Limits) -> bool {
        let now = Instant::now();
        let mut frames = std::mem::take(&mut self.received);
        let mut came = false;
        frames.pass(bytes, |seen| match seen {
            Seen::Begin => {
                self.incomplete.get_or_insert(now);
                self.idle_frames += 1;
            }
            Seen::Part(_) => {}
            Seen::End(frame) => came |= self.received_frame(frame, now, limits),
        });
        self.received = frames;
        came
    }

    fn received_frame(&mut self, frame: Frame, now: Instant, limits: &Limits) -> bool {
        match frame.kind {
            HEADERS => self.head = Some(frame.stream),
            RST_STREAM => self.reset(frame.stream, now, limits),
            _ => {}
        }
        if frame.ends_head() {
            let stream = self.head.take();
            self.incomplete = None;
            // Otherwise it is what comes behind a request's body.
            if let Some(stream) = stream.filter(|stream| *stream > self.last) {
                self.last = stream;
                self.open.insert(stream, Stream::Handling);
                self.idle_frames = 0;
                return true;
            }
        }
        if self.head.is_none() {
            self.incomplete = None;
        }
        false
    }

    /// The client is sent this, or it is in the last buffer before. True if a part of an answer went out.
    pub fn sent(&mut self, bytes: &[u8], limits: &Limits) -> bool {
        let now = Instant::now();
        let mut frames = std::mem::take(&mut self.sent);
        let mut progress = false;
        frames.pass(bytes, |seen| match seen {
            Seen::Part(frame) if matches!(frame.kind, DATA | HEADERS | CONTINUATION) => {
                progress = true;
                self.idle_frames = 0;
                self.progress(frame.stream, now, limits);
            }
            Seen::End(frame) if frame.ends_stream() => {
                if self.open.remove(&frame.stream).is_some() {
                    self.resets = self.resets.saturating_sub(1);
                    self.ended(now, limits);
                }
            }
            Seen::End(frame) if frame.kind == RST_STREAM => {
                self.reset(frame.stream, now, limits);
            }
            Seen::Begin | Seen::Part(_) | Seen::End(_) => {}
        });
        self.sent = frames;
        progress
    }

    fn progress(&mut self, stream: u32, now: Instant, limits: &Limits) {
        match self.open.get_mut(&stream) {
            Some(Stream::Writing { progress, .. }) => *progress = now,
            Some(stream) => {
                *stream = Stream::Writing {
                    until: now + limits.answer,
                    progress: now,
                }
            }
            None => {}
        }
    }

    fn reset(&mut self, stream: u32, now: Instant, limits: &Limits) {
        if self.open.remove(&stream).is_some() {
            self.resets += 1;
            self.ended(now, limits);
        }
    }

    fn ended(&mut self, now: Instant, limits: &Limits) {
        if self.open.is_empty() {
            self.idle_until = now + limits.idle;
        }
    }

    /// The client's end of the connection took something, or took nothing.
    pub fn has_written(&mut self, written: bool) {
        if written {
            self.blocked = None;
        } else {
            self.blocked.get_or_insert_with(Instant::now);
        }
    }

    /// When the client will have taken too long, as things are; none while only handlers are awaited.
    pub fn until(&self, limits: &Limits) -> Option<Instant> {
        if self.resets > MOST_RESETS
            || self.idle_frames > MOST_IDLE_FRAMES
            || self.open.len() > MOST_AT_ONCE
        {
            return Some(Instant::now());
        }
        let idle = self.open.is_empty().then_some(self.idle_until);
        let incomplete = self.incomplete.map(|since| since + limits.head);
        let blocked = self.blocked.map(|since| since + limits.stuck);
        let streams = self.open.values().filter_map(|stream| match stream {
            Stream::Handling => None,
            Stream::Writing { until, progress } => Some(*until.min(&(*progress + limits.stuck))),
        });
        streams.chain(idle).chain(incomplete).chain(blocked).min()
    }
}
