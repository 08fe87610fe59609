//! Numbers for what the asker refers to, and what stands behind each.

use super::pieces::Pieces;
use crate::id::Id;
use crate::tree::Node;
use jiff::Timestamp;
use recoup_core::entry::EntryKind;
use recoup_core::name::{NodeName, TreePath};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// The number of the top directory.
pub const ROOT: u64 = 1;

/// What `stat` tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// The inode number: never 0, and that of no other entry for as long as it is referred to. Names of
    /// one hard-linked file share it.
    pub number: u64,
    /// What it is.
    pub kind: EntryKind,
    /// The twelve permission bits.
    pub mode: u32,
    /// Bytes of its content, from the index and not from what the directory claims; of a link, the
    /// length of its target.
    pub size: u64,
    /// Names of the file. Directories say 1, which promises nothing about what is below them.
    pub links: u64,
    /// Owner.
    pub uid: u32,
    /// Owning group.
    pub gid: u32,
    /// Last change of content.
    pub mtime: Timestamp,
    /// Last access.
    pub atime: Timestamp,
    /// Last change of metadata.
    pub ctime: Timestamp,
    /// Whether it never changes: it lies within a snapshot.
    pub lasts: bool,
}

/// What an inode number stands for. Equal keys have one number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    parent: u64,
    name: Vec<u8>,
    /// Tells apart what had the same place at different times, or claims the same inode.
    distinct: Option<Id>,
}

impl Key {
    /// An entry by its place.
    pub(super) fn place(parent: u64, name: &NodeName, distinct: Option<Id>) -> Self {
        Key { parent, name: name.as_bytes().to_vec(), distinct }
    }

    /// A hard-linked file of the snapshot whose root has the number `root`: all names with the same
    /// inode and the same content are one file. The slash keeps it apart from every name.
    pub(super) fn linked(root: u64, device: u64, inode: u64, content: Id) -> Self {
        Key { parent: root, name: format!("/{device}/{inode}").into_bytes(), distinct: Some(content) }
    }
}

/// What stands behind a number.
#[derive(Debug)]
pub(super) enum Thing {
    /// A directory above the snapshots.
    Shelf(Vec<NodeName>),
    /// The root of a snapshot.
    Snapshot { tree: Id, time: Timestamp },
    /// A link to the newest snapshot.
    Latest { target: Vec<u8>, time: Timestamp },
    /// An entry of the snapshot whose root has the number `root`.
    Entry { node: Box<Node>, root: u64, size: u64 },
}

#[derive(Debug)]
pub(super) struct Inode {
    pub(super) thing: Thing,
    /// One of its places, for messages.
    parent: u64,
    name: NodeName,
    pub(super) pieces: OnceLock<Arc<Pieces>>,
}

struct Row {
    key: Key,
    inode: Arc<Inode>,
    /// How often the asker was told of it and has not forgotten it.
    references: u64,
}

/// All inodes that somebody refers to.
pub(super) struct Inodes {
    seed: [u8; 16],
    rows: Mutex<HashMap<u64, Row>>,
}

impl Inodes {
    /// `seed` is random, so that nobody can make a repository whose numbers collide often.
    pub(super) fn new(seed: [u8; 16]) -> Self {
        Inodes { seed, rows: Mutex::default() }
    }

    fn rows(&self) -> MutexGuard<'_, HashMap<u64, Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number that `key` has or would get.
    pub(super) fn number(&self, key: &Key) -> u64 {
        self.place(&self.rows(), key)
    }

    /// The same key finds the same number again, unless another took it meanwhile: two entries never
    /// share one.
    fn place(&self, rows: &HashMap<u64, Row>, key: &Key) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.seed, key).hash(&mut hasher);
        let mut number = hasher.finish();
        loop {
            let is_free = rows.get(&number).is_none_or(|row| row.key == *key);
            if number > ROOT && is_free {
                return number;
            }
            number = number.wrapping_add(1);
        }
    }

    /// Notes one more reference to `key` and gives its number and what is behind it.
    pub(super) fn refer(
        &self,
        key: Key,
        parent: u64,
        name: &NodeName,
        thing: impl FnOnce() -> Thing,
    ) -> (u64, Arc<Inode>) {
        let mut rows = self.rows();
        let number = self.place(&rows, &key);
        let row = rows.entry(number).or_insert_with(|| {
            let inode = Inode { thing: thing(), parent, name: name.clone(), pieces: OnceLock::new() };
            Row { key, inode: Arc::new(inode), references: 0 }
        });
        row.references += 1;
        (number, Arc::clone(&row.inode))
    }

    pub(super) fn get(&self, number: u64) -> Option<Arc<Inode>> {
        self.rows().get(&number).map(|row| Arc::clone(&row.inode))
    }

    /// Takes back `times` references.
    pub(super) fn forget(&self, number: u64, times: u64) {
        let mut rows = self.rows();
        let Some(row) = rows.get_mut(&number) else { return };
        row.references = row.references.saturating_sub(times);
        if row.references == 0 {
            rows.remove(&number);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.rows().len()
    }

    /// Where `number` is, as far up as is known. For messages.
    pub(super) fn path(&self, number: u64) -> TreePath {
        let rows = self.rows();
        let mut names = Vec::new();
        let mut at = number;
        while let Some(row) = rows.get(&at) {
            names.push(row.inode.name.clone());
            at = row.inode.parent;
        }
        names.into_iter().rev().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> NodeName {
        NodeName::new(text.as_bytes()).unwrap()
    }

    fn refer(inodes: &Inodes, key: &Key, at: &str) -> u64 {
        inodes.refer(key.clone(), ROOT, &name(at), || Thing::Shelf(vec![name(at)])).0
    }

    #[test]
    fn a_number_is_kept_until_it_is_forgotten_as_often_as_it_was_given() {
        let inodes = Inodes::new([7; 16]);
        let key = Key::place(ROOT, &name("a"), None);
        let before = inodes.number(&key);
        assert_eq!((refer(&inodes, &key, "a"), refer(&inodes, &key, "a")), (before, before));
        inodes.forget(before, 1);
        assert!(inodes.get(before).is_some());
        inodes.forget(before, 1);
        assert!(inodes.get(before).is_none());
        inodes.forget(before, 1);
        assert_eq!(inodes.len(), 0);
        assert_eq!(refer(&inodes, &key, "a"), before);
        assert_eq!(inodes.path(before).to_string(), "a");
    }

    #[test]
    fn two_entries_never_share_a_number() {
        let inodes = Inodes::new([7; 16]);
        let (a, b) = (Key::place(ROOT, &name("a"), None), Key::place(ROOT, &name("b"), None));
        let wanted = inodes.number(&a);
        // another entry sits where `a` would go
        let inode =
            Inode { thing: Thing::Shelf(Vec::new()), parent: ROOT, name: name("b"), pieces: OnceLock::new() };
        inodes.rows().insert(wanted, Row { key: b, inode: Arc::new(inode), references: 1 });
        assert_eq!(refer(&inodes, &a, "a"), wanted.wrapping_add(1));
        let linked = Key::linked(5, 1, 2, Id::of(b"x"));
        assert_eq!(inodes.number(&linked), inodes.number(&Key::linked(5, 1, 2, Id::of(b"x"))));
        assert_ne!(inodes.number(&linked), inodes.number(&Key::linked(5, 1, 2, Id::of(b"y"))));
        assert_ne!(inodes.number(&linked), inodes.number(&Key::linked(6, 1, 2, Id::of(b"x"))));
    }
}
