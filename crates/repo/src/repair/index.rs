//! Index files that say exactly what the packs hold.

use super::writer::save_index;
use super::{RepairOptions, Repaired, keep, lock, unlock};
use crate::id::Id;
use crate::index::load::{read_header, read_marked};
use crate::index::{IndexPack, MarkedFile, MarkedPack};
use crate::layout::ObjectKind;
use crate::locks::LockGuard;
use crate::pack::PackEntry;
use crate::problem::Problem;
use crate::read::is_damage;
use crate::repository::Repository;
use futures_util::StreamExt;
use recoup_core::Result;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Headers that are read at a time.
const READS_AT_ONCE: usize = 8;

/// Replaces index files that are damaged, or that speak of packs that are gone or look different, and
/// lists packs that no file lists. With `read_all` the header of every pack is read and all index files
/// are written anew. What a file says of a pack that is there and damaged is carried over: `packs`
/// needs it to save the blobs.
///
/// # Errors
/// `Kind::Locked`, E0411; `Kind::Refused`, E0496; as the store says.
pub async fn index(repo: &Repository, read_all: bool, options: &RepairOptions) -> Result<Repaired> {
    let guard = lock(repo, options).await?;
    let result = work(repo, read_all, options, guard.as_ref()).await;
    unlock(repo, guard, result).await
}

async fn work(
    repo: &Repository,
    read_all: bool,
    options: &RepairOptions,
    lock: Option<&LockGuard>,
) -> Result<Repaired> {
    let mut report = Repaired { applied: lock.is_some(), ..Repaired::default() };
    let mut truth = truth(repo, &mut report).await?;
    if read_all {
        read_headers(repo, &mut truth, &mut report).await?;
    }
    let files = all_files(repo).await?;
    let switch = decide(&truth, &files, read_all, &mut report);
    apply(repo, options, lock, switch, &mut report).await?;
    Ok(report)
}

/// What is there and what is in it.
type Truth = BTreeMap<Id, (u64, Vec<PackEntry>)>;

/// New entries first, then these files may go.
pub(super) struct Switch {
    pub(super) write: Vec<IndexPack>,
    /// What the files that go say of packs that wait for deletion: they go on waiting.
    pub(super) marked: Vec<MarkedPack>,
    pub(super) remove: Vec<Id>,
}

/// Writes what is new, then moves what it replaces into quarantine.
pub(super) async fn apply(
    repo: &Repository,
    options: &RepairOptions,
    lock: Option<&LockGuard>,
    switch: Switch,
    report: &mut Repaired,
) -> Result<()> {
    let Some(lock) = lock else { return Ok(()) };
    save_index(repo, lock, switch.write, switch.marked, report).await?;
    for id in &switch.remove {
        keep::quarantine(repo, options, lock, ObjectKind::Index, id, report).await?;
    }
    Ok(())
}

async fn truth(repo: &Repository, report: &mut Repaired) -> Result<Truth> {
    let index = repo.reload_index().await?;
    let mut by_pack = index.by_pack();
    let mut truth = Truth::new();
    for pack in index.packs() {
        let entries = by_pack.remove(&pack.id).unwrap_or_default();
        match pack.size {
            None => report.lost.push(Problem::new(
                "E0423",
                format!("pack {}", pack.id),
                "it is missing; what it alone held cannot be brought back",
            )),
            Some(size) => {
                if !pack.sound {
                    report.lost.push(Problem::new(
                        "E0424",
                        format!("pack {}", pack.id),
                        "it is damaged; `repair packs` saves what is good in it",
                    ));
                }
                truth.insert(pack.id, (size, entries));
            }
        }
    }
    report.lost.extend(index.problems().iter().filter(|p| p.code == "E0426").cloned());
    Ok(truth)
}

async fn read_headers(repo: &Repository, truth: &mut Truth, report: &mut Repaired) -> Result<()> {
    let packs: Vec<(Id, u64)> = truth.iter().map(|(id, (size, _))| (*id, *size)).collect();
    let mut headers = futures_util::stream::iter(packs)
        .map(|(id, size)| async move {
            (id, size, read_header(&**repo.store(), repo.key(), repo.limits(), id, size).await)
        })
        .buffer_unordered(READS_AT_ONCE);
    while let Some((id, size, header)) = headers.next().await {
        match header {
            Ok(entries) => {
                truth.insert(id, (size, entries));
            }
            // what the old files say of it is the best there is
            Err(err) if is_damage(&err) => report.lost.push(Problem::new(
                "E0421",
                format!("pack {id}"),
                format!("what the old index says of it was kept: {err}"),
            )),
            Err(err) => return Err(err),
        }
    }
    Ok(())
}

/// Every index file, `None` where it cannot be used.
pub(super) async fn all_files(repo: &Repository) -> Result<BTreeMap<Id, Option<MarkedFile>>> {
    let mut files = BTreeMap::new();
    for (id, _) in repo.documents().list(ObjectKind::Index).await?.objects {
        match read_marked(&**repo.store(), repo.key(), repo.limits(), id).await {
            Ok(file) => files.insert(id, Some(file)),
            Err(err) if is_damage(&err) => files.insert(id, None),
            Err(err) => return Err(err),
        };
    }
    Ok(files)
}

fn decide(
    truth: &Truth,
    files: &BTreeMap<Id, Option<MarkedFile>>,
    all: bool,
    report: &mut Repaired,
) -> Switch {
    let known: HashMap<Id, BTreeSet<&PackEntry>> =
        truth.iter().map(|(id, (_, entries))| (*id, entries.iter().collect())).collect();
    let is_true = |pack: &IndexPack| {
        known.get(&pack.id).is_some_and(|entries| pack.blobs.iter().all(|e| entries.contains(e)))
    };
    let mut listed: HashMap<Id, BTreeSet<PackEntry>> = HashMap::new();
    let (mut marked, mut remove) = (BTreeMap::new(), Vec::new());
    for (id, file) in files {
        let object = format!("index {id}");
        match file {
            Some(file) if !all && file.file.packs.iter().all(is_true) => {
                for pack in &file.file.packs {
                    listed.entry(pack.id).or_default().extend(pack.blobs.iter().copied());
                }
                continue;
            }
            Some(_) if all => report.step(object, "replace it by what the packs say themselves"),
            Some(_) => report.step(object, "replace it: it speaks of packs that are gone or different"),
            None => report.step(object, "move it into quarantine: it cannot be read"),
        }
        // A pack that is listed all the same is in use.
        let waiting = file.iter().flat_map(|file| &file.marked).filter(|pack| !truth.contains_key(&pack.id));
        marked.extend(waiting.map(|pack| (pack.id, pack.clone())));
        remove.push(*id);
    }
    let mut write = Vec::new();
    for (id, (_, entries)) in truth {
        let known = listed.get(id);
        if entries.is_empty() || known.is_some_and(|known| entries.iter().all(|e| known.contains(e))) {
            continue;
        }
        if remove.is_empty() {
            report.step(format!("pack {id}"), "list it in a new index file");
        }
        write.push(IndexPack { id: *id, blobs: entries.clone() });
    }
    if !remove.is_empty() || !write.is_empty() {
        report.step("index", format!("write what {} packs hold", write.len()));
    }
    Switch { write, marked: marked.into_values().collect(), remove }
}
