//! Snapshots that need something lost: a new one with everything that can still be read.

use super::writer::{Packs, save_index};
use super::{RepairOptions, Repaired, keep, lock, unlock};
use crate::blob::{BlobHandle, BlobKind};
use crate::compress::Compressor;
use crate::id::Id;
use crate::layout::ObjectKind;
use crate::locks::LockGuard;
use crate::problem::Problem;
use crate::read::is_damage;
use crate::repository::Repository;
use crate::snapshot::Snapshot;
use crate::tree::{Node, Tree};
use recoup_core::name::{NodeName, escape};
use recoup_core::{Error, Kind, Result};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The tag of a snapshot that was repaired.
const TAG: &str = "repaired";

/// What becomes of a file that is not whole any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DamagedFiles {
    /// What can be read stays under a `.recoup-damaged` name.
    #[default]
    Rename,
    /// It is left out.
    Drop,
}

/// Which snapshots, and how.
#[derive(Clone, Debug, Default)]
pub struct SnapshotOptions {
    /// These; empty for all.
    pub ids: Vec<Id>,
    /// What becomes of damaged files.
    pub damaged: DamagedFiles,
    /// Moves the originals into quarantine; otherwise they stay beside the new ones.
    pub forget: bool,
}

/// Writes a new snapshot for each that needs something lost. A snapshot that is whole is left alone.
///
/// # Errors
/// `Kind::Locked`, E0411; `Kind::Refused`, E0496; as the store says.
pub async fn snapshots(
    repo: &Repository,
    which: &SnapshotOptions,
    options: &RepairOptions,
) -> Result<Repaired> {
    let guard = lock(repo, options).await?;
    let result = work(repo, which, options, guard.as_ref()).await;
    unlock(repo, guard, result).await
}

async fn work(
    repo: &Repository,
    which: &SnapshotOptions,
    options: &RepairOptions,
    lock: Option<&LockGuard>,
) -> Result<Repaired> {
    let mut report = Repaired { applied: lock.is_some(), ..Repaired::default() };
    let list = repo.snapshots().await?;
    report.lost.extend(list.problems.iter().cloned());
    repo.reload_index().await?;
    let mut mend = Mend {
        repo,
        damaged: which.damaged,
        known: HashMap::new(),
        readable: HashMap::new(),
        fresh: BTreeMap::new(),
        report: &mut report,
    };
    let mut replaced = Vec::new();
    for (id, snapshot) in &list.snapshots {
        if !which.ids.is_empty() && !which.ids.contains(id) {
            continue;
        }
        match mend.root(id, snapshot).await? {
            Some(tree) if tree != snapshot.tree => replaced.push((*id, mended(id, snapshot, tree))),
            _ => {}
        }
    }
    let fresh = std::mem::take(&mut mend.fresh);
    for (id, _) in &replaced {
        report.step(format!("snapshot {id}"), "write a new one with what can be read");
        if which.forget {
            report.step(format!("snapshot {id}"), "move it into quarantine");
        }
    }
    let Some(lock) = lock.filter(|_| !replaced.is_empty()) else { return Ok(report) };
    let mut writer = Packs::new(repo, lock);
    let mut zstd = Compressor::new()?;
    for (id, json) in fresh {
        let packed = if repo.version() < 2 { None } else { zstd.shrink(&json)? };
        let length = packed.map(|_| json.len());
        writer.add(BlobHandle::tree(id), packed.unwrap_or(&json), length).await?;
    }
    let packs = writer.finish(&mut report).await?;
    save_index(repo, lock, packs, Vec::new(), &mut report).await?;
    for (id, snapshot) in replaced {
        lock.check()?;
        repo.documents().save(ObjectKind::Snapshot, snapshot.encode()?).await?;
        report.written += 1;
        if which.forget {
            keep::quarantine(repo, options, lock, ObjectKind::Snapshot, &id, &mut report).await?;
        }
    }
    Ok(report)
}

fn mended(id: &Id, snapshot: &Snapshot, tree: Id) -> Snapshot {
    let mut new = snapshot.clone();
    new.tree = tree;
    new.original = Some(snapshot.original.unwrap_or(*id));
    // its counters speak of what is lost
    new.summary = None;
    if !new.tags.iter().any(|tag| tag == TAG) {
        new.tags.push(TAG.to_owned());
    }
    new
}

struct Mend<'a> {
    repo: &'a Repository,
    damaged: DamagedFiles,
    /// What became of each directory; `None` if it cannot be read.
    known: HashMap<Id, Option<Id>>,
    readable: HashMap<Id, bool>,
    /// New directories, as they will be stored.
    fresh: BTreeMap<Id, Vec<u8>>,
    report: &'a mut Repaired,
}

