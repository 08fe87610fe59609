//! Finding the live files: through a link, on a mount of their own or not.

use super::walk::missing;
use crate::place::parent;
use recoup_core::Result;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What the path of a source leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Root {
    /// The real path, all links followed.
    pub(super) path: PathBuf,
    /// Whether the configured path was a link.
    pub(super) followed: bool,
    /// Whether it is a file system of its own.
    pub(super) mounted: bool,
    /// Whether it is a directory.
    pub(super) is_dir: bool,
    /// Number of its file system.
    device: u64,
    /// Its inode.
    inode: u64,
}

impl Root {
    /// Whether the path still leads to the same thing. A single file may be replaced by a new version
    /// of itself; a directory that is another one now was taken away while it was read.
    pub(super) fn is_still_there(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|now| {
            let same = (now.dev(), now.ino()) == (self.device, self.inode);
            same || (!self.is_dir && now.is_file())
        })
    }
}

/// Finds the root of a source.
///
/// # Errors
/// `Kind::NotFound` (E0521) or as the operating system says (E0522).
pub(super) fn find(path: &Path) -> Result<Root> {
    let failed = |e: std::io::Error| {
        missing(path, rustix::io::Errno::from_io_error(&e).unwrap_or(rustix::io::Errno::IO))
    };
    let link = fs::symlink_metadata(path).map_err(failed)?;
    let real = fs::canonicalize(path).map_err(failed)?;
    let meta = fs::metadata(&real).map_err(failed)?;
    let above = fs::metadata(parent(&real)).map_err(failed)?;
    Ok(Root {
        path: real,
        followed: link.is_symlink(),
        mounted: meta.dev() != above.dev(),
        is_dir: meta.is_dir(),
        device: meta.dev(),
        inode: meta.ino(),
    })
}
