//! Blobs into packs. Two data packs are open at a time and what is stored in one go, one blob or neighbours that are
//! small, goes into one of them at random, so that the sizes of packs do not tell the sizes of files (eprint
//! 2025/532); trees have their own.

use super::run::lock;
use crate::blob::{BlobHandle, BlobKind};
use crate::crypto::MasterKey;
use crate::limits::Limits;
use crate::pack::{Pack, PackBuilder};
use recoup_core::env::Env;
use recoup_core::{Error, Kind, Result};
use std::cell::RefCell;
use std::sync::Mutex;

const TREE_BYTES: usize = 4 << 20;
/// A quarter of what an index file takes, so that a pack of tiny blobs still fits into one.
const BLOBS_MAX: usize = 12_500;

/// Blobs of one kind that go into one pack together. They are sealed here, since under the lock of a pack the
/// threads would wait for each other's ciphers.
#[derive(Default)]
pub(super) struct Sealed {
    bytes: Vec<u8>,
    /// Each with its sealed length and, if it is compressed, the length of its plaintext.
    blobs: Vec<(BlobHandle, usize, Option<u32>)>,
}

impl Sealed {
    /// Lets `work` use the thread's own, empty, so that its memory is used again. It must not be called within `work`.
    pub(super) fn with<T>(work: impl FnOnce(&mut Sealed) -> T) -> T {
        thread_local! {
            static SEALED: RefCell<Sealed> = RefCell::default();
        }
        SEALED.with_borrow_mut(|sealed| {
            sealed.bytes.clear();
            sealed.blobs.clear();
            work(sealed)
        })
    }

    /// Seals a blob behind the others.
    pub(super) fn seal(
        &mut self,
        key: &MasterKey,
        env: &Env,
        blob: BlobHandle,
        stored: &[u8],
        uncompressed: Option<usize>,
    ) -> Result<()> {
        let full = |_| Error::new(Kind::Refused, "pack a blob of 4 GiB").with("blob", blob);
        let uncompressed = uncompressed.map(u32::try_from).transpose().map_err(full)?;
        let before = self.bytes.len();
        key.seal_into(env, stored, &mut self.bytes);
        self.blobs.push((blob, self.bytes.len() - before, uncompressed));
        Ok(())
    }
}

/// The open packs.
pub(super) struct Packer {
    /// A pack of data is full at this size.
    data_bytes: usize,
    data: [Mutex<PackBuilder>; 2],
    tree: Mutex<PackBuilder>,
}

impl Packer {
    /// Without packs; one of data will be full at `data_bytes`.
    pub(super) fn new(data_bytes: usize) -> Self {
        Packer { data_bytes, data: Default::default(), tree: Mutex::default() }
    }

    /// Puts blobs into an open pack; gives the pack back if it is full now.
    pub(super) fn add(&self, env: &Env, sealed: &Sealed) -> Result<Option<PackBuilder>> {
        let Some((first, ..)) = sealed.blobs.first() else { return Ok(None) };
        self.fill(env, first.kind, |pack| {
            let mut rest = sealed.bytes.as_slice();
            sealed.blobs.iter().try_for_each(|&(blob, length, uncompressed)| {
                let bytes = rest.split_off(..length).unwrap_or_default();
                pack.add_sealed(blob, bytes, uncompressed)
            })
        })
    }

    /// Puts a blob that is sealed with our key already.
    pub(super) fn add_sealed(
        &self,
        env: &Env,
        blob: BlobHandle,
        sealed: &[u8],
        uncompressed: Option<u32>,
    ) -> Result<Option<PackBuilder>> {
        self.fill(env, blob.kind, |pack| pack.add_sealed(blob, sealed, uncompressed))
    }

    fn fill(
        &self,
        env: &Env,
        kind: BlobKind,
        add: impl FnOnce(&mut PackBuilder) -> Result<()>,
    ) -> Result<Option<PackBuilder>> {
        let (slot, target) = match kind {
            BlobKind::Data => (&self.data[usize::from(env.random::<1>()[0] & 1)], self.data_bytes),
            BlobKind::Tree => (&self.tree, TREE_BYTES.min(self.data_bytes)),
        };
        let mut pack = lock(slot);
        add(&mut pack)?;
        let is_full = pack.len() >= target || pack.entries().len() >= BLOBS_MAX;
        // Memory that is not written to costs nothing; growing step by step would copy every pack.
        Ok(is_full.then(|| std::mem::replace(&mut *pack, PackBuilder::with_capacity(target + target / 8))))
    }

