//! Forgetting snapshots. Only the snapshot objects go, under an exclusive lock and after a fresh listing;
//! what they alone needed stays in the packs until a prune.

use crate::id::Id;
use crate::layout::ObjectKind;
use crate::locks::LockMode;
use crate::problem::Problem;
use crate::repository::{Repository, SnapshotFilter, SnapshotList};
use crate::snapshot::{Snapshot, is_overtaken};
use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};
use recoup_core::retention::{self, Candidate, GroupBy, Plan, Policy};
use recoup_core::{Error, Kind, Result};
use std::collections::BTreeSet;
use std::time::Duration;

/// What was forgotten, or would be.
#[derive(Debug, Default)]
pub struct Forgotten {
    /// Gone.
    pub removed: Vec<Id>,
    /// Was not there.
    pub missing: Vec<Id>,
    /// Could not be removed.
    pub failed: Vec<(Id, Error)>,
}

/// What a policy came to.
#[derive(Debug)]
pub struct ByPolicy {
    /// What stays and goes, and why.
    pub plan: Plan,
    /// What was done about it.
    pub done: Forgotten,
    /// Partial snapshots among those that went: a complete one has come since.
    pub partial: Vec<Id>,
    /// Snapshots that cannot be read; they were left alone.
    pub problems: Vec<Problem>,
}

/// How forgetting is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ForgetOptions {
    /// Says what would be done and does nothing.
    pub dry_run: bool,
    /// How long to wait for others who hold the repository.
    pub lock_wait: Duration,
}

/// Forgets the snapshots `ids`.
///
/// # Errors
/// `Kind::Locked`, E0411; as the store says when it is asked for the list.
pub async fn forget(repository: &Repository, ids: &[Id], options: ForgetOptions) -> Result<Forgotten> {
    if options.dry_run {
        return remove(repository, ids, true).await;
    }
    let lock = repository.lock_within(LockMode::Exclusive, options.lock_wait).await?;
    let done = remove(repository, ids, false).await;
    lock.release().await?;
    done
}

/// Refuses to forget a snapshot that `policy` protects by its tags, or that its writer said must stay.
///
/// # Errors
/// `Kind::Refused`, E0478.
pub fn refuse_protected(id: &Id, snapshot: &Snapshot, policy: &Policy, now: Timestamp) -> Result<()> {
    let by = match (policy.protects(&snapshot.tags), snapshot.must_stay(now)) {
        (true, _) => "is protected by its tags",
        (false, true) => "its writer said must stay",
        (false, false) => return Ok(()),
    };
    Err(Error::new(Kind::Refused, format!("forget a snapshot that {by}"))
        .with("snapshot", id)
        .code("E0478")
        .effect("no snapshot was forgotten"))
}

/// Forgets what `policy` does not keep of the snapshots that `filter` means. A partial snapshot never stands for
/// an hour or a day: it stays until a complete one of the same host and paths was made after it.
///
/// # Errors
/// `Kind::Refused`, E0461, if it would keep nothing of some group, and E0475 if a snapshot is dated in the
/// future; `Kind::Locked`, E0411; as the store says otherwise. Nothing is forgotten then.
pub async fn by_policy(
    repository: &Repository,
    filter: &SnapshotFilter,
    policy: &Policy,
    by: GroupBy,
    options: ForgetOptions,
) -> Result<ByPolicy> {
    if options.dry_run {
        return apply(repository, filter, policy, by, true).await;
    }
    let lock = repository.lock_within(LockMode::Exclusive, options.lock_wait).await?;
    let done = apply(repository, filter, policy, by, false).await;
    lock.release().await?;
    done
}

/// The snapshots of `list` that `filter` means, as the planner wants them.
pub fn candidates(list: &SnapshotList, filter: &SnapshotFilter, now: Timestamp) -> Vec<Candidate> {
    let is_meant = |snapshot: &Snapshot| filter.matches(snapshot) && !snapshot.is_partial();
    let meant = list.snapshots.iter().filter(|(_, snapshot)| is_meant(snapshot));
    meant
        .map(|(id, snapshot)| {
            let offset = Offset::from_seconds(snapshot.time.offset_seconds).unwrap_or(Offset::UTC);
            Candidate {
                id: id.to_string(),
                time: snapshot.time.at.to_zoned(TimeZone::fixed(offset)),
                host: snapshot.hostname.clone(),
                paths: snapshot.paths.clone(),
                tags: snapshot.tags.clone(),
                must_stay: snapshot.must_stay(now),
            }
        })
        .collect()
}

async fn apply(
    repository: &Repository,
    filter: &SnapshotFilter,
    policy: &Policy,
    by: GroupBy,
    dry_run: bool,
) -> Result<ByPolicy> {
    let list = repository.snapshots().await?;
    let now = repository.env().now().to_zoned(TimeZone::UTC);
    let candidates = candidates(&list, filter, repository.env().now());
    refuse_the_future(&candidates, &now)?;
    let plan = retention::plan(&candidates, policy, by, &now)?;
    let partial = superseded(&list, filter, policy.is_empty());
    let ids: Vec<Id> = plan.remove().map(str::parse).collect::<Result<_>>()?;
    let done = remove(repository, &[ids, partial.clone()].concat(), dry_run).await?;
    Ok(ByPolicy { plan, done, partial, problems: list.problems })
}

/// The partial snapshots that `filter` means and that no run will go on from; all that it means if nothing is to
/// be kept.
fn superseded(list: &SnapshotList, filter: &SnapshotFilter, is_all: bool) -> Vec<Id> {
    let follows = |partial: &Snapshot, other: &Snapshot| {
        let is_later = partial.story().is_some_and(|story| other.time.at > story.at);
        is_later && !other.is_partial() && other.is_of_same_place(partial)
    };
    let all = &list.snapshots;
    let partial = all.iter().filter(|(_, snapshot)| snapshot.is_partial() && filter.matches(snapshot));
    let gone = partial.filter(|(_, partial)| is_all || all.iter().any(|(_, other)| follows(partial, other)));
    gone.map(|(id, _)| *id).collect()
}

/// A snapshot from the future pushes good ones out of the policy. Either a clock is wrong, and then nobody
/// knows what is old, or somebody wrote it on purpose.
fn refuse_the_future(candidates: &[Candidate], now: &jiff::Zoned) -> Result<()> {
    let now = now.timestamp();
    match candidates.iter().find(|candidate| is_overtaken(now, candidate.time.timestamp())) {
        None => Ok(()),
        Some(candidate) => {
            Err(Error::new(Kind::Refused, "forget snapshots by age: one of them is dated in the future")
                .with("snapshot", &candidate.id)
                .with("time", candidate.time.strftime("%Y-%m-%d %H:%M:%S %:z"))
                .code("E0475")
                .effect("no snapshot was forgotten"))
        }
    }
}

async fn remove(repository: &Repository, ids: &[Id], dry_run: bool) -> Result<Forgotten> {
    let listed = repository.documents().list(ObjectKind::Snapshot).await?.objects;
    let there: BTreeSet<Id> = listed.into_iter().map(|(id, _)| id).collect();
    let wanted: BTreeSet<Id> = ids.iter().copied().collect();
    let mut done = Forgotten::default();
    for id in wanted {
        if !there.contains(&id) {
            done.missing.push(id);
        } else if dry_run {
            done.removed.push(id);
        } else {
            match repository.documents().delete(ObjectKind::Snapshot, &id).await {
                Ok(()) => done.removed.push(id),
                Err(err) => done.failed.push((id, err)),
            }
        }
    }
    Ok(done)
}
