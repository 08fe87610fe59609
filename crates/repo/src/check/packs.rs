//! Every pack, read once from end to end: its hash, its blobs, its header.

use super::Check;
use crate::blob::BlobHandle;
use crate::hash::Hasher;
use crate::id::Id;
use crate::index::load::read_header;
use crate::layout::{self, ObjectKind};
use crate::pack::{BlobOpener, PackEntry};
use crate::problem::Problem;
use crate::read::{Progress, is_damage};
use crate::repository::Repository;
use bytes::Bytes;
use futures_util::StreamExt;
use recoup_core::{Error, Result};
use std::sync::Arc;
use std::time::Duration;

/// Packs that are read at a time; each holds one window in memory.
const PACKS_AT_ONCE: usize = 4;
/// Bytes of one read, unless a single blob is larger.
const WINDOW_BYTES: u64 = 16 << 20;

/// How often a long check writes its ledger down.
const LEDGER_EVERY: Duration = Duration::from_secs(60);

/// The packs that are there, with their sizes.
pub(super) fn there(index: &crate::Index) -> Vec<(Id, u64)> {
    index.packs().iter().filter_map(|pack| Some((pack.id, pack.size?))).collect()
}

/// What reading one pack gave.
struct Seen {
    pack: Id,
    problems: Vec<Problem>,
    damaged: Vec<BlobHandle>,
    bytes: u64,
}

impl Seen {
    fn is_whole(&self) -> bool {
        self.damaged.is_empty() && self.problems.is_empty()
    }
}

impl Check {
    pub(super) async fn packs(&mut self) -> Result<()> {
        let mut by_pack = self.index.by_pack();
        let packs: Vec<_> = std::mem::take(&mut self.chosen)
            .into_iter()
            .map(|(id, size)| (id, size, by_pack.remove(&id).unwrap_or_default()))
            .collect();
        let (repo, progress) = (self.repo.clone(), Arc::clone(&self.progress));
        let clock = Arc::clone(&repo.env().clock);
        let until = self.until;
        let mut first = true;
        // The first pack is always read: with too little time every day, nothing would ever be.
        let mut in_time =
            || std::mem::take(&mut first) || until.is_none_or(|until| clock.monotonic() < until);
        let mut under_way = futures_util::stream::iter(packs.into_iter().take_while(|_| in_time()))
            .map(|(id, size, entries)| one_pack(repo.clone(), id, size, entries, Arc::clone(&progress)))
            .buffer_unordered(PACKS_AT_ONCE);
        let mut save_at = clock.monotonic() + LEDGER_EVERY;
        while let Some(seen) = under_way.next().await {
            self.seen(seen?).await?;
            if clock.monotonic() >= save_at {
                self.save_ledger().await;
                save_at = clock.monotonic() + LEDGER_EVERY;
            }
        }
        Ok(())
    }

    async fn seen(&mut self, seen: Seen) -> Result<()> {
        let sound = self.index.packs().iter().any(|pack| pack.id == seen.pack && pack.sound);
        if let Some(ledger) = &mut self.ledger {
            // That it had to be read twice is no damage.
            if sound && seen.damaged.is_empty() && !seen.problems.iter().any(Problem::is_serious) {
                ledger.whole(seen.pack, self.repo.env().now());
            } else {
                ledger.damaged(seen.pack);
            }
        }
        self.report.packs_read += 1;
        self.report.bytes_read += seen.bytes;
        self.report.problems.extend(seen.problems);
        for handle in seen.damaged {
            // damaged here; another copy may be good
            match self.repo.blob(handle).await {
                Ok(_) => {}
                Err(err) if is_damage(&err) => self.lost(handle),
                Err(err) => return Err(err),
            }
        }
        Ok(())
    }
}

/// Reads a pack; one that looks damaged a second time, since what a bad cable or a bad bit of memory spoils
/// once is no damage of the repository (trap 49). The second time counts.
async fn one_pack(
    repo: Repository,
    id: Id,
    size: u64,
    entries: Vec<PackEntry>,
    progress: Arc<Progress>,
) -> Result<Seen> {
    let first = read_pack(&repo, id, size, &entries, Some(&progress)).await?;
    progress.add(0, 1);
    if first.is_whole() {
        return Ok(first);
    }
    let mut second = read_pack(&repo, id, size, &entries, None).await?;
    if second.is_whole() {
        let first: Vec<String> = first.problems.iter().map(|problem| problem.problem.clone()).collect();
        let what = format!("the first read differed from the second, which was whole: {}", first.join("; "));
        second.problems.push(Problem::new("W0486", format!("pack {id}"), what));
    }
    Ok(second)
}

