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
    /// Packs handed over and not durable yet.
    outstanding: watch::Sender<usize>,
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
            outstanding: watch::channel(0).0,
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
        let ended = || Error::bug("go on with a backup that ended").effect("no snapshot was written");
        lock(&self.error).take().unwrap_or_else(ended)
    }

    /// Whether it may go on writing.
    pub(super) fn check(&self) -> Result<()> {
        if self.is_stopped() { Err(self.take_error()) } else { self.lock.check() }
    }

    /// Takes packs from `packs` until there are no more. After a failure it goes on taking them, so that
    /// nobody waits for room.
    pub(super) async fn upload_all(&self, packs: &tokio::sync::Mutex<mpsc::Receiver<Pack>>) {
        loop {
            let next = packs.lock().await.recv().await;
            let Some(pack) = next else { return };
            if !self.is_stopped()
                && let Err(err) = self.upload(pack).await
            {
                self.fail(err.effect("no snapshot was written; earlier ones are not touched"));
            }
            self.outstanding.send_modify(|n| *n -= 1);
        }
    }

    /// Makes one pack durable, then notes it for the index: never the other way round.
    async fn upload(&self, pack: Pack) -> Result<()> {
        self.lock.check()?;
        put_new(&*self.documents.store, ObjectKind::Pack, &pack.id, Bytes::from(pack.bytes)).await?;
        let full = {
            let mut waiting = lock(&self.waiting);
            let overflows = waiting.blobs + pack.entries.len() > BLOBS_MAX;
            let overdue = self.documents.env.clock.monotonic().saturating_sub(waiting.saved) > INDEX_EVERY;
            let full = (overflows || overdue).then(|| self.take(&mut waiting));
            waiting.blobs += pack.entries.len();
            waiting.packs.push(IndexPack { id: pack.id, blobs: pack.entries });
            full
        };
        match full {
            Some(packs) => self.save_index(packs).await,
            None => Ok(()),
        }
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

    /// Counts a pack before it is handed over.
    pub(super) fn hand_over(&self) {
        self.outstanding.send_modify(|n| *n += 1);
    }

    /// Waits until every pack that was handed over is durable, then writes the index of them.
    pub(super) async fn settle(&self) -> Result<()> {
        // The sender lives as long as this value does, so that waiting cannot fail.
        let _ = self.outstanding.subscribe().wait_for(|n| *n == 0).await;
        self.check()?;
        let packs = self.take(&mut lock(&self.waiting));
        self.save_index(packs).await.inspect_err(|_| self.stop())
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
