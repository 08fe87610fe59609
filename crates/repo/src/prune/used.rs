//! Which blobs the snapshots need: every tree is read once, several at a time.

use super::facts::{Copy, Facts, unsure};
use crate::blob::BlobHandle;
use crate::id::Id;
use crate::layout::{self, ObjectKind};
use crate::pack::open_blob;
use crate::repository::{Repository, SnapshotList};
use crate::tree::Tree;
use recoup_core::{Error, Result};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use tokio::task::JoinSet;

/// Trees that are read at a time.
const AT_ONCE: usize = 16;
/// 32 MiB of ids are kept as they come.
const DATA_LEAST: usize = 1 << 20;

/// What is needed, by snapshot and by blob.
#[derive(Default)]
pub(super) struct Used {
    /// The snapshots that were walked, with their roots.
    pub(super) snapshots: BTreeMap<Id, Id>,
    trees: HashSet<Id>,
    /// Pieces of files, some of them many times, until somebody asks.
    data: Vec<Id>,
    /// So many ids are looked through for second ones.
    data_max: usize,
}

impl Used {
    /// For each copy of `facts` whether its blob is needed.
    ///
    /// # Errors
    /// `Kind::Refused`, E0476, if a needed blob is nowhere.
    pub(super) fn needed(&mut self, facts: &Facts) -> Result<Vec<bool>> {
        self.data.sort_unstable();
        self.data.dedup();
        let mut needed = vec![false; facts.copies.len()];
        // Both are in order, so that one walk along both finds everything.
        let mut at = 0;
        for id in &self.data {
            let blob = BlobHandle::data(*id);
            let is_before = |copy: &Copy| copy.entry.handle < blob;
            at += facts.copies[at..].iter().take_while(|copy| is_before(copy)).count();
            match facts.copies.get(at) {
                Some(copy) if copy.entry.handle == blob => needed[at] = true,
                _ => return Err(nowhere(&blob)),
            }
        }
        for id in &self.trees {
            let blob = BlobHandle::tree(*id);
            let copies = facts.copies_of(&blob);
            if copies.is_empty() {
                return Err(nowhere(&blob));
            }
            needed[copies.start] = true;
        }
        Ok(needed)
    }

    /// Walks the snapshots of `list` that were not walked yet; gives all of them.
    ///
    /// # Errors
    /// `Kind::Refused`, E0476, if a snapshot or a tree cannot be read.
    pub(super) async fn walk(
        &mut self,
        repo: &Repository,
        facts: &Arc<Facts>,
        list: SnapshotList,
    ) -> Result<Vec<Id>> {
        if let Some(problem) = list.problems.first() {
            return Err(unsure(format!("{}: {}", problem.object, problem.problem)));
        }
        let mut todo = Vec::new();
        let mut there = Vec::new();
        for (id, snapshot) in list.snapshots {
            there.push(id);
            if self.snapshots.insert(id, snapshot.tree).is_none() && self.trees.insert(snapshot.tree) {
                todo.push(snapshot.tree);
            }
        }
        let mut running = JoinSet::new();
        loop {
            while running.len() < AT_ONCE
                && let Some(id) = todo.pop()
            {
                let (repo, facts) = (repo.clone(), Arc::clone(facts));
                running.spawn(async move { tree(&repo, &facts, id).await });
            }
            let Some(done) = running.join_next().await else { return Ok(there) };
            let tree = done.map_err(|cause| Error::bug("read a tree").caused_by(cause))??;
            for node in &tree.nodes {
                self.data.extend(node.content.iter().flatten());
                todo.extend(node.subtree.filter(|subtree| self.trees.insert(*subtree)));
            }
            self.make_room();
        }
    }

    /// Files that many snapshots share are named by each of them: what stands there twice goes before the
    /// memory grows.
    fn make_room(&mut self) {
        if self.data.len() >= self.data_max {
            self.data.sort_unstable();
            self.data.dedup();
            self.data_max = self.data.len().saturating_mul(2).max(DATA_LEAST);
        }
    }
}

fn nowhere(blob: &BlobHandle) -> Error {
    unsure(format!("no pack has the {blob}, which a snapshot needs"))
}

async fn tree(repo: &Repository, facts: &Facts, id: Id) -> Result<Tree> {
    let handle = BlobHandle::tree(id);
    let mut why = "no pack has it".to_owned();
    for ordinal in facts.copies_of(&handle) {
        let pack = facts.pack_of(ordinal);
        let entry = facts.copies[ordinal].entry;
        if pack.size.is_none_or(|size| entry.end() > size) {
            continue;
        }
        let key = layout::key(ObjectKind::Pack, &pack.id);
        let sealed = repo.store().get(&key, Some(u64::from(entry.offset)..entry.end())).await;
        let plain = sealed.and_then(|sealed| open_blob(repo.key(), &entry, &sealed, repo.limits()));
        match plain.and_then(|plain| Tree::decode(&plain)) {
            Ok(tree) => match tree.problems.iter().find(|problem| problem.lost) {
                None => return Ok(tree),
                Some(problem) => why = format!("its entry \"{}\": {}", problem.name, problem.problem),
            },
            Err(err) => why = err.to_string(),
        }
    }
    Err(unsure(format!("the {handle}: {why}")))
}
