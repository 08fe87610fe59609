//! Directories, walked without recursion.

use crate::blob::BlobHandle;
use crate::id::Id;
use crate::repository::Repository;
use crate::tree::{Node, NodeProblem, Tree};
use recoup_core::entry::PathProblem;
use recoup_core::name::TreePath;
use recoup_core::{Error, Kind, Result};

/// What a walk meets, in order.
#[derive(Debug)]
pub enum Visit {
    /// An entry. If it is a directory, what it holds comes next, unless [`Walker::skip`] is called.
    Entry(TreePath, Node),
    /// A directory is over.
    Leave(TreePath, Node),
    /// Something could not be read and was left out, or was read in part (W codes).
    Problem(PathProblem),
}

/// A walk over a tree: names ascending, a directory before what it holds.
pub struct Walker {
    repo: Repository,
    stack: Vec<Level>,
    /// A directory that was just given out and may be skipped.
    next: Option<(TreePath, Node)>,
    problems: Vec<PathProblem>,
    root: Option<Id>,
    entries: u64,
}

struct Level {
    path: TreePath,
    rest: std::vec::IntoIter<Node>,
    dir: Option<Node>,
}

impl Walker {
    /// A walk over the directory `tree`. Paths are relative to it.
    pub fn new(repo: &Repository, tree: Id) -> Self {
        Walker {
            repo: repo.clone(),
            stack: Vec::new(),
            next: None,
            problems: Vec::new(),
            root: Some(tree),
            entries: 0,
        }
    }

    /// The next thing; `None` at the end.
    ///
    /// # Errors
    /// `Kind::Refused`, E0439, if there are more entries than allowed: a few small directories that
    /// hold each other many times can stand for more files than any disk takes.
    pub async fn next(&mut self) -> Result<Option<Visit>> {
        if let Some(root) = self.root.take() {
            self.enter(TreePath::root(), None, root).await;
        }
        if let Some((path, node)) = self.next.take() {
            match node.subtree {
                Some(tree) => self.enter(path, Some(node), tree).await,
                None => return Ok(Some(Visit::Leave(path, node))),
            }
        }
        if let Some(problem) = self.problems.pop() {
            return Ok(Some(Visit::Problem(problem)));
        }
        let Some(level) = self.stack.last_mut() else { return Ok(None) };
        let Some(node) = level.rest.next() else {
            let level = self.stack.pop();
            return match level {
                Some(Level { path, dir: Some(dir), .. }) => Ok(Some(Visit::Leave(path, dir))),
                _ => Ok(None),
            };
        };
        self.entries += 1;
        let allowed = self.repo.limits().entries_max;
        if self.entries > allowed {
            return Err(Error::new(Kind::Refused, format!("walk a tree of more than {allowed} entries"))
                .code("E0439"));
        }
        let path = level.path.join(node.name());
        if node.is_dir() {
            self.next = Some((path.clone(), node.clone()));
        }
        Ok(Some(Visit::Entry(path, node)))
    }

    /// Leaves out the directory that was just given; no [`Visit::Leave`] comes for it.
    pub fn skip(&mut self) {
        self.next = None;
    }

    async fn enter(&mut self, path: TreePath, dir: Option<Node>, tree: Id) {
        let tree = match self.repo.tree(&tree).await {
            Ok(tree) => tree,
            Err(error) => {
                self.problems.push(PathProblem { path: path.clone(), error });
                Tree::default()
            }
        };
        self.problems.extend(tree.problems.iter().rev().map(|problem| node_problem(&path, problem)));
        self.stack.push(Level { path, rest: tree.nodes.into_iter(), dir });
    }
}

fn node_problem(dir: &TreePath, problem: &NodeProblem) -> PathProblem {
    let kind = if problem.code == "E0405" { Kind::Refused } else { Kind::Corrupt };
    let doing = format!("read the entry \"{}\": {}", problem.name, problem.problem);
    PathProblem { path: dir.clone(), error: Error::new(kind, doing).code(problem.code) }
}

/// What the directory `tree` holds, without what is below it.
///
/// # Errors
/// As [`Repository::tree`].
pub async fn list(repo: &Repository, tree: &Id) -> Result<Tree> {
    repo.tree(tree).await
}

/// The entry at `path` beneath `tree`; `None` if there is none, or at the root itself.
///
/// # Errors
/// As [`Repository::tree`], if a directory on the way cannot be read.
pub async fn find_path(repo: &Repository, tree: &Id, path: &TreePath) -> Result<Option<Node>> {
    let mut at = Some(*tree);
    let mut found = None;
    for name in path.components() {
        let Some(id) = at else { return Ok(None) };
        let tree = repo.tree(&id).await?;
        let Some(node) = tree.find(name) else { return Ok(None) };
        at = node.subtree;
        found = Some(node.clone());
    }
    Ok(found)
}

/// Reads the whole file at `path` beneath `tree`, at most `bytes_max`.
///
/// # Errors
/// `Kind::NotFound`, E0436, if there is no such file; `Kind::Refused`, E0435, if it is larger;
/// `Kind::Corrupt` if a piece of it is lost.
pub async fn read_file(repo: &Repository, tree: &Id, path: &TreePath, bytes_max: u64) -> Result<Vec<u8>> {
    let node = find_path(repo, tree, path).await?;
    let content = node.and_then(|node| node.content);
    let Some(content) = content else {
        return Err(Error::new(Kind::NotFound, "read a file of a snapshot").with("path", path).code("E0436"));
    };
    let mut out = Vec::new();
    for id in content {
        let piece = repo.blob(BlobHandle::data(id)).await.map_err(|err| err.with("path", path))?;
        if (out.len() + piece.len()) as u64 > bytes_max {
            let text = format!("read a file of more than {bytes_max} bytes");
            return Err(Error::new(Kind::Refused, text).with("path", path).code("E0435"));
        }
        out.extend_from_slice(&piece);
    }
    Ok(out)
}
