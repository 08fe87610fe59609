//! Copies needed blobs out of packs that are mostly not needed. A blob moves as it is sealed; its seal is
//! checked in the bytes of the new pack before that is stored.

use super::facts::{Facts, unsure};
use super::plan::{Action, Plan};
use crate::blob::BlobKind;
use crate::documents::put_new;
use crate::id::Id;
use crate::index::{BLOBS_MAX, IndexFile, IndexPack};
use crate::layout::{self, ObjectKind};
use crate::locks::LockWatch;
use crate::pack::{Pack, PackBuilder, PackEntry};
use crate::repository::Repository;
use bytes::Bytes;
use futures_util::StreamExt;
use recoup_core::{Error, Kind, Result};
use tokio::task::JoinSet;

/// Bytes of a full pack of data, as a backup makes them.
const DATA_BYTES: usize = 16 << 20;
/// Bytes of a full pack of trees.
const TREE_BYTES: usize = 4 << 20;
/// Blobs of a full pack, so that four fit into an index file.
const PACK_BLOBS_MAX: usize = 12_500;
/// Packs that are read at a time.
const AT_ONCE: usize = 4;
/// New packs that are proven and stored at a time.
const STORES_AT_ONCE: usize = 3;
/// Two needed blobs with less than this between them are read in one go.
const GAP_BYTES: u64 = 64 << 10;

/// Rewrites what the plan says. Gives the new packs; an index file lists them.
///
/// # Errors
/// `Kind::Refused`, E0476, if a needed blob is damaged; E0465 if a new pack is not what it should be; as
/// the store says otherwise.
pub(super) async fn run(repo: &Repository, facts: &Facts, plan: &Plan, lock: &LockWatch) -> Result<Vec<Id>> {
    let mut packs: Vec<(Id, Vec<PackEntry>)> = facts.packs.iter().map(|pack| (pack.id, Vec::new())).collect();
    for (ordinal, copy) in facts.copies.iter().enumerate() {
        let at = copy.pack as usize;
        if plan.relied_on[ordinal] && plan.actions[at] == Action::Repack {
            packs[at].1.push(copy.entry);
        }
    }
    packs.retain_mut(|(_, entries)| {
        entries.sort_unstable_by_key(|entry| entry.offset);
        !entries.is_empty()
    });
    let mut repack = Repack {
        repo,
        lock,
        data: PackBuilder::default(),
        tree: PackBuilder::default(),
        under_way: JoinSet::new(),
        done: Vec::new(),
    };
    let mut reads =
        futures_util::stream::iter(packs).map(|(id, entries)| read(repo, id, entries)).buffered(AT_ONCE);
    while let Some(blobs) = reads.next().await {
        for (entry, sealed) in blobs? {
            repack.add(&entry, &sealed).await?;
        }
    }
    repack.finish().await
}

struct Repack<'a> {
    repo: &'a Repository,
    lock: &'a LockWatch,
    data: PackBuilder,
    tree: PackBuilder,
    /// Full packs on their way.
    under_way: JoinSet<Result<IndexPack>>,
    done: Vec<IndexPack>,
}

