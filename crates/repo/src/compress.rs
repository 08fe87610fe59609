//! zstd, bounded in both directions (restic design, Repository Layout version 2).
//!
//! One frame with its content size, level 3, no checksum and no dictionary, which every restic
//! from 0.14 on reads. A decoder gets exactly the memory that was claimed and allowed, never more
//! (fault row 146).

use recoup_core::{Error, Kind, Result};
use std::cell::RefCell;
use std::io::Read;
use zstd::bulk;

const LEVEL: i32 = 3;

/// A compressor whose tables are kept from one blob to the next. One per thread.
pub struct Compressor {
    inner: bulk::Compressor<'static>,
    room: Vec<u8>,
}

impl Compressor {
    /// A compressor at the one level that is used for everything.
    ///
    /// # Errors
    /// `Kind::Bug` if zstd cannot be set up.
    pub fn new() -> Result<Self> {
        let inner =
            bulk::Compressor::new(LEVEL).map_err(|cause| Error::bug("set up zstd").caused_by(cause))?;
        Ok(Compressor { inner, room: Vec::new() })
    }

    /// Compresses `plain`; the result lives until the next call.
    ///
    /// # Errors
    /// `Kind::Bug` if zstd refuses.
    pub fn compress(&mut self, plain: &[u8]) -> Result<&[u8]> {
        self.room.clear();
        self.room.reserve(zstd::zstd_safe::compress_bound(plain.len()));
        self.inner
            .compress_to_buffer(plain, &mut self.room)
            .map_err(|cause| Error::bug("compress a blob").caused_by(cause))?;
        Ok(&self.room)
    }

    /// Compresses `plain` if that makes it shorter; `None` says: store it plain.
    ///
    /// # Errors
    /// `Kind::Bug` if zstd refuses.
    pub fn shrink(&mut self, plain: &[u8]) -> Result<Option<&[u8]>> {
        if plain.is_empty() {
            return Ok(None);
        }
        let packed = self.compress(plain)?;
        Ok((packed.len() < plain.len()).then_some(packed))
    }
}

/// Decompresses `packed`, which must give exactly `claimed` bytes, at most `max`.
///
/// # Errors
/// `Kind::Corrupt` if it gives more or less or is no zstd; `Kind::Refused` if `claimed` is above `max`.
pub fn decompress_exact(packed: &[u8], claimed: u64, max: u64) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    decompress_behind(packed, claimed, max, &mut out, 0)?;
    Ok(out)
}

/// Like [`decompress_exact`]: the result goes into `memory` from the place `at` on, over what is there. `memory` grows
/// as it must and never shrinks.
///
/// # Errors
/// Like [`decompress_exact`].
pub fn decompress_behind(
    packed: &[u8],
    claimed: u64,
    max: u64,
    memory: &mut Vec<u8>,
    at: usize,
) -> Result<()> {
    if claimed > max {
        return Err(too_large(claimed, max));
    }
    let length = match bulk::Decompressor::upper_bound(packed) {
        Some(told) if told as u64 != claimed => {
            return Err(corrupt(&format!("it claims {claimed} bytes and holds {told}")));
        }
        Some(told) => {
            grow(memory, at + told);
            DECODER.with_borrow_mut(|decoder| decompress(decoder, packed, &mut memory[at..at + told]))?
        }
        // a frame without a content size, as a streaming encoder writes it
        None => {
            let out = stream(packed, claimed)?;
            grow(memory, at + out.len());
            memory[at..at + out.len()].copy_from_slice(&out);
            out.len()
        }
    };
    if length as u64 == claimed {
        return Ok(());
    }
    Err(corrupt(&format!("it claims {claimed} bytes and holds {length} or more")))
}

fn grow(memory: &mut Vec<u8>, length: usize) {
    if memory.len() < length {
        memory.resize(length, 0);
    }
}

