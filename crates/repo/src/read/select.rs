//! The part of a tree that is meant, as a list of steps. A directory that leads to nothing selected
//! is never begun.

use super::glob::{Pattern, covered, may_cover_below};
use super::walk::{Visit, Walker};
use crate::id::Id;
use crate::repository::Repository;
use crate::tree::Node;
use recoup_core::Result;
use recoup_core::entry::PathProblem;
use recoup_core::name::TreePath;
use std::collections::VecDeque;

/// What the patterns say of a path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chosen {
    /// It is meant.
    pub(super) itself: bool,
    /// If it is a directory, something below it may be meant.
    pub(super) below: bool,
}

/// Whether `path` is meant. Nothing is meant below what is excluded.
pub(super) fn selects(include: &[Pattern], exclude: &[Pattern], path: &TreePath) -> Chosen {
    if covered(exclude, path) {
        return Chosen { itself: false, below: false };
    }
    let itself = include.is_empty() || covered(include, path);
    Chosen { itself, below: itself || may_cover_below(include, path) }
}

/// One thing to do, in order.
#[derive(Debug)]
pub(super) enum Step {
    /// A directory that holds something selected.
    Begin(TreePath, Node),
    /// Anything but a directory.
    Leaf(TreePath, Node),
    /// Everything in the directory is done.
    Finish(TreePath, Node),
    /// Something could not be read.
    Problem(PathProblem),
}

/// Turns a walk into steps.
pub(super) struct Selected<'a> {
    walker: Walker,
    include: &'a [Pattern],
    exclude: &'a [Pattern],
    /// Directories above the walk, and whether they were begun.
    above: Vec<(TreePath, Node, bool)>,
    ready: VecDeque<Step>,
}

impl<'a> Selected<'a> {
    pub(super) fn new(repo: &Repository, tree: Id, include: &'a [Pattern], exclude: &'a [Pattern]) -> Self {
        let walker = Walker::new(repo, tree);
        Selected { walker, include, exclude, above: Vec::new(), ready: VecDeque::new() }
    }

    pub(super) async fn next(&mut self) -> Result<Option<Step>> {
        loop {
            if let Some(step) = self.ready.pop_front() {
                return Ok(Some(step));
            }
            match self.walker.next().await? {
                None => return Ok(None),
                Some(Visit::Problem(problem)) => self.ready.push_back(Step::Problem(problem)),
                Some(Visit::Entry(path, node)) => self.meet(path, node),
                Some(Visit::Leave(path, node)) => {
                    if self.above.pop().is_some_and(|(_, _, begun)| begun) {
                        self.ready.push_back(Step::Finish(path, node));
                    }
                }
            }
        }
    }

    fn meet(&mut self, path: TreePath, node: Node) {
        let Chosen { itself: included, below } = selects(self.include, self.exclude, &path);
        if !included && !below {
            self.walker.skip();
            return;
        }
        if node.is_dir() {
            self.above.push((path, node, false));
            if included {
                self.begin_all();
            }
        } else if included {
            self.begin_all();
            self.ready.push_back(Step::Leaf(path, node));
        }
    }

    fn begin_all(&mut self) {
        let first = self.above.iter().rposition(|(_, _, begun)| *begun).map_or(0, |at| at + 1);
        for (path, node, begun) in &mut self.above[first..] {
            *begun = true;
            self.ready.push_back(Step::Begin(path.clone(), node.clone()));
        }
    }
}
