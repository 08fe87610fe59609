//! Contents onto open files: every blob is hashed first, and looked for elsewhere if it is damaged.

use super::blob::is_damage;
use super::pieces::{Layout, Piece, Read, without_holes};
use super::progress::Progress;
use crate::hash;
use crate::layout::{self, ObjectKind};
use crate::pack::BlobOpener;
use crate::repository::Repository;
use bytes::Bytes;
use recoup_core::entry::{Entry, FileTarget, PathProblem};
use recoup_core::name::TreePath;
use recoup_core::{Error, Result};
use std::ops::Range;
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
        blocking(move || write_pieces(&repo, &bytes, range.start, pieces, &open, &progress)).await?
    };
    for piece in bad {
        let handle = piece.location.entry.handle;
        match repo.blob_again(handle, pack).await {
            Ok((plain, again)) => {
                note_flaky(&piece, &open, again);
                let (open, progress) = (Arc::clone(&open), Arc::clone(&progress));
                let write = move || {
                    for &(file, offset) in &piece.uses {
                        write_plain(&plain, &open[file], offset, &progress);
                    }
                };
                blocking(write).await?;
            }
            Err(err) if is_damage(&err) => mark_damaged(&piece, &open, &progress),
            Err(err) => return Err(err),
        }
    }
    Ok(())
}

/// Writes the pieces that lie in `bytes`, which start at `start` of their pack; gives those that do not. They are
/// opened a few at a time, and neighbours in a file are written in one call.
fn write_pieces(
    repo: &Repository,
    bytes: &[u8],
    start: u64,
    pieces: Vec<Piece>,
    open: &[Open],
    progress: &Progress,
) -> Vec<Piece> {
    let mut opener = BlobOpener::default();
    let (mut bad, mut opened) = (Vec::new(), Vec::new());
    let mut pieces = pieces.into_iter().peekable();
    while let Some(piece) = pieces.next() {
        let entry = &piece.location.entry;
        let from = (u64::from(entry.offset) - start) as usize;
        let sealed = bytes.get(from..from + entry.length as usize);
        match sealed.map(|sealed| opener.add(repo.key(), entry, sealed, repo.limits())) {
            Some(Ok(())) => opened.push(piece),
            _ => bad.push(piece),
        }
        if opener.is_full() || pieces.peek().is_none() {
            let (memory, proven) = opener.prove(hash::ids);
            let mut writes = Vec::new();
            for (piece, range) in opened.drain(..).zip(proven) {
                match range {
                    Some(range) => add_writes(&mut writes, &piece, range),
                    None => bad.push(piece),
                }
            }
            for Write { file, offset, range } in writes {
                write_plain(&memory[range], &open[file], offset, progress);
            }
        }
    }
    bad
}

/// A range of the memory that goes to one place.
struct Write {
    file: usize,
    offset: u64,
    range: Range<usize>,
}

/// Adds what is to be done with a piece that lies at `range` of the memory, to the last write if it goes on there.
fn add_writes(writes: &mut Vec<Write>, piece: &Piece, range: Range<usize>) {
    for &(file, offset) in &piece.uses {
        let goes_on = |last: &&mut Write| {
            last.file == file
                && last.range.end == range.start
                && last.offset + last.range.len() as u64 == offset
        };
        match writes.last_mut().filter(goes_on) {
            Some(last) => last.range.end = range.end,
            None => writes.push(Write { file, offset, range: range.clone() }),
        }
    }
}

fn write_plain(plain: &[u8], file: &Open, offset: u64, progress: &Progress) {
    if !file.has_failed()
        && let Err(err) = write_parts(&*file.target, plain, offset)
    {
        file.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(err);
    }
    progress.add(plain.len() as u64, 0);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::BlobHandle;
    use crate::id::Id;
    use crate::index::Location;
    use crate::pack::PackEntry;

    #[test]
    fn neighbours_in_a_file_are_written_in_one_call() {
        let entry =
            PackEntry { handle: BlobHandle::data(Id::of(b"x")), offset: 0, length: 42, uncompressed: None };
        let location = Location { pack: Id::of(b"pack"), entry, sound: true };
        let piece = |uses: &[(usize, u64)]| Piece { location, uses: uses.to_vec() };
        let mut writes = Vec::new();
        // Two that follow each other in file 0, one of them in file 1 too; then a gap in the memory, a gap in the file,
        // and another file.
        add_writes(&mut writes, &piece(&[(0, 100)]), 0..10);
        add_writes(&mut writes, &piece(&[(0, 110), (1, 0)]), 10..20);
        add_writes(&mut writes, &piece(&[(1, 10)]), 20..30);
        add_writes(&mut writes, &piece(&[(1, 20)]), 31..41);
        add_writes(&mut writes, &piece(&[(1, 40)]), 41..51);
        add_writes(&mut writes, &piece(&[(2, 50)]), 51..61);
        let found: Vec<_> = writes.into_iter().map(|it| (it.file, it.offset, it.range)).collect();
        let expected = [(0, 100, 0..20), (1, 0, 10..30), (1, 20, 31..41), (1, 40, 41..51), (2, 50, 51..61)];
        assert_eq!(found, expected);
    }
}
