//! From files to reads: which range of which pack holds which bytes of which file.

use crate::blob::BlobHandle;
use crate::id::Id;
use crate::index::{Index, Location};
use std::collections::HashMap;

/// Most bytes of one read, unless a single blob is larger.
const READ_BYTES_MAX: u64 = 16 << 20;
/// Most bytes that one read gives, unless a single blob is larger: one thread opens all of it, and the last read of
/// a restore keeps the others waiting.
const PLAIN_BYTES_MAX: u64 = 32 << 20;
/// A gap that is read over rather than asked around.
const GAP_BYTES_MAX: u64 = 64 << 10;

/// Where a blob goes: the number of a file, and the offset in it.
pub(super) type Use = (usize, u64);

/// A blob to be read, with everything it is good for.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) location: Location,
    pub(super) uses: Vec<Use>,
}

/// Pieces of one pack that are read in one request, by offset.
#[derive(Clone, Debug)]
pub(super) struct Read {
    pub(super) pack: Id,
    pub(super) pieces: Vec<Piece>,
}

impl Read {
    /// First byte and first byte behind.
    pub(super) fn range(&self) -> std::ops::Range<u64> {
        let from = self.pieces.first().map_or(0, |piece| u64::from(piece.location.entry.offset));
        let end = self.pieces.iter().map(|piece| piece.location.entry.end()).max();
        from..end.unwrap_or(from)
    }
}

/// How the content of a file lies: where each blob starts, and how long the file is.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Layout {
    /// Sum of the blobs.
    pub(super) bytes: u64,
    /// Blobs with their offset and length.
    pub(super) blobs: Vec<(Id, u64, u64)>,
    /// Ranges of blobs that are in no pack; no end if nobody knows their length.
    pub(super) missing: Vec<(u64, Option<u64>)>,
}

/// Lays out `content`. The length of one single missing blob follows from the `claimed` size.
pub(super) fn lay_out(index: &Index, content: &[Id], claimed: u64, blob_bytes_max: u64) -> Layout {
    let lengths: Vec<Option<u64>> =
        content.iter().map(|id| index.plain_bytes(&BlobHandle::data(*id))).collect();
    let known: u64 = lengths.iter().flatten().fold(0, |sum, bytes| sum.saturating_add(*bytes));
    let missing = lengths.iter().filter(|bytes| bytes.is_none()).count();
    let rest = claimed.checked_sub(known).filter(|rest| missing == 1 && *rest <= blob_bytes_max);
    let mut layout = Layout::default();
    for (id, length) in content.iter().zip(lengths) {
        let at = layout.bytes;
        let end = at.saturating_add(length.or(rest).unwrap_or(0));
        match length {
            Some(length) => layout.blobs.push((*id, at, length)),
            None => layout.missing.push((at, rest.map(|_| end))),
        }
        layout.bytes = end;
    }
    layout
}

/// Groups blobs into reads, by pack and offset, so that every byte is read once and in order.
pub(super) fn plan(index: &Index, wanted: HashMap<Id, Vec<Use>>) -> Vec<Read> {
    let mut pieces: Vec<Piece> = wanted
        .into_iter()
        .filter_map(|(id, uses)| Some(Piece { location: index.lookup(&BlobHandle::data(id)).next()?, uses }))
        .collect();
    pieces.sort_unstable_by_key(|piece| (piece.location.pack, piece.location.entry.offset));
    let mut reads: Vec<Read> = Vec::new();
    // Where the last read begins and ends, and what it gives; asking it for each of its thousands of pieces would take a while.
    let (mut start, mut end, mut plain) = (0, 0, 0_u64);
    for piece in pieces {
        let (from, to) = (u64::from(piece.location.entry.offset), piece.location.entry.end());
        let bytes = piece.location.entry.plain_bytes();
        let fits = from <= end + GAP_BYTES_MAX
            && to.saturating_sub(start) <= READ_BYTES_MAX
            && plain.saturating_add(bytes) <= PLAIN_BYTES_MAX;
        match reads.last_mut().filter(|read| fits && read.pack == piece.location.pack) {
            Some(read) => {
                end = end.max(to);
                plain = plain.saturating_add(bytes);
                read.pieces.push(piece);
            }
            None => {
                (start, end, plain) = (from, to, bytes);
                reads.push(Read { pack: piece.location.pack, pieces: vec![piece] });
            }
        }
    }
    reads
}

/// Parts of `bytes` that are worth writing at `offset`: long runs of zeros are left as holes, in whole
/// blocks of 4 KiB of the file.
pub(super) fn without_holes(bytes: &[u8], offset: u64) -> Vec<std::ops::Range<usize>> {
    const BLOCK: usize = 4096;
    const HOLE_BYTES_MIN: usize = 64 << 10;
    let mut parts: Vec<std::ops::Range<usize>> = Vec::new();
    let mut at = 0;
    let mut zeros = 0;
    let mut start = 0;
    while at < bytes.len() {
        let to_boundary = BLOCK - ((offset + at as u64) % BLOCK as u64) as usize;
        let end = (at + to_boundary).min(bytes.len());
        if bytes[at..end].iter().all(|&b| b == 0) {
            zeros += end - at;
        } else {
            if zeros >= HOLE_BYTES_MIN {
                parts.push(start..at - zeros);
                start = at;
            }
            zeros = 0;
        }
        at = end;
    }
    parts.push(start..if zeros >= HOLE_BYTES_MIN || zeros == bytes.len() { at - zeros } else { at });
    parts.retain(|part| !part.is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn zeros_become_holes_and_nothing_else_does() {
        assert_eq!(without_holes(&[0; 524_288], 0), []);
        assert_eq!(without_holes(&[1; 10], 5), std::slice::from_ref(&(0..10)));
        let mut bytes = vec![0; 300_000];
        bytes[..10].fill(1);
        bytes[299_990..].fill(1);
        assert_eq!(without_holes(&bytes, 0), [0..4096, 299_008..300_000]);
        assert_eq!(without_holes(b"", 0), []);
    }

    proptest! {
        #[test]
        fn what_is_left_out_is_zero(runs in prop::collection::vec((0..3u8, 1..200_000usize), 0..6), offset in 0..10_000u64) {
            let bytes: Vec<u8> = runs.iter().flat_map(|&(b, n)| std::iter::repeat_n(b, n)).collect();
            let mut back = vec![0; bytes.len()];
            for part in without_holes(&bytes, offset) {
                back[part.clone()].copy_from_slice(&bytes[part]);
            }
            prop_assert!(back == bytes);
        }
    }
}