async fn read_pack(
    repo: &Repository,
    id: Id,
    size: u64,
    entries: &[PackEntry],
    progress: Option<&Progress>,
) -> Result<Seen> {
    let mut seen = Seen { pack: id, problems: Vec::new(), damaged: Vec::new(), bytes: 0 };
    let object = format!("pack {id}");
    match read_header(&**repo.store(), repo.key(), repo.limits(), id, size).await {
        Ok(header) if header == entries => {}
        Ok(_) => {
            let what = "its own header says something else than the index";
            seen.problems.push(Problem::new("E0421", object.clone(), what));
        }
        Err(err) if is_damage(&err) => {
            seen.problems.push(Problem::new("E0421", object.clone(), err.to_string()));
        }
        Err(err) => return Err(err),
    }
    let mut hash = Hasher::default();
    let key = layout::key(ObjectKind::Pack, &id);
    for (from, end, inside) in windows(entries, size) {
        let bytes = match repo.store().get(&key, Some(from..end)).await {
            Ok(bytes) => bytes,
            Err(err) if is_damage(&err) => {
                seen.problems.push(Problem::new(
                    "E0423",
                    object.clone(),
                    format!("it cannot be read: {err}"),
                ));
                seen.damaged.extend(entries.iter().map(|entry| entry.handle));
                return Ok(seen);
            }
            Err(err) => return Err(err.with("pack", id)),
        };
        seen.bytes += bytes.len() as u64;
        if let Some(progress) = progress {
            progress.add(bytes.len() as u64, 0);
        }
        let (damaged, so_far) = open_window(repo, hash, bytes, from, inside).await?;
        seen.damaged.extend(damaged);
        hash = so_far;
    }
    if hash.finish() != id {
        let what =
            format!("its content is not what its name says; {} blobs in it are damaged", seen.damaged.len());
        seen.problems.push(Problem::new("E0438", object, what));
    } else if !seen.damaged.is_empty() {
        let what = format!("{} blobs in it are not what their names say", seen.damaged.len());
        seen.problems.push(Problem::new("E0413", object, what));
    }
    Ok(seen)
}

/// Cuts a pack into reads at the borders of blobs; every byte is in exactly one.
fn windows(entries: &[PackEntry], size: u64) -> Vec<(u64, u64, Vec<PackEntry>)> {
    let mut windows = Vec::new();
    let (mut from, mut end, mut inside) = (0, 0, Vec::new());
    for entry in entries {
        if entry.end() > size || u64::from(entry.offset) < from {
            continue;
        }
        if !inside.is_empty() && entry.end() - from > WINDOW_BYTES && u64::from(entry.offset) >= end {
            windows.push((from, end, std::mem::take(&mut inside)));
            from = end;
        }
        end = end.max(entry.end());
        inside.push(*entry);
    }
    if !inside.is_empty() {
        windows.push((from, end, inside));
        from = end;
    }
    while from < size {
        let end = size.min(from + WINDOW_BYTES);
        windows.push((from, end, Vec::new()));
        from = end;
    }
    windows
}

async fn open_window(
    repo: &Repository,
    mut hash: Hasher,
    bytes: Bytes,
    start: u64,
    inside: Vec<PackEntry>,
) -> Result<(Vec<BlobHandle>, Hasher)> {
    let repo = repo.clone();
    let work = move || {
        let mut ahead = &bytes[..];
        let mut opener = BlobOpener::default();
        let (mut damaged, mut open) = (Vec::new(), Vec::new());
        let mut entries = inside.iter().peekable();
        while let Some(entry) = entries.next() {
            let from = (u64::from(entry.offset) - start) as usize;
            let sealed = bytes.get(from..from + entry.length as usize);
            match sealed.map(|sealed| opener.add(repo.key(), entry, sealed, repo.limits())) {
                Some(Ok(())) => open.push(entry.handle),
                _ => damaged.push(entry.handle),
            }
            if opener.is_full() || entries.peek().is_none() {
                let (_, proven) = opener.prove(|plain| hash.update_beside(&mut ahead, plain));
                let bad = open.drain(..).zip(proven).filter(|(_, range)| range.is_none());
                damaged.extend(bad.map(|(blob, _)| blob));
            }
        }
        hash.update(ahead);
        (damaged, hash)
    };
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|cause| Error::bug("read packs on a thread").caused_by(cause))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_byte_is_read_once_and_every_blob_lies_in_one_window(lengths in prop::collection::vec(32..9_000_000u32, 0..12), tail in 0..40_000_000u64) {
            let mut offset = 0;
            let entries: Vec<PackEntry> = lengths.iter().map(|&length| {
                let entry = PackEntry { handle: BlobHandle::data(Id::of(b"x")), offset, length, uncompressed: None };
                offset += length;
                entry
            }).collect();
            let size = u64::from(offset) + tail;
            let mut next = 0;
            let mut blobs = 0;
            for (from, end, inside) in windows(&entries, size) {
                prop_assert_eq!(from, next);
                prop_assert!(end - from <= WINDOW_BYTES.max(9_000_000));
                prop_assert!(inside.iter().all(|e| u64::from(e.offset) >= from && e.end() <= end));
                blobs += inside.len();
                next = end;
            }
            prop_assert_eq!(next, size);
            prop_assert_eq!(blobs, entries.len());
        }
    }
}
