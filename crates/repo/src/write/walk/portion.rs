//! Pieces of a file on their way: small neighbours are stored together, and by another thread if one has time.

use super::super::run::{Stop, lock};
use super::Walk;
use crate::blob::BlobHandle;
use crate::chunk::Chunker;
use crate::compress::Compressor;
use crate::hash::{self, LANES};
use crate::id::Id;
use std::sync::{Arc, Mutex};

/// So many bytes of pieces go together: calls and locks for each piece of a few KiB would take as long as storing it.
const PORTION_BYTES: usize = 256 << 10;
/// What is shorter is stored where it was cut. Small files are a task of their own already.
const SHARED_BYTES_MIN: usize = 64 << 10;

/// Pieces of a large file that follow each other, for any thread.
pub(super) struct Portion {
    bytes: Vec<u8>,
    /// Where each piece ends in them.
    ends: Vec<usize>,
    file: Arc<Pieces>,
    /// Number of the first piece in its file.
    first: usize,
}

/// The pieces of one file as they are stored.
#[derive(Default)]
pub(super) struct Pieces(Mutex<State>);

#[derive(Default)]
struct State {
    ids: Vec<Option<Id>>,
    /// Portions that another thread has.
    open: usize,
}

impl Pieces {
    /// The next pieces are stored: `count` times `id`.
    pub(super) fn push(&self, id: Id, count: usize) {
        lock(&self.0).ids.extend(std::iter::repeat_n(Some(id), count));
    }

    /// Numbers the next pieces; gives the first number.
    fn reserve(&self, count: usize) -> usize {
        let ids = &mut lock(&self.0).ids;
        let first = ids.len();
        ids.resize(first + count, None);
        first
    }
}

impl State {
    fn set(&mut self, first: usize, ids: &[Id]) {
        for (slot, id) in self.ids.iter_mut().skip(first).zip(ids) {
            *slot = Some(*id);
        }
    }
}

impl Walk<'_> {
    /// Stores the whole pieces at the front of `bytes`; gives how long they are.
    pub(super) fn cut_off(
        &self,
        zstd: &mut Compressor,
        pieces: &Arc<Pieces>,
        chunker: &mut dyn Chunker,
        bytes: &[u8],
    ) -> Result<usize, Stop> {
        let shared_min = shared_min(chunker);
        // What lies between the two is cut and not handed on yet.
        let (mut from, mut at) = (0, 0);
        let mut ends = Vec::new();
        while let Some(length) = chunker.cut(&bytes[at..]) {
            let known = chunker.known().filter(|id| self.order.pipe.seen.has(&BlobHandle::data(*id)));
            if known.is_none() {
                at += length;
                ends.push(at - from);
            }
            if known.is_some() || at - from >= PORTION_BYTES {
                self.hand_on(zstd, pieces, &bytes[from..at], &ends, shared_min)?;
                from = at;
                ends.clear();
            }
            if let Some(id) = known {
                pieces.push(id, 1);
                at += length;
                from = at;
            }
        }
        self.hand_on(zstd, pieces, &bytes[from..at], &ends, shared_min)?;
        Ok(at)
    }

    /// Stores `bytes`, if there are any, as the last piece.
    pub(super) fn end_with(
        &self,
        zstd: &mut Compressor,
        pieces: &Arc<Pieces>,
        chunker: &dyn Chunker,
        bytes: &[u8],
    ) -> Result<(), Stop> {
        let ends: &[usize] = if bytes.is_empty() { &[] } else { &[bytes.len()] };
        self.hand_on(zstd, pieces, bytes, ends, shared_min(chunker))
    }

    /// Stores pieces, or lets another thread do it if one has time.
    fn hand_on(
        &self,
        zstd: &mut Compressor,
        pieces: &Arc<Pieces>,
        bytes: &[u8],
        ends: &[usize],
        shared_min: usize,
    ) -> Result<(), Stop> {
        if ends.is_empty() {
            return Ok(());
        }
        let first = pieces.reserve(ends.len());
        let threads = self.order.threads;
        let is_long = bytes.len() >= shared_min;
        if threads > 1 && is_long {
            let mut queue = self.queue();
            if queue.portions.len() < threads * self.order.waiting {
                lock(&pieces.0).open += 1;
                let mut room = queue.spare.pop().unwrap_or_default();
                drop(queue);
                room.extend_from_slice(bytes);
                let portion = Portion { bytes: room, ends: ends.to_vec(), file: Arc::clone(pieces), first };
                self.queue().portions.push(portion);
                self.wake.notify_one();
                return Ok(());
            }
        }
        // Too short to be shared, it is too short to be hashed beside others as well.
        let beside =
            if is_long { self.queue().take_portions(LANES.saturating_sub(ends.len())) } else { Vec::new() };
        let ids = self.store_together(zstd, Some((bytes, ends)), beside)?;
        lock(&pieces.0).set(first, &ids);
        Ok(())
    }

    /// Stores pieces of the file under way, if there are any, and others that wait. They are hashed at once; gives the
    /// ids of the first.
    pub(super) fn store_together(
        &self,
        zstd: &mut Compressor,
        own: Option<(&[u8], &[usize])>,
        others: Vec<Portion>,
    ) -> Result<Vec<Id>, Stop> {
        if self.is_stopped() {
            return Err(Stop);
        }
        let mut all = Vec::new();
        let own_count = own.map_or(0, |(_, ends)| ends.len());
        for (bytes, ends) in
            own.into_iter().chain(others.iter().map(|portion| (&*portion.bytes, &*portion.ends)))
        {
            let mut from = 0;
            all.extend(ends.iter().map(|&end| &bytes[std::mem::replace(&mut from, end)..end]));
        }
        let mut ids = hash::ids(&all);
        let mut blobs = ids.iter().map(|id| BlobHandle::data(*id)).zip(all);
        if own_count > 0 {
            self.order.pipe.store_all(zstd, blobs.by_ref().take(own_count))?;
        }
        for portion in &others {
            self.order.pipe.store_all(zstd, blobs.by_ref().take(portion.ends.len()))?;
        }
        drop(blobs);
        let mut rest = &ids[own_count..];
        for portion in others {
            let ids = rest.split_off(..portion.ends.len()).unwrap_or_default();
            self.note_stored(portion, ids);
        }
        ids.truncate(own_count);
        Ok(ids)
    }

    fn note_stored(&self, mut portion: Portion, ids: &[Id]) {
        portion.bytes.clear();
        self.queue().spare.push(std::mem::take(&mut portion.bytes));
        let is_last = {
            let mut state = lock(&portion.file.0);
            state.set(portion.first, ids);
            state.open -= 1;
            state.open == 0
        };
        if is_last {
            // Under the lock that sleepers hold, so that the call is not lost.
            let _queue = self.queue();
            self.wake.notify_all();
        }
    }

    /// Waits for pieces that other threads store, and helps meanwhile. Gives all of the file.
    pub(super) fn collect(&self, zstd: &mut Compressor, pieces: &Arc<Pieces>) -> Result<Vec<Id>, Stop> {
        loop {
            let mut queue = self.queue();
            if self.is_stopped() {
                return Err(Stop);
            }
            let state = lock(&pieces.0);
            if state.open == 0 {
                return Ok(state.ids.iter().copied().flatten().collect());
            }
            drop(state);
            if queue.portions.is_empty() {
                drop(self.wait(queue));
            } else {
                let portions = queue.take_portions(LANES);
                drop(queue);
                self.store_together(zstd, None, portions)?;
            }
        }
    }
}

fn shared_min(chunker: &dyn Chunker) -> usize {
    chunker.min().max(SHARED_BYTES_MIN)
}
