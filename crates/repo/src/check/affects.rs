//! Which snapshots and paths need a blob that is lost. Only done when something is lost.

use crate::blob::BlobHandle;
use crate::id::Id;
use crate::repository::{Repository, SnapshotList};
use recoup_core::Result;
use recoup_core::name::TreePath;
use std::collections::{BTreeMap, HashMap};

/// Paths that are listed for one problem.
const PATHS_MAX: usize = 50;
/// Entries that are looked at to find them.
const ENTRIES_MAX: usize = 2_000_000;

/// For each lost blob the places that need it, as `snapshot 1a2b3c4d: /path`.
pub(super) async fn find(
    repo: &Repository,
    bad: &BTreeMap<BlobHandle, Option<Id>>,
    snapshots: &SnapshotList,
) -> Result<HashMap<BlobHandle, Vec<String>>> {
    let mut tainted = Tainted { repo, bad, known: HashMap::new() };
    let mut found: HashMap<BlobHandle, Vec<String>> = HashMap::new();
    let mut budget = ENTRIES_MAX;
    for (id, snapshot) in &snapshots.snapshots {
        let place = |path: &TreePath| format!("snapshot {}: /{path}", id.short());
        let mut todo = vec![(TreePath::root(), snapshot.tree)];
        while let Some((path, tree)) = todo.pop() {
            let handle = BlobHandle::tree(tree);
            if bad.contains_key(&handle) {
                merge(found.entry(handle).or_default(), vec![place(&path)]);
                continue;
            }
            if budget == 0 || !tainted.reaches(tree).await {
                continue;
            }
            let Ok(tree) = repo.tree(&tree).await else { continue };
            budget = budget.saturating_sub(tree.nodes.len());
            for node in &tree.nodes {
                for data in node.content.iter().flatten() {
                    let handle = BlobHandle::data(*data);
                    if bad.contains_key(&handle) {
                        merge(found.entry(handle).or_default(), vec![place(&path.join(node.name()))]);
                    }
                }
                todo.extend(node.subtree.map(|subtree| (path.join(node.name()), subtree)));
            }
        }
    }
    Ok(found)
}

/// Adds places that are not there yet, up to a limit that is said.
pub(super) fn merge(all: &mut Vec<String>, more: Vec<String>) {
    for place in more {
        if all.len() < PATHS_MAX && !all.contains(&place) {
            all.push(place);
        } else if all.len() == PATHS_MAX {
            all.push("and more".into());
        }
    }
}

/// Whether something lost lies below a directory; each directory is read once.
struct Tainted<'a> {
    repo: &'a Repository,
    bad: &'a BTreeMap<BlobHandle, Option<Id>>,
    known: HashMap<Id, bool>,
}

impl Tainted<'_> {
    /// Decides `tree` and everything below it, the deepest first, without recursion.
    async fn reaches(&mut self, tree: Id) -> bool {
        let mut stack = vec![(tree, None)];
        while let Some((id, read)) = stack.pop() {
            if self.known.contains_key(&id) {
                continue;
            }
            if self.bad.contains_key(&BlobHandle::tree(id)) {
                self.known.insert(id, true);
                continue;
            }
            match read {
                None => {
                    let Below { hit, dirs } = self.look(&id).await;
                    stack.push((id, Some(Below { hit, dirs: dirs.clone() })));
                    let unknown = dirs.into_iter().filter(|id| !self.known.contains_key(id));
                    stack.extend(unknown.map(|id| (id, None)));
                }
                Some(Below { hit, dirs }) => {
                    let below = dirs.iter().any(|id| self.known.get(id).copied().unwrap_or(false));
                    self.known.insert(id, hit || below);
                }
            }
        }
        self.known.get(&tree).copied().unwrap_or(false)
    }

    async fn look(&self, id: &Id) -> Below {
        let tree = self.repo.tree(id).await.unwrap_or_default();
        let mut content = tree.nodes.iter().flat_map(|node| node.content.iter().flatten());
        let hit = content.any(|id| self.bad.contains_key(&BlobHandle::data(*id)));
        Below { hit, dirs: tree.nodes.iter().filter_map(|node| node.subtree).collect() }
    }
}

/// What one directory says: whether a file in it is hit, and its directories.
struct Below {
    hit: bool,
    dirs: Vec<Id>,
}
