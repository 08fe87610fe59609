//! What every part of one run shares: the way to the store, what is not in an index file yet, and the
//! error that ended the run.

use crate::documents::{Documents, put_new};
use crate::id::Id;
use crate::index::{BLOBS_MAX, IndexFile, IndexPack};
use crate::layout::ObjectKind;
use crate::locks::LockWatch;
use crate::pack::Pack;
use bytes::Bytes;
use recoup_core::{Error, Result};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// The run is over; the reason stands in [`Run::take_error`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Stop;

/// How long a finished pack may wait for its index file. What is in no index is stored again by the next
/// run if this one is killed.
const INDEX_EVERY: Duration = Duration::from_secs(5 * 60);

/// Shared by the threads and tasks of one run.
pub(super) struct Run {
    pub(super) documents: Documents,
    lock: LockWatch,
    stop: AtomicBool,
    error: Mutex<Option<Error>>,
    /// An index file was written since somebody asked.
    is_index_new: AtomicBool,
    waiting: Mutex<Waiting>,
    /// Held by who writes index files, so that who waits for the index waits for all of it.
    saving: tokio::sync::Mutex<()>,
    outstanding: watch::Sender<Outstanding>,
}

/// Packs handed over and not durable yet, by their numbers.
#[derive(Default)]
struct Outstanding {
    next: u64,
    packs: BTreeSet<u64>,
}

/// A moment in the order in which packs were handed over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark(u64);

/// A pack on its way, with its number in that order.
pub(super) struct Handed {
    pub(super) pack: Pack,
    number: u64,
}

/// Durable packs that no index file lists yet.
struct Waiting {
    packs: Vec<IndexPack>,
    blobs: usize,
    saved: Duration,
}

impl Run {
    /// A run that also writes the index of `unlisted`: packs that are there, in no index file, and that
    /// its snapshots may need.
    pub(super) fn new(documents: Documents, lock: LockWatch, unlisted: Vec<IndexPack>) -> Self {
        let saved = documents.env.clock.monotonic();
        let blobs = unlisted.iter().map(|pack| pack.blobs.len()).sum();
        Run {
            documents,
            lock,
            stop: AtomicBool::new(false),
            error: Mutex::new(None),
            is_index_new: AtomicBool::new(false),
            waiting: Mutex::new(Waiting { packs: unlisted, blobs, saved }),
            saving: tokio::sync::Mutex::default(),
            outstanding: watch::channel(Outstanding::default()).0,
        }
    }

    /// Ends the run; the first reason counts.
    pub(super) fn fail(&self, err: Error) -> Stop {
        lock(&self.error).get_or_insert(err);
        self.stop();
        Stop
    }

    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// The reason why the run ended; a run that ended says so again to whoever asks later.
    pub(super) fn take_error(&self) -> Error {
        let ended =
            || Error::bug("go on with a backup that ended").effect("no complete snapshot was written");
        lock(&self.error).take().unwrap_or_else(ended)
    }

    /// Whether it may go on writing.
    pub(super) fn check(&self) -> Result<()> {
        if self.is_stopped() { Err(self.take_error()) } else { self.lock.check() }
    }

    /// Takes packs from `packs` until there are no more. After a failure it goes on taking them, so that
    /// nobody waits for room.
    pub(super) async fn upload_all(&self, packs: &tokio::sync::Mutex<mpsc::Receiver<Handed>>) {
        loop {
            let next = packs.lock().await.recv().await;
            let Some(Handed { pack, number }) = next else { return };
            if !self.is_stopped()
                && let Err(err) = self.upload(pack).await
            {
                self.fail(err.effect("no complete snapshot was written; earlier ones are not touched"));
            }
            self.outstanding.send_modify(|outstanding| {
                outstanding.packs.remove(&number);
            });
        }
    }

