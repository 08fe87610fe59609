//! The way of one blob: hash, look up, compress, seal into a pack, hand the full pack over. It runs to
//! completion on the thread that has the bytes.

use super::packer::{self, Packer, Sealed};
use super::run::{Handed, Mark, Run, Stop};
use super::seen::Seen;
use crate::blob::{BlobHandle, BlobKind};
use crate::compress::Compressor;
use crate::crypto::OVERHEAD_BYTES;
use crate::documents::Documents;
use crate::id::Id;
use crate::pack::{Pack, PackBuilder};
use recoup_core::event::Event;
use recoup_core::{Error, Result};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use tokio::sync::mpsc;

/// Stage name in progress events.
const STAGE: &str = "backup";
/// At least so long between two progress events.
const PROGRESS_EVERY_MS: u64 = 100;

/// What a run has done so far, over all of its trees.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) data_blobs: AtomicU64,
    pub(super) tree_blobs: AtomicU64,
    /// Plaintext of new blobs.
    pub(super) bytes_added: AtomicU64,
    /// What they take in packs.
    pub(super) bytes_stored: AtomicU64,
    bytes_read: AtomicU64,
    items: AtomicU64,
    progress_ms: AtomicU64,
}

impl Totals {
    /// Entries that are done.
    pub(super) fn items(&self) -> u64 {
        self.items.load(Relaxed)
    }
}

/// A blob in the form it comes in from another repository.
pub(super) enum Form<'a> {
    /// Sealed with our key: it stays as it is.
    Sealed(&'a [u8]),
    /// Opened and still compressed, if it was: it is sealed anew.
    Opened(&'a [u8]),
}

/// Leave to store blobs, and to say in one step what became of them.
pub(super) struct Inside<'a> {
    pipe: &'a Pipe,
    _open: RwLockReadGuard<'a, ()>,
}

impl Inside<'_> {
    /// As [`Pipe::store_named`].
    pub(super) fn store(&self, zstd: &mut Compressor, blob: BlobHandle, plain: &[u8]) -> Result<Id, Stop> {
        self.pipe.store_inside(zstd, blob, plain)
    }
}

/// Where blobs go.
pub(super) struct Pipe {
    pub(super) run: Arc<Run>,
    pub(super) seen: Seen,
    pub(super) totals: Totals,
    packer: Packer,
    /// Shared by who stores a blob, from the moment it is taken on until it lies in a pack; alone for who must
    /// know that none is on its way there.
    gate: RwLock<()>,
    uploads: mpsc::Sender<Handed>,
    dry_run: bool,
}

impl Pipe {
    pub(super) fn new(
        run: Arc<Run>,
        seen: Seen,
        uploads: mpsc::Sender<Handed>,
        dry_run: bool,
        pack_bytes: usize,
    ) -> Self {
        let (totals, packer, gate) = (Totals::default(), Packer::new(pack_bytes), RwLock::default());
        Pipe { run, seen, totals, packer, gate, uploads, dry_run }
    }

    /// Stores a blob if nobody has it; gives its id. Not for async threads.
    pub(super) fn store(&self, zstd: &mut Compressor, kind: BlobKind, plain: &[u8]) -> Result<Id, Stop> {
        if self.run.is_stopped() {
            return Err(Stop);
        }
        self.store_named(zstd, BlobHandle { kind, id: Id::of(plain) }, plain)
    }

    /// As [`Pipe::store`], for who has hashed it already.
    pub(super) fn store_named(
        &self,
        zstd: &mut Compressor,
        blob: BlobHandle,
        plain: &[u8],
    ) -> Result<Id, Stop> {
        self.enter().store(zstd, blob, plain)
    }

