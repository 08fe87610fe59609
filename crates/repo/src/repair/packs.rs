//! Damaged packs: what is good in them moves into new ones.

use super::index::{Switch, all_files, apply};
use super::writer::Packs;
use super::{RepairOptions, Repaired, keep, lock, unlock};
use crate::blob::BlobKind;
use crate::check;
use crate::id::Id;
use crate::index::IndexPack;
use crate::index::load::read_header;
use crate::layout::{self, ObjectKind};
use crate::locks::LockGuard;
use crate::pack::{PackEntry, open_blob};
use crate::problem::Problem;
use crate::read::is_damage;
use crate::repository::Repository;
use recoup_core::{Error, Kind, Result};
use std::collections::{BTreeMap, BTreeSet};

/// Saves the good blobs of the packs `wanted`; without any, every pack is read to find the damaged ones.
/// The new packs and their index are durable before a damaged pack goes into quarantine.
///
/// # Errors
/// `Kind::Locked`, E0411; `Kind::Refused`, E0496; `Kind::NotFound`, E0423, for a pack that nobody
/// knows; as the store says.
pub async fn packs(repo: &Repository, wanted: &[Id], options: &RepairOptions) -> Result<Repaired> {
    let guard = lock(repo, options).await?;
    let result = work(repo, wanted, options, guard.as_ref()).await;
    unlock(repo, guard, result).await
}

async fn work(
    repo: &Repository,
    wanted: &[Id],
    options: &RepairOptions,
    lock: Option<&LockGuard>,
) -> Result<Repaired> {
    let mut report = Repaired { applied: lock.is_some(), ..Repaired::default() };
    let index = repo.reload_index().await?;
    if let Some(id) = wanted.iter().find(|id| index.pack(id).is_none()) {
        return Err(Error::new(Kind::NotFound, "find a pack to repair").with("pack", id).code("E0423"));
    }
    let damaged: BTreeSet<Id> = match wanted {
        [] => check::damaged_packs(repo).await?,
        wanted => wanted.iter().copied().collect(),
    };
    if damaged.is_empty() {
        return Ok(report);
    }
    let mut by_pack = index.by_pack();
    let mut salvage = Salvage { repo, writer: lock.map(|lock| Packs::new(repo, lock)), report: &mut report };
    let mut inside = Vec::with_capacity(damaged.len());
    for id in &damaged {
        let size = index.pack(id).and_then(|pack| pack.size);
        let listed = by_pack.remove(id).unwrap_or_default();
        inside.push((*id, salvage.entries(id, size, listed).await?));
    }
    for kind in [BlobKind::Data, BlobKind::Tree] {
        for (id, entries) in &inside {
            salvage.pack(id, kind, entries).await?;
        }
        if let Some(writer) = &mut salvage.writer {
            writer.close().await?;
        }
    }
    let writer = salvage.writer.take();
    for id in &damaged {
        report.step(format!("pack {id}"), "move it into quarantine");
    }
    let (Some(lock), Some(writer)) = (lock, writer) else { return Ok(report) };
    let fresh = writer.finish(&mut report).await?;
    let switch = switch(repo, &damaged, fresh, &mut report).await?;
    apply(repo, options, Some(lock), switch, &mut report).await?;
    for id in &damaged {
        keep::quarantine(repo, options, lock, ObjectKind::Pack, id, &mut report).await?;
    }
    Ok(report)
}

/// Index files that speak of a damaged pack are written again without it.
async fn switch(
    repo: &Repository,
    damaged: &BTreeSet<Id>,
    fresh: Vec<IndexPack>,
    report: &mut Repaired,
) -> Result<Switch> {
    let mut switch = Switch { write: fresh, marked: Vec::new(), remove: Vec::new() };
    let mut others: BTreeMap<Id, Vec<PackEntry>> = BTreeMap::new();
    for (id, file) in all_files(repo).await? {
        // one that cannot be read is the business of `repair index`
        let Some(file) = file else { continue };
        if !file.file.packs.iter().any(|pack| damaged.contains(&pack.id)) {
            continue;
        }
        report.step(format!("index {id}"), "replace it: it speaks of a damaged pack");
        for pack in file.file.packs.into_iter().filter(|pack| !damaged.contains(&pack.id)) {
            others.entry(pack.id).or_default().extend(pack.blobs);
        }
        switch.marked.extend(file.marked);
        switch.remove.push(id);
    }
    switch.write.extend(others.into_iter().map(|(id, blobs)| IndexPack { id, blobs }));
    Ok(switch)
}

struct Salvage<'a, 'r> {
    repo: &'a Repository,
    /// `None` if it is only said what would be done.
    writer: Option<Packs<'a>>,
    report: &'r mut Repaired,
}

impl Salvage<'_, '_> {
    /// What may be in a pack: by its own header, or else by the index.
    async fn entries(
        &mut self,
        id: &Id,
        size: Option<u64>,
        listed: Vec<PackEntry>,
    ) -> Result<Vec<PackEntry>> {
        let Some(size) = size else {
            let what = "it is missing; what it alone held cannot be brought back";
            self.report.lost.push(Problem::new("E0423", format!("pack {id}"), what));
            return Ok(listed);
        };
        let repo = self.repo;
        match read_header(&**repo.store(), repo.key(), repo.limits(), *id, size).await {
            Ok(entries) => Ok(entries),
            Err(err) if is_damage(&err) => Ok(listed),
            Err(err) => Err(err),
        }
    }

    async fn pack(&mut self, id: &Id, kind: BlobKind, entries: &[PackEntry]) -> Result<()> {
        let object = format!("pack {id}");
        let (mut saved, mut lost) = (0_u64, Vec::new());
        for entry in entries.iter().filter(|entry| entry.handle.kind == kind) {
            if self.blob(id, entry).await? { saved += 1 } else { lost.push(entry.handle) }
        }
        if saved > 0 {
            self.report.step(object.clone(), format!("save {saved} {kind} blobs into a new pack"));
        }
        for handle in lost {
            match self.repo.blob(handle).await {
                Ok(_) => {}
                Err(err) if is_damage(&err) => self.report.lost.push(Problem::new(
                    "E0432",
                    format!("blob {handle}"),
                    format!("{object} held the only copy and it cannot be read"),
                )),
                Err(err) => return Err(err),
            }
        }
        Ok(())
    }

    /// Copies a blob as it is stored; false if it is not what its name says.
    async fn blob(&mut self, pack: &Id, entry: &PackEntry) -> Result<bool> {
        let (repo, range) = (self.repo, u64::from(entry.offset)..entry.end());
        let sealed = match repo.store().get(&layout::key(ObjectKind::Pack, pack), Some(range)).await {
            Ok(sealed) => sealed.to_vec(),
            Err(err) if is_damage(&err) => return Ok(false),
            Err(err) => return Err(err),
        };
        if open_blob(repo.key(), entry, &sealed, repo.limits()).is_err() {
            return Ok(false);
        }
        if let Some(writer) = &mut self.writer {
            let stored = repo.key().open(&sealed)?;
            writer.add(entry.handle, &stored, entry.uncompressed.map(|bytes| bytes as usize)).await?;
        }
        Ok(true)
    }
}
