//! How much memory a run may take, and what follows from it. Decided once, before anything is read.

use recoup_core::units::ByteSize;
use recoup_core::{Error, Kind, Result};

const MIB: u64 = 1 << 20;
/// The program, its connections, and what grows slowly.
const FIXED_BYTES: u64 = 32 * MIB;
/// The longest piece of a file: restic's limit.
const PIECE_BYTES: u64 = 8 * MIB;
/// A thread at its worst: a piece in the buffer it reads into and one that it took over, compressed, sealed,
/// and opened again (two) when a pack is read back; 8 MiB for the compressor.
const THREAD_BYTES: u64 = 6 * PIECE_BYTES + 8 * MIB;
/// A blob of the index, with room for its growth.
const BLOB_BYTES: u64 = 64;
/// Open packs: two of data, one of trees.
const OPEN_PACKS: u64 = 3;

/// What a run may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Budget {
    /// Threads that read and pack.
    pub(super) threads: usize,
    /// Packs on their way to the store at the same time.
    pub(super) uploads: usize,
    /// A pack is full at this size.
    pub(super) pack_bytes: usize,
    /// Pieces that may wait for each thread.
    pub(super) waiting: usize,
}

impl Budget {
    /// What a run uses that nobody limits.
    pub(super) fn new(threads: usize, uploads: usize) -> Self {
        Budget { threads: threads.max(1), uploads: uploads.max(1), pack_bytes: 16 << 20, waiting: 2 }
    }

    /// As much of it as fits into `bytes_max`, in a repository of so many blobs. First what costs least
    /// time is given up, threads last.
    ///
    /// # Errors
    /// `Kind::Refused`, E0489, if the least that works does not fit.
    pub(super) fn within(self, bytes_max: u64, blobs: u64) -> Result<Self> {
        let mut budget = self;
        let index = blobs.saturating_mul(BLOB_BYTES);
        while budget.bytes().saturating_add(index) > bytes_max {
            budget = budget.smaller().ok_or_else(|| {
                let least = Budget { threads: 1, uploads: 1, pack_bytes: 4 << 20, waiting: 1 };
                Error::new(Kind::Refused, "back up within so little memory")
                    .with("allowed", ByteSize(bytes_max))
                    .with("needed", ByteSize(least.bytes().saturating_add(index)))
                    .code("E0489")
                    .effect("nothing was read or stored")
            })?;
        }
        Ok(budget)
    }

    /// What it comes to at its worst, without the index.
    fn bytes(&self) -> u64 {
        let (threads, uploads) = (self.threads as u64, self.uploads as u64);
        // Nothing waits for a single thread.
        let waiting = if threads > 1 { self.waiting as u64 } else { 0 };
        // Each thread may finish one, and one waits for an upload.
        let packs = OPEN_PACKS + uploads + 1 + threads;
        FIXED_BYTES
            + threads * (THREAD_BYTES + waiting * PIECE_BYTES)
            // A pack is full by its last piece.
            + packs * (self.pack_bytes as u64 + PIECE_BYTES)
    }

    fn smaller(self) -> Option<Self> {
        Some(match self {
            Budget { waiting: 2.., .. } => Budget { waiting: 1, ..self },
            Budget { pack_bytes: 0x0080_0001.., .. } => Budget { pack_bytes: 8 << 20, ..self },
            Budget { uploads: 2.., .. } => Budget { uploads: 1, ..self },
            Budget { pack_bytes: 0x0040_0001.., .. } => Budget { pack_bytes: 4 << 20, ..self },
            Budget { threads: 2.., .. } => Budget { threads: self.threads - 1, ..self },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_taken_and_threads_are_given_up_last() {
        let full = Budget::new(8, 2);
        assert_eq!(full.within(u64::MAX, 0).unwrap(), full);
        assert_eq!(full.within(full.bytes(), 0).unwrap(), full);
        let mut before = full;
        for bytes_max in (160 * MIB..full.bytes()).rev().step_by(MIB as usize) {
            let fits = full.within(bytes_max, 0).unwrap();
            assert!(fits.bytes() <= bytes_max && fits.bytes() <= before.bytes(), "{fits:?}");
            assert!(fits.threads == 8 || (fits.waiting, fits.uploads, fits.pack_bytes) == (1, 1, 4 << 20));
            before = fits;
        }
        assert_eq!(before.threads, 1);
    }

    #[test]
    fn too_little_is_refused_by_the_number_that_would_do() {
        let err = Budget::new(8, 2).within(100 * MIB, 0).unwrap_err();
        assert_eq!((err.kind(), err.stable_code()), (Kind::Refused, Some("E0489")));
        assert!(err.to_string().contains("160"), "{err}");
        assert!(Budget::new(1, 1).within(160 * MIB, 1_000_000).is_err(), "the index counts");
        assert_eq!(Budget::new(0, 0).within(160 * MIB, 0).unwrap().threads, 1);
    }
}
