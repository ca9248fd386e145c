//! A gzip member (RFC 1952) of parts that were compressed each by itself, so that what has not changed is not compressed again.
//! Each part ends at a byte, by a flush (RFC 1951, section 3.2.4), and refers to nothing before it: one behind the other they are
//! one DEFLATE stream, which an empty last block ends. The checksum of the whole follows from those of the parts.

use bytes::Bytes;
use crc32fast::Hasher;
use flate2::Compression;
use flate2::write::DeflateEncoder;
use std::cell::Cell;
use std::io::Write;
use std::mem;

/// No name, no time, an unknown system (RFC 1952, section 2.3).
const HEADER: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
/// A last block with nothing in it, in the fixed code.
const LAST_BLOCK: [u8; 2] = [0x03, 0x00];

/// Compresses parts, one after the other.
#[derive(Debug)]
pub struct Deflater {
    encoder: DeflateEncoder<Vec<u8>>,
    /// The part before has left something to be referred to.
    used: bool,
    /// Of the part under way.
    sum: Hasher,
    length: usize,
}

thread_local! {
    /// Making one takes half as long as compressing a small scrape with it.
    static DEFLATER: Cell<Option<Deflater>> = const { Cell::new(None) };
}

/// A part of a text, compressed.
#[derive(Clone, Debug, Default)]
pub struct Deflated {
    bytes: Bytes,
    sum: Hasher,
    /// Of the text, in bytes.
    length: usize,
}

impl Default for Deflater {
    fn default() -> Self {
        Self {
            encoder: DeflateEncoder::new(Vec::new(), Compression::fast()),
            used: false,
            sum: Hasher::new(),
            length: 0,
        }
    }
}

impl Deflater {
    /// Does something with this thread's own. One that panicked over its work is not used again.
    pub fn with<T>(work: impl FnOnce(&mut Self) -> T) -> T {
        let mut deflater = DEFLATER.take().unwrap_or_default();
        let done = work(&mut deflater);
        DEFLATER.set(Some(deflater));
        done
    }

    /// Adds to the part under way.
    pub fn add(&mut self, text: impl AsRef<[u8]>) {
        let text = text.as_ref();
        // Writing to memory does not fail.
        if mem::take(&mut self.used) {
            let _ = self.encoder.reset(Vec::new());
        }
        let _ = self.encoder.write_all(text);
        self.sum.update(text);
        self.length += text.len();
    }

    /// Ends the part; what is added from now on is the next one.
    pub fn end(&mut self) -> Deflated {
        let _ = self.encoder.flush();
        self.used = true;
        Deflated {
            bytes: Bytes::from(mem::take(self.encoder.get_mut()).into_boxed_slice()),
            sum: mem::take(&mut self.sum),
            length: mem::take(&mut self.length),
        }
    }

    /// Compresses a part.
    pub fn deflate(&mut self, text: impl AsRef<[u8]>) -> Deflated {
        self.add(text);
        self.end()
    }
}

impl Deflated {
    /// These parts as one.
    pub fn join(parts: &[&Self]) -> Self {
        let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.bytes.len()).sum());
        let mut sum = Hasher::new();
        for part in parts {
            bytes.extend_from_slice(&part.bytes);
            sum.combine(&part.sum);
        }
        Self {
            bytes: Bytes::from(bytes),
            sum,
            length: parts.iter().map(|part| part.length).sum(),
        }
    }
}

/// A member whose text is that of the parts, one behind the other.
pub fn member(parts: &[&Deflated]) -> Vec<Bytes> {
    let mut pieces = vec![Bytes::from_static(HEADER)];
    let mut sum = Hasher::new();
    let mut length = 0_usize;
    for part in parts {
        pieces.push(part.bytes.clone());
        sum.combine(&part.sum);
        length += part.length;
    }
    let mut trailer = LAST_BLOCK.to_vec();
    trailer.extend(sum.finalize().to_le_bytes());
    // Of a longer text the field holds what is left of 2^32.
    trailer.extend((length as u64).to_le_bytes().iter().take(4));
    pieces.push(Bytes::from(trailer));
    pieces
}
