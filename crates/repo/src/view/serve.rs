//! The view itself: answers one question at a time, from many threads.

use super::cache::Cache;
use super::inodes::{Attributes, Inode, Inodes, Key, ROOT, Thing};
use super::pieces::{Piece, Pieces};
use super::shelves::{Item, Shelf};
use crate::blob::BlobHandle;
use crate::id::Id;
use crate::layout::ObjectKind;
use crate::repository::{Repository, SnapshotFilter};
use crate::snapshot::Snapshot;
use crate::tree::{Node, Tree};
use bytes::Bytes;
use jiff::Timestamp;
use recoup_core::entry::{EntryKind, Xattr};
use recoup_core::event::{Event, Finding, Severity};
use recoup_core::name::NodeName;
use recoup_core::{Error, Kind, Result};
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::OnceCell;

/// Opened blobs that are kept.
const CONTENT_BYTES_MAX: u64 = 64 << 20;
/// Entries of directories that are kept, at about 500 bytes each, and 32 more for each of their blobs.
const ENTRIES_MAX: u64 = 200_000;
/// The list of snapshots is asked for no oftener than this.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// Complaints that are remembered, so that each is made once.
const COMPLAINTS_MAX: usize = 10_000;

/// What is shown, and to whom it seems to belong.
#[derive(Clone, Debug, Default)]
pub struct ViewOptions {
    /// Which snapshots.
    pub filter: SnapshotFilter,
    /// User and group of the directories above the snapshots.
    pub owner: (u32, u32),
    /// User and group of everything else; `None` for those that were stored.
    pub owner_of_all: Option<(u32, u32)>,
}

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name, at most [`NodeName::BYTES_MAX`] bytes.
    pub name: NodeName,
    /// Its inode number.
    pub number: u64,
    /// What it is.
    pub kind: EntryKind,
}

/// A repository as a read-only file system.
pub struct View {
    repo: Repository,
    options: ViewOptions,
    inodes: Inodes,
    trees: Mutex<Cache<Id, Arc<Tree>>>,
    content: Mutex<Cache<Id, Arc<OnceCell<Bytes>>>>,
    shelves: tokio::sync::Mutex<Shelves>,
    complaints: Mutex<HashSet<String>>,
    began: Timestamp,
}

/// The snapshots as they were when they were last looked for.
#[derive(Default)]
struct Shelves {
    known: BTreeMap<Id, Option<Arc<Snapshot>>>,
    top: Arc<Shelf>,
    looked: Option<Duration>,
}

impl View {
    /// A view of `repo`. Its snapshots are listed now; nothing else is read.
    ///
    /// # Errors
    /// As the store says when it is asked for the list, or the index cannot be read.
    pub async fn new(repo: &Repository, options: ViewOptions) -> Result<Self> {
        let env = repo.env();
        let view = View {
            repo: repo.clone(),
            inodes: Inodes::new(env.random()),
            options,
            trees: Mutex::new(Cache::new(ENTRIES_MAX)),
            content: Mutex::new(Cache::new(CONTENT_BYTES_MAX)),
            shelves: tokio::sync::Mutex::default(),
            complaints: Mutex::default(),
            began: env.now(),
        };
        {
            let mut shelves = view.shelves.lock().await;
            view.look(&mut shelves).await?;
        }
        view.repo.index().await?;
        Ok(view)
    }

    /// The entry called `name` in the directory `parent`, and one more reference to it; `None` if there
    /// is none.
    ///
    /// # Errors
    /// `Kind::NotFound`, E0436, if nobody was told of `parent`; `Kind::Corrupt` if it cannot be read; as
    /// the store says.
    pub async fn lookup(&self, parent: u64, name: &[u8]) -> Result<Option<Attributes>> {
        let Ok(name) = NodeName::new(name) else { return Ok(None) };
        let found = match self.directory(parent).await? {
            Directory::Shelf(path, shelf) => on_shelf(parent, &path, &shelf, &name),
            Directory::Tree(root, tree) => match tree.find(&name) {
                Some(node) => {
                    Some((key(parent, root, node), self.entry(Box::new(node.clone()), root).await?))
                }
                None => None,
            },
        };
        let Some((key, thing)) = found else { return Ok(None) };
        let (number, inode) = self.inodes.refer(key, parent, &name, || thing);
        Ok(Some(self.attributes_of(number, &inode)))
    }

    /// What `stat` tells of `number`.
    ///
    /// # Errors
    /// `Kind::NotFound`, E0436, if nobody was told of it.
    pub async fn attributes(&self, number: u64) -> Result<Attributes> {
        if number == ROOT {
            let top = self.shelves().await;
            return Ok(self.made(number, EntryKind::Dir, top.newest.unwrap_or(self.began)));
        }
        let inode = self.inode(number)?;
        Ok(self.attributes_of(number, &inode))
    }

