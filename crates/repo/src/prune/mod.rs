//! Gives back the space of what no snapshot needs. It never deletes what it is not sure about.
//!
//! First, under a shared lock, all trees are walked and needed blobs are copied out of packs that are mostly not needed.
//! Then, under a short exclusive lock, snapshots, index files and packs are listed again, new snapshots are walked
//! too, and the index is switched. Packs that nobody needs are marked in the index, in rustic's form, and
//! deleted by a prune after their time; at once if asked, as restic does.

mod facts;
mod plan;

mod repack;
mod switch;
mod used;

pub use facts::{Copy, Facts, PackFact, PackState};
pub use plan::{Action, Goals, Numbers, Plan, Unused, bytes, plan};

use self::facts::{Loaded, unsure};
use self::used::Used;
use crate::id::Id;
use crate::locks::{LockMode, LockWatch};
use crate::repository::Repository;
use recoup_core::{Error, Kind, Result};
use std::collections::HashSet;
use std::time::Duration;

/// How to prune.
#[derive(Clone, Debug)]
pub struct PruneOptions {
    /// Unused bytes that may stay.
    pub max_unused: Unused,
    /// Bytes of packs that may be rewritten; `None` for all.
    pub max_repack_bytes: Option<u64>,
    /// How long packs stay marked; zero deletes at once.
    pub keep_delete: Duration,
    /// Says what would be done and does nothing.
    pub dry_run: bool,
    /// How long to wait for others who hold the repository, each of two times.
    pub lock_wait: Duration,
    /// Snapshots without which nothing is done.
    pub protect: Vec<Id>,
    /// Prunes a repository that has data and no snapshot.
    pub allow_no_snapshots: bool,
}

impl Default for PruneOptions {
    fn default() -> Self {
        PruneOptions {
            max_unused: Unused::Percent(5.0),
            max_repack_bytes: None,
            keep_delete: Duration::from_secs(23 * 3600),
            dry_run: false,
            lock_wait: Duration::ZERO,
            protect: Vec::new(),
            allow_no_snapshots: false,
        }
    }
}

/// What was done, or would be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// As it was planned first.
    pub planned: Numbers,
    /// As it was done at last, when the copies existed.
    pub done: Numbers,
    /// New packs.
    pub packs_written: u64,
}

/// Prunes.
///
/// # Errors
/// `Kind::Locked`, E0411; `Kind::Refused`, E0476 if something that tells what is needed cannot be read,
/// E0477 if snapshots that must be there are not; as the store says otherwise. Nothing needed is deleted.
pub async fn prune(repo: &Repository, options: &PruneOptions) -> Result<Pruned> {
    if repo.version() < 2 {
        return Err(Error::new(Kind::Unsupported, "prune a repository of format version 1")
            .with("location", repo.store().location())
            .code("E0470")
            .effect("nothing was changed"));
    }
    let mut used = Used::default();
    if options.dry_run {
        let (_, plan) = decide(repo, options, &mut used, HashSet::new(), true).await?;
        return Ok(Pruned { planned: plan.numbers, ..Pruned::default() });
    }
    let lock = repo.lock_within(LockMode::Shared, options.lock_wait).await?;
    let prepared = prepare(repo, options, &mut used, &lock.watch()).await;
    lock.release().await?;
    let Prepared { planned, written, is_idle } = prepared?;
    let mut pruned = Pruned { planned, done: planned, packs_written: written.len() as u64 };
    if is_idle {
        return Ok(pruned);
    }
    let lock = repo.lock_within(LockMode::Exclusive, options.lock_wait).await?;
    let switched = switch_over(repo, options, &mut used, written, &lock.watch()).await;
    repo.forget_index().await;
    lock.release().await?;
    pruned.done = switched?;
    Ok(pruned)
}

/// What was done while others could work too.
struct Prepared {
    planned: Numbers,
    written: HashSet<Id>,
    is_idle: bool,
}

async fn prepare(
    repo: &Repository,
    options: &PruneOptions,
    used: &mut Used,
    lock: &LockWatch,
) -> Result<Prepared> {
    let (loaded, plan) = decide(repo, options, used, HashSet::new(), true).await?;
    let written = repack::run(repo, &loaded.facts, &plan, lock).await?.into_iter().collect();
    Ok(Prepared { planned: plan.numbers, written, is_idle: switch::is_idle(&loaded, &plan) })
}

async fn switch_over(
    repo: &Repository,
    options: &PruneOptions,
    used: &mut Used,
    prefer: HashSet<Id>,
    lock: &LockWatch,
) -> Result<Numbers> {
    let (loaded, plan) = match decide(repo, options, used, prefer.clone(), false).await {
        // What a snapshot needed that is forgotten by now may be gone as well.
        Err(err) if err.stable_code() == Some("E0476") => {
            *used = Used::default();
            decide(repo, options, used, prefer, false).await?
        }
        decided => decided?,
    };
    switch::run(repo, &loaded, &plan, lock).await?;
    Ok(plan.numbers)
}

/// Lists snapshots and then index files, walks what was not walked yet, and plans.
async fn decide(
    repo: &Repository,
    options: &PruneOptions,
    used: &mut Used,
    prefer: HashSet<Id>,
    repack: bool,
) -> Result<(Loaded, Plan)> {
    // What a snapshot needs is indexed before the snapshot is there, so snapshots are listed first.
    let first = repo.snapshots().await?;
    let Loaded { facts, files, wrong } = facts::load(repo).await?;
    let there = used.walk(repo, &facts, first).await?;
    refuse_missing(options, &there, &facts)?;
    let goals = Goals {
        max_unused: options.max_unused,
        max_repack_bytes: options.max_repack_bytes,
        keep_delete: options.keep_delete,
        now: repo.env().now(),
        prefer,
        repack,
    };
    let needed = used.needed(&facts)?;
    let plan = plan::plan(&facts, &needed, &goals).map_err(|missing| {
        let some = missing.first().map(ToString::to_string).unwrap_or_default();
        unsure(format!("{} needed blobs are in no sound pack, one is {some}", missing.len()))
    })?;
    Ok((Loaded { facts, files, wrong }, plan))
}

/// A listing that came back empty looks like a repository whose snapshots are all forgotten.
fn refuse_missing(options: &PruneOptions, there: &[Id], facts: &Facts) -> Result<()> {
    let refused = |why: String| {
        Err(Error::new(Kind::Refused, format!("prune the repository: {why}"))
            .code("E0477")
            .effect("nothing was deleted"))
    };
    if let Some(id) = options.protect.iter().find(|id| !there.contains(id)) {
        return refused(format!("the protected snapshot {id} is not there"));
    }
    if there.is_empty() && !facts.packs.is_empty() && !options.allow_no_snapshots {
        return refused("it has data and no snapshot".into());
    }
    Ok(())
}