    /// Keeps [`Pipe::pause`] waiting as long as the answer lives. Who is inside must not enter again.
    pub(super) fn enter(&self) -> Inside<'_> {
        Inside { pipe: self, _open: self.gate.read().unwrap_or_else(PoisonError::into_inner) }
    }

    /// As [`Pipe::store_named`], for who holds the gate.
    fn store_inside(&self, zstd: &mut Compressor, blob: BlobHandle, plain: &[u8]) -> Result<Id, Stop> {
        self.pack(zstd, std::iter::once((blob, plain)))?;
        Ok(blob.id)
    }

    /// Stores blobs of one kind that nobody has, in one pack. Not for async threads.
    pub(super) fn store_all<'a>(
        &self,
        zstd: &mut Compressor,
        blobs: impl Iterator<Item = (BlobHandle, &'a [u8])>,
    ) -> Result<(), Stop> {
        let _inside = self.enter();
        self.pack(zstd, blobs)
    }

    /// As [`Pipe::store_all`], for who holds the gate.
    fn pack<'a>(
        &self,
        zstd: &mut Compressor,
        mut blobs: impl Iterator<Item = (BlobHandle, &'a [u8])>,
    ) -> Result<(), Stop> {
        let full = Sealed::with(|sealed| {
            blobs.try_for_each(|(blob, plain)| self.seal(zstd, blob, plain, sealed))?;
            self.packer.add(&self.run.documents.env, sealed)
        });
        self.hand_over(full.map_err(|err| self.run.fail(err))?)
    }

    /// Puts a blob in the form it has in another repository, unless somebody has it; `sealed` if it is
    /// sealed with our key, otherwise what is to be sealed. The caller has checked it. Not for async
    /// threads.
    pub(super) fn store_as_is(
        &self,
        blob: BlobHandle,
        form: Form<'_>,
        uncompressed: Option<u32>,
    ) -> Result<(), Stop> {
        if self.run.is_stopped() {
            return Err(Stop);
        }
        if !self.seen.take_on(blob) {
            return Ok(());
        }
        let Documents { key, env, .. } = &self.run.documents;
        let length = |bytes: &[u8], over| u32::try_from(bytes.len() - over).unwrap_or(u32::MAX);
        let (stored_bytes, plain_bytes, full) = match form {
            Form::Sealed(bytes) => (
                bytes.len(),
                uncompressed.unwrap_or_else(|| length(bytes, OVERHEAD_BYTES.min(bytes.len()))),
                self.packer.add_sealed(env, blob, bytes, uncompressed),
            ),
            Form::Opened(bytes) => (
                bytes.len() + OVERHEAD_BYTES,
                uncompressed.unwrap_or_else(|| length(bytes, 0)),
                Sealed::with(|sealed| {
                    sealed.seal(key, env, blob, bytes, uncompressed.map(|bytes| bytes as usize))?;
                    self.packer.add(env, sealed)
                }),
            ),
        };
        self.count(blob.kind, u64::from(plain_bytes), stored_bytes as u64);
        let full = full.map_err(|err| self.run.fail(err))?;
        self.hand_over(full)
    }

    fn hand_over(&self, full: Option<PackBuilder>) -> Result<(), Stop> {
        let Some(builder) = full else { return Ok(()) };
        let pack = self.finish(builder).map_err(|err| self.run.fail(err))?;
        self.uploads.blocking_send(self.run.hand_over(pack)).map_err(|_| self.lost_uploads())
    }

    /// Lets `work` store trees while nobody is inside, then hands over what is in open packs. All
    /// blobs that were taken on before are durable once the run has settled up to the mark. Not for async threads.
    pub(super) fn pause<T>(
        &self,
        work: impl FnOnce(&mut dyn FnMut(&[u8]) -> Result<Id, Stop>) -> Result<T, Stop>,
    ) -> Result<(T, Mark), Stop> {
        let mut zstd = Compressor::new().map_err(|err| self.run.fail(err))?;
        let alone = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        let value = work(&mut |json| self.store_inside(&mut zstd, BlobHandle::tree(Id::of(json)), json))?;
        let open = self.packer.drain().map_err(|err| self.run.fail(err))?;
        drop(alone);
        open.into_iter().try_for_each(|builder| self.hand_over(Some(builder)))?;
        Ok((value, self.run.mark()))
    }

    fn count(&self, kind: BlobKind, plain_bytes: u64, stored_bytes: u64) {
        let count = match kind {
            BlobKind::Data => &self.totals.data_blobs,
            BlobKind::Tree => &self.totals.tree_blobs,
        };
        count.fetch_add(1, Relaxed);
        self.totals.bytes_added.fetch_add(plain_bytes, Relaxed);
        self.totals.bytes_stored.fetch_add(stored_bytes, Relaxed);
    }

    /// Compresses and seals a blob, unless somebody has it.
    fn seal(&self, zstd: &mut Compressor, blob: BlobHandle, plain: &[u8], sealed: &mut Sealed) -> Result<()> {
        if !self.seen.take_on(blob) {
            return Ok(());
        }
        // Restic expects trees to be compressed always, and stores others again when it prunes.
        let packed = match blob.kind {
            BlobKind::Data => zstd.shrink(plain)?,
            BlobKind::Tree => Some(zstd.compress(plain)?),
        };
        let (stored, uncompressed) = packed.map_or((plain, None), |packed| (packed, Some(plain.len())));
        self.count(blob.kind, plain.len() as u64, (stored.len() + OVERHEAD_BYTES) as u64);
        if self.dry_run {
            return Ok(());
        }
        let documents = &self.run.documents;
        sealed.seal(&documents.key, &documents.env, blob, stored, uncompressed)
    }

    fn finish(&self, builder: PackBuilder) -> Result<Pack> {
        let documents = &self.run.documents;
        packer::finish(builder, &documents.key, &documents.env, &documents.limits)
    }

    fn lost_uploads(&self) -> Stop {
        self.run.fail(Error::bug("hand a pack over: nobody takes it"))
    }

    /// Hands over what is in open packs and waits until everything is durable and indexed.
    pub(super) async fn flush(self: &Arc<Self>) -> Result<()> {
        self.run.check()?;
        for builder in self.packer.drain()? {
            let pipe = Arc::clone(self);
            let finished = tokio::task::spawn_blocking(move || pipe.finish(builder)).await;
            let pack = finished.map_err(|cause| Error::bug("finish a pack").caused_by(cause)).flatten();
            let pack = pack.inspect_err(|_| self.run.stop())?;
            if self.uploads.send(self.run.hand_over(pack)).await.is_err() {
                self.lost_uploads();
                break;
            }
        }
        self.run.settle(self.run.mark()).await.map_err(|Stop| self.run.take_error())
    }

    /// Counts what was looked at and tells about it now and then.
    pub(super) fn progress(&self, address: &str, bytes: u64, items: u64) {
        let totals = &self.totals;
        let bytes = totals.bytes_read.fetch_add(bytes, Relaxed) + bytes;
        let items = totals.items.fetch_add(items, Relaxed) + items;
        let env = &self.run.documents.env;
        // A run lasts less than 500 million years.
        let now_ms = env.clock.monotonic().as_millis() as u64;
        let last_ms = totals.progress_ms.load(Relaxed);
        if now_ms < last_ms + PROGRESS_EVERY_MS
            || totals.progress_ms.compare_exchange(last_ms, now_ms, Relaxed, Relaxed).is_err()
        {
            return;
        }
        env.emit(Event::Progress {
            stage: STAGE.into(),
            address: address.to_owned(),
            bytes,
            bytes_total: None,
            items,
            items_total: None,
        });
    }
}
