//! One folder: listed, compared with the parent's, and stored when its last entry is done.

use super::super::run::{Stop, lock};
use super::{FileTask, Task, Walk, Worker};
use crate::blob::{BlobHandle, BlobKind};
use crate::chunk::ChunkerKind;
use crate::id::Id;
use crate::problem::Problem;
use crate::tree::{Node, Tree};
use recoup_core::entry::{Body, Entry, EntryKind, Folder, Item};
use recoup_core::name::{NodeName, TreePath};
use recoup_core::{Error, Kind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Files read by one task: enough that taking tasks costs nothing, few enough to share a large folder.
const FILES_PER_TASK: usize = 64;
const BYTES_PER_TASK: u64 = 8 << 20;

/// A folder under way.
pub(super) struct Dir {
    /// The folder above and the place in it; `None` for the root.
    above: Option<(Arc<Dir>, usize)>,
    /// Its metadata; the root has none.
    entry: Option<Entry>,
    /// The parent snapshot's tree of this folder.
    previous: Option<Id>,
    /// What stands in it, from the listing until the folder is stored; `None` if it could not be read.
    before: Mutex<Option<Tree>>,
    nodes: Mutex<Vec<Option<Node>>>,
    /// Entries that are not done, and one for the listing.
    open: AtomicUsize,
}

impl Dir {
    pub(super) fn root(previous: Option<Id>) -> Self {
        Dir::new(None, None, previous)
    }

    fn new(above: Option<(Arc<Dir>, usize)>, entry: Option<Entry>, previous: Option<Id>) -> Self {
        let (before, nodes, open) = (Mutex::default(), Mutex::default(), AtomicUsize::new(1));
        Dir { above, entry, previous, before, nodes, open }
    }

    pub(super) fn put(&self, slot: usize, node: Option<Node>) {
        if let Some(place) = lock(&self.nodes).get_mut(slot) {
            *place = node;
        }
    }

    /// The path of the folder, or of `name` in it. Put together only when somebody asks: in a tree that
    /// is thousands of folders deep, keeping every path would take more memory than the tree.
    pub(super) fn path(&self, name: Option<&NodeName>) -> TreePath {
        let mut names: Vec<NodeName> = name.cloned().into_iter().collect();
        let mut next = Some(self);
        while let Some(dir) = next {
            names.extend(dir.entry.iter().map(|entry| entry.name.clone()));
            next = dir.above.as_ref().map(|(above, _)| &**above);
        }
        names.into_iter().rev().collect()
    }
}

impl Drop for Dir {
    /// One by one: letting the chain of folders drop each other would need as much stack as it is deep.
    fn drop(&mut self) {
        let mut next = self.above.take();
        while let Some((above, _)) = next {
            next = Arc::into_inner(above).and_then(|mut dir| dir.above.take());
        }
    }
}

impl Walk<'_> {
    /// Lists a folder and puts what is to be done on the stack: folders below, files above, so that the
    /// files of a folder are read before its folders are listed.
    pub(super) fn list(&self, worker: &mut Worker, folder: &dyn Folder, dir: &Arc<Dir>) -> Result<(), Stop> {
        let listing = match folder.list() {
            Ok(listing) => listing,
            Err(err) => return self.give_up(worker, dir, err),
        };
        for (name, error) in listing.problems {
            self.note(dir, Some(&name), error);
        }
        let mut items = listing.items;
        items.sort_by(|a, b| a.entry.name.cmp(&b.entry.name));
        items.dedup_by(|again, first| {
            let same = again.entry.name == first.entry.name;
            if same {
                let err = Error::new(Kind::Conflict, "store two entries of one name").code("E0471");
                self.note(dir, Some(&again.entry.name), err);
            }
            same
        });
        let previous = self.previous(dir);
        dir.open.fetch_add(items.len(), Ordering::Relaxed);
        let mut left = Left::default();
        let mut nodes = Vec::with_capacity(items.len());
        for (slot, item) in items.into_iter().enumerate() {
            let before = previous.as_ref().and_then(|tree| tree.find(&item.entry.name));
            nodes.push(self.sort_out(dir, slot, item, before, &mut left));
        }
        let done = nodes.len() - left.folders.len() - left.files.len();
        *lock(&dir.nodes) = nodes;
        *lock(&dir.before) = previous;
        self.count(&left);
        // The last one first, so that the stack gives them in order.
        left.folders.reverse();
        self.push(left.folders.into_iter().chain(batches(dir, left.files)));
        // The entries that need nothing more, and the listing.
        self.finish(worker, Arc::clone(dir), done + 1)
    }

    /// Counts what needed nothing more, once for a folder.
    fn count(&self, left: &Left) {
        self.report.with(|report| {
            report.files_unmodified += left.unmodified;
            report.bytes_total += left.unmodified_bytes;
            report.sockets_skipped += left.sockets;
            report.others += left.others;
        });
        self.progress(left.unmodified_bytes, left.unmodified + left.others);
    }

    /// A folder that cannot be listed is left out; the root is all there is, so that the run ends.
    fn give_up(&self, worker: &mut Worker, dir: &Arc<Dir>, err: Error) -> Result<(), Stop> {
        let Some((above, _)) = &dir.above else { return Err(self.order.pipe.run.fail(err)) };
        self.note(dir, None, err);
        self.finish(worker, Arc::clone(above), 1)
    }

    /// The parent's folder, if there is one. One that cannot be read costs time and nothing else.
    fn previous(&self, dir: &Dir) -> Option<Tree> {
        let id = dir.previous?;
        let order = self.order;
        match order.runtime.block_on(order.repository.tree(&id)) {
            Ok(tree) => Some(tree),
            Err(err) => {
                if err.kind() == Kind::Corrupt {
                    order.pipe.seen.distrust(BlobHandle::tree(id));
                }
                let path = dir.path(None);
                let why = format!("the parent's folder cannot be read, so its files are read again: {err}");
                let problem = Problem {
                    affects: vec![path.to_string()],
                    ..Problem::new("W0472", format!("tree {id}"), why)
                };
                self.report.with(|report| report.notes.push(problem));
                None
            }
        }
    }

    /// Decides about one entry: it is done and perhaps has a node, or is left to do.
    fn sort_out(
        &self,
        dir: &Arc<Dir>,
        slot: usize,
        item: Item,
        before: Option<&Node>,
        left: &mut Left,
    ) -> Option<Node> {
        let Item { entry, body } = item;
        match (&entry.kind, body) {
            (EntryKind::Dir, Body::Folder(folder)) => {
                let previous = before.and_then(|node| node.subtree);
                let below = Dir::new(Some((Arc::clone(dir), slot)), Some(entry), previous);
                left.folders.push(Task::Folder { folder, dir: Arc::new(below) });
            }
            (EntryKind::File, Body::File(body)) => {
                if let Some(content) = self.unchanged(dir, &entry, before) {
                    left.unmodified += 1;
                    left.unmodified_bytes += entry.size;
                    return Some(Node::file(self.stored(entry), content));
                }
                let content = before.and_then(|node| node.content.as_ref());
                let previous = match self.chunker_for(&*body) {
                    ChunkerKind::Pages => content.cloned().unwrap_or_default(),
                    ChunkerKind::Rabin | ChunkerKind::Lines => Vec::new(),
                };
                left.files.push(FileTask { slot, entry, body, is_new: before.is_none(), previous });
            }
            (EntryKind::Socket, _) => left.sockets += 1,
            (EntryKind::Dir | EntryKind::File, _) => {
                let err = Error::bug("store an entry whose content is of another kind");
                self.note(dir, Some(&entry.name), err);
            }
            _ => {
                left.others += 1;
                return Some(Node::plain(self.stored(entry)));
            }
        }
        None
    }

    /// The parent's content of a file that has not changed: same size, times and inode, as restic
    /// decides, if none of them is to be ignored, and every piece of it is in the repository.
    fn unchanged(&self, dir: &Dir, entry: &Entry, before: Option<&Node>) -> Option<Vec<Id>> {
        let node = before.filter(|node| node.is_file())?;
        let old = &node.entry;
        let order = self.order;
        let same = (old.size, old.mtime) == (entry.size, entry.mtime)
            && (order.ignore_ctime || old.ctime == entry.ctime)
            && (order.ignore_inode || old.inode == entry.inode);
        let content = node.content.as_ref().filter(|_| same)?;
        let seen = &self.order.pipe.seen;
        if content.iter().all(|id| seen.has(&BlobHandle::data(*id))) {
            return Some(content.clone());
        }
        let path = dir.path(Some(&entry.name)).to_string();
        let problem = Problem {
            affects: vec![path.clone()],
            ..Problem::new("W0472", path, "parts of it are missing in the repository; it is stored again")
        };
        self.report.with(|report| report.notes.push(problem));
        None
    }

    /// An entry as it is stored: restic writes the time of the last change in place of the last access,
    /// which would make every tree new.
    pub(super) fn stored(&self, mut entry: Entry) -> Entry {
        if !self.order.with_atime {
            entry.atime = entry.mtime;
        }
        entry
    }

    /// Counts `done` entries of `dir` as done; stores every folder that is complete with them, upwards.
    pub(super) fn finish(&self, worker: &mut Worker, mut dir: Arc<Dir>, mut done: usize) -> Result<(), Stop> {
        while dir.open.fetch_sub(done, Ordering::AcqRel) == done {
            let nodes = std::mem::take(&mut *lock(&dir.nodes)).into_iter().flatten().collect();
            let tree = Tree::new(nodes);
            let id = match self.same_as_before(&dir, &tree) {
                Some(id) => id,
                None => self.store_tree(worker, &tree)?,
            };
            let Some((above, slot)) = &dir.above else {
                self.queue().root = Some((id, tree));
                self.wake.notify_all();
                return Ok(());
            };
            self.count_dir(dir.previous, id);
            let node = dir.entry.clone().map(|entry| Node::dir(self.stored(entry), id));
            above.put(*slot, node);
            dir = Arc::clone(above);
            done = 1;
        }
        Ok(())
    }

    /// The parent's tree if it says the same in every field and is there: writing it once more would say
    /// nothing new.
    fn same_as_before(&self, dir: &Dir, tree: &Tree) -> Option<Id> {
        let id = dir.previous?;
        let before = std::mem::take(&mut *lock(&dir.before));
        let is_same = before.as_ref() == Some(tree) && self.order.pipe.seen.has(&BlobHandle::tree(id));
        is_same.then_some(id)
    }

    fn store_tree(&self, worker: &mut Worker, tree: &Tree) -> Result<Id, Stop> {
        let pipe = &self.order.pipe;
        let json = tree.encode(&pipe.run.documents.env.zone).map_err(|err| pipe.run.fail(err))?;
        pipe.store(&mut worker.zstd, BlobKind::Tree, &json)
    }

    fn count_dir(&self, previous: Option<Id>, now: Id) {
        self.report.with(|report| match previous {
            None => report.dirs_new += 1,
            Some(id) if id == now => report.dirs_unmodified += 1,
            Some(_) => report.dirs_changed += 1,
        });
        self.progress(0, 1);
    }
}

/// What is left to do in a folder, and how much was not.
#[derive(Default)]
struct Left {
    folders: Vec<Task>,
    files: Vec<FileTask>,
    /// Files of which the parent has everything.
    unmodified: u64,
    unmodified_bytes: u64,
    sockets: u64,
    others: u64,
}

/// Cuts the files of a folder into tasks, the first files last.
fn batches(dir: &Arc<Dir>, files: Vec<FileTask>) -> Vec<Task> {
    let mut tasks: Vec<Vec<FileTask>> = Vec::new();
    let mut bytes = 0;
    for file in files {
        let fits = file.entry.size.saturating_add(bytes) <= BYTES_PER_TASK;
        match tasks.last_mut().filter(|batch| fits && batch.len() < FILES_PER_TASK) {
            Some(batch) => {
                bytes += file.entry.size;
                batch.push(file);
            }
            None => {
                bytes = file.entry.size;
                tasks.push(vec![file]);
            }
        }
    }
    tasks.into_iter().rev().map(|files| Task::Files { dir: Arc::clone(dir), files }).collect()
}
