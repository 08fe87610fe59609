//! What became of one tree.

use super::run::lock;
use crate::id::Id;
use crate::problem::Problem;
use recoup_core::entry::PathProblem;
use recoup_core::name::TreePath;
use std::sync::{Mutex, PoisonError};

/// What became of one tree.
#[derive(Debug)]
pub struct TreeReport {
    /// The id of the tree.
    pub tree: Id,
    /// Files that the parent did not have.
    pub files_new: u64,
    /// Files that differ from the parent's.
    pub files_changed: u64,
    /// Files that were not read because the parent has them.
    pub files_unmodified: u64,
    /// Of the new and changed files, those that were not read because a partial snapshot has them.
    pub files_adopted: u64,
    /// Directories that the parent did not have.
    pub dirs_new: u64,
    /// Directories that differ from the parent's.
    pub dirs_changed: u64,
    /// Directories that are as they were.
    pub dirs_unmodified: u64,
    /// Links, devices and pipes.
    pub others: u64,
    /// Sockets, which are never stored.
    pub sockets_skipped: u64,
    /// Bytes of all files, read or not.
    pub bytes_total: u64,
    /// Bytes that were read.
    pub bytes_read: u64,
    /// Plaintext of blobs that were not in the repository.
    pub bytes_added: u64,
    /// What they take there.
    pub bytes_stored: u64,
    /// New pieces of files.
    pub data_blobs: u64,
    /// New directories.
    pub tree_blobs: u64,
    /// What could not be read. The tree is there without it, and is not complete.
    pub errors: Vec<PathProblem>,
    /// What changed whenever it was read; what is stored may be a mixture of two states.
    pub changed_while_read: Vec<TreePath>,
    /// What went away between the listing and the reading, which is no loss.
    pub vanished: Vec<TreePath>,
    /// What was wrong with the parent in the repository; it was stored again.
    pub notes: Vec<Problem>,
}

impl TreeReport {
    /// Whether everything that was listed is in the tree, whether or not it changed meanwhile.
    pub fn is_complete(&self) -> bool {
        self.errors.is_empty()
    }

    /// Files, whatever became of them.
    pub fn files(&self) -> u64 {
        self.files_new + self.files_changed + self.files_unmodified
    }

    /// Directories, whatever became of them.
    pub fn dirs(&self) -> u64 {
        self.dirs_new + self.dirs_changed + self.dirs_unmodified
    }
}

/// A report that many threads write to, until the tree has its id.
#[derive(Debug)]
pub(super) struct Shared(Mutex<TreeReport>);

impl Shared {
    pub(super) fn new() -> Self {
        Shared(Mutex::new(TreeReport {
            // The name of nothing, replaced when the root is stored.
            tree: Id::of(b""),
            files_new: 0,
            files_changed: 0,
            files_unmodified: 0,
            files_adopted: 0,
            dirs_new: 0,
            dirs_changed: 0,
            dirs_unmodified: 0,
            others: 0,
            sockets_skipped: 0,
            bytes_total: 0,
            bytes_read: 0,
            bytes_added: 0,
            bytes_stored: 0,
            data_blobs: 0,
            tree_blobs: 0,
            errors: Vec::new(),
            changed_while_read: Vec::new(),
            vanished: Vec::new(),
            notes: Vec::new(),
        }))
    }

    pub(super) fn with(&self, change: impl FnOnce(&mut TreeReport)) {
        change(&mut lock(&self.0));
    }

    /// The report of the tree `root`. Paths are sorted, since threads meet them in any order.
    pub(super) fn finish(self, root: Id) -> TreeReport {
        let mut report = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        report.tree = root;
        report.errors.sort_by(|a, b| a.path.cmp(&b.path));
        report.changed_while_read.sort();
        report.vanished.sort();
        report
    }
}
