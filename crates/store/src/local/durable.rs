//! Writes files durably or not at all. Nothing else in recoup writes a file that must survive.
//!
//! A file gets a temporary name in its own directory, its bytes, a length check, an fsync, its real
//! name in one step, and its directory is fsynced. After a failed fsync the kernel may have dropped
//! the dirty pages and say "fine" the next time, so the file is given up and never synced again.
#![allow(clippy::disallowed_methods, reason = "this module owns durable file writes")]

use recoup_core::name::escape;
use recoup_core::{Error, Kind, Result};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};
use std::fs::File;
use std::io::{ErrorKind as Io, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// The code of an error that says the disk or the quota is full. Asking again does not help.
pub const NO_SPACE: &str = "E0401";

/// How every temporary name starts.
const TEMPORARY: &str = ".recoup-tmp-";

/// Room that [`super::Local`] keeps for the moment when the disk is full. Never listed, like all
/// temporary names.
pub(super) const RESERVE: &str = ".recoup-tmp-reserve";

/// Writes `bytes` to `path` with the permission bits `mode`, replacing what is there in one step.
///
/// # Errors
/// On error `path` is what it was before. `Kind::NotFound` if its directory is missing; code
/// [`NO_SPACE`] if the disk or quota is full.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    put(path, bytes, mode, Taken::Replace)
}

/// Writes `bytes` to `path`, which must not exist.
///
/// # Errors
/// `Kind::Exists` if the name is taken; otherwise as [`write()`].
pub fn create(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    put(path, bytes, mode, Taken::Refuse)
}

/// Adds `bytes` at the end of the file `path`, which is made with `mode` if it is missing, and returns when they
/// are durable. A crash may leave any beginning of `bytes`: who reads such a file must know a torn end.
///
/// # Errors
/// On error the file is as long as before, as far as that could be brought about. `Kind::NotFound` if its
/// directory is missing; code [`NO_SPACE`] if the disk or quota is full.
pub fn append(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::open(path, flags, Mode::from_raw_mode(mode));
    let file = file.map_err(|e| failed("open a file to add to it", path, 0, e.into()))?;
    let mut file = File::from(file);
    let error = |e| failed("add to a file", path, bytes.len(), e);
    let before = file.metadata().map_err(error)?.len();
    let added = file.write_all(bytes).and_then(|()| length(&file, before + bytes.len() as u64));
    if let Err(cause) = added.and_then(|()| file.sync_all()) {
        // The first error is the story; what stays is a torn end.
        let _ = file.set_len(before);
        return Err(error(cause));
    }
    if before == 0 { sync_dir(parent(path)) } else { Ok(()) }
}

/// Cuts the file `path` to its first `length` bytes, durably.
///
/// # Errors
/// As the operating system says.
pub fn cut(path: &Path, length: u64) -> Result<()> {
    let error = |e| failed("cut a file", path, 0, e);
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty());
    let file = File::from(file.map_err(|e| error(e.into()))?);
    file.set_len(length).and_then(|()| file.sync_all()).map_err(error)
}

/// Renames `from` to `to`, replacing a file there, and makes that durable.
///
/// # Errors
/// As the operating system says.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    std::fs::rename(from, to).map_err(|e| failed("rename a file", from, 0, e))?;
    sync_dir(parent(to))?;
    if parent(from) != parent(to) {
        sync_dir(parent(from))?;
    }
    Ok(())
}

/// Creates the directory `path` and those above it, with the permission bits `mode`, durably.
///
/// # Errors
/// As the operating system says; a directory that is there already is fine and keeps its mode.
pub fn create_dir_all(path: &Path, mode: u32) -> Result<()> {
    let mut missing = Vec::new();
    let mut at = path;
    while !at.is_dir() {
        missing.push(at);
        at = parent(at);
        if missing.len() > 4096 {
            return Err(failed("create a directory", path, 0, Io::InvalidInput.into()));
        }
    }
    for dir in missing.into_iter().rev() {
        match rustix::fs::mkdir(dir, Mode::from_raw_mode(mode)) {
            Ok(()) => sync_dir(parent(dir))?,
            Err(rustix::io::Errno::EXIST) if dir.is_dir() => {}
            Err(e) => return Err(failed("create a directory", dir, 0, e.into())),
        }
    }
    Ok(())
}

/// Removes the file `path` durably; one that is not there is fine.
///
/// # Errors
/// As the operating system says.
pub fn remove_file(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Ok(()) => sync_dir(parent(path)),
        Err(e) if e.kind() == Io::NotFound => Ok(()),
        Err(e) => Err(failed("remove a file", path, 0, e)),
    }
}

/// Makes the names in the directory `path` durable.
///
/// # Errors
/// As the operating system says.
pub fn sync_dir(path: &Path) -> Result<()> {
    let dir = File::open(path).map_err(|e| failed("open a directory to sync it", path, 0, e))?;
    match dir.sync_all() {
        // Some network and FUSE file systems have no such call for directories.
        Err(e) if matches!(e.kind(), Io::InvalidInput | Io::Unsupported) => Ok(()),
        other => other.map_err(|e| failed("sync a directory", path, 0, e)),
    }
}

/// Whether `name` is a temporary name of this module: an unfinished write, to be ignored.
pub fn is_temporary(name: &str) -> bool {
    name.starts_with(TEMPORARY)
}

#[derive(Clone, Copy)]
enum Taken {
    Replace,
    Refuse,
}

