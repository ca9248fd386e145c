//! A list of buffers that reads like one buffer.

use hyper::body::{Buf, Bytes};
use std::collections::VecDeque;
use std::io::IoSlice;

/// Several buffers in sequence; no buffer is empty.
#[derive(Debug, Default)]
pub struct BufList {
    buffers: VecDeque<Bytes>,
    remaining: usize,
}

impl From<Vec<Bytes>> for BufList {
    fn from(buffers: Vec<Bytes>) -> Self {
        let mut list = Self::default();
        for buffer in buffers {
            list.push(buffer);
        }
        list
    }
}

impl BufList {
    fn push(&mut self, buffer: Bytes) {
        self.remaining += buffer.len();
        if !buffer.is_empty() {
            self.buffers.push_back(buffer);
        }
    }

    /// Removes and returns the first `length` bytes, or all bytes if there are fewer.
    pub fn split_to(&mut self, length: usize) -> Self {
        let mut taken = Self::default();
        while taken.remaining < length
            && let Some(mut buffer) = self.buffers.pop_front()
        {
            let wanted = buffer.len().min(length - taken.remaining);
            taken.push(buffer.split_to(wanted));
            if !buffer.is_empty() {
                self.buffers.push_front(buffer);
            }
        }
        self.remaining -= taken.remaining;
        taken
    }
}

impl Buf for BufList {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.buffers.front().map_or(&[], Bytes::as_ref)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let buffers = self.buffers.iter();
        let filled = slices.iter_mut().zip(buffers);
        filled
            .map(|(slice, buffer)| *slice = IoSlice::new(buffer))
            .count()
    }

    fn advance(&mut self, length: usize) {
        // The trait requires `length <= remaining()`; a larger value empties the list.
        self.split_to(length);
    }
}