    /// Takes what is left. The two data packs become one if that is not too large.
    pub(super) fn drain(&self) -> Result<Vec<PackBuilder>> {
        let [first, second] = [0, 1].map(|slot| std::mem::take(&mut *lock(&self.data[slot])));
        let tree = std::mem::take(&mut *lock(&self.tree));
        let fits = first.len() + second.len() <= self.data_bytes + self.data_bytes / 2
            && first.entries().len() + second.entries().len() <= BLOBS_MAX;
        let data = if fits { vec![first.merged(second)?] } else { vec![first, second] };
        Ok(data.into_iter().chain([tree]).filter(|pack| !pack.is_empty()).collect())
    }
}

/// Finishes a pack and reads it as a stranger would: every blob is opened and hashed again from the bytes
/// that will be stored, so that a broken machine or compressor never gets to write.
///
/// # Errors
/// `Kind::Corrupt`, E0465, if anything differs.
pub(super) fn finish(builder: PackBuilder, key: &MasterKey, env: &Env, limits: &Limits) -> Result<Pack> {
    builder
        .finish_proven(key, env, limits)
        .map_err(|err| err.effect("it was not stored; earlier snapshots are not touched"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Id;
    use recoup_testkit::env::real;

    fn add(packer: &Packer, key: &MasterKey, kind: BlobKind, plain: &[u8]) -> Option<PackBuilder> {
        let blob = BlobHandle { kind, id: Id::of(plain) };
        Sealed::with(|sealed| {
            sealed.seal(key, &real(), blob, plain, None).unwrap();
            packer.add(&real(), sealed).unwrap()
        })
    }

    #[test]
    fn row_014_trap_10_what_a_broken_machine_made_of_a_pack_is_noticed() {
        let (env, key, limits) = (real(), MasterKey::random(&real()), Limits::default());
        let packer = Packer::new(16 << 20);
        add(&packer, &key, BlobKind::Data, b"some data");
        let pack = finish(packer.drain().unwrap().remove(0), &key, &env, &limits).unwrap();
        for at in 0..pack.bytes.len() {
            let mut bytes = pack.bytes.clone();
            bytes[at] ^= 1;
            let flipped = Pack { id: pack.id, bytes, entries: pack.entries.clone() };
            assert!(flipped.read_back(&key, &limits).is_err(), "a bit of byte {at}");
        }
        let mut wrong = PackBuilder::default();
        wrong.add(&key, &env, BlobHandle::data(Id::of(b"this")), b"that", None).unwrap();
        let err = finish(wrong, &key, &env, &limits).map(|_| ()).unwrap_err();
        assert_eq!((err.kind(), err.stable_code()), (Kind::Corrupt, Some("E0465")));
    }

    #[test]
    fn trees_stand_apart_and_what_is_left_of_data_becomes_one_pack() {
        let (key, packer) = (MasterKey::random(&real()), Packer::new(16 << 20));
        for n in 0..100_u32 {
            assert!(add(&packer, &key, BlobKind::Data, &n.to_le_bytes()).is_none());
            assert!(add(&packer, &key, BlobKind::Tree, &n.to_le_bytes()).is_none());
        }
        let left = packer.drain().unwrap();
        let kinds = |pack: &PackBuilder, kind| pack.entries().iter().all(|entry| entry.handle.kind == kind);
        assert_eq!(left.iter().map(|pack| pack.entries().len()).collect::<Vec<_>>(), [100, 100]);
        assert!(kinds(&left[0], BlobKind::Data) && kinds(&left[1], BlobKind::Tree));
        for pack in left {
            finish(pack, &key, &real(), &Limits::default()).unwrap();
        }
        assert!(packer.drain().unwrap().is_empty());
    }

    #[test]
    fn a_pack_is_full_by_bytes_or_by_blobs() {
        let (key, packer) = (MasterKey::random(&real()), Packer::new(16 << 20));
        let full =
            (0..30_000_u32).find_map(|n| add(&packer, &key, BlobKind::Data, &n.to_le_bytes())).unwrap();
        assert_eq!(full.entries().len(), BLOBS_MAX);
        let full = (0..40_u8).find_map(|n| add(&packer, &key, BlobKind::Tree, &vec![n; 1 << 20])).unwrap();
        assert!(full.len() >= TREE_BYTES && full.len() < 2 * TREE_BYTES);
    }
}
