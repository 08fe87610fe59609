//! Deletes at the target what the snapshot does not have.
//!
//! First everything is decided, from a whole second walk over the snapshot, then it is done. Only what lies in a
//! directory that the snapshot has, and what the patterns select, can go. Anything odd stops all of it: a
//! snapshot that cannot be read as a whole looks like one that lacks something (trap 22).

use super::report::RestoreReport;
use super::restore::{RestoreOptions, Start, start};
use super::select::selects;
use super::walk::{Visit, Walker};
use super::write::blocking;
use crate::id::Id;
use crate::repository::Repository;
use recoup_core::entry::{Entry, InPlace, PathProblem, Target};
use recoup_core::name::{NodeName, TreePath};
use recoup_core::{Error, Kind, Result};
use std::collections::HashSet;
use std::sync::Arc;

/// Something that goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Doomed {
    pub(super) path: TreePath,
    is_dir: bool,
    /// The directory of the snapshot that it lies in, if it lies in one directly.
    within: Option<usize>,
}

/// Deletes what `tree` does not have, after [`super::restore()`] gave `report` with the same options.
///
/// # Errors
/// `Kind::Refused`, E0484, before anything is deleted, if the restore did not come to its end without errors, or
/// if the snapshot has anything that cannot be read; as the store says. What could not be deleted is an entry in
/// [`RestoreReport::errors`].
pub async fn delete_others(
    repo: &Repository,
    tree: Id,
    options: &RestoreOptions,
    target: Arc<dyn Target>,
    report: &mut RestoreReport,
) -> Result<()> {
    if !report.complete || !report.errors.is_empty() {
        return Err(refused("delete what the snapshot does not have: not everything was restored"));
    }
    let mut dirs = Vec::new();
    let doomed = decide(repo, tree, options, &target, &mut dirs, report).await?;
    let (gone, problems) = blocking(move || act(&*target, doomed, &dirs)).await?;
    report.deleted = gone;
    report.errors.extend(problems);
    Ok(())
}

/// What [`delete_others`] would delete.
pub(super) async fn plan(
    repo: &Repository,
    tree: Id,
    options: &RestoreOptions,
    target: &Arc<dyn Target>,
    report: &mut RestoreReport,
) -> Result<Vec<Doomed>> {
    decide(repo, tree, options, target, &mut Vec::new(), report).await
}

fn refused(doing: &str) -> Error {
    Error::new(Kind::Refused, doing).code("E0484").effect("nothing was deleted")
}

async fn decide(
    repo: &Repository,
    tree: Id,
    options: &RestoreOptions,
    target: &Arc<dyn Target>,
    dirs: &mut Vec<(TreePath, Entry)>,
    report: &mut RestoreReport,
) -> Result<Vec<Doomed>> {
    let Start::Dir(tree) = start(repo, tree, &options.subpath).await? else {
        return Err(refused("delete beside a single file"));
    };
    let mut walker = Walker::new(repo, tree);
    let mut doomed = Vec::new();
    // The directories above the walk, with the names that the snapshot has in each.
    let mut above: Vec<(TreePath, HashSet<NodeName>)> = vec![(TreePath::root(), HashSet::new())];
    while let Some(visit) = walker.next().await? {
        match visit {
            Visit::Problem(problem) => {
                let doing = "delete what the snapshot does not have: it cannot be read as a whole";
                return Err(refused(doing).with("path", problem.path).caused_by(problem.error));
            }
            Visit::Entry(path, node) => {
                if let Some((_, names)) = above.last_mut() {
                    names.insert(node.name().clone());
                }
                if node.is_dir() {
                    let chosen = selects(&options.include, &options.exclude, &path);
                    if chosen.itself || chosen.below {
                        above.push((path, HashSet::new()));
                    } else {
                        walker.skip();
                    }
                }
            }
            Visit::Leave(_, node) => {
                if let Some((path, names)) = above.pop() {
                    let found = extras(target, options, path.clone(), names, dirs.len(), report).await?;
                    dirs.push((path, node.entry));
                    doomed.extend(found);
                }
            }
        }
    }
    if let Some((path, names)) = above.pop() {
        let number = dirs.len();
        let mut found = extras(target, options, path, names, number, report).await?;
        // The target itself keeps the metadata that it has.
        found.iter_mut().for_each(|doomed| doomed.within = doomed.within.filter(|dir| *dir != number));
        doomed.extend(found);
    }
    Ok(doomed)
}