fn put(path: &Path, bytes: &[u8], mode: u32, taken: Taken) -> Result<()> {
    let (temporary, file) = open_temporary(path, mode)?;
    let finished =
        fill(file, bytes).map_err(|e| failed("write a file", path, bytes.len(), e)).and_then(|()| {
            match taken {
                Taken::Replace => std::fs::rename(&temporary, path),
                Taken::Refuse => rename_if_free(&temporary, path),
            }
            .map_err(|e| failed("give a file its name", path, bytes.len(), e))
        });
    if let Err(error) = finished {
        // The first error is the story; a temporary name that stays is ignored by every reader.
        let _ = std::fs::remove_file(&temporary);
        return Err(error);
    }
    sync_dir(parent(path))
}

fn open_temporary(path: &Path, mode: u32) -> Result<(PathBuf, File)> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    loop {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let temporary = parent(path).join(format!("{TEMPORARY}{}-{n}", std::process::id()));
        match rustix::fs::open(&temporary, flags, Mode::from_raw_mode(mode)) {
            Ok(file) => return Ok((temporary, file.into())),
            // Left over from a process with our number, or another host's on a shared disk.
            Err(rustix::io::Errno::EXIST) => {}
            Err(e) => return Err(failed("create a file", path, 0, e.into())),
        }
    }
}

fn fill(mut file: File, bytes: &[u8]) -> std::io::Result<()> {
    file.write_all(bytes)?;
    length(&file, bytes.len() as u64)?;
    file.sync_all()
}

fn length(file: &File, expected: u64) -> std::io::Result<()> {
    let written = file.metadata()?.len();
    if written == expected {
        return Ok(());
    }
    Err(std::io::Error::other(format!("{written} of {expected} bytes arrived")))
}

/// A rename that refuses to replace, by a hard link where the file system has no such rename.
fn rename_if_free(from: &Path, to: &Path) -> std::io::Result<()> {
    use rustix::io::Errno;
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            rustix::fs::linkat(CWD, from, CWD, to, AtFlags::empty())?;
            std::fs::remove_file(from)
        }
        other => Ok(other?),
    }
}

/// The directory of `path`; `.` for a bare name.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(p) if p.as_os_str().is_empty() => Path::new("."),
        Some(p) => p,
        None => path,
    }
}

fn failed(doing: &str, path: &Path, needed: usize, cause: std::io::Error) -> Error {
    let shown = escape(path.as_os_str().as_bytes());
    let what = match cause.kind() {
        Io::StorageFull => "the disk is full",
        Io::QuotaExceeded => "the quota is used up",
        Io::NotADirectory => return Error::new(Kind::NotFound, doing).with("path", shown).caused_by(cause),
        _ => return Error::io(doing, cause).with("path", shown),
    };
    let free = rustix::fs::statvfs(parent(path)).map(|s| s.f_bavail.saturating_mul(s.f_frsize));
    let free = free.map_or_else(|_| "unknown".to_owned(), |bytes| bytes.to_string());
    Error::new(Kind::Unavailable, format!("{doing}: {what}"))
        .code(NO_SPACE)
        .with("path", shown)
        .with("bytes needed", needed)
        .with("bytes free", free)
        .effect("nothing was written under this name; what was there before is unharmed")
        .caused_by(cause)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    fn names(dir: &Path) -> Vec<String> {
        let mut all: Vec<_> =
            std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        all.sort();
        all
    }

    #[test]
    fn a_write_replaces_in_one_step_and_leaves_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        write(&path, b"one", 0o600).unwrap();
        let before = std::fs::metadata(&path).unwrap().ino();
        write(&path, b"two!", 0o400).unwrap();
        let meta = std::fs::metadata(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two!");
        assert_eq!(meta.permissions().mode() & 0o7777, 0o400);
        assert_ne!(meta.ino(), before);
        assert_eq!(names(dir.path()), ["a"]);
    }

    #[test]
    fn create_refuses_a_taken_name_and_removes_its_temporary_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        create(&path, b"one", 0o600).unwrap();
        assert_eq!(create(&path, b"two", 0o600).unwrap_err().kind(), Kind::Exists);
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        assert_eq!(names(dir.path()), ["a"]);
    }

    #[test]
    fn what_is_added_comes_last_and_a_torn_end_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        append(&path, b"one\n", 0o600).unwrap();
        append(&path, b"two\nthr", 0o600).unwrap();
        cut(&path, 8).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"one\ntwo\n");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(append(&dir.path().join("no/a"), b"", 0o600).unwrap_err().kind(), Kind::NotFound);
        std::os::unix::fs::symlink(&path, dir.path().join("link")).unwrap();
        assert!(append(&dir.path().join("link"), b"x", 0o600).is_err());
        assert!(cut(&dir.path().join("no"), 0).is_err());
    }

    #[test]
    fn a_missing_directory_is_not_found() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(write(&dir.path().join("no/a"), b"", 0o600).unwrap_err().kind(), Kind::NotFound);
        write(&dir.path().join("file"), b"", 0o600).unwrap();
        assert_eq!(write(&dir.path().join("file/a"), b"", 0o600).unwrap_err().kind(), Kind::NotFound);
    }

    #[test]
    fn directories_are_created_with_their_mode() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c");
        create_dir_all(&deep, 0o700).unwrap();
        create_dir_all(&deep, 0o700).unwrap();
        assert_eq!(std::fs::metadata(&deep).unwrap().permissions().mode() & 0o7777, 0o700);
        write(&dir.path().join("file"), b"", 0o600).unwrap();
        assert!(create_dir_all(&dir.path().join("file/x"), 0o700).is_err());
    }

    #[test]
    fn rename_and_remove() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        write(&a, b"x", 0o600).unwrap();
        rename(&a, &b).unwrap();
        remove_file(&b).unwrap();
        remove_file(&b).unwrap();
        assert!(names(dir.path()).is_empty());
    }
}
