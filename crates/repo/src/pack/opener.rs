//! Sealed blobs opened: seal, compression, and the hash against the name that was asked for.

use crate::blob::BlobHandle;
use crate::compress::decompress_behind;
use crate::crypto::{MasterKey, OVERHEAD_BYTES};
use crate::hash::LANES;
use crate::id::Id;
use crate::limits::Limits;
use crate::pack::PackEntry;
use recoup_core::{Error, Kind, Result};
use std::ops::Range;

/// So many bytes of small blobs are hashed together, and fit into a cache.
const TOGETHER_BYTES: usize = 256 << 10;

/// Opens one blob. `sealed` is its range of the pack.
///
/// # Errors
/// `Kind::Corrupt` if it is not that blob; `Kind::Refused` if it claims more than `limits` allow.
pub fn open_blob(key: &MasterKey, entry: &PackEntry, sealed: &[u8], limits: &Limits) -> Result<Vec<u8>> {
    let mut opener = BlobOpener::default();
    opener.add(key, entry, sealed, limits)?;
    let (_, blobs) = opener.prove(|plain| plain.iter().map(|plain| Id::of(plain)).collect());
    let Some(Some(range)) = blobs.into_iter().next() else { return Err(not_its_name(entry.handle)) };
    let mut plain = opener.memory;
    plain.truncate(range.end);
    plain.drain(..range.start);
    Ok(plain)
}

/// Opens blobs a few at a time, so that they are hashed together, in memory that it keeps: fresh memory for every
/// blob costs as much as hashing a tenth of it.
#[derive(Default)]
pub struct BlobOpener {
    sealed: Vec<u8>,
    /// Plaintexts one behind the other, in its first `filled` bytes.
    memory: Vec<u8>,
    filled: usize,
    blobs: Vec<(BlobHandle, Range<usize>)>,
}

impl BlobOpener {
    /// Opens a blob behind those that lie open. Nobody may use it before [`BlobOpener::prove`].
    ///
    /// # Errors
    /// As [`open_blob`], but for the hash; what lies open stays.
    pub fn add(&mut self, key: &MasterKey, entry: &PackEntry, sealed: &[u8], limits: &Limits) -> Result<()> {
        let name = |err: Error| err.with("blob", entry.handle);
        let max = limits.plain_bytes_max(entry.handle.kind);
        let from = self.filled;
        let range = match entry.uncompressed {
            Some(claimed) => {
                self.sealed.clear();
                self.sealed.extend_from_slice(sealed);
                let opened = key.open_in_place(&mut self.sealed).map_err(name)?;
                decompress_behind(opened, u64::from(claimed), max, &mut self.memory, from).map_err(name)?;
                from..from + claimed as usize
            }
            // It is opened where it will lie; what surrounds it stays around it.
            None => {
                let end = from + sealed.len();
                self.memory.truncate(from);
                self.memory.extend_from_slice(sealed);
                let length = key.open_in_place(&mut self.memory[from..end]).map_err(name)?.len();
                if length as u64 > max {
                    let text = format!("open a blob of {length} bytes, {max} are allowed");
                    return Err(name(Error::new(Kind::Refused, text).code("E0417")));
                }
                // The IV lies before it and the seal behind it.
                let start = end.saturating_sub(length + OVERHEAD_BYTES / 2);
                start..start + length
            }
        };
        self.filled = range.end;
        self.blobs.push((entry.handle, range));
        Ok(())
    }

    /// Whether so many lie open that it is time to prove them.
    pub fn is_full(&self) -> bool {
        self.blobs.len() >= LANES && self.filled >= TOGETHER_BYTES
    }

