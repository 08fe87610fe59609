//! Walks a folder on all processors at once. Tasks lie on a stack: a thread takes the last one, runs it
//! to completion, and puts what it found on top, so that few folders are open at a time however wide or
//! deep the tree is. A folder is stored when its last entry is done. Nothing here recurses (fault row 155).

mod dir;
mod file;
mod portion;
mod so_far;

use self::dir::Dir;
use self::portion::Portion;
use super::pipe::Pipe;
use super::report::{Shared, TreeReport};
use super::run::{Stop, lock};
use crate::chunk::{ChunkerKind, Rabin};
use crate::compress::Compressor;
use crate::hash::LANES;
use crate::id::Id;
use crate::repository::Repository;
use crate::tree::Tree;
use recoup_core::entry::{Entry, FileBody, Folder, Listing, PathProblem};
use recoup_core::name::NodeName;
use recoup_core::{Error, Kind, Result};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use tokio::runtime::Handle;

/// What a walk is told.
pub(super) struct Order {
    pub(super) pipe: Arc<Pipe>,
    pub(super) repository: Repository,
    pub(super) runtime: Handle,
    /// Trees of earlier snapshots at the same place.
    pub(super) earlier: Past<Option<Id>>,
    /// For progress events.
    pub(super) address: String,
    pub(super) with_atime: bool,
    pub(super) ignore_ctime: bool,
    pub(super) ignore_inode: bool,
    /// For files whose source does not know how they change.
    pub(super) chunker: ChunkerKind,
    pub(super) threads: usize,
    /// Pieces that may wait for each thread; each is 8 MiB at most.
    pub(super) waiting: usize,
    /// Set by the walk, for who wants to know how far it is.
    pub(super) root: Root,
}

/// The root of the walk, as long as it is under way.
#[derive(Default)]
pub(super) struct Root(Mutex<Weak<Dir>>);

impl Order {
    /// An entry as it is stored: restic writes the time of the last change in place of the last access,
    /// which would make every tree new.
    fn stored(&self, mut entry: Entry) -> Entry {
        if !self.with_atime {
            entry.atime = entry.mtime;
        }
        entry
    }
}

/// Something of the two snapshots that a walk looks back to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Past<T> {
    /// The last complete one.
    pub(super) parent: T,
    /// What a run since then left that did not come to its end.
    pub(super) partial: T,
}

impl<T> Past<T> {
    fn map<'a, U>(&'a self, of: impl Fn(&'a T) -> U) -> Past<U> {
        Past { parent: of(&self.parent), partial: of(&self.partial) }
    }
}

/// One walk under way.
struct Walk<'a> {
    order: &'a Order,
    report: Shared,
    queue: Mutex<Queue>,
    wake: Condvar,
}

#[derive(Default)]
struct Queue {
    tasks: Vec<Task>,
    /// Pieces of large files that any thread may store; they come first, since they hold memory.
    portions: Vec<Portion>,
    /// Memory of portions that are stored; fresh memory for each costs more than copying into it.
    spare: Vec<Vec<u8>>,
    root: Option<(Id, Tree)>,
}

impl Queue {
    /// The last portions, at most so many.
    fn take_portions(&mut self, count: usize) -> Vec<Portion> {
        self.portions.split_off(self.portions.len().saturating_sub(count))
    }
}

enum Task {
    Folder { folder: Box<dyn Folder>, dir: Arc<Dir> },
    Files { dir: Arc<Dir>, files: Vec<FileTask> },
}

/// A file to read.
struct FileTask {
    /// Its place in the folder.
    slot: usize,
    entry: Entry,
    body: Box<dyn FileBody>,
    is_new: bool,
    /// The parent's content, for a chunker that cuts where the parent was cut.
    previous: Vec<Id>,
}

/// What a thread keeps from one task to the next.
struct Worker {
    zstd: Compressor,
    rabin: Rabin,
    buffer: Vec<u8>,
}

