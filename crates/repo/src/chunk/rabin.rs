//! restic's cut: a Rabin fingerprint of the last 64 bytes; a chunk ends where its lowest 20 bits are
//! zero, but never before 512 KiB and always at 8 MiB.
//!
//! restic starts every chunk with a window of zeros and a 1, and skips all but the last 64 bytes of the
//! first 512 KiB. When the first cut is allowed, 64 real bytes have pushed the 1 out, so that the
//! decision depends on the last 64 bytes alone. The fingerprint may therefore start afresh anywhere.

use super::Chunker;
use rustic_cdc::Rabin64;
use std::fmt;
use std::sync::Arc;

/// What a run of zeros is cut into: the fingerprint of zeros is zero, so the first legal place cuts.
pub const ZERO_CHUNK_BYTES: usize = BYTES_MIN;

const BYTES_MIN: usize = 512 << 10;
const BYTES_MAX: usize = 8 << 20;
/// 20 bits: a cut is expected 1 MiB after the earliest legal place.
const MASK: u64 = (1 << 20) - 1;
const WINDOW: usize = 64;
/// The eight bits above the polynomial's degree, 53, choose what is reduced.
const TOP_BYTE: u32 = 53 - 8;

/// The tables of one polynomial, computed once for a repository and shared by every worker.
#[derive(Clone)]
pub struct RabinTables(Arc<Tables>);

struct Tables {
    /// What a byte that leaves the window had added to the fingerprint.
    leaving: [u64; 256],
    /// What brings a fingerprint that grew by eight bits back below degree 53.
    reducing: [u64; 256],
}

impl RabinTables {
    /// Tables for `polynomial`, which has been checked to be irreducible of degree 53.
    pub fn new(polynomial: u64) -> Self {
        RabinTables(Arc::new(Tables {
            leaving: Rabin64::calculate_out_table(WINDOW, &polynomial),
            reducing: Rabin64::calculate_mod_table(&polynomial),
        }))
    }
}

impl fmt::Debug for RabinTables {
    /// The tables would give the polynomial away.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RabinTables")
    }
}

impl Tables {
    fn enter(&self, hash: u64, byte: u8) -> u64 {
        // Below degree 53 the index always fits into a byte.
        ((hash << 8) | u64::from(byte)) ^ self.reducing[(hash >> TOP_BYTE) as usize & 0xff]
    }
}

/// Cuts one stream exactly where restic would.
#[derive(Debug)]
pub struct Rabin {
    tables: RabinTables,
    hash: u64,
    /// How much of the chunk under way has been looked at.
    seen: usize,
}

impl Rabin {
    /// A chunker at the start of a stream.
    pub fn new(tables: &RabinTables) -> Self {
        Rabin { tables: tables.clone(), hash: 0, seen: 0 }
    }

    fn end_at(&mut self, length: usize) -> Option<usize> {
        self.seen = 0;
        Some(length)
    }
}

impl Chunker for Rabin {
    fn cut(&mut self, chunk: &[u8]) -> Option<usize> {
        if chunk.len() < BYTES_MIN {
            return None;
        }
        let tables = &self.tables.0;
        let mut hash = self.hash;
        if self.seen < BYTES_MIN {
            hash =
                chunk[BYTES_MIN - WINDOW..BYTES_MIN].iter().fold(0, |hash, byte| tables.enter(hash, *byte));
            self.seen = BYTES_MIN;
            if hash & MASK == 0 {
                return self.end_at(BYTES_MIN);
            }
        }
        let end = chunk.len().min(BYTES_MAX);
        let entering = &chunk[self.seen..end];
        let leaving = &chunk[self.seen - WINDOW..end - WINDOW];
        for (at, (new, old)) in entering.iter().zip(leaving).enumerate() {
            hash = tables.enter(hash ^ tables.leaving[usize::from(*old)], *new);
            if hash & MASK == 0 {
                return self.end_at(self.seen + at + 1);
            }
        }
        if end == BYTES_MAX {
            return self.end_at(BYTES_MAX);
        }
        (self.hash, self.seen) = (hash, end);
        None
    }

    fn reset(&mut self) {
        self.seen = 0;
    }

    fn min(&self) -> usize {
        BYTES_MIN
    }

    fn max(&self) -> usize {
        BYTES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustic_cdc::RollingHash64;

    /// A straightforward reading of the design: every chunk starts with zeros and a 1 in the window.
    fn reference_cuts(data: &[u8], polynomial: u64) -> Vec<usize> {
        let mut cuts = Vec::new();
        let mut start = 0;
        while start < data.len() {
            let mut hash = Rabin64::new_with_polynom(6, &polynomial);
            hash.slide(1);
            let rest = &data[start..];
            let skip = BYTES_MIN - WINDOW;
            let length = (skip..rest.len()).find_map(|at| {
                hash.slide(rest[at]);
                let length = at + 1;
                let cut = hash.hash & MASK == 0 || length >= BYTES_MAX;
                (cut && length >= BYTES_MIN).then_some(length)
            });
            start += length.unwrap_or(rest.len());
            cuts.push(start);
        }
        cuts
    }

    fn cuts(data: &[u8], polynomial: u64, step: usize) -> Vec<usize> {
        let mut chunker = Rabin::new(&RabinTables::new(polynomial));
        let (mut cuts, mut start, mut end) = (Vec::new(), 0, 0);
        while end < data.len() {
            end = (end + step).min(data.len());
            while let Some(length) = chunker.cut(&data[start..end]) {
                start += length;
                cuts.push(start);
            }
        }
        if start < data.len() {
            cuts.push(data.len());
        }
        cuts
    }

    fn noise(bytes: usize, seed: u64) -> Vec<u8> {
        let (env, _) = recoup_testkit::env::scripted("2026-01-01T00:00:00Z", seed);
        let mut out = vec![0; bytes];
        env.entropy.fill(&mut out);
        out
    }

    #[test]
    fn equal_to_the_design_however_the_bytes_arrive() {
        let data = noise(10 << 20, 3);
        for polynomial in [0x003D_A335_8B4D_C173, 0x0026_6FB4_7B74_4D73] {
            let expected = reference_cuts(&data, polynomial);
            assert!(expected.len() > 3);
            for step in [64 << 10, 512 << 10, (512 << 10) + 1, 9 << 20] {
                assert_eq!(cuts(&data, polynomial, step), expected, "step {step}");
            }
        }
    }

    #[test]
    fn zeros_are_cut_at_the_smallest_size_and_monotony_at_the_largest() {
        let p = 0x003D_A335_8B4D_C173;
        assert_eq!(cuts(&vec![0; 2 << 20], p, 1 << 20), vec![512 << 10, 1 << 20, 1536 << 10, 2 << 20]);
        assert_eq!(cuts(&vec![0xa5; 17 << 20], p, 1 << 20), reference_cuts(&vec![0xa5; 17 << 20], p));
        assert_eq!(cuts(&[1; 100], p, 10), vec![100]);
        assert!(cuts(&[], p, 10).is_empty());
    }
}