    /// What the directory `number` holds, without `.` and `..`.
    ///
    /// # Errors
    /// As [`View::lookup`].
    pub async fn list(&self, number: u64) -> Result<Vec<Listed>> {
        let listed = |key: &Key, name: &NodeName, kind| Listed {
            name: name.clone(),
            number: self.inodes.number(key),
            kind,
        };
        Ok(match self.directory(number).await? {
            Directory::Shelf(path, shelf) => {
                let names = shelf.shelves.keys().chain(shelf.items.keys());
                let found = names.filter_map(|name| {
                    let (key, thing) = on_shelf(number, &path, &shelf, name)?;
                    Some(listed(&key, name, kind_of(&thing)))
                });
                found.collect()
            }
            Directory::Tree(root, tree) => {
                let (shown, hidden): (Vec<&Node>, Vec<_>) =
                    tree.nodes.iter().partition(|node| node.name().as_bytes().len() <= NodeName::BYTES_MAX);
                for node in hidden {
                    let text = "its name is longer than the kernel takes; a restore shows it";
                    self.complain(number, "E0405", &format!("{}: {text}", node.name()));
                }
                let listed =
                    |node: &Node| listed(&key(number, root, node), node.name(), node.entry.kind.clone());
                shown.into_iter().map(listed).collect()
            }
        })
    }

    /// Up to `length` bytes of the file `number` from `offset` on; fewer only at its end.
    ///
    /// # Errors
    /// `Kind::Corrupt` if any of them is damaged or lost: what is given is whole. As the store says.
    pub async fn read(&self, number: u64, offset: u64, length: usize) -> Result<Vec<u8>> {
        let inode = self.inode(number)?;
        let content = match &inode.thing {
            Thing::Entry { node, .. } => node.content.as_deref(),
            _ => None,
        };
        let Some(content) = content else {
            return Err(self.told(number, gone("read what is no file", number)));
        };
        let pieces = match inode.pieces.get() {
            Some(pieces) => Arc::clone(pieces),
            None => {
                let index = self.repo.index().await?;
                let pieces = Arc::new(Pieces::of(&index, content));
                Arc::clone(inode.pieces.get_or_init(|| pieces))
            }
        };
        let mut out = Vec::new();
        while out.len() < length {
            let at = offset.saturating_add(out.len() as u64);
            let (id, begin, end) = match pieces.at(at) {
                Piece::Known { id, begin, end } => (id, begin, end),
                Piece::Lost(id) => {
                    let err = Error::new(Kind::Corrupt, "read a blob: no pack has it").code("E0432");
                    return Err(self.told(number, err.with("blob", BlobHandle::data(id))));
                }
                Piece::End => break,
            };
            let blob = self.blob(id, end - begin).await.map_err(|err| self.told(number, err))?;
            // `at` lies in the blob, whose length was just compared
            let rest = blob.slice((at - begin) as usize..);
            let wanted = rest.len().min(length - out.len());
            out.extend_from_slice(&rest[..wanted]);
        }
        Ok(out)
    }

    /// Where the link `number` points to.
    ///
    /// # Errors
    /// `Kind::NotFound`, E0436, if it is no link.
    pub fn target(&self, number: u64) -> Result<Vec<u8>> {
        match kind_of(&self.inode(number)?.thing) {
            EntryKind::Symlink { target } => Ok(target),
            _ => Err(gone("read what is no link", number)),
        }
    }

    /// The extended attributes of `number`.
    ///
    /// # Errors
    /// `Kind::NotFound`, E0436, if nobody was told of it.
    pub fn xattrs(&self, number: u64) -> Result<Vec<Xattr>> {
        if number == ROOT {
            return Ok(Vec::new());
        }
        match &self.inode(number)?.thing {
            Thing::Entry { node, .. } => Ok(node.entry.xattrs.clone()),
            _ => Ok(Vec::new()),
        }
    }

    /// Takes back `times` references to `number`.
    pub fn forget(&self, number: u64, times: u64) {
        self.inodes.forget(number, times);
    }

    /// Where the repository lies.
    pub fn location(&self) -> String {
        self.repo.store().location().to_string()
    }

    /// How many inodes are referred to.
    pub fn referred(&self) -> usize {
        self.inodes.len()
    }

    fn inode(&self, number: u64) -> Result<Arc<Inode>> {
        self.inodes.get(number).ok_or_else(|| gone("use an inode that nobody was told of", number))
    }

