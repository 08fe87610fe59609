//! Every directory that a snapshot reaches, each read once; every piece of content looked up.

use super::Check;
use crate::blob::BlobHandle;
use crate::id::Id;
use crate::problem::Problem;
use crate::read::is_damage;
use crate::repository::SnapshotList;
use crate::tree::Tree;
use futures_util::future::join_all;
use recoup_core::Result;
use std::collections::HashSet;

/// Directories that are read at a time.
const AT_ONCE: usize = 16;

impl Check {
    pub(super) async fn trees(&mut self, snapshots: &SnapshotList) -> Result<()> {
        let mut todo: Vec<Id> = snapshots.snapshots.iter().map(|(_, snapshot)| snapshot.tree).collect();
        let mut seen: HashSet<Id> = HashSet::new();
        todo.retain(|id| seen.insert(*id));
        while !todo.is_empty() {
            let some = todo.split_off(todo.len().saturating_sub(AT_ONCE));
            let repo = self.repo.clone();
            let trees = join_all(some.iter().map(|id| repo.tree(id))).await;
            for (id, tree) in some.iter().zip(trees) {
                match tree {
                    Ok(tree) => self.tree(id, &tree, &mut seen, &mut todo),
                    Err(err) if is_damage(&err) => self.lost(BlobHandle::tree(*id)),
                    Err(err) => return Err(err),
                }
            }
        }
        Ok(())
    }

    fn tree(&mut self, id: &Id, tree: &Tree, seen: &mut HashSet<Id>, todo: &mut Vec<Id>) {
        self.report.trees += 1;
        for problem in &tree.problems {
            let what = format!("the entry \"{}\": {}", problem.name, problem.problem);
            self.problem(Problem::new(problem.code, format!("tree {id}"), what));
        }
        for node in &tree.nodes {
            for data in node.content.iter().flatten() {
                let handle = BlobHandle::data(*data);
                if self.index.lookup(&handle).next().is_none() {
                    self.lost(handle);
                }
            }
            todo.extend(node.subtree.filter(|subtree| seen.insert(*subtree)));
        }
    }

    /// Notes a blob without a good copy, and whose fault it is.
    pub(super) fn lost(&mut self, handle: BlobHandle) {
        let pack = self.index.lookup(&handle).next().map(|location| location.pack);
        let pack = pack.or_else(|| self.index.gone_with(&handle));
        self.bad.entry(handle).or_insert(pack);
    }
}