    /// Compares the blobs that lie open with their names, by the hashes that `ids` gives for all of them. Gives the
    /// memory that they lie in, and where each lies; `None` for one that is not what its name says. The next blob
    /// goes over them.
    pub fn prove(&mut self, ids: impl FnOnce(&[&[u8]]) -> Vec<Id>) -> (&[u8], Vec<Option<Range<usize>>>) {
        self.filled = 0;
        let plain: Vec<&[u8]> = self.blobs.iter().map(|(_, range)| &self.memory[range.clone()]).collect();
        let ids = ids(&plain);
        let blobs = self.blobs.drain(..).zip(ids);
        let proven = blobs.map(|((handle, range), id)| (handle.id == id).then_some(range)).collect();
        (&self.memory, proven)
    }
}

/// What to say of a blob that is not what its name says.
pub(super) fn not_its_name(blob: BlobHandle) -> Error {
    let text = "open a blob: its content is not what its name says";
    Error::new(Kind::Corrupt, text).code("E0413").with("blob", blob)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compress::Compressor;
    use crate::hash;
    use crate::pack::PackBuilder;
    use proptest::prelude::*;
    use recoup_testkit::env::real;

    /// What may be wrong with a blob.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Wrong {
        Nothing,
        Seal,
        Name,
        Length,
    }

    fn wrong() -> impl Strategy<Value = Wrong> {
        prop_oneof![
            5 => Just(Wrong::Nothing),
            1 => Just(Wrong::Seal),
            1 => Just(Wrong::Name),
            1 => Just(Wrong::Length),
        ]
    }

    proptest! {
        /// Short and long ones, compressed and not, good and bad, in any order: each good one comes out as it went in,
        /// no bad one does, and none spoils its neighbours.
        #[test]
        fn row_147_good_blobs_come_out_beside_bad_ones(
            blobs in prop::collection::vec((any::<u8>(), 1..90_000_usize, any::<bool>(), wrong()), 1..20),
        ) {
            let (env, limits) = (real(), Limits::default());
            let key = MasterKey::random(&env);
            let (mut zstd, mut pack) = (Compressor::new().unwrap(), PackBuilder::default());
            for &(byte, length, compressed, wrong) in &blobs {
                let plain = vec![byte; length];
                let id = Id::of(if wrong == Wrong::Name { b"another" } else { plain.as_slice() });
                let (stored, claimed) = match compressed {
                    true => (zstd.compress(&plain).unwrap(), Some(length + usize::from(wrong == Wrong::Length))),
                    false => (plain.as_slice(), None),
                };
                pack.add(&key, &env, BlobHandle::data(id), stored, claimed).unwrap();
            }
            let pack = pack.finish(&key, &env);
            let (mut opener, mut open, mut good) = (BlobOpener::default(), Vec::new(), 0);
            for (nr, (entry, &(_, _, compressed, wrong))) in pack.entries.iter().zip(&blobs).enumerate() {
                let mut sealed = pack.sealed(entry).to_vec();
                sealed[20] ^= u8::from(wrong == Wrong::Seal);
                let added = opener.add(&key, entry, &sealed, &limits);
                let fails = wrong == Wrong::Seal || (wrong == Wrong::Length && compressed);
                prop_assert_eq!(added.is_err(), fails, "{:?}", wrong);
                if !fails {
                    open.push(nr);
                }
                if opener.is_full() || nr + 1 == blobs.len() {
                    let (memory, proven) = opener.prove(hash::ids);
                    prop_assert_eq!(proven.len(), open.len());
                    for (nr, range) in open.drain(..).zip(proven) {
                        let (byte, length, _, wrong) = blobs[nr];
                        prop_assert_eq!(range.is_none(), wrong == Wrong::Name);
                        if let Some(range) = range {
                            prop_assert!(memory[range] == vec![byte; length]);
                            good += 1;
                        }
                    }
                }
            }
            let expected = blobs.iter().filter(|(_, _, compressed, wrong)| {
                *wrong == Wrong::Nothing || (*wrong == Wrong::Length && !compressed)
            });
            prop_assert_eq!(good, expected.count());
        }
    }
}