thread_local! {
    /// Setting a decoder up takes longer than reading a small blob, so every thread keeps one.
    static DECODER: RefCell<Option<bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

fn decompress(
    kept: &mut Option<bulk::Decompressor<'static>>,
    packed: &[u8],
    out: &mut [u8],
) -> Result<usize> {
    let mut decoder = match kept.take() {
        Some(decoder) => decoder,
        None => bulk::Decompressor::new().map_err(|cause| Error::bug("set up zstd").caused_by(cause))?,
    };
    // One that failed is not used again.
    let length = decoder
        .decompress_to_buffer(packed, out)
        .map_err(|cause| corrupt("zstd cannot read it").caused_by(cause))?;
    *kept = Some(decoder);
    Ok(length)
}

/// Decompresses `packed` to at most `max` bytes.
///
/// # Errors
/// `Kind::Corrupt` if it is no zstd; `Kind::Refused` if it gives more than `max`.
pub fn decompress_bounded(packed: &[u8], max: u64) -> Result<Vec<u8>> {
    match bulk::Decompressor::upper_bound(packed) {
        Some(told) => decompress_exact(packed, told as u64, max),
        None => {
            let out = stream(packed, max)?;
            if out.len() as u64 > max { Err(too_large(out.len() as u64, max)) } else { Ok(out) }
        }
    }
}

/// Memory grows with what really comes out, and stops one byte above `max`.
fn stream(packed: &[u8], max: u64) -> Result<Vec<u8>> {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut out = Vec::new();
        let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?;
        decoder.window_log_max(27)?;
        decoder.take(max.saturating_add(1)).read_to_end(&mut out)?;
        Ok(out)
    };
    read().map_err(|cause| corrupt("zstd cannot read it").caused_by(cause))
}

fn corrupt(why: &str) -> Error {
    Error::new(Kind::Corrupt, format!("decompress a blob: {why}")).code("E0416")
}

fn too_large(claimed: u64, max: u64) -> Error {
    use recoup_core::units::ByteSize;
    Error::new(
        Kind::Refused,
        format!("decompress a blob: it claims {}, {} are allowed", ByteSize(claimed), ByteSize(max)),
    )
    .code("E0417")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_does_not_shrink_is_stored_plain() {
        let mut zstd = Compressor::new().unwrap();
        assert!(zstd.shrink(b"").unwrap().is_none());
        assert!(zstd.shrink(b"ab").unwrap().is_none());
        assert!(zstd.shrink(&[7; 1000]).unwrap().is_some());
    }

    #[test]
    fn row_146_a_bomb_is_refused_by_its_claim_and_by_its_content() {
        let bomb = Compressor::new().unwrap().compress(&vec![0; 50 << 20]).unwrap().to_vec();
        assert_eq!(decompress_exact(&bomb, 50 << 20, 16 << 20).unwrap_err().kind(), Kind::Refused);
        assert_eq!(decompress_exact(&bomb, 100, 16 << 20).unwrap_err().kind(), Kind::Corrupt);
        assert_eq!(decompress_bounded(&bomb, 16 << 20).unwrap_err().kind(), Kind::Refused);
        let silent = zstd::stream::encode_all(&vec![0; 50 << 20][..], 3).unwrap();
        assert_eq!(decompress_exact(&silent, 100, 16 << 20).unwrap_err().kind(), Kind::Corrupt);
        assert_eq!(decompress_bounded(&silent, 16 << 20).unwrap_err().kind(), Kind::Refused);
    }

    proptest! {
        #[test]
        fn round_trip_and_no_panic_on_anything(plain: Vec<u8>, cut: usize) {
            let packed = Compressor::new().unwrap().compress(&plain).unwrap().to_vec();
            let max = 1 << 20;
            prop_assert_eq!(&decompress_exact(&packed, plain.len() as u64, max).unwrap(), &plain);
            let streamed = zstd::stream::encode_all(&plain[..], 1).unwrap();
            prop_assert_eq!(&decompress_exact(&streamed, plain.len() as u64, max).unwrap(), &plain);
            prop_assert!(decompress_exact(&packed, plain.len() as u64 + 1, max).is_err());
            prop_assert!(decompress_exact(&packed[..cut % packed.len()], plain.len() as u64, max).is_err() || plain.is_empty());
            let _ = decompress_bounded(&plain, max);
        }
    }
}
