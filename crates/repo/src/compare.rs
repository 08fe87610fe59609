//! Two trees side by side: what came, went and changed, as restic shows it.

use crate::blob::BlobHandle;
use crate::id::Id;
use crate::repository::Repository;
use crate::tree::{Node, Tree};
use recoup_core::entry::EntryKind;
use recoup_core::name::TreePath;
use recoup_core::{Error, Kind, Result};
use std::cmp::Ordering;
use std::collections::HashSet;

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// `+` came, `-` went, `M` other content, `U` other metadata, `T` another type; or several.
    pub modifier: &'static str,
    /// Where.
    pub path: TreePath,
    /// Whether it is a directory now, or was if it went.
    pub is_dir: bool,
}

/// What came or went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Files.
    pub files: u64,
    /// Directories.
    pub dirs: u64,
    /// Links, devices and pipes.
    pub others: u64,
    /// Pieces of files that the other tree does not have.
    pub data_blobs: u64,
    /// Directories that the other tree does not have.
    pub tree_blobs: u64,
    /// Their plaintext.
    pub bytes: u64,
}

/// How two trees differ.
#[derive(Debug, Default)]
pub struct Comparison {
    /// By path.
    pub differences: Vec<Difference>,
    /// Files with other content.
    pub changed_files: u64,
    /// What came.
    pub added: Sum,
    /// What went.
    pub removed: Sum,
}

/// What one side needs.
#[derive(Default)]
struct Side {
    sum: Sum,
    blobs: HashSet<BlobHandle>,
}

struct Comparing<'a> {
    repository: &'a Repository,
    with_metadata: bool,
    done: Comparison,
    old: Side,
    new: Side,
    /// Directories of both sides that are equal; nothing in them differs.
    common: Vec<Id>,
    entries: u64,
}

/// One thing to look at. The stack is in the order of paths.
enum Task {
    Both(TreePath, Id, Id),
    Pair(TreePath, Box<Option<Node>>, Box<Option<Node>>),
    Inside(TreePath, Id, bool),
}

/// Compares the directories `old` and `new`; with `with_metadata` also owners, modes and times.
///
/// # Errors
/// As [`Repository::tree`]; `Kind::Refused`, E0439, if there are more entries than allowed.
pub async fn compare(repository: &Repository, old: &Id, new: &Id, with_metadata: bool) -> Result<Comparison> {
    let mut comparing = Comparing {
        repository,
        with_metadata,
        done: Comparison::default(),
        old: Side::default(),
        new: Side::default(),
        common: Vec::new(),
        entries: 0,
    };
    let mut stack = vec![Task::Both(TreePath::root(), *old, *new)];
    while let Some(task) = stack.pop() {
        comparing.step(task, &mut stack).await?;
    }
    comparing.finish().await
}