/// What stands in the directory `dir` of the target, is not among `names`, and is selected.
async fn extras(
    target: &Arc<dyn Target>,
    options: &RestoreOptions,
    dir: TreePath,
    names: HashSet<NodeName>,
    number: usize,
    report: &mut RestoreReport,
) -> Result<Vec<Doomed>> {
    let (target, options) = (Arc::clone(target), options.clone());
    let (found, problems) = blocking(move || {
        let mut search = Search { options: &options, doomed: Vec::new(), problems: Vec::new() };
        match target.in_place() {
            Some(place) => search.dir(place, &dir, &names, number),
            None => search.problems.push(PathProblem {
                path: dir,
                error: Error::new(Kind::Unsupported, "delete at a target that cannot be listed")
                    .code("W0485"),
            }),
        }
        (search.doomed, search.problems)
    })
    .await?;
    report.warnings.extend(problems);
    Ok(found)
}

struct Search<'a> {
    options: &'a RestoreOptions,
    doomed: Vec<Doomed>,
    /// What is left since it cannot be looked into.
    problems: Vec<PathProblem>,
}

/// A directory that the snapshot does not have, while what it holds is looked at.
struct Frame {
    path: TreePath,
    rest: std::vec::IntoIter<(NodeName, bool)>,
    /// Whether it is selected, and everything in it goes so far.
    goes: bool,
}

impl Search<'_> {
    fn dir(&mut self, place: &dyn InPlace, dir: &TreePath, names: &HashSet<NodeName>, number: usize) {
        for (name, is_dir) in self.names(place, dir).unwrap_or_default() {
            if names.contains(&name) {
                continue;
            }
            let first = self.doomed.len();
            let path = dir.join(&name);
            if is_dir {
                self.tree(place, path.clone());
            } else if selects(&self.options.include, &self.options.exclude, &path).itself {
                self.doomed.push(Doomed { path: path.clone(), is_dir, within: None });
            }
            if let Some(last) = self.doomed[first..].last_mut().filter(|last| last.path == path) {
                last.within = Some(number);
            }
        }
    }

    /// A directory that the snapshot does not have, and what is in it, the deepest first; without recursion.
    fn tree(&mut self, place: &dyn InPlace, path: TreePath) {
        let mut stack: Vec<Frame> = self.enter(place, path).into_iter().collect();
        while let Some(frame) = stack.last_mut() {
            if let Some((name, is_dir)) = frame.rest.next() {
                let path = frame.path.join(&name);
                if is_dir {
                    match self.enter(place, path) {
                        Some(frame) => stack.push(frame),
                        None => stack.last_mut().into_iter().for_each(|frame| frame.goes = false),
                    }
                } else if selects(&self.options.include, &self.options.exclude, &path).itself {
                    self.doomed.push(Doomed { path, is_dir, within: None });
                } else {
                    frame.goes = false;
                }
                continue;
            }
            let Some(Frame { path, goes, .. }) = stack.pop() else { break };
            if goes {
                self.doomed.push(Doomed { path, is_dir: true, within: None });
            } else if let Some(above) = stack.last_mut() {
                above.goes = false;
            }
        }
    }

    fn enter(&mut self, place: &dyn InPlace, path: TreePath) -> Option<Frame> {
        let chosen = selects(&self.options.include, &self.options.exclude, &path);
        if !chosen.itself && !chosen.below {
            return None;
        }
        let names = self.names(place, &path)?;
        Some(Frame { path, rest: names.into_iter(), goes: chosen.itself })
    }

    fn names(&mut self, place: &dyn InPlace, path: &TreePath) -> Option<Vec<(NodeName, bool)>> {
        let error = match place.names(path) {
            Ok(Some(names)) => return Some(names),
            Ok(None) => Error::new(Kind::Refused, "delete in a directory of another file system"),
            Err(error) => error,
        };
        let error = error.code("W0485").effect("what is in it was left");
        self.problems.push(PathProblem { path: path.clone(), error });
        None
    }
}

/// Deletes, and gives the directories of the snapshot their times again.
fn act(
    target: &dyn Target,
    doomed: Vec<Doomed>,
    dirs: &[(TreePath, Entry)],
) -> (Vec<TreePath>, Vec<PathProblem>) {
    let (mut gone, mut problems) = (Vec::new(), Vec::new());
    let Some(place) = target.in_place() else { return (gone, problems) };
    let mut touched = HashSet::new();
    for Doomed { path, is_dir, within } in doomed {
        match place.remove(&path, is_dir) {
            Ok(()) => {
                touched.extend(within);
                gone.push(path);
            }
            Err(error) => problems.push(PathProblem { path, error }),
        }
    }
    for (path, entry) in touched.into_iter().filter_map(|number| dirs.get(number)) {
        if let Err(error) = target.finish_dir(path, entry) {
            problems.push(PathProblem { path: path.clone(), error });
        }
    }
    (gone, problems)
}