    /// Makes one pack durable, then notes it for the index: never the other way round.
    async fn upload(&self, pack: Pack) -> Result<()> {
        self.lock.check()?;
        put_new(&*self.documents.store, ObjectKind::Pack, &pack.id, Bytes::from(pack.bytes)).await?;
        let more = pack.entries.len();
        if self.is_index_due(more) {
            let _saving = self.saving.lock().await;
            // Another task may have written it meanwhile.
            if self.is_index_due(more) {
                self.save_waiting().await?;
            }
        }
        let mut waiting = lock(&self.waiting);
        waiting.blobs += more;
        waiting.packs.push(IndexPack { id: pack.id, blobs: pack.entries });
        Ok(())
    }

    /// Whether the waiting packs are to be written before `more` blobs join them.
    fn is_index_due(&self, more: usize) -> bool {
        let waiting = lock(&self.waiting);
        let overdue = || self.documents.env.clock.monotonic().saturating_sub(waiting.saved) > INDEX_EVERY;
        waiting.blobs + more > BLOBS_MAX || overdue()
    }

    /// Writes the index of the waiting packs; the caller holds `saving`.
    async fn save_waiting(&self) -> Result<()> {
        let packs = self.take(&mut lock(&self.waiting));
        self.save_index(packs).await
    }

    fn take(&self, waiting: &mut Waiting) -> Vec<IndexPack> {
        waiting.blobs = 0;
        waiting.saved = self.documents.env.clock.monotonic();
        std::mem::take(&mut waiting.packs)
    }

    async fn save_index(&self, packs: Vec<IndexPack>) -> Result<()> {
        for packs in split(packs) {
            self.lock.check()?;
            self.save(ObjectKind::Index, IndexFile { packs }.encode()?).await?;
            self.is_index_new.store(true, Ordering::Release);
        }
        Ok(())
    }

    pub(super) async fn save(&self, kind: ObjectKind, json: Vec<u8>) -> Result<Id> {
        self.documents.save(kind, json).await
    }

    /// Whether an index file was written since the last call.
    pub(super) fn take_index_news(&self) -> bool {
        self.is_index_new.swap(false, Ordering::AcqRel)
    }

    /// Counts a pack that is about to be handed over.
    pub(super) fn hand_over(&self, pack: Pack) -> Handed {
        let mut number = 0;
        self.outstanding.send_modify(|outstanding| {
            number = outstanding.next;
            outstanding.next += 1;
            outstanding.packs.insert(number);
        });
        Handed { pack, number }
    }

    /// Now: after every pack that was handed over so far.
    pub(super) fn mark(&self) -> Mark {
        Mark(self.outstanding.borrow().next)
    }

    /// Waits until every pack that was handed over before `mark` is durable, then writes the index of all that
    /// are. Whoever ends the run by it asks [`Run::take_error`] why; others leave the reason where it is.
    pub(super) async fn settle(&self, Mark(mark): Mark) -> Result<(), Stop> {
        let is_settled = |outstanding: &Outstanding| outstanding.packs.first().is_none_or(|n| *n >= mark);
        // The sender lives as long as this value does, so that waiting cannot fail.
        let _ = self.outstanding.subscribe().wait_for(is_settled).await;
        let _saving = self.saving.lock().await;
        if self.is_stopped() {
            return Err(Stop);
        }
        self.lock.check().map_err(|err| self.fail(err))?;
        self.save_waiting().await.map_err(|err| self.fail(err))
    }
}

/// Packs in groups that fit into one index file each; a pack is never split.
fn split(packs: Vec<IndexPack>) -> Vec<Vec<IndexPack>> {
    let mut files: Vec<Vec<IndexPack>> = Vec::new();
    let mut blobs = 0;
    for pack in packs {
        blobs += pack.blobs.len();
        match files.last_mut() {
            Some(file) if blobs <= BLOBS_MAX => file.push(pack),
            _ => {
                blobs = pack.blobs.len();
                files.push(vec![pack]);
            }
        }
    }
    files
}

/// Nothing of ours panics while it holds a lock, and if it did the run would end.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