impl Comparing<'_> {
    async fn step(&mut self, task: Task, stack: &mut Vec<Task>) -> Result<()> {
        match task {
            Task::Both(_, old, new) if old == new => self.common.push(old),
            Task::Both(path, old, new) => {
                self.old.blobs.insert(BlobHandle::tree(old));
                self.new.blobs.insert(BlobHandle::tree(new));
                let (old, new) = (self.load(&old).await?, self.load(&new).await?);
                let pairs = pairs(old.nodes, new.nodes);
                stack.extend(pairs.into_iter().rev().map(|(a, b)| {
                    let name = a.as_ref().or(b.as_ref()).map(|node| path.join(node.name()));
                    Task::Pair(name.unwrap_or_default(), Box::new(a), Box::new(b))
                }));
            }
            Task::Pair(path, old, new) => match (*old, *new) {
                (Some(old), Some(new)) => self.pair(path, &old, &new, stack),
                (Some(old), None) => self.one_side(path, &old, false, stack),
                (None, Some(new)) => self.one_side(path, &new, true, stack),
                (None, None) => {}
            },
            Task::Inside(path, tree, is_new) => {
                let tree = self.load(&tree).await?;
                let inside = tree.nodes.into_iter().rev().map(|node| {
                    let (path, node) = (path.join(node.name()), Box::new(Some(node)));
                    let nothing = Box::new(None);
                    if is_new { Task::Pair(path, nothing, node) } else { Task::Pair(path, node, nothing) }
                });
                stack.extend(inside);
            }
        }
        Ok(())
    }

    fn pair(&mut self, path: TreePath, old: &Node, new: &Node, stack: &mut Vec<Task>) {
        self.old.need(old);
        self.new.need(new);
        let other_type = std::mem::discriminant(&old.entry.kind) != std::mem::discriminant(&new.entry.kind);
        let other_content = old.is_file() && new.is_file() && old.content != new.content;
        let other_metadata = self.with_metadata && !other_content && !is_alike(old, new);
        self.done.changed_files += u64::from(other_content);
        let modifier = match (other_type, other_content, other_metadata) {
            (true, false, true) => "TU",
            (true, ..) => "T",
            (false, true, _) => "M",
            (false, false, true) => "U",
            (false, false, false) => "",
        };
        if !modifier.is_empty() {
            let difference = Difference { modifier, path: path.clone(), is_dir: new.is_dir() };
            self.done.differences.push(difference);
        }
        if let (Some(old), Some(new)) = (old.subtree, new.subtree) {
            stack.push(Task::Both(path, old, new));
        }
    }

    fn one_side(&mut self, path: TreePath, node: &Node, is_new: bool, stack: &mut Vec<Task>) {
        let (side, modifier) = if is_new { (&mut self.new, "+") } else { (&mut self.old, "-") };
        side.need(node);
        match node.entry.kind {
            EntryKind::File => side.sum.files += 1,
            EntryKind::Dir => side.sum.dirs += 1,
            _ => side.sum.others += 1,
        }
        self.done.differences.push(Difference { modifier, path: path.clone(), is_dir: node.is_dir() });
        if let Some(tree) = node.subtree {
            side.blobs.insert(BlobHandle::tree(tree));
            stack.push(Task::Inside(path, tree, is_new));
        }
    }

    async fn load(&mut self, id: &Id) -> Result<Tree> {
        let tree = self.repository.tree(id).await?;
        self.entries += tree.nodes.len() as u64;
        let allowed = self.repository.limits().entries_max;
        if self.entries > allowed {
            let what = format!("compare trees of more than {allowed} entries");
            return Err(Error::new(Kind::Refused, what).code("E0439"));
        }
        Ok(tree)
    }

    /// What lies in equal directories belongs to both sides and neither came nor went.
    async fn finish(mut self) -> Result<Comparison> {
        let mut common: HashSet<BlobHandle> = HashSet::new();
        let mut todo = std::mem::take(&mut self.common);
        while let Some(id) = todo.pop() {
            if !common.insert(BlobHandle::tree(id)) {
                continue;
            }
            for node in self.load(&id).await?.nodes {
                common.extend(node.content.unwrap_or_default().into_iter().map(BlobHandle::data));
                todo.extend(node.subtree);
            }
        }
        let index = self.repository.index().await?;
        let only = |side: &Side, other: &Side| {
            let mut sum = side.sum;
            for blob in side.blobs.iter().filter(|b| !other.blobs.contains(*b) && !common.contains(*b)) {
                match blob.kind {
                    crate::blob::BlobKind::Data => sum.data_blobs += 1,
                    crate::blob::BlobKind::Tree => sum.tree_blobs += 1,
                }
                sum.bytes += index.plain_bytes(blob).unwrap_or_default();
            }
            sum
        };
        self.done.removed = only(&self.old, &self.new);
        self.done.added = only(&self.new, &self.old);
        Ok(self.done)
    }
}

impl Side {
    fn need(&mut self, node: &Node) {
        self.blobs.extend(node.content.iter().flatten().map(|id| BlobHandle::data(*id)));
        self.blobs.extend(node.subtree.map(BlobHandle::tree));
    }
}

/// Whether everything but the content below is the same.
fn is_alike(old: &Node, new: &Node) -> bool {
    let bare = |node: &Node| Node { subtree: None, ..node.clone() };
    bare(old) == bare(new)
}

/// Entries of one name beside each other. Both lists are sorted.
fn pairs(old: Vec<Node>, new: Vec<Node>) -> Vec<(Option<Node>, Option<Node>)> {
    let (mut old, mut new) = (old.into_iter().peekable(), new.into_iter().peekable());
    let mut pairs = Vec::new();
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return pairs,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => a.name().cmp(b.name()),
        };
        pairs.push((
            if order.is_le() { old.next() } else { None },
            if order.is_ge() { new.next() } else { None },
        ));
    }
}
