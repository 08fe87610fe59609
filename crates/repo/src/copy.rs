//! Snapshots of one repository into another. What a copy of a snapshot needs is durable before the copy is
//! written; what a stopped run has moved is used by the next one. The source is only read.

use crate::blob::BlobHandle;
use crate::id::Id;
use crate::locks::LockMode;
use crate::repository::{Repository, SnapshotList};
use crate::snapshot::Snapshot;
use crate::tree::Tree;
use crate::write::{Added, WriteOptions, Writer};
use futures_util::StreamExt;
use recoup_core::event::{Event, Finding, Severity};
use recoup_core::{Error, Kind, Result};
use std::collections::HashSet;

/// Directories read at the same time.
const TREES_AT_ONCE: usize = 8;

/// What was copied.
#[derive(Debug, Default)]
pub struct Copied {
    /// Names in the source and in the target.
    pub copied: Vec<(Id, Id)>,
    /// Were there already, under these names.
    pub skipped: Vec<(Id, Id)>,
    /// Could not be copied; the others were.
    pub failed: Vec<(Id, Error)>,
    /// What was added to the target.
    pub added: Added,
    /// Whether both repositories cut files alike; if not, new backups share nothing with what was copied.
    pub same_chunker: bool,
}

/// Copies the snapshots `ids` of `from` to `to`, oldest first. Those that were copied before are skipped.
///
/// # Errors
/// `Kind::Conflict`, E0492, if both are one repository at one place; `Kind::Locked`, E0411;
/// `Kind::Unsupported`, E0470, if the target has version 1; as the stores say. A snapshot that cannot be
/// read stands in the report.
pub async fn copy(from: &Repository, to: &Repository, ids: &[Id], options: WriteOptions) -> Result<Copied> {
    if from.store().location() == to.store().location() {
        return Err(Error::new(Kind::Conflict, "copy a repository onto itself")
            .with("location", to.store().location())
            .code("E0492")
            .effect("nothing was copied"));
    }
    let same_chunker = from.chunker_polynomial() == to.chunker_polynomial();
    if !same_chunker {
        warn_of_chunker(to);
    }
    let source_lock = from.lock_within(LockMode::Shared, options.lock_wait).await?;
    let writer = Writer::begin(to, options).await;
    let done = match writer {
        Ok(mut writer) => {
            let done = copy_all(from, to, ids, &mut writer).await;
            writer.finish().await.and(done)
        }
        Err(err) => Err(err),
    };
    source_lock.release().await?;
    done.map(|copied| Copied { same_chunker, ..copied })
}

async fn copy_all(from: &Repository, to: &Repository, ids: &[Id], writer: &mut Writer) -> Result<Copied> {
    let there = to.snapshots().await?;
    let mut wanted = Vec::new();
    let mut done = Copied::default();
    for id in ids {
        match from.snapshot(id).await {
            Ok(snapshot) => wanted.push((*id, snapshot)),
            Err(err) => done.failed.push((*id, err)),
        }
    }
    wanted.sort_by_key(|(id, snapshot)| (snapshot.time.at, *id));
    wanted.dedup_by_key(|(id, _)| *id);
    from.reload_index().await?;
    let mut seen = HashSet::new();
    for (id, snapshot) in wanted {
        if let Some(copy) = copy_of(&there, id, &snapshot) {
            done.skipped.push((id, copy));
            continue;
        }
        match copy_one(from, id, snapshot, writer, &mut seen).await {
            Ok(new) => done.copied.push((id, new)),
            // The source is to blame, for this one only.
            Err(err) if writer.is_running() && matches!(err.kind(), Kind::Corrupt | Kind::Refused) => {
                done.failed.push((id, err));
            }
            Err(err) => return Err(err),
        }
    }
    // What a failed snapshot has moved is of use to the next run.
    writer.flush().await?;
    done.added = writer.added();
    Ok(done)
}

/// A snapshot of the target that is a copy of this one, as restic decides: of the same origin, and
/// equal but for parent and origin.
fn copy_of(there: &SnapshotList, id: Id, snapshot: &Snapshot) -> Option<Id> {
    let origin = snapshot.original.unwrap_or(id);
    let same = |other: &Snapshot| {
        let bare = |s: &Snapshot| Snapshot { parent: None, original: None, ..s.clone() };
        bare(other) == bare(snapshot)
    };
    let from_there =
        |(other_id, other): &&(Id, Snapshot)| other.original == Some(origin) || *other_id == origin;
    there.snapshots.iter().filter(from_there).find(|(_, other)| same(other)).map(|(id, _)| *id)
}

async fn copy_one(
    from: &Repository,
    id: Id,
    snapshot: Snapshot,
    writer: &mut Writer,
    seen: &mut HashSet<Id>,
) -> Result<Id> {
    let before = seen.clone();
    let moved = move_tree(from, snapshot.tree, writer, seen).await;
    if moved.is_err() {
        // Directories of a snapshot that failed were not followed to their end.
        *seen = before;
    }
    moved?;
    let original = Some(snapshot.original.unwrap_or(id));
    writer.snapshot(Snapshot { parent: None, original, ..snapshot }).await
}

/// Moves everything that `root` needs, level by level. A directory that the target has is followed all the
/// same: a stopped run may have moved it without what it holds.
async fn move_tree(from: &Repository, root: Id, writer: &Writer, seen: &mut HashSet<Id>) -> Result<()> {
    let mut level = vec![root];
    while !level.is_empty() {
        level.retain(|id| seen.insert(*id));
        let ids = std::mem::take(&mut level);
        let reads = ids.into_iter().map(|id| async move { (id, from.blob(BlobHandle::tree(id)).await) });
        let mut reads = futures_util::stream::iter(reads).buffer_unordered(TREES_AT_ONCE);
        let (mut next, mut blobs) = (Vec::new(), HashSet::new());
        while let Some((id, json)) = reads.next().await {
            let json = json?;
            let tree = Tree::decode(&json).map_err(|err| err.with("tree", id))?;
            refuse_lost(&tree, id)?;
            for node in tree.nodes {
                next.extend(node.subtree);
                let pieces = node.content.unwrap_or_default().into_iter().map(BlobHandle::data);
                blobs.extend(pieces.filter(|blob| !writer.has(blob)));
            }
            writer.put_raw_tree(id, json).await?;
        }
        let mut blobs: Vec<BlobHandle> = blobs.into_iter().collect();
        blobs.sort_unstable();
        writer.transfer(from, &blobs).await?;
        level = next;
    }
    Ok(())
}

/// An entry that cannot be read cannot be followed, and its copy would be no copy.
fn refuse_lost(tree: &Tree, id: Id) -> Result<()> {
    match tree.problems.iter().find(|problem| problem.lost) {
        None => Ok(()),
        Some(problem) => {
            let what = format!("copy the entry \"{}\": {}", problem.name, problem.problem);
            Err(Error::new(Kind::Corrupt, what).with("tree", id).code(problem.code))
        }
    }
}

fn warn_of_chunker(to: &Repository) {
    to.env().emit(Event::Finding(Finding::new(
        "W0493",
        Severity::Warning,
        to.store().location(),
        "the two repositories cut files differently, so new backups share nothing with what is copied",
        "create the target with `recoup repo init --from-repo ... --copy-chunker-params`",
    )));
}
