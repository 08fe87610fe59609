//! One folder: listed, compared with the parent's, and stored when its last entry is done.

use super::super::pipe::Inside;
use super::super::run::{Stop, lock};
use super::{FileTask, Past, Task, Walk, Worker};
use crate::blob::BlobHandle;
use crate::chunk::ChunkerKind;
use crate::id::Id;
use crate::problem::Problem;
use crate::tree::{Node, Tree};
use recoup_core::entry::{Body, Entry, EntryKind, Folder, Item};
use recoup_core::name::{NodeName, TreePath};
use recoup_core::{Error, Kind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};

/// Files read by one task: enough that taking tasks costs nothing, few enough to share a large folder.
const FILES_PER_TASK: usize = 64;
const BYTES_PER_TASK: u64 = 8 << 20;

/// A folder under way.
pub(super) struct Dir {
    /// The folder above and the place in it; `None` for the root.
    above: Option<(Arc<Dir>, usize)>,
    /// Its metadata; the root has none.
    pub(super) entry: Option<Entry>,
    /// What earlier snapshots have of this folder.
    earlier: Past<Option<Id>>,
    /// The parent's tree, from the listing until the folder is stored; `None` if it could not be read.
    before: Mutex<Option<Tree>>,
    /// One for each entry, from the listing until the folder is stored.
    pub(super) slots: Mutex<Vec<Slot>>,
    /// Entries that are not done, and one for the listing.
    open: AtomicUsize,
}

/// The place of one entry in its folder.
#[allow(clippy::large_enum_variant, reason = "in the end all but a few hold a node")]
pub(super) enum Slot {
    /// Not done, or done and left out.
    Empty,
    Done(Node),
    /// A folder under way.
    Open(Weak<Dir>),
}

impl Slot {
    fn done(node: Option<Node>) -> Self {
        node.map_or(Slot::Empty, Slot::Done)
    }

    fn into_node(self) -> Option<Node> {
        match self {
            Slot::Done(node) => Some(node),
            Slot::Empty | Slot::Open(_) => None,
        }
    }
}

impl Dir {
    pub(super) fn root(earlier: Past<Option<Id>>) -> Self {
        Dir::new(None, None, earlier)
    }

    fn new(above: Option<(Arc<Dir>, usize)>, entry: Option<Entry>, earlier: Past<Option<Id>>) -> Self {
        let (before, slots, open) = (Mutex::default(), Mutex::default(), AtomicUsize::new(1));
        Dir { above, entry, earlier, before, slots, open }
    }

