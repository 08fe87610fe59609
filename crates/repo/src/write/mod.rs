//! One run of a backup: folders in, a snapshot out.
//!
//! The order that makes a snapshot worth its name: packs are durable before an index lists them, the
//! index is durable before a snapshot needs it. Whatever stops a run in between, what was there before
//! is untouched, and what the run had finished is used by the next one.
//!
//! | file | what it does |
//! |---|---|
//! | `budget` | how much memory a run may take |
//! | `walk` | folders and files on all processors |
//! | `pipe` | the way of one blob |
//! | `seen` | which blobs need not be stored |
//! | `packer` | blobs into packs, read back before they count |
//! | `run` | packs into the store, then the index |
//! | `partial` | what a run that does not come to its end leaves for the next |
//! | `graft` | small files and folders added to a tree |
//! | `stream` | a stream as one file |
//! | `transfer` | blobs of another repository |

mod budget;
mod run;

mod packer;
mod report;
mod seen;

mod pipe;

mod graft;
mod partial;
mod stream;
mod transfer;
mod walk;

pub use partial::{Earlier, Parent};
pub use report::TreeReport;

use self::budget::Budget;
use self::partial::Partial;
use self::pipe::Pipe;
use self::run::Run;
use self::seen::Seen;
use self::walk::{Order, Root, walk};
use crate::chunk::ChunkerKind;
use crate::id::Id;
use crate::layout::ObjectKind;
use crate::locks::{LockGuard, LockMode};
use crate::repository::Repository;
use crate::snapshot::Snapshot;
use crate::tree::Tree;
use recoup_core::entry::Folder;
use recoup_core::{Error, Result};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::sync::mpsc;

/// As often as the index is written.
const PARTIAL_EVERY: Duration = Duration::from_secs(5 * 60);

/// How a run is done.
#[derive(Clone, Debug)]
pub struct WriteOptions {
    /// Reads and counts, and stores nothing.
    pub dry_run: bool,
    /// Keeps the time of last access, which makes nearly every tree new.
    pub with_atime: bool,
    /// Takes a file for unchanged whatever its time of the last change of metadata is.
    pub ignore_ctime: bool,
    /// Takes a file for unchanged whatever its inode is.
    pub ignore_inode: bool,
    /// How files are cut whose source does not know how they change, and streams.
    pub chunker: ChunkerKind,
    /// How long to wait for others who hold the repository.
    pub lock_wait: Duration,
    /// Threads that read and pack; one for each processor if absent.
    pub threads: Option<usize>,
    /// Packs on their way to the store at the same time; each takes 16 MiB of memory.
    pub uploads: usize,
    /// Memory that the run may take at its worst, in bytes: fewer threads, fewer and smaller packs fit into
    /// less. What directories under way hold is not counted.
    pub memory_bytes_max: Option<u64>,
    /// How often a run keeps what it has so far as a partial snapshot, where [`Writer::tree`] is told of one;
    /// never if absent.
    pub partial_every: Option<Duration>,
}

impl Default for WriteOptions {
    fn default() -> Self {
        WriteOptions {
            dry_run: false,
            with_atime: false,
            ignore_ctime: false,
            ignore_inode: false,
            chunker: ChunkerKind::default(),
            lock_wait: Duration::ZERO,
            threads: None,
            uploads: 2,
            memory_bytes_max: None,
            partial_every: Some(PARTIAL_EVERY),
        }
    }
}

impl WriteOptions {
    fn budget(&self, blobs: u64) -> Result<Budget> {
        let threads = || std::thread::available_parallelism().map_or(1, usize::from);
        let full = Budget::new(self.threads.unwrap_or_else(threads), self.uploads);
        self.memory_bytes_max.map_or(Ok(full), |bytes_max| full.within(bytes_max, blobs))
    }
}

/// What a run added to the repository, over all of its trees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Added {
    /// New pieces of files.
    pub data_blobs: u64,
    /// New directories.
    pub tree_blobs: u64,
    /// Their plaintext.
    pub bytes_added: u64,
    /// What they take in packs.
    pub bytes_stored: u64,
}

/// One run. It holds a shared lock until [`Writer::finish`].
pub struct Writer {
    repository: Repository,
    pipe: Arc<Pipe>,
    lock: LockGuard,
    options: WriteOptions,
    budget: Budget,
    /// Roots of this run; they may not be readable in the repository yet.
    roots: HashMap<Id, Tree>,
    /// Partial snapshots that a complete one will replace.
    partials: Vec<Partial>,
}

