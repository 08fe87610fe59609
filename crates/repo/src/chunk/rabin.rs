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
/// One step of the fingerprint waits for a table look-up that needs the step before it. Four places of
/// the stream are followed at the same time, which hides most of that wait: 0.7 GB/s become 2.
const LANES: usize = 4;
/// What a lane looks at before the lanes move on. Warming up costs 64 of so many bytes, and a cut in the
/// first lane wastes what the others did.
const LANE_BYTES: usize = 8 << 10;

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

/// What the lanes found.
enum Found {
    /// A cut after so many bytes.
    Cut(usize),
    /// None; this is the fingerprint at the end.
    None(u64),
}

impl Tables {
    /// The fingerprint of a window.
    fn window(&self, bytes: &[u8]) -> u64 {
        bytes.iter().fold(0, |hash, byte| self.enter(hash, *byte))
    }

    fn slide(&self, hash: u64, leaving: u8, entering: u8) -> u64 {
        self.enter(hash ^ self.leaving[usize::from(leaving)], entering)
    }

    /// Looks for the first cut in `bytes`, a window followed by what [`LANES`] lanes look at; `hash` is the
    /// fingerprint of the window. `None` if there are not as many bytes.
    fn lanes(&self, hash: u64, bytes: &[u8]) -> Option<Found> {
        let leaving: [&[u8; LANE_BYTES]; LANES] = segments(bytes)?;
        let entering: [&[u8; LANE_BYTES]; LANES] = segments(bytes.get(WINDOW..)?)?;
        let mut hashes: [u64; LANES] = std::array::from_fn(|lane| match lane {
            0 => hash,
            _ => self.window(&bytes[lane * LANE_BYTES..lane * LANE_BYTES + WINDOW]),
        });
        let mut hits = [None; LANES];
        for at in 0..LANE_BYTES {
            for lane in 0..LANES {
                hashes[lane] = self.slide(hashes[lane], leaving[lane][at], entering[lane][at]);
            }
            if hashes.iter().any(|hash| hash & MASK == 0) {
                for (lane, hit) in hits.iter_mut().enumerate() {
                    if hashes[lane] & MASK == 0 && hit.is_none() {
                        *hit = Some(lane * LANE_BYTES + at + 1);
                    }
                }
                // Nothing in another lane can come before it.
                if hits[0].is_some() {
                    break;
                }
            }
        }
        Some(match hits.into_iter().flatten().next() {
            Some(at) => Found::Cut(at),
            None => Found::None(hashes[LANES - 1]),
        })
    }

    fn enter(&self, hash: u64, byte: u8) -> u64 {
        // Below degree 53 the index always fits into a byte.
        ((hash << 8) | u64::from(byte)) ^ self.reducing[(hash >> TOP_BYTE) as usize & 0xff]
    }
}

/// The first [`LANES`] pieces of [`LANE_BYTES`].
fn segments(bytes: &[u8]) -> Option<[&[u8; LANE_BYTES]; LANES]> {
    let (pieces, _) = bytes.as_chunks::<LANE_BYTES>();
    let pieces = pieces.first_chunk::<LANES>()?;
    Some(pieces.each_ref())
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
        let tables = Arc::clone(&self.tables.0);
        if self.seen < BYTES_MIN {
            self.hash = tables.window(&chunk[BYTES_MIN - WINDOW..BYTES_MIN]);
            self.seen = BYTES_MIN;
            if self.hash & MASK == 0 {
                return self.end_at(BYTES_MIN);
            }
        }
        let end = chunk.len().min(BYTES_MAX);
        while let Some(found) = tables.lanes(self.hash, &chunk[self.seen - WINDOW..end]) {
            match found {
                Found::Cut(at) => return self.end_at(self.seen + at),
                Found::None(hash) => (self.hash, self.seen) = (hash, self.seen + LANES * LANE_BYTES),
            }
        }
        let entering = &chunk[self.seen..end];
        let leaving = &chunk[self.seen - WINDOW..end - WINDOW];
        for (at, (new, old)) in entering.iter().zip(leaving).enumerate() {
            self.hash = tables.slide(self.hash, *old, *new);
            if self.hash & MASK == 0 {
                return self.end_at(self.seen + at + 1);
            }
        }
        self.seen = end;
        if end == BYTES_MAX {
            return self.end_at(BYTES_MAX);
        }
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
    use proptest::prelude::*;
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

    /// Bytes with structure: a pattern that repeats, noise, zeros, in pieces of many lengths.
    fn patchwork(seed: u64, pieces: &[(u8, usize)]) -> Vec<u8> {
        let random = noise(1 << 20, seed);
        let mut out = Vec::new();
        for (kind, length) in pieces {
            let period = usize::from(*kind) + 1;
            match kind % 3 {
                0 => out.extend(random.iter().cycle().skip(*length).take(*length)),
                1 => out.extend(std::iter::repeat_n(0, *length)),
                _ => out.extend(random[..period].iter().cycle().take(*length)),
            }
        }
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

        #[test]
        fn lanes_cut_where_one_step_after_the_other_cuts(
            seed: u64,
            pieces in prop::collection::vec((any::<u8>(), 1..900_000_usize), 1..12),
            step in 1..3_000_000_usize,
        ) {
            let data = patchwork(seed, &pieces);
            let polynomial = 0x003D_A335_8B4D_C173;
            prop_assert_eq!(cuts(&data, polynomial, step.max(4096)), reference_cuts(&data, polynomial));
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
