//! Which blobs need not be stored: those of the index, and those that this run has taken on.

use super::run::lock;
use crate::blob::BlobHandle;
use crate::index::Index;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Enough shards that threads seldom meet; a blob costs 33 bytes and a hash slot.
const SHARDS: usize = 64;

/// Known blobs. A blob is taken on once, so that no run and no pack holds it twice.
pub(super) struct Seen {
    index: Arc<Index>,
    /// Blobs that the index has and nobody can read; stored again, as a second copy.
    unreadable: Mutex<HashSet<BlobHandle>>,
    any_unreadable: AtomicBool,
    taken: Vec<Mutex<HashSet<BlobHandle>>>,
}

impl Seen {
    pub(super) fn new(index: Arc<Index>) -> Self {
        let (unreadable, any_unreadable) = (Mutex::default(), AtomicBool::new(false));
        Seen { index, unreadable, any_unreadable, taken: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }

    /// Whether the caller has to store the blob. A blob whose pack is missing or has the wrong size
    /// counts as absent, whatever the index says (fault row 36).
    pub(super) fn take_on(&self, blob: BlobHandle) -> bool {
        !self.is_indexed(&blob) && lock(self.shard(&blob)).insert(blob)
    }

    /// Whether the blob is stored, or will be before this run may write a snapshot.
    pub(super) fn has(&self, blob: &BlobHandle) -> bool {
        self.is_indexed(blob) || lock(self.shard(blob)).contains(blob)
    }

    /// How long a blob of the index is, in bytes.
    pub(super) fn plain_bytes(&self, blob: &BlobHandle) -> Option<u64> {
        self.index.plain_bytes(blob)
    }

    /// Stores `blob` again when it is met, since no copy of it can be read.
    pub(super) fn distrust(&self, blob: BlobHandle) {
        lock(&self.unreadable).insert(blob);
        self.any_unreadable.store(true, Ordering::Release);
    }

    fn is_indexed(&self, blob: &BlobHandle) -> bool {
        let unreadable =
            || self.any_unreadable.load(Ordering::Acquire) && lock(&self.unreadable).contains(blob);
        self.index.has(blob) && !unreadable()
    }

    fn shard(&self, blob: &BlobHandle) -> &Mutex<HashSet<BlobHandle>> {
        &self.taken[usize::from(blob.id.as_bytes()[0]) % SHARDS]
    }
}