    async fn directory(&self, number: u64) -> Result<Directory> {
        if number == ROOT {
            return Ok(Directory::Shelf(Vec::new(), self.shelves().await));
        }
        let inode = self.inode(number)?;
        let (root, tree) = match &inode.thing {
            Thing::Shelf(path) => {
                let shelf = self.shelves().await.find(path).cloned();
                let shelf = shelf.ok_or_else(|| gone("list a directory whose snapshots are gone", number))?;
                return Ok(Directory::Shelf(path.clone(), Arc::new(shelf)));
            }
            Thing::Snapshot { tree, .. } => (number, *tree),
            Thing::Entry { node, root, .. } => match node.subtree {
                Some(tree) => (*root, tree),
                None => return Err(gone("list what is no directory", number)),
            },
            Thing::Latest { .. } => return Err(gone("list what is no directory", number)),
        };
        let tree = self.tree(number, tree).await.map_err(|err| self.told(number, err))?;
        Ok(Directory::Tree(root, tree))
    }

    async fn tree(&self, number: u64, id: Id) -> Result<Arc<Tree>> {
        let cached = self.trees.lock().unwrap_or_else(PoisonError::into_inner).get(&id);
        if let Some(tree) = cached {
            return Ok(tree);
        }
        let tree = Arc::new(self.repo.tree(&id).await?);
        for problem in &tree.problems {
            self.complain(number, problem.code, &format!("{}: {}", problem.name, problem.problem));
        }
        let blobs = tree.nodes.iter().map(|node| node.content.as_ref().map_or(0, Vec::len) as u64 / 16);
        let cost = tree.nodes.len() as u64 + blobs.sum::<u64>();
        self.trees.lock().unwrap_or_else(PoisonError::into_inner).put(id, Arc::clone(&tree), cost);
        Ok(tree)
    }

    /// A blob of `bytes` bytes. Those who want the same one at the same time wait for one reading.
    async fn blob(&self, id: Id, bytes: u64) -> Result<Bytes> {
        let cell = {
            let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
            match content.get(&id) {
                Some(cell) => cell,
                None => {
                    let cell = Arc::new(OnceCell::new());
                    content.put(id, Arc::clone(&cell), bytes);
                    cell
                }
            }
        };
        let handle = BlobHandle::data(id);
        let blob = cell.get_or_try_init(|| self.repo.blob(handle)).await.cloned();
        let blob = blob.inspect_err(|_| {
            self.content.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        })?;
        if blob.len() as u64 == bytes {
            return Ok(blob);
        }
        let what = format!("read a blob of {} bytes where the index says {bytes}", blob.len());
        Err(Error::new(Kind::Corrupt, what).with("blob", handle).code("E0432"))
    }

    async fn entry(&self, node: Box<Node>, root: u64) -> Result<Thing> {
        let size = match (&node.content, &node.entry.kind) {
            (Some(content), _) => {
                // without a piece its length is not known; the claim stands, and reading is an error
                let index = self.repo.index().await?;
                Pieces::of(&index, content).size().unwrap_or(node.entry.size)
            }
            (None, EntryKind::Symlink { target }) => target.len() as u64,
            (None, _) => 0,
        };
        Ok(Thing::Entry { node, root, size })
    }

    fn attributes_of(&self, number: u64, inode: &Inode) -> Attributes {
        let (entry, size) = match &inode.thing {
            Thing::Shelf(_) => return self.made(number, EntryKind::Dir, self.began),
            Thing::Snapshot { time, .. } => {
                return self.made(number, EntryKind::Dir, *time);
            }
            Thing::Latest { target, time } => {
                let made = self.made(number, EntryKind::Symlink { target: target.clone() }, *time);
                return Attributes { mode: 0o777, size: target.len() as u64, ..made };
            }
            Thing::Entry { node, size, .. } => (&node.entry, *size),
        };
        let (uid, gid) = self.options.owner_of_all.unwrap_or((entry.uid, entry.gid));
        Attributes {
            number,
            kind: entry.kind.clone(),
            mode: entry.mode,
            size,
            links: if entry.is_dir() { 1 } else { entry.links.max(1) },
            uid,
            gid,
            mtime: entry.mtime,
            atime: entry.atime,
            ctime: entry.ctime,
            lasts: true,
        }
    }

    /// What is in no snapshot.
    fn made(&self, number: u64, kind: EntryKind, time: Timestamp) -> Attributes {
        let (uid, gid) = self.options.owner_of_all.unwrap_or(self.options.owner);
        Attributes {
            number,
            kind,
            mode: 0o555,
            size: 0,
            links: 1,
            uid,
            gid,
            mtime: time,
            atime: time,
            ctime: time,
            lasts: false,
        }
    }

