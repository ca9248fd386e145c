//! Joins parts that were compressed separately to one gzip member (RFC 1952), so that unchanged parts are compressed only once.
//! Each part is flushed to a byte boundary (RFC 1951, section 3.2.4) and contains no reference to an earlier part. The concatenated
//! parts are therefore one DEFLATE stream, which an empty last block ends. The checksums of the parts combine to that of the member.

use bytes::Bytes;
use crc32fast::Hasher;
use flate2::Compression;
use flate2::write::DeflateEncoder;
use std::cell::Cell;
use std::io::Write;
use std::mem;

/// A gzip header without file name and time, for an unknown operating system (RFC 1952, section 2.3).
const HEADER: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
/// An empty last block with fixed Huffman codes.
const LAST_BLOCK: [u8; 2] = [0x03, 0x00];

#[derive(Debug)]
pub struct Deflater {
    encoder: DeflateEncoder<Vec<u8>>,
    /// True if the next part would refer to the previous one.
    needs_reset: bool,
    /// Without its bytes, which the encoder has.
    part: Deflated,
}

thread_local! {
    /// One per thread: creating a compressor takes half as long as compressing a small scrape.
    static DEFLATER: Cell<Option<Deflater>> = const { Cell::new(None) };
}

#[derive(Clone, Debug, Default)]
pub struct Deflated {
    bytes: Bytes,
    crc: Hasher,
    /// Uncompressed, in bytes.
    length: usize,
}

impl Default for Deflater {
    fn default() -> Self {
        Self {
            encoder: DeflateEncoder::new(Vec::new(), Compression::fast()),
            needs_reset: false,
            part: Deflated::default(),
        }
    }
}

impl Deflater {
    /// Runs `work` with the compressor of this thread. If `work` panics, that compressor is dropped.
    pub fn with<T>(work: impl FnOnce(&mut Self) -> T) -> T {
        let mut deflater = DEFLATER.take().unwrap_or_default();
        let result = work(&mut deflater);
        DEFLATER.set(Some(deflater));
        result
    }

    pub fn add(&mut self, text: impl AsRef<[u8]>) {
        let text = text.as_ref();
        if mem::take(&mut self.needs_reset) {
            let _ = self.encoder.reset(Vec::new());
        }
        let _ = self.encoder.write_all(text);
        self.part.crc.update(text);
        self.part.length += text.len();
    }

    pub fn end(&mut self) -> Deflated {
        let _ = self.encoder.flush();
        self.needs_reset = true;
        Deflated {
            bytes: Bytes::from(mem::take(self.encoder.get_mut()).into_boxed_slice()),
            ..mem::take(&mut self.part)
        }
    }

    pub fn deflate(&mut self, text: impl AsRef<[u8]>) -> Deflated {
        self.add(text);
        self.end()
    }
}

impl Deflated {
    pub fn join(parts: &[&Self]) -> Self {
        let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.bytes.len()).sum());
        let mut crc = Hasher::new();
        for part in parts {
            bytes.extend_from_slice(&part.bytes);
            crc.combine(&part.crc);
        }
        Self {
            bytes: Bytes::from(bytes),
            crc,
            length: parts.iter().map(|part| part.length).sum(),
        }
    }
}

pub fn member(parts: &[&Deflated]) -> Vec<Bytes> {
    let mut buffers = vec![Bytes::from_static(HEADER)];
    let mut crc = Hasher::new();
    let mut length = 0_usize;
    for part in parts {
        buffers.push(part.bytes.clone());
        crc.combine(&part.crc);
        length += part.length;
    }
    let mut trailer = LAST_BLOCK.to_vec();
    trailer.extend(crc.finalize().to_le_bytes());
    // The length field is modulo 2^32.
    trailer.extend((length as u64).to_le_bytes().iter().take(4));
    buffers.push(Bytes::from(trailer));
    buffers
}
