//! What of a file stands at the target already. Its pieces are compared by their hashes, at the places where
//! the new file has them; what is the same is not read from the repository.
//!
//! A file that differs is written aside, with the pieces of the old one that are good, and replaces it in one step.

use super::pieces::Layout;
use super::write::{Open, write_parts};
use crate::id::Id;
use recoup_core::Result;
use recoup_core::entry::{Entry, FileTarget, OldFile, PathProblem, Standing, Target};
use recoup_core::name::TreePath;
use std::sync::Mutex;

/// A file, before anything is written to it.
pub(super) enum Begun {
    /// It is open, and lacks the pieces of its layout.
    Open(Box<Open>),
    /// Nothing is to be written: how, and how long it is.
    Settled(TreePath, How, u64),
}

/// Why nothing is written to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// It is what it should be.
    Unchanged,
    /// An earlier run has finished it.
    Resumed,
    /// The policy leaves it.
    Left,
}

/// Begins files in the order in which they come. Runs where it may block.
pub(super) fn begin_files(
    target: &dyn Target,
    files: Vec<(TreePath, Entry, Layout)>,
) -> Vec<std::result::Result<Begun, PathProblem>> {
    // One buffer for the pieces of all of them.
    let mut buffer = Vec::new();
    let mut begin = |(path, entry, layout): (TreePath, Entry, Layout)| {
        let named = path.clone();
        begin_file(target, path, entry, layout, &mut buffer)
            .map_err(|error| PathProblem { path: named, error })
    };
    files.into_iter().map(&mut begin).collect()
}

fn begin_file(
    target: &dyn Target,
    path: TreePath,
    entry: Entry,
    mut layout: Layout,
    buffer: &mut Vec<u8>,
) -> Result<Begun> {
    let standing = target.in_place().map_or(Ok(Standing::Nothing), |place| place.look(&path, &entry))?;
    let is_new = matches!(standing, Standing::Nothing);
    let old = match standing {
        Standing::Left => return Ok(Begun::Settled(path, How::Left, 0)),
        Standing::Finished => return Ok(Begun::Settled(path, How::Resumed, layout.bytes)),
        Standing::Same(old)
            if layout.missing.is_empty() && old.bytes() == layout.bytes && old.keep(&entry)? =>
        {
            return Ok(Begun::Settled(path, How::Unchanged, layout.bytes));
        }
        // It was not opened: what the entry says of its size is not what its content has.
        Standing::Same(_) | Standing::Nothing | Standing::Replaced => None,
        Standing::File(old) => Some(old),
    };
    let same = old.as_ref().map(|old| compare(&**old, &layout, buffer)).unwrap_or_default();
    if let Some(old) = &old
        && is_whole(&**old, &layout, &same)
        && old.keep(&entry)?
    {
        return Ok(Begun::Settled(path, How::Unchanged, layout.bytes));
    }
    let file = target.begin_file(&path, &entry, layout.bytes)?;
    let kept = match &old {
        Some(old) => take_over(&**old, &mut layout, &same, &*file, buffer)?,
        None => 0,
    };
    let damaged = Mutex::new(layout.missing.clone());
    let failed = Mutex::new(None);
    let flaky = Mutex::default();
    Ok(Begun::Open(Box::new(Open {
        path,
        entry,
        layout,
        kept,
        is_new,
        target: file,
        failed,
        damaged,
        flaky,
    })))
}

/// For each piece whether the old file has it, at the same place. What cannot be read counts as different.
pub(super) fn compare(old: &dyn OldFile, layout: &Layout, buffer: &mut Vec<u8>) -> Vec<bool> {
    layout.blobs.iter().map(|(id, at, bytes)| has(old, id, *at, *bytes, buffer)).collect()
}

/// Whether the old file has nothing but what the new one has.
pub(super) fn is_whole(old: &dyn OldFile, layout: &Layout, same: &[bool]) -> bool {
    layout.missing.is_empty() && old.bytes() == layout.bytes && same.iter().all(|same| *same)
}

/// Whether `old` has the blob `id` of `bytes` bytes at `at`. Then it is what `buffer` holds.
pub(super) fn has(old: &dyn OldFile, id: &Id, at: u64, bytes: u64, buffer: &mut Vec<u8>) -> bool {
    if at.checked_add(bytes).is_none_or(|end| end > old.bytes()) {
        return false;
    }
    // A blob is never longer than the limits of the repository allow, so this fits.
    buffer.resize(bytes as usize, 0);
    old.read_at(at, buffer).is_ok_and(|found| found as u64 == bytes) && Id::of(buffer) == *id
}

/// Copies the pieces that were the same, and leaves the others in the layout. They are read and hashed a second
/// time: somebody may write to the old file meanwhile.
fn take_over(
    old: &dyn OldFile,
    layout: &mut Layout,
    same: &[bool],
    file: &dyn FileTarget,
    buffer: &mut Vec<u8>,
) -> Result<u64> {
    let mut kept = 0;
    let mut rest = Vec::new();
    for ((id, at, bytes), same) in layout.blobs.drain(..).zip(same) {
        if *same && has(old, &id, at, bytes, buffer) {
            write_parts(file, buffer, at)?;
            kept += bytes;
        } else {
            rest.push((id, at, bytes));
        }
    }
    layout.blobs = rest;
    Ok(kept)
}
