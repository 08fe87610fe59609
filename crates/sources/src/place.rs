//! The few steps every switch is made of. Each is atomic and durable, or leaves things as they were.
#![allow(
    clippy::disallowed_methods,
    reason = "this module owns renames and deletions of live data beside it"
)]

use recoup_core::name::escape;
use recoup_core::{Error, Kind, Result};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

/// Which of the two is which, by device and inode: what crashed halfway can be told by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The live data before the switch; nothing if there was none.
    pub(crate) old: Option<(u64, u64)>,
    /// The restored data.
    pub(crate) new: (u64, u64),
}

impl Record {
    pub(crate) fn read(path: &Path) -> Result<Option<Self>> {
        match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| {
                Error::new(Kind::Corrupt, "read the record of a switch")
                    .with("path", shown(path))
                    .code("E0543")
                    .caused_by(e)
            }),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(failed("read the record of a switch", path, e)),
        }
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let bytes =
            serde_json::to_vec(self).map_err(|e| Error::bug("write the record of a switch").caused_by(e))?;
        let mut temp = path.as_os_str().to_owned();
        temp.push(".part");
        let temp = Path::new(&temp);
        let write = || -> std::io::Result<()> {
            let mut file = File::create(temp)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(temp, path)
        };
        write().map_err(|e| failed("write the record of a switch", path, e))?;
        sync_parent(path)
    }
}

/// Device and inode, links not followed; `None` if nothing is there.
pub(crate) fn identity(path: &Path) -> Result<Option<(u64, u64)>> {
    match fs::symlink_metadata(path) {
        Ok(meta) => Ok(Some((meta.dev(), meta.ino()))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(failed("look at the data to switch", path, e)),
    }
}

/// Refuses before anything was done where a rename from one to the other cannot work.
pub(crate) fn same_file_system(live: &Path, keep: &Path) -> Result<()> {
    let device = |path: &Path| -> Result<u64> {
        let mut at = path;
        loop {
            match fs::symlink_metadata(at) {
                Ok(meta) => return Ok(meta.dev()),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                    at = parent(at);
                }
                Err(e) => return Err(failed("look at the data to switch", path, e)),
            }
        }
    };
    if device(live)? == device(parent(live))? && device(live)? == device(parent(keep))? {
        return Ok(());
    }
    Err(Error::new(Kind::Refused, "switch between two file systems, or at a mount point, in one atomic step")
        .with("live data", shown(live))
        .with("kept data", shown(keep))
        .code("E0541")
        .effect("nothing was changed"))
}

/// Exchanges two paths that both exist, or moves `other` to `live` if nothing is live.
pub(crate) fn swap(live: &Path, other: &Path) -> Result<()> {
    let flags = match (identity(live)?, identity(other)?) {
        (Some(_), Some(_)) => RenameFlags::EXCHANGE,
        (None, Some(_)) => return rename(other, live),
        (Some(_), None) => return rename(live, other),
        (None, None) => {
            return Err(Error::new(Kind::NotFound, "switch data that is gone")
                .with("path", shown(live))
                .code("E0542"));
        }
    };
    renameat_with(CWD, live, CWD, other, flags)
        .map_err(|e| failed("exchange the live data", live, e.into()))?;
    sync_parent(live)?;
    sync_parent(other)
}

/// Renames to a path where nothing is, durably.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<()> {
    renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)
        .map_err(|e| failed("move data aside", from, e.into()))?;
    sync_parent(from)?;
    sync_parent(to)
}

pub(crate) fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(failed("remove a file", path, e)),
        _ => Ok(()),
    }
}

/// Removes what an earlier attempt staged and did not finish.
pub(crate) fn remove_staged(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => {
            fs::remove_dir_all(path).map_err(|e| failed("remove an unfinished copy", path, e))
        }
        _ => remove_file(path),
    }
}

/// Creates a directory and those above it, private, durably.
pub(crate) fn create_dir(path: &Path) -> Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|e| failed("create a directory", path, e))?;
    sync_parent(path)
}

pub(crate) fn sync_parent(path: &Path) -> Result<()> {
    let dir = parent(path);
    File::open(dir).and_then(|d| d.sync_all()).map_err(|e| failed("make a rename durable", dir, e))
}

/// The directory above; the current one for a bare name.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => Path::new("/"),
    }
}

pub(crate) fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_bytes())
}

pub(crate) fn failed(doing: &str, path: &Path, cause: std::io::Error) -> Error {
    Error::io(doing, cause).with("path", shown(path)).code("E0544")
}

/// What cannot be told apart any more is left alone.
pub(crate) fn neither(live: &Path) -> Error {
    Error::new(Kind::Conflict, "switch data that somebody replaced since the switch began")
        .with("live data", shown(live))
        .code("E0543")
        .effect("nothing was changed")
}

/// Nobody may hold the live data when it is exchanged.
pub(crate) fn refuse_holders(holding: &crate::process::Holding, live: &Path) -> Result<()> {
    let Some(first) = holding.holders.first() else { return Ok(()) };
    let mut error = Error::new(Kind::Refused, "switch live data that a process holds open")
        .with("live data", shown(live))
        .with("process", format!("{} ({})", first.pid, first.command))
        .with("holds", shown(&first.path))
        .code("E0540")
        .effect("nothing was changed");
    if holding.holders.len() > 1 {
        error = error.with("more processes", holding.holders.len() - 1);
    }
    Err(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_and_a_broken_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r");
        assert_eq!(Record::read(&path).unwrap(), None);
        let record = Record { old: None, new: (1, 2) };
        record.write(&path).unwrap();
        assert_eq!(Record::read(&path).unwrap(), Some(record));
        fs::write(&path, b"{").unwrap();
        assert_eq!(Record::read(&path).unwrap_err().stable_code(), Some("E0543"));
    }
}
