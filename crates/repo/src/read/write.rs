//! Contents onto open files: every blob is hashed first, and looked for elsewhere if it is damaged.

use super::blob::is_damage;
use super::pieces::{Layout, Piece, Read, without_holes};
use super::progress::Progress;
use crate::layout::{self, ObjectKind};
use crate::pack::BlobOpener;
use crate::repository::Repository;
use bytes::Bytes;
use recoup_core::entry::{Entry, FileTarget, PathProblem};
use recoup_core::name::TreePath;
use recoup_core::{Error, Result};
use std::sync::{Arc, Mutex, PoisonError};

/// A file that is open at the target.
pub(super) struct Open {
    pub(super) path: TreePath,
    pub(super) entry: Entry,
    /// With the blobs that are still to be written.
    pub(super) layout: Layout,
    /// Bytes that came from the file that stood there.
    pub(super) kept: u64,
    /// Nothing stood there.
    pub(super) is_new: bool,
    pub(super) target: Box<dyn FileTarget>,
    /// The first error of the target.
    pub(super) failed: Mutex<Option<Error>>,
    pub(super) damaged: Mutex<Vec<(u64, Option<u64>)>>,
    /// Reads that gave something else the second time.
    pub(super) flaky: Mutex<Vec<PathProblem>>,
}

/// How a file ended.
pub(super) enum Finished {
    Whole { bytes: u64, kept: u64, is_new: bool, flaky: Vec<PathProblem> },
    Damaged(TreePath, Vec<(u64, Option<u64>)>, Option<Error>),
    Failed(TreePath, Error),
}

/// Closes a file: in place if it is whole.
pub(super) fn finish_file(file: Open, keep: bool) -> Finished {
    let Open { path, entry, layout, kept, is_new, target, failed, damaged, flaky } = file;
    let damaged = damaged.into_inner().unwrap_or_else(PoisonError::into_inner);
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(error) = failed {
        return match target.abandon(false) {
            Ok(()) => Finished::Failed(path, error),
            Err(also) => Finished::Failed(path, error.with("and also", also)),
        };
    }
    if !damaged.is_empty() {
        let trouble = target.abandon(keep).err();
        return Finished::Damaged(path, damaged, trouble);
    }
    match target.finish(&entry) {
        Ok(()) => {
            let flaky = flaky.into_inner().unwrap_or_else(PoisonError::into_inner);
            Finished::Whole { bytes: layout.bytes, kept, is_new, flaky }
        }
        Err(error) => Finished::Failed(path, error),
    }
}

/// Reads one range of a pack and writes what is in it. A blob that is damaged here is looked for in its
/// other copies.
pub(super) async fn one_read(
    repo: Repository,
    read: Read,
    open: Arc<Vec<Open>>,
    progress: Arc<Progress>,
) -> Result<()> {
    let key = layout::key(ObjectKind::Pack, &read.pack);
    let range = read.range();
    let Read { pack, pieces } = read;
    let bytes = match repo.store().get(&key, Some(range.clone())).await {
        Ok(bytes) => bytes,
        // the pieces are fetched one by one below: some may be readable, or elsewhere
        Err(err) if is_damage(&err) => Bytes::new(),
        Err(err) => return Err(err.with("pack", pack)),
    };
    let bad = {
        let (repo, open, progress) = (repo.clone(), Arc::clone(&open), Arc::clone(&progress));
        blocking(move || {
            let mut opener = BlobOpener::default();
            let mut write =
                |piece: &Piece| write_piece(&repo, &mut opener, &bytes, range.start, piece, &open, &progress);
            pieces.into_iter().filter(|piece| !write(piece)).collect::<Vec<_>>()
        })
        .await?
    };
    for piece in bad {
        let handle = piece.location.entry.handle;
        match repo.blob_again(handle, pack).await {
            Ok((plain, again)) => {
                note_flaky(&piece, &open, again);
                let (open, progress) = (Arc::clone(&open), Arc::clone(&progress));
                blocking(move || write_plain(&plain, &piece, &open, &progress)).await?;
            }
            Err(err) if is_damage(&err) => mark_damaged(&piece, &open, &progress),
            Err(err) => return Err(err),
        }
    }
    Ok(())
}

/// False if the bytes are not the blob.
fn write_piece(
    repo: &Repository,
    opener: &mut BlobOpener,
    bytes: &[u8],
    start: u64,
    piece: &Piece,
    open: &[Open],
    progress: &Progress,
) -> bool {
    let entry = &piece.location.entry;
    let from = (u64::from(entry.offset) - start) as usize;
    let Some(sealed) = bytes.get(from..from + entry.length as usize) else { return false };
    match opener.open(repo.key(), entry, sealed, repo.limits()) {
        Ok(plain) => {
            write_plain(plain, piece, open, progress);
            true
        }
        Err(_) => false,
    }
}

fn write_plain(plain: &[u8], piece: &Piece, open: &[Open], progress: &Progress) {
    for &(number, offset) in &piece.uses {
        let file = &open[number];
        if !file.has_failed()
            && let Err(err) = write_parts(&*file.target, plain, offset)
        {
            file.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(err);
        }
        progress.add(plain.len() as u64, 0);
    }
}

pub(super) fn write_parts(target: &dyn FileTarget, plain: &[u8], offset: u64) -> Result<()> {
    for part in without_holes(plain, offset) {
        target.write_at(offset + part.start as u64, &plain[part])?;
    }
    Ok(())
}

impl Open {
    fn has_failed(&self) -> bool {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

/// The pack that was read twice is named once, with the first file that has the piece.
fn note_flaky(piece: &Piece, open: &[Open], again: Option<Error>) {
    let Some(first) = again else { return };
    if let Some((number, _)) = piece.uses.first() {
        let file = &open[*number];
        let problem = PathProblem { path: file.path.clone(), error: first };
        file.flaky.lock().unwrap_or_else(PoisonError::into_inner).push(problem);
    }
}

fn mark_damaged(piece: &Piece, open: &[Open], progress: &Progress) {
    let bytes = piece.location.entry.plain_bytes();
    for &(number, offset) in &piece.uses {
        let mut damaged = open[number].damaged.lock().unwrap_or_else(PoisonError::into_inner);
        damaged.push((offset, Some(offset + bytes)));
        progress.add(bytes, 0);
    }
}

/// Runs `work` where it may block.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|cause| Error::bug("work on a thread").caused_by(cause))
}
