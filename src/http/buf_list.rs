//! Bytes in several places that are sent as if they were in one.

use hyper::body::{Buf, Bytes};
use std::collections::VecDeque;
use std::io::IoSlice;

/// Pieces, one behind the other. None is empty.
#[derive(Debug, Default)]
pub struct BufList {
    pieces: VecDeque<Bytes>,
    remaining: usize,
}

impl From<Vec<Bytes>> for BufList {
    fn from(pieces: Vec<Bytes>) -> Self {
        let mut all = Self::default();
        for piece in pieces {
            all.push(piece);
        }
        all
    }
}

impl BufList {
    fn push(&mut self, piece: Bytes) {
        self.remaining += piece.len();
        if !piece.is_empty() {
            self.pieces.push_back(piece);
        }
    }

    /// Takes the first `length` bytes, or all if there are fewer.
    pub fn split_to(&mut self, length: usize) -> Self {
        let mut taken = Self::default();
        while taken.remaining < length
            && let Some(mut piece) = self.pieces.pop_front()
        {
            let wanted = piece.len().min(length - taken.remaining);
            taken.push(piece.split_to(wanted));
            if !piece.is_empty() {
                self.pieces.push_front(piece);
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
        self.pieces.front().map_or(&[], Bytes::as_ref)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let pieces = self.pieces.iter();
        let filled = slices.iter_mut().zip(pieces);
        filled
            .map(|(slice, piece)| *slice = IoSlice::new(piece))
            .count()
    }

    fn advance(&mut self, length: usize) {
        // As every buffer: to go beyond the end is the caller's mistake, and it goes no further.
        self.split_to(length);
    }
}