impl Repack<'_> {
    async fn add(&mut self, entry: &PackEntry, sealed: &[u8]) -> Result<()> {
        let (open, full) = match entry.handle.kind {
            BlobKind::Data => (&mut self.data, DATA_BYTES),
            BlobKind::Tree => (&mut self.tree, TREE_BYTES),
        };
        open.add_sealed(entry.handle, sealed, entry.uncompressed)?;
        if open.len() < full && open.entries().len() < PACK_BLOBS_MAX {
            return Ok(());
        }
        let builder = std::mem::take(open);
        self.store(builder).await
    }

    async fn store(&mut self, builder: PackBuilder) -> Result<()> {
        if builder.is_empty() {
            return Ok(());
        }
        if self.under_way.len() >= STORES_AT_ONCE {
            self.settle_one().await?;
        }
        self.under_way.spawn(store(self.repo.clone(), self.lock.clone(), builder));
        Ok(())
    }

    /// Waits for one pack; `None` if none is on its way.
    async fn settle_one(&mut self) -> Result<Option<()>> {
        let Some(stored) = self.under_way.join_next().await else { return Ok(None) };
        self.done.push(stored.map_err(|cause| Error::bug("store a pack").caused_by(cause)).flatten()?);
        Ok(Some(()))
    }

    /// An index of the new packs at once: if the run is killed now, the next one finds the copies.
    async fn finish(mut self) -> Result<Vec<Id>> {
        let (data, tree) = (std::mem::take(&mut self.data), std::mem::take(&mut self.tree));
        self.store(data).await?;
        self.store(tree).await?;
        while self.settle_one().await?.is_some() {}
        let ids = self.done.iter().map(|pack| pack.id).collect();
        let mut file = IndexFile::default();
        for pack in std::mem::take(&mut self.done) {
            if !file.packs.is_empty() && file.blobs() + pack.blobs.len() > BLOBS_MAX {
                self.save(&std::mem::take(&mut file)).await?;
            }
            file.packs.push(pack);
        }
        if !file.packs.is_empty() {
            self.save(&file).await?;
        }
        Ok(ids)
    }

    async fn save(&self, file: &IndexFile) -> Result<()> {
        self.lock.check()?;
        self.repo.documents().save(ObjectKind::Index, file.encode()?).await?;
        Ok(())
    }
}

/// Reads the blobs `entries` of one pack, neighbours together.
async fn read(repo: &Repository, id: Id, entries: Vec<PackEntry>) -> Result<Vec<(PackEntry, Bytes)>> {
    let key = layout::key(ObjectKind::Pack, &id);
    let mut blobs = Vec::with_capacity(entries.len());
    let mut rest = entries.as_slice();
    while let Some(first) = rest.first() {
        let (from, mut end, mut count) = (u64::from(first.offset), first.end(), 1);
        while let Some(next) = rest.get(count)
            && u64::from(next.offset).saturating_sub(end) < GAP_BYTES
            && next.end() - from <= DATA_BYTES as u64
        {
            end = next.end();
            count += 1;
        }
        let bytes = repo.store().get(&key, Some(from..end)).await?;
        for entry in &rest[..count] {
            let at = u64::from(entry.offset) - from;
            // Both ends lie within what was read.
            blobs.push((*entry, bytes.slice(at as usize..(entry.end() - from) as usize)));
        }
        rest = &rest[count..];
    }
    Ok(blobs)
}

/// Names a full pack, proves it and stores it.
async fn store(repo: Repository, lock: LockWatch, builder: PackBuilder) -> Result<IndexPack> {
    let own = repo.clone();
    let work = move || {
        let pack = builder.finish(own.key(), own.env());
        prove(&own, &pack)?;
        Ok::<Pack, Error>(pack)
    };
    let pack = tokio::task::spawn_blocking(work).await;
    let pack = pack.map_err(|cause| Error::bug("finish a pack").caused_by(cause)).flatten()?;
    lock.check()?;
    put_new(&**repo.store(), ObjectKind::Pack, &pack.id, Bytes::from(pack.bytes)).await?;
    Ok(IndexPack { id: pack.id, blobs: pack.entries })
}

/// Reads back the header, and checks the seal of each blob in the bytes that will be stored. What was damaged
/// where it came from is found here too.
fn prove(repo: &Repository, pack: &Pack) -> Result<()> {
    pack.read_header_back(repo.key(), repo.limits()).map_err(|cause| {
        Error::new(Kind::Corrupt, "read back a pack before storing it")
            .with("pack", pack.id)
            .code("E0465")
            .effect("it was not stored; nothing was deleted")
            .caused_by(cause)
    })?;
    pack.entries.iter().try_for_each(|entry| {
        let checked = repo.key().check(pack.sealed(entry));
        checked.map_err(|err| unsure(format!("the {} cannot be copied: {err}", entry.handle)))
    })
}