    pub(super) fn put(&self, slot: usize, node: Option<Node>) {
        if let Some(place) = lock(&self.slots).get_mut(slot) {
            *place = Slot::done(node);
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
        let earlier = dir.earlier.map(|id| id.and_then(|id| self.read_earlier(dir, id)));
        dir.open.fetch_add(items.len(), Ordering::Relaxed);
        let mut left = Left::default();
        let mut slots = Vec::with_capacity(items.len());
        for (slot, item) in items.into_iter().enumerate() {
            let before = earlier.map(|tree| tree.as_ref()?.find(&item.entry.name));
            slots.push(self.sort_out(dir, slot, item, before, &mut left));
        }
        let done = slots.len() - left.folders.len() - left.files.len();
        *lock(&dir.slots) = slots;
        *lock(&dir.before) = earlier.parent;
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
            report.files_new += left.adopted_new;
            report.files_changed += left.adopted_changed;
            report.files_adopted += left.adopted_new + left.adopted_changed;
            report.bytes_total += left.bytes;
            report.sockets_skipped += left.sockets;
            report.others += left.others;
        });
        let files = left.unmodified + left.adopted_new + left.adopted_changed;
        self.progress(left.bytes, files + left.others);
    }

    /// A folder that cannot be listed is left out; the root is all there is, so that the run ends.
    fn give_up(&self, worker: &mut Worker, dir: &Arc<Dir>, err: Error) -> Result<(), Stop> {
        let Some((above, _)) = &dir.above else { return Err(self.order.pipe.run.fail(err)) };
        self.note(dir, None, err);
        self.finish(worker, Arc::clone(above), 1)
    }

    /// The folder in an earlier snapshot. One that cannot be read costs time and nothing else.
    fn read_earlier(&self, dir: &Dir, id: Id) -> Option<Tree> {
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
        before: Past<Option<&Node>>,
        left: &mut Left,
    ) -> Slot {
        let Item { entry, body } = item;
        match (&entry.kind, body) {
            (EntryKind::Dir, Body::Folder(folder)) => {
                let earlier = before.map(|node| node.and_then(|node| node.subtree));
                let below = Arc::new(Dir::new(Some((Arc::clone(dir), slot)), Some(entry), earlier));
                let open = Slot::Open(Arc::downgrade(&below));
                left.folders.push(Task::Folder { folder, dir: below });
                return open;
            }
            (EntryKind::File, Body::File(body)) => {
                if let Some(content) = self.known(dir, &entry, before, left) {
                    left.bytes += entry.size;
                    return Slot::Done(Node::file(self.stored(entry), content));
                }
                let before = before.parent;
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
                return Slot::Done(Node::plain(self.stored(entry)));
            }
        }
        Slot::Empty
    }

    /// The content of a file that need not be read: it is as it was in the parent, or in the partial snapshot of
    /// a run that did not come to its end.
    fn known(
        &self,
        dir: &Dir,
        entry: &Entry,
        before: Past<Option<&Node>>,
        left: &mut Left,
    ) -> Option<Vec<Id>> {
        if let Some(content) = self.unchanged(dir, entry, before.parent) {
            left.unmodified += 1;
            return Some(content);
        }
        let content = self.unchanged(dir, entry, before.partial)?;
        match before.parent {
            None => left.adopted_new += 1,
            Some(_) => left.adopted_changed += 1,
        }
        Some(content)
    }

    /// The content that an earlier snapshot has of a file that has not changed: same size, times and inode, as restic
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

    pub(super) fn stored(&self, entry: Entry) -> Entry {
        self.order.stored(entry)
    }

    /// Counts `done` entries of `dir` as done; stores every folder that is complete with them, upwards.
    pub(super) fn finish(&self, worker: &mut Worker, mut dir: Arc<Dir>, mut done: usize) -> Result<(), Stop> {
        while dir.open.fetch_sub(done, Ordering::AcqRel) == done {
            // For who looks how far the walk is, a folder is under way or done, and nothing between.
            let inside = self.order.pipe.enter();
            let slots = std::mem::take(&mut *lock(&dir.slots));
            let nodes = slots.into_iter().filter_map(Slot::into_node).collect();
            let tree = Tree::new(nodes);
            let id = match self.same_as_before(&dir, &tree) {
                Some(id) => id,
                None => self.store_tree(&inside, worker, &tree)?,
            };
            let Some((above, slot)) = &dir.above else {
                self.queue().root = Some((id, tree));
                self.wake.notify_all();
                return Ok(());
            };
            self.count_dir(dir.earlier.parent, id);
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
        let id = dir.earlier.parent?;
        let before = std::mem::take(&mut *lock(&dir.before));
        let is_same = before.as_ref() == Some(tree) && self.order.pipe.seen.has(&BlobHandle::tree(id));
        is_same.then_some(id)
    }

    fn store_tree(&self, inside: &Inside<'_>, worker: &mut Worker, tree: &Tree) -> Result<Id, Stop> {
        let run = &self.order.pipe.run;
        if run.is_stopped() {
            return Err(Stop);
        }
        let json = tree.encode(&run.documents.env.zone).map_err(|err| run.fail(err))?;
        inside.store(&mut worker.zstd, BlobHandle::tree(Id::of(&json)), &json)
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
    /// Files of which a partial snapshot has everything, and the parent nothing, or something else.
    adopted_new: u64,
    adopted_changed: u64,
    /// Of all of these.
    bytes: u64,
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