impl Mend<'_> {
    async fn root(&mut self, id: &Id, snapshot: &Snapshot) -> Result<Option<Id>> {
        self.walk(snapshot.tree).await?;
        let tree = self.known.get(&snapshot.tree).copied().flatten();
        if tree.is_none() {
            self.report.lost.push(Problem::new(
                "E0428",
                format!("snapshot {id}"),
                "its root cannot be read: nothing of it can be brought back",
            ));
        }
        Ok(tree)
    }

    /// Decides `root` and everything below it, the deepest first, without recursion.
    async fn walk(&mut self, root: Id) -> Result<()> {
        let mut stack: Vec<(Id, Option<Tree>)> = vec![(root, None)];
        while let Some((id, tree)) = stack.pop() {
            if self.known.contains_key(&id) {
                continue;
            }
            if stack.len() as u64 > self.repo.limits().entries_max {
                return Err(
                    Error::new(Kind::Refused, "repair a tree with too many directories").code("E0439")
                );
            }
            match tree {
                Some(tree) => self.rebuild(id, tree).await?,
                None => match self.repo.tree(&id).await {
                    Ok(tree) => {
                        let below: Vec<Id> = tree.nodes.iter().filter_map(|node| node.subtree).collect();
                        stack.push((id, Some(tree)));
                        let unknown = below.into_iter().filter(|id| !self.known.contains_key(id));
                        stack.extend(unknown.map(|id| (id, None)));
                    }
                    Err(err) if is_damage(&err) => {
                        self.known.insert(id, None);
                    }
                    Err(err) => return Err(err),
                },
            }
        }
        Ok(())
    }

    async fn rebuild(&mut self, id: Id, tree: Tree) -> Result<()> {
        let mut changed = tree.problems.iter().any(|problem| problem.lost);
        let mut taken: BTreeSet<NodeName> = tree.nodes.iter().map(|node| node.name().clone()).collect();
        let mut nodes: Vec<Node> = Vec::with_capacity(tree.nodes.len());
        for node in tree.nodes {
            changed |= self.node(&id, node, &mut nodes, &mut taken).await?;
        }
        if !changed {
            self.known.insert(id, Some(id));
            return Ok(());
        }
        let json = Tree::new(nodes).encode(&self.repo.env().zone)?;
        let new = Id::of(&json);
        let index = self.repo.index().await?;
        if !index.has(&BlobHandle::tree(new)) {
            self.fresh.insert(new, json);
        }
        self.known.insert(id, Some(new));
        Ok(())
    }

    /// Puts what is left of `node`; true if that is less than it was.
    async fn node(
        &mut self,
        dir: &Id,
        mut node: Node,
        nodes: &mut Vec<Node>,
        taken: &mut BTreeSet<NodeName>,
    ) -> Result<bool> {
        if let Some(subtree) = node.subtree {
            let new = self.known.get(&subtree).copied().flatten();
            node.subtree = Some(match new {
                Some(new) => new,
                None => {
                    self.note(dir, &node, "cannot be read and becomes empty", BlobKind::Tree);
                    self.empty()?
                }
            });
            nodes.push(node);
            return Ok(new != Some(subtree));
        }
        let content = node.content.clone().unwrap_or_default();
        let mut left = Vec::with_capacity(content.len());
        for id in &content {
            if self.is_readable(*id).await? {
                left.push(*id);
            }
        }
        if left.len() == content.len() {
            nodes.push(node);
            return Ok(false);
        }
        self.note(dir, &node, "has lost a part of its content", BlobKind::Data);
        if self.damaged == DamagedFiles::Rename && !left.is_empty() {
            let index = self.repo.index().await?;
            let length = |id: &Id| index.plain_bytes(&BlobHandle::data(*id)).unwrap_or(0);
            node.entry.size = left.iter().map(length).fold(0, u64::saturating_add);
            node.entry.links = 1;
            node.entry.name = damaged_name(node.name(), taken)?;
            node.content = Some(left);
            nodes.push(node);
        }
        Ok(true)
    }

    async fn is_readable(&mut self, id: Id) -> Result<bool> {
        let handle = BlobHandle::data(id);
        let index = self.repo.index().await?;
        if index.has(&handle) {
            return Ok(true);
        }
        if index.lookup(&handle).next().is_none() {
            return Ok(false);
        }
        if let Some(known) = self.readable.get(&id) {
            return Ok(*known);
        }
        // only in a damaged pack: whether it is good there can only be seen by reading it
        let readable = match self.repo.blob(handle).await {
            Ok(_) => true,
            Err(err) if is_damage(&err) => false,
            Err(err) => return Err(err),
        };
        self.readable.insert(id, readable);
        Ok(readable)
    }

    fn empty(&mut self) -> Result<Id> {
        let json = Tree::default().encode(&self.repo.env().zone)?;
        let id = Id::of(&json);
        self.fresh.insert(id, json);
        Ok(id)
    }

    fn note(&mut self, dir: &Id, node: &Node, what: &str, kind: BlobKind) {
        let code = if kind == BlobKind::Tree { "E0428" } else { "E0432" };
        let name = escape(node.name().as_bytes());
        self.report.lost.push(Problem::new(
            code,
            format!("tree {dir}"),
            format!("the entry \"{name}\" {what}"),
        ));
    }
}

/// The name with a suffix that no other entry has, within the longest name.
fn damaged_name(name: &NodeName, taken: &mut BTreeSet<NodeName>) -> Result<NodeName> {
    let stem = name.as_bytes();
    let mut suffix = ".recoup-damaged".to_owned();
    for turn in 1..=taken.len() + 1 {
        let stem = &stem[..stem.len().min(NodeName::BYTES_MAX - suffix.len())];
        let name = NodeName::new([stem, suffix.as_bytes()].concat())?;
        if taken.insert(name.clone()) {
            return Ok(name);
        }
        suffix = format!(".recoup-damaged.{turn}");
    }
    Err(Error::bug("find a name that no other entry has").with("name", name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_name_is_a_name_and_takes_no_other() {
        let name = |bytes: &[u8]| NodeName::new(bytes).unwrap();
        let mut taken = BTreeSet::from([name(b"a.recoup-damaged")]);
        assert_eq!(damaged_name(&name(b"a"), &mut taken).unwrap(), name(b"a.recoup-damaged.1"));
        let long = damaged_name(&name(&[b'x'; 255]), &mut taken).unwrap();
        assert_eq!(long.as_bytes().len(), 255);
        assert_ne!(damaged_name(&name(&[b'x'; 255]), &mut taken).unwrap(), long);
    }
}