    /// The shelves, looked at again if it was long ago. If that fails they are as they were.
    async fn shelves(&self) -> Arc<Shelf> {
        let mut shelves = self.shelves.lock().await;
        let now = self.repo.env().clock.monotonic();
        if shelves.looked.is_none_or(|looked| now.saturating_sub(looked) >= LOOK_AGAIN_AFTER)
            && let Err(err) = self.look(&mut shelves).await
        {
            self.told(ROOT, err);
        }
        Arc::clone(&shelves.top)
    }

    async fn look(&self, shelves: &mut Shelves) -> Result<()> {
        let is_first = shelves.looked.is_none();
        shelves.looked = Some(self.repo.env().clock.monotonic());
        let listed = self.repo.documents().list(ObjectKind::Snapshot).await?;
        let listed: Vec<Id> = listed.objects.into_iter().map(|(id, _)| id).collect();
        if !is_first && listed.iter().eq(shelves.known.keys()) {
            return Ok(());
        }
        let (mut known, mut is_new) = (BTreeMap::new(), false);
        for id in listed {
            let snapshot = match shelves.known.get(&id) {
                Some(snapshot) => snapshot.clone(),
                None => match self.repo.snapshot(&id).await {
                    Ok(snapshot) => {
                        is_new = true;
                        Some(Arc::new(snapshot))
                    }
                    Err(err) if err.kind() == Kind::NotFound => continue,
                    Err(err) if err.kind().is_retryable() => return Err(err),
                    Err(err) => {
                        self.told(ROOT, err.code("E0437"));
                        None
                    }
                },
            };
            known.insert(id, snapshot);
        }
        if is_new && !is_first {
            // what they hold is in index files that came with them
            self.repo.reload_index().await?;
        }
        let shown = known.iter().filter_map(|(id, snapshot)| Some((*id, snapshot.as_deref()?.clone())));
        let mut shown: Vec<_> = shown.filter(|(_, s)| self.options.filter.matches(s)).collect();
        shown.sort_by_key(|(id, snapshot)| (snapshot.time.at, *id));
        shelves.top = Arc::new(Shelf::of(&shown));
        shelves.known = known;
        Ok(())
    }

    /// Says once what is wrong, and hands it on.
    fn told(&self, number: u64, err: Error) -> Error {
        self.complain(number, err.stable_code().unwrap_or("E0432"), &err.to_string());
        err
    }

    fn complain(&self, number: u64, code: &'static str, text: &str) {
        let path = self.inodes.path(number);
        let mut made = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        if made.len() >= COMPLAINTS_MAX {
            made.clear();
        }
        if made.insert(format!("{code} {path} {text}")) {
            let fix = recoup_core::code::find(code).map_or("", |code| code.next);
            let finding = Finding::new(code, Severity::High, format!("/{path}"), text, fix);
            self.repo.env().emit(Event::Finding(finding));
        }
    }
}

/// What can be listed.
enum Directory {
    Shelf(Vec<NodeName>, Arc<Shelf>),
    /// A directory of the snapshot whose root has this number.
    Tree(u64, Arc<Tree>),
}

fn on_shelf(parent: u64, path: &[NodeName], shelf: &Shelf, name: &NodeName) -> Option<(Key, Thing)> {
    if shelf.shelves.contains_key(name) {
        let below = path.iter().chain([name]).cloned().collect();
        return Some((Key::place(parent, name, None), Thing::Shelf(below)));
    }
    Some(match shelf.items.get(name)? {
        // the same name may stand for another snapshot later
        Item::Snapshot { tree, time } => {
            (Key::place(parent, name, Some(*tree)), Thing::Snapshot { tree: *tree, time: *time })
        }
        Item::Latest { target, time } => {
            let thing = Thing::Latest { target: target.clone(), time: *time };
            (Key::place(parent, name, Some(Id::of(target))), thing)
        }
    })
}

/// Names of one file have one key; what only claims to be the same file has its own (fault row 153).
fn key(parent: u64, root: u64, node: &Node) -> Key {
    let entry = &node.entry;
    match &node.content {
        Some(content) if entry.links > 1 && entry.inode != 0 => {
            let ids: Vec<u8> = content.iter().flat_map(|id| *id.as_bytes()).collect();
            Key::linked(root, entry.device_id, entry.inode, Id::of(&ids))
        }
        _ => Key::place(parent, node.name(), None),
    }
}

fn kind_of(thing: &Thing) -> EntryKind {
    match thing {
        Thing::Shelf(_) | Thing::Snapshot { .. } => EntryKind::Dir,
        Thing::Latest { target, .. } => EntryKind::Symlink { target: target.clone() },
        Thing::Entry { node, .. } => node.entry.kind.clone(),
    }
}

fn gone(what: &str, number: u64) -> Error {
    Error::new(Kind::NotFound, what).with("inode", number).code("E0436")
}