/// Walks until the root is stored; gives the report and the root. Blocks; not for async threads.
///
/// # Errors
/// A root that cannot be listed, before anything was done; or what ended the run. Trouble with anything
/// below the root stands in the report, and the rest goes on (fault rows 24 and 119).
pub(super) fn walk(order: &Order, folder: &dyn Folder) -> Result<(TreeReport, Tree)> {
    let root = Box::new(Once(Mutex::new(Some(folder.list()?))));
    let walk = Walk { order, report: Shared::new(), queue: Mutex::default(), wake: Condvar::new() };
    let workers: Vec<Worker> = (0..order.threads.max(1)).map(|_| walk.worker()).collect::<Result<_>>()?;
    let dir = Arc::new(Dir::root(order.earlier));
    *lock(&order.root.0) = Arc::downgrade(&dir);
    walk.push([Task::Folder { folder: root, dir }]);
    std::thread::scope(|scope| {
        for worker in workers {
            scope.spawn(|| walk.work(worker));
        }
    });
    let root = walk.queue().root.take();
    match root {
        Some((id, tree)) if !order.pipe.run.is_stopped() => Ok((walk.report.finish(id), tree)),
        _ => Err(order.pipe.run.take_error()),
    }
}

/// A folder that was listed already.
struct Once(Mutex<Option<Listing>>);

impl Folder for Once {
    fn list(&self) -> Result<Listing> {
        Ok(lock(&self.0).take().unwrap_or_default())
    }
}

impl Walk<'_> {
    fn worker(&self) -> Result<Worker> {
        let rabin = Rabin::new(self.order.repository.rabin());
        Ok(Worker { zstd: Compressor::new()?, rabin, buffer: Vec::new() })
    }

    fn work(&self, mut worker: Worker) {
        let _alarm = Alarm(self);
        while let Some(job) = self.next() {
            let done = match job {
                Job::Portions(portions) => self.store_together(&mut worker.zstd, None, portions).map(drop),
                Job::Task(Task::Folder { folder, dir }) => self.list(&mut worker, &*folder, &dir),
                Job::Task(Task::Files { dir, files }) => self.read_files(&mut worker, &dir, files),
            };
            if done.is_err() {
                self.wake.notify_all();
                return;
            }
        }
    }

    /// Waits for something to do; `None` once the walk is over.
    fn next(&self) -> Option<Job> {
        let mut queue = self.queue();
        loop {
            if queue.root.is_some() || self.is_stopped() {
                return None;
            }
            if !queue.portions.is_empty() {
                return Some(Job::Portions(queue.take_portions(LANES)));
            }
            if let Some(task) = queue.tasks.pop() {
                return Some(Job::Task(task));
            }
            queue = self.wait(queue);
        }
    }

    fn push(&self, tasks: impl IntoIterator<Item = Task>) {
        self.queue().tasks.extend(tasks);
        self.wake.notify_all();
    }

    fn read_files(&self, worker: &mut Worker, dir: &Arc<Dir>, files: Vec<FileTask>) -> Result<(), Stop> {
        for file in files {
            let node = self.read(worker, dir, &file)?;
            dir.put(file.slot, node);
            self.finish(worker, Arc::clone(dir), 1)?;
        }
        Ok(())
    }

    /// Notes trouble with one path; what went away is no trouble (fault row 118).
    fn note(&self, dir: &Dir, name: Option<&NodeName>, error: Error) {
        let path = dir.path(name);
        self.report.with(|report| {
            if error.kind() == Kind::NotFound {
                report.vanished.push(path);
            } else {
                report.errors.push(PathProblem { path, error });
            }
        });
    }

    fn progress(&self, bytes: u64, items: u64) {
        self.order.pipe.progress(&self.order.address, bytes, items);
    }

    fn is_stopped(&self) -> bool {
        self.order.pipe.run.is_stopped()
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }

    /// Sleeps until somebody put something on the stack or finished. Who stops a run from outside wakes
    /// nobody, so a sleeper looks by itself now and then.
    fn wait<'q>(&self, queue: MutexGuard<'q, Queue>) -> MutexGuard<'q, Queue> {
        const LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(100);
        self.wake.wait_timeout(queue, LOOK_EVERY).unwrap_or_else(PoisonError::into_inner).0
    }
}

enum Job {
    Portions(Vec<Portion>),
    Task(Task),
}

/// Wakes the others if a thread dies, so that they do not wait for its work for ever.
struct Alarm<'a, 'b>(&'a Walk<'b>);

impl Drop for Alarm<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.order.pipe.run.fail(Error::bug("walk a folder"));
        }
        self.0.wake.notify_all();
    }
}
