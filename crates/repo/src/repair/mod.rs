//! Mends what is left of a damaged repository. Nothing is deleted before what replaces it is durable
//! and the original lies in quarantine (traps 4 and 32).
//!
//! Every repair first says what it would do; it acts only if [`RepairOptions::apply`] is set, and then
//! under an exclusive lock. A run that is killed at any moment leaves a repository that is at least as
//! good as before, and the next run goes on.

mod index;
mod keep;
mod packs;
mod snapshots;
mod writer;

pub use index::index;
pub use packs::packs;
pub use snapshots::{DamagedFiles, SnapshotOptions, snapshots};

use crate::locks::{LockGuard, LockMode};
use crate::problem::Problem;
use crate::repository::Repository;
use recoup_core::Result;
use recoup_store::Store;
use std::sync::Arc;
use std::time::Duration;

/// How a repair is done.
#[derive(Clone, Debug, Default)]
pub struct RepairOptions {
    /// Acts; otherwise only says what it would do.
    pub apply: bool,
    /// Where originals are kept; `None` for `recoup/quarantine/` in the repository's own location.
    pub quarantine: Option<Arc<dyn Store>>,
    /// How long to wait for others who hold the repository.
    pub lock_wait: Duration,
}

/// One thing that was done, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which object, as in `pack 3f2a...`.
    pub object: String,
    /// What is done to it, in a few words.
    pub what: String,
}

/// What a repair came to.
#[derive(Clone, Debug, Default)]
pub struct Repaired {
    /// Whether it was done, or only would be.
    pub applied: bool,
    /// In order. Empty if nothing needs repair.
    pub steps: Vec<Step>,
    /// What no repair can bring back, or needs another one.
    pub lost: Vec<Problem>,
    /// Objects written.
    pub written: u64,
    /// Objects that lie in quarantine now.
    pub quarantined: u64,
}

impl Repaired {
    fn step(&mut self, object: impl Into<String>, what: impl Into<String>) {
        self.steps.push(Step { object: object.into(), what: what.into() });
    }
}

/// A lock if something will be changed.
async fn lock(repo: &Repository, options: &RepairOptions) -> Result<Option<LockGuard>> {
    if !options.apply {
        return Ok(None);
    }
    keep::check(repo, options)?;
    repo.lock_within(LockMode::Exclusive, options.lock_wait).await.map(Some)
}

/// Gives the lock back whatever came of the work; the error of the work comes first.
async fn unlock<T>(repo: &Repository, lock: Option<LockGuard>, result: Result<T>) -> Result<T> {
    repo.forget_index().await;
    let released = match lock {
        Some(lock) => lock.release().await,
        None => Ok(()),
    };
    let value = result?;
    released.map(|()| value)
}