impl Writer {
    /// Locks the repository and loads its index. Blobs whose pack is missing or has the wrong size count
    /// as absent and are stored again (fault row 36).
    ///
    /// # Errors
    /// `Kind::Locked`, E0411; `Kind::Unsupported`, E0470, for a repository of version 1; `Kind::Refused`, E0489, if
    /// the run may not have the memory it needs.
    pub async fn begin(repository: &Repository, options: WriteOptions) -> Result<Writer> {
        repository.refuse_version_1()?;
        let lock = repository.lock_within(LockMode::Shared, options.lock_wait).await?;
        let index = repository.reload_index().await?;
        let budget = match options.budget(index.len() as u64) {
            Ok(budget) => budget,
            Err(err) => {
                lock.release().await?;
                return Err(err);
            }
        };
        let unlisted = if options.dry_run { Vec::new() } else { index.mended().to_vec() };
        let run = Arc::new(Run::new(repository.documents().clone(), lock.watch(), unlisted));
        let (sender, receiver) = mpsc::channel(1);
        let receiver = Arc::new(tokio::sync::Mutex::new(receiver));
        for _ in 0..budget.uploads {
            let (run, receiver) = (Arc::clone(&run), Arc::clone(&receiver));
            tokio::spawn(async move { run.upload_all(&receiver).await });
        }
        let pipe = Arc::new(Pipe::new(run, Seen::new(index), sender, options.dry_run, budget.pack_bytes));
        let repository = repository.clone();
        Ok(Writer { repository, pipe, lock, options, budget, roots: HashMap::new(), partials: Vec::new() })
    }

    /// Stores `folder`. Files that have not changed since `earlier` snapshots of the same place are not read.
    /// `address` names the tree in progress events.
    ///
    /// # Errors
    /// Trouble with the repository, after which the run is over, or a folder that cannot be listed at
    /// all. Trouble with anything in it stands in the report.
    pub async fn tree(
        &mut self,
        folder: Box<dyn Folder>,
        earlier: impl Into<Earlier>,
        address: &str,
    ) -> Result<TreeReport> {
        self.pipe.run.check()?;
        let before = self.added();
        let earlier = earlier.into();
        let order = Arc::new(Order {
            pipe: Arc::clone(&self.pipe),
            repository: self.repository.clone(),
            runtime: tokio::runtime::Handle::current(),
            earlier: earlier.trees(),
            address: address.to_owned(),
            with_atime: self.options.with_atime,
            ignore_ctime: self.options.ignore_ctime,
            ignore_inode: self.options.ignore_inode,
            chunker: self.options.chunker,
            threads: self.budget.threads,
            waiting: self.budget.waiting,
            root: Root::default(),
        });
        // Whoever stops waiting stops the walk.
        let mut stopper = Stopper(Some(Arc::clone(&self.pipe.run)));
        let walking = {
            let order = Arc::clone(&order);
            tokio::task::spawn_blocking(move || walk(&order, &*folder))
        };
        let walked = self.keep_partials(earlier, &order, walking).await;
        stopper.0 = None;
        let walked = walked.map_err(|cause| {
            self.pipe.run.stop();
            Error::bug("walk a folder").caused_by(cause)
        });
        let (mut report, root) = walked.flatten()?;
        self.roots.insert(report.tree, root);
        let after = self.added();
        report.data_blobs = after.data_blobs - before.data_blobs;
        report.tree_blobs = after.tree_blobs - before.tree_blobs;
        report.bytes_added = after.bytes_added - before.bytes_added;
        report.bytes_stored = after.bytes_stored - before.bytes_stored;
        Ok(report)
    }

    /// What the run added so far.
    pub fn added(&self) -> Added {
        let totals = &self.pipe.totals;
        Added {
            data_blobs: totals.data_blobs.load(Relaxed),
            tree_blobs: totals.tree_blobs.load(Relaxed),
            bytes_added: totals.bytes_added.load(Relaxed),
            bytes_stored: totals.bytes_stored.load(Relaxed),
        }
    }

    /// Makes everything that was stored so far durable: packs first, then the index that lists them.
    ///
    /// # Errors
    /// As the store says; the run is then over.
    pub async fn flush(&mut self) -> Result<()> {
        self.pipe.flush().await?;
        if self.pipe.run.take_index_news() {
            self.repository.forget_index().await;
        }
        Ok(())
    }

    /// Writes a snapshot of a tree of this run, after everything it needs is durable. In a dry run the
    /// id is that of the snapshot's text and nothing is written.
    ///
    /// # Errors
    /// `Kind::Interrupted`, E0466, if the lock was lost meanwhile; as the store says otherwise.
    pub async fn snapshot(&mut self, snapshot: Snapshot) -> Result<Id> {
        let json = snapshot.encode()?;
        if self.options.dry_run {
            return Ok(Id::of(&json));
        }
        self.flush().await?;
        self.lock.check()?;
        let id = self.pipe.run.save(ObjectKind::Snapshot, json).await?;
        self.retire_partials(&snapshot.paths, u64::MAX).await;
        Ok(id)
    }

    /// Removes what earlier runs left of `paths`, for a run that found nothing new and writes no snapshot.
    pub async fn forget_partials(&mut self, paths: &[String]) {
        if !self.options.dry_run {
            self.retire_partials(paths, u64::MAX).await;
        }
    }

    /// Ends the run and releases the lock. What was stored and is in no snapshot is used by later runs.
    ///
    /// # Errors
    /// As the store says.
    pub async fn finish(self) -> Result<()> {
        self.lock.release().await
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Writer({:?})", self.repository)
    }
}

/// Stops the run when it is dropped, unless it was disarmed.
struct Stopper(Option<Arc<Run>>);

impl Drop for Stopper {
    fn drop(&mut self) {
        if let Some(run) = &self.0 {
            run.stop();
        }
    }
}
