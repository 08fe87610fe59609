//! Which blobs need not be stored: those of the index, and those that this run has taken on.

use super::run::lock;
use crate::blob::BlobHandle;
use crate::index::Index;
use std::collections::HashSet;
use std::sync::{Arc, Mutex};

/// Enough shards that threads seldom meet; a blob costs 33 bytes and a hash slot.
const SHARDS: usize = 64;

/// Known blobs. A blob is taken on once, so that no run and no pack holds it twice.
pub(super) struct Seen {
    index: Arc<Index>,
    taken: Vec<Mutex<HashSet<BlobHandle>>>,
}

impl Seen {
    pub(super) fn new(index: Arc<Index>) -> Self {
        Seen { index, taken: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }

    /// Whether the caller has to store the blob. A blob whose pack is missing or has the wrong size
    /// counts as absent, whatever the index says (fault row 36).
    pub(super) fn take_on(&self, blob: BlobHandle) -> bool {
        !self.index.has(&blob) && lock(self.shard(&blob)).insert(blob)
    }

    /// Whether the blob is stored, or will be before this run may write a snapshot.
    pub(super) fn has(&self, blob: &BlobHandle) -> bool {
        self.index.has(blob) || lock(self.shard(blob)).contains(blob)
    }

    fn shard(&self, blob: &BlobHandle) -> &Mutex<HashSet<BlobHandle>> {
        &self.taken[usize::from(blob.id.as_bytes()[0]) % SHARDS]
    }
}
