//! New packs and new index files, durable in this order.

use super::Repaired;
use crate::blob::BlobHandle;
use crate::documents::put_new;
use crate::index::{BLOBS_MAX, IndexPack, MarkedFile, MarkedPack};
use crate::layout::ObjectKind;
use crate::locks::LockGuard;
use crate::pack::PackBuilder;
use crate::repository::Repository;
use bytes::Bytes;
use recoup_core::Result;

/// A pack is closed at this size.
const PACK_BYTES: usize = 16 << 20;

/// Collects blobs into packs and puts the packs.
pub(super) struct Packs<'a> {
    repo: &'a Repository,
    lock: &'a LockGuard,
    open: PackBuilder,
    done: Vec<IndexPack>,
}

impl<'a> Packs<'a> {
    pub(super) fn new(repo: &'a Repository, lock: &'a LockGuard) -> Self {
        Packs { repo, lock, open: PackBuilder::default(), done: Vec::new() }
    }

    /// Adds a blob as it is stored: compressed if `uncompressed` says so.
    pub(super) async fn add(
        &mut self,
        handle: BlobHandle,
        stored: &[u8],
        uncompressed: Option<usize>,
    ) -> Result<()> {
        self.open.add(self.repo.key(), self.repo.env(), handle, stored, uncompressed)?;
        if self.open.len() >= PACK_BYTES || self.open.entries().len() >= BLOBS_MAX / 4 {
            self.close().await?;
        }
        Ok(())
    }

    /// Ends a pack, if one is open: data and trees never share one.
    pub(super) async fn close(&mut self) -> Result<()> {
        if self.open.is_empty() {
            return Ok(());
        }
        let repo = self.repo;
        let proven = std::mem::take(&mut self.open).finish_proven(repo.key(), repo.env(), repo.limits());
        let pack =
            proven.map_err(|err| err.effect("it was not stored, and the originals are where they were"))?;
        self.lock.check()?;
        put_new(&**repo.store(), ObjectKind::Pack, &pack.id, Bytes::from(pack.bytes)).await?;
        self.done.push(IndexPack { id: pack.id, blobs: pack.entries });
        Ok(())
    }

    /// Ends the last pack and gives what an index must list now.
    pub(super) async fn finish(mut self, report: &mut Repaired) -> Result<Vec<IndexPack>> {
        self.close().await?;
        report.written += self.done.len() as u64;
        Ok(self.done)
    }
}

/// Writes index files that list `packs`, and `marked` as waiting for deletion.
pub(super) async fn save_index(
    repo: &Repository,
    lock: &LockGuard,
    packs: Vec<IndexPack>,
    marked: Vec<MarkedPack>,
    report: &mut Repaired,
) -> Result<()> {
    let (mut file, mut blobs) = (MarkedFile::default(), 0);
    for pack in packs {
        make_room(repo, lock, &mut file, &mut blobs, pack.blobs.len(), report).await?;
        file.file.packs.push(pack);
    }
    for pack in marked {
        make_room(repo, lock, &mut file, &mut blobs, pack.blobs.len(), report).await?;
        file.marked.push(pack);
    }
    if file == MarkedFile::default() { Ok(()) } else { save_one(repo, lock, &file, report).await }
}

/// Writes `file` and begins a new one if `more` blobs would be too many for it.
async fn make_room(
    repo: &Repository,
    lock: &LockGuard,
    file: &mut MarkedFile,
    blobs: &mut usize,
    more: usize,
    report: &mut Repaired,
) -> Result<()> {
    if *blobs > 0 && *blobs + more > BLOBS_MAX {
        save_one(repo, lock, &std::mem::take(file), report).await?;
        *blobs = 0;
    }
    *blobs += more;
    Ok(())
}

async fn save_one(
    repo: &Repository,
    lock: &LockGuard,
    file: &MarkedFile,
    report: &mut Repaired,
) -> Result<()> {
    lock.check()?;
    repo.documents().save(ObjectKind::Index, file.encode()?).await?;
    report.written += 1;
    Ok(())
}
