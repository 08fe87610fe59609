//! Metadata of one entry, read through a descriptor or beneath one, never through a whole path.
#![allow(
    clippy::unnecessary_cast,
    clippy::useless_conversion,
    reason = "the fields of `Stat` differ between architectures"
)]

use jiff::Timestamp;
use recoup_core::entry::{Entry, EntryKind, Stamp, Xattr};
use recoup_core::name::NodeName;
use recoup_core::{Error, Result};
use rustix::fs::{AtFlags, FileType, OFlags, Stat};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Names of users and groups, asked once each.
#[derive(Default)]
pub(crate) struct Owners {
    users: Mutex<HashMap<u32, String>>,
    groups: Mutex<HashMap<u32, String>>,
}

impl Owners {
    fn user(&self, uid: u32) -> String {
        cached(&self.users, uid, || {
            nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)).ok().flatten().map(|u| u.name)
        })
    }

    fn group(&self, gid: u32) -> String {
        cached(&self.groups, gid, || {
            nix::unistd::Group::from_gid(nix::unistd::Gid::from_raw(gid)).ok().flatten().map(|g| g.name)
        })
    }
}

fn cached(names: &Mutex<HashMap<u32, String>>, id: u32, ask: impl FnOnce() -> Option<String>) -> String {
    let mut names = names.lock().unwrap_or_else(PoisonError::into_inner);
    names.entry(id).or_insert_with(|| ask().unwrap_or_default()).clone()
}

/// Flags for a file or directory that is only read: the last component is no link, nothing blocks,
/// and the time of access stays as it is where we own the file.
pub(crate) const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOCTTY)
    .union(OFlags::NONBLOCK);

/// Opens `name` beneath `dir` for reading.
pub(crate) fn open_at(dir: impl AsFd, name: &OsStr, extra: OFlags) -> Result<OwnedFd, Errno> {
    let flags = READ | extra;
    match rustix::fs::openat(dir.as_fd(), name, flags | OFlags::NOATIME, rustix::fs::Mode::empty()) {
        Err(Errno::PERM) => rustix::fs::openat(dir.as_fd(), name, flags, rustix::fs::Mode::empty()),
        result => result,
    }
}

/// Metadata without following a link.
pub(crate) fn stat_at(dir: impl AsFd, name: &OsStr) -> Result<Stat, Errno> {
    rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
}

/// What changes when somebody writes to the file.
pub(crate) fn stamp_of(stat: &Stat) -> Stamp {
    Stamp {
        size: u64::try_from(stat.st_size).unwrap_or(0),
        mtime: timestamp(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
        ctime: timestamp(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
    }
}

/// Builds an entry; links still lack their target, and nothing has extended attributes yet.
pub(crate) fn entry_of(name: NodeName, stat: &Stat, owners: &Owners) -> Entry {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => EntryKind::Dir,
        FileType::Symlink => EntryKind::Symlink { target: Vec::new() },
        FileType::BlockDevice => EntryKind::BlockDevice { device: u64::from(stat.st_rdev) },
        FileType::CharacterDevice => EntryKind::CharDevice { device: u64::from(stat.st_rdev) },
        FileType::Fifo => EntryKind::Fifo,
        FileType::Socket => EntryKind::Socket,
        _ => EntryKind::File,
    };
    let size = if kind == EntryKind::File { u64::try_from(stat.st_size).unwrap_or(0) } else { 0 };
    Entry {
        name,
        kind,
        mode: stat.st_mode & 0o7777,
        mtime: timestamp(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
        atime: timestamp(stat.st_atime as i64, stat.st_atime_nsec as i64),
        ctime: timestamp(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        uid: stat.st_uid,
        gid: stat.st_gid,
        user: owners.user(stat.st_uid),
        group: owners.group(stat.st_gid),
        inode: stat.st_ino as u64,
        device_id: stat.st_dev as u64,
        size,
        links: stat.st_nlink as u64,
        xattrs: Vec::new(),
    }
}

/// Seconds beyond what a date can say are held at its ends.
fn timestamp(seconds: i64, nanoseconds: i64) -> Timestamp {
    let clamped = seconds.clamp(Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
    Timestamp::new(clamped, i32::try_from(nanoseconds).unwrap_or(0)).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Extended attributes of `name` beneath `dir`, in the order of the file
/// system, which restic keeps too; a link is not followed. The path goes through
/// the descriptor, so only the last component can be exchanged meanwhile.
pub(crate) fn xattrs_at(dir: impl AsFd, name: &OsStr) -> Result<Vec<Xattr>> {
    let mut path = format!("/proc/self/fd/{}/", dir.as_fd().as_raw_fd()).into_bytes();
    path.extend_from_slice(name.as_bytes());
    let path = Path::new(OsStr::from_bytes(&path));
    read_all(xattr::list(path), |key| xattr::get(path, key))
}

/// Extended attributes of an open file or directory, in the order of the file system.
pub(crate) fn xattrs_of(file: &std::fs::File) -> Result<Vec<Xattr>> {
    use xattr::FileExt;
    read_all(file.list_xattr(), |key| file.get_xattr(key))
}

fn read_all(
    listed: std::io::Result<xattr::XAttrs>,
    get: impl Fn(&OsStr) -> std::io::Result<Option<Vec<u8>>>,
) -> Result<Vec<Xattr>> {
    let failed = |e| Error::io("read the extended attributes", e).code("E0523");
    let keys = match listed {
        Ok(keys) => keys,
        Err(e) if unsupported(&e) => return Ok(Vec::new()),
        Err(e) => return Err(failed(e)),
    };
    let mut found = Vec::new();
    for key in keys {
        let Some(value) = get(&key).map_err(failed)? else { continue };
        // The names are ASCII by the kernel's own rule of namespaces; what is not is kept as shown text.
        let name = String::from_utf8_lossy(key.as_bytes()).into_owned();
        found.push(Xattr { name, value });
    }
    Ok(found)
}

fn unsupported(error: &std::io::Error) -> bool {
    let codes = [Errno::NOTSUP, Errno::OPNOTSUPP, Errno::NOENT, Errno::NOSYS];
    codes.iter().any(|code| error.raw_os_error() == Some(code.raw_os_error()))
}
