//! Trees put together by hand: a folder around a tree, small files added to one.

use super::Writer;
use crate::blob::BlobKind;
use crate::chunk::{Chunker, Rabin};
use crate::compress::Compressor;
use crate::id::Id;
use crate::tree::{Node, Tree};
use jiff::Timestamp;
use recoup_core::entry::{Entry, EntryKind};
use recoup_core::name::{NodeName, TreePath};
use recoup_core::{Error, Kind, Result};
use std::sync::Arc;

/// For whoever made the backup, since what is written by hand describes it.
const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;

impl Writer {
    /// A tree that holds one directory, `name` with the metadata of `entry`, and in it `tree`.
    ///
    /// # Errors
    /// As the store says; the run is then over.
    pub async fn under(&mut self, name: NodeName, entry: Entry, tree: Id) -> Result<Id> {
        let entry = Entry { name, kind: EntryKind::Dir, ..entry };
        self.put_tree(Tree::new(vec![Node::dir(entry, tree)])).await
    }

    /// `tree` with the files of `extra` added or replaced, dated `time`. Directories that are missing are
    /// made.
    ///
    /// # Errors
    /// `Kind::Conflict`, E0471, if a file stands where a directory is needed, or a directory where a file
    /// is wanted; as the store says otherwise.
    pub async fn overlay(
        &mut self,
        tree: Id,
        extra: Vec<(TreePath, Vec<u8>)>,
        time: Timestamp,
    ) -> Result<Id> {
        let mut root = tree;
        for (path, bytes) in extra {
            let entry =
                Entry { size: bytes.len() as u64, ..self.made(&path, EntryKind::File, FILE_MODE, time)? };
            let content = self.put_file(bytes).await?;
            root = self.graft(root, &path, Node::file(entry, content), time).await?;
        }
        Ok(root)
    }

    /// Puts `leaf` at `path` beneath `root`; gives the new root.
    pub(super) async fn graft(
        &mut self,
        root: Id,
        path: &TreePath,
        leaf: Node,
        time: Timestamp,
    ) -> Result<Id> {
        let occupied = || Error::new(Kind::Conflict, "add a file to a tree").with("path", path).code("E0471");
        let Some(parent) = path.parent() else { return Err(occupied()) };
        let mut trees = vec![self.load(&root).await?];
        let mut dirs = Vec::new();
        let mut at = TreePath::root();
        for name in parent.components() {
            at = at.join(name);
            let found = trees.last().and_then(|tree| tree.find(name)).cloned();
            let (entry, tree) = match found {
                None => (self.made(&at, EntryKind::Dir, DIR_MODE, time)?, Tree::default()),
                Some(Node { entry, subtree: Some(id), .. }) => (entry, self.load(&id).await?),
                Some(_) => return Err(occupied()),
            };
            dirs.push(entry);
            trees.push(tree);
        }
        let mut node = leaf;
        while let Some(mut tree) = trees.pop() {
            if node.is_file() && tree.find(node.name()).is_some_and(|old| !old.is_file()) {
                return Err(occupied());
            }
            tree.nodes.retain(|old| old.name() != node.name());
            tree.nodes.push(node);
            let id = self.put_tree(Tree::new(tree.nodes)).await?;
            let Some(entry) = dirs.pop() else { return Ok(id) };
            node = Node::dir(entry, id);
        }
        // The root stands in `trees` and has no entry, so the loop has returned.
        Err(Error::bug("add a file to a tree"))
    }

    pub(super) fn made(&self, path: &TreePath, kind: EntryKind, mode: u32, time: Timestamp) -> Result<Entry> {
        let nameless = || Error::new(Kind::Conflict, "add a file without a name to a tree").code("E0471");
        let name = path.last().ok_or_else(nameless)?.clone();
        let host = &self.repository.env().host;
        let owner = Entry { uid: host.uid, gid: host.gid, ..Entry::plain(name, kind, mode, time) };
        Ok(Entry { user: host.username.clone(), ..owner })
    }

    /// A tree of this run, or one that is in the repository.
    async fn load(&mut self, id: &Id) -> Result<Tree> {
        if let Some(tree) = self.roots.get(id) {
            return Ok(tree.clone());
        }
        // It may lie in a pack that is still open.
        self.flush().await?;
        self.repository.tree(id).await
    }

    async fn put_tree(&mut self, tree: Tree) -> Result<Id> {
        let json = tree.encode(&self.repository.env().zone)?;
        let ids = self.put(BlobKind::Tree, vec![json]).await?;
        let id = ids.first().copied().ok_or_else(|| Error::bug("store a tree"))?;
        self.roots.insert(id, tree);
        Ok(id)
    }

    async fn put_file(&self, bytes: Vec<u8>) -> Result<Vec<Id>> {
        let mut chunker = Rabin::new(self.repository.rabin());
        let mut pieces = Vec::new();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let length = chunker.cut(rest).unwrap_or(rest.len());
            let (piece, after) = rest.split_at(length);
            pieces.push(piece.to_vec());
            chunker.reset();
            rest = after;
        }
        self.put(BlobKind::Data, pieces).await
    }

    /// Stores blobs off the async threads.
    async fn put(&self, kind: BlobKind, blobs: Vec<Vec<u8>>) -> Result<Vec<Id>> {
        self.pipe.run.check()?;
        let pipe = Arc::clone(&self.pipe);
        let work = move || -> Result<Vec<Id>> {
            let mut zstd = Compressor::new()?;
            let store = |blob: &Vec<u8>| pipe.store(&mut zstd, kind, blob).map_err(|_| pipe.run.take_error());
            blobs.iter().map(store).collect()
        };
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|cause| Error::bug("store a blob").caused_by(cause)).flatten()
    }
}
