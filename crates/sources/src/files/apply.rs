//! Puts metadata onto something that was just restored, through its descriptor where it has one.

use recoup_core::entry::{Entry, EntryKind};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// What to put it onto.
#[derive(Clone, Copy)]
pub(super) enum Metadata<'a> {
    /// An open file or directory.
    Open(BorrowedFd<'a>),
    /// A link, pipe or device by its temporary name in an open directory; links are not followed.
    Name(BorrowedFd<'a>, &'a str),
}

/// What to put onto it.
#[derive(Clone, Copy)]
pub(super) struct With {
    pub(super) owner: Option<(u32, u32)>,
    pub(super) special: bool,
}

/// What did not get through.
#[derive(Default)]
pub(super) struct Outcome {
    /// Dangerous, and not asked for.
    pub(super) withheld: Vec<String>,
    /// The file system or the user cannot.
    pub(super) lost: Vec<String>,
}

type Failed = (&'static str, Errno);

/// The order matters: a change of owner clears special bits and capabilities, attributes need the
/// write permission that the final mode may not give, and the times come last.
pub(super) fn apply(to: Metadata<'_>, entry: &Entry, with: With) -> Result<Outcome, Failed> {
    let mut outcome = Outcome::default();
    if let Some(owner) = with.owner {
        chown(to, owner).map_err(|e| ("restore the owner", e))?;
    }
    if let Metadata::Open(fd) = to {
        xattrs(fd, entry, with.special, &mut outcome)?;
    }
    let mode = wanted_mode(entry, with.special, &mut outcome);
    chmod(to, entry, mode).map_err(|e| ("restore the permissions", e))?;
    times(to, entry).map_err(|e| ("restore the times", e))?;
    Ok(outcome)
}

fn chown(to: Metadata<'_>, (uid, gid): (u32, u32)) -> Result<(), Errno> {
    let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    match to {
        Metadata::Open(fd) => rustix::fs::fchown(fd, uid, gid),
        Metadata::Name(dir, name) => rustix::fs::chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW),
    }
}

/// On a directory set-gid only says who owns what is made in it; on a file it gives rights away.
pub(super) fn safe_mode(entry: &Entry, special: bool) -> u32 {
    let dangerous = if entry.is_dir() { 0o4000 } else { 0o6000 };
    if special { entry.mode & 0o7777 } else { entry.mode & 0o7777 & !dangerous }
}

fn wanted_mode(entry: &Entry, special: bool, outcome: &mut Outcome) -> u32 {
    let mode = safe_mode(entry, special);
    if mode != entry.mode & 0o7777 && !entry.is_dir() {
        outcome.withheld.push("set-uid or set-gid".to_owned());
    }
    mode
}

fn chmod(to: Metadata<'_>, entry: &Entry, mode: u32) -> Result<(), Errno> {
    let mode = Mode::from_raw_mode(mode);
    match to {
        Metadata::Open(fd) => rustix::fs::fchmod(fd, mode),
        // Links have no permissions of their own.
        Metadata::Name(..) if matches!(entry.kind, EntryKind::Symlink { .. }) => Ok(()),
        Metadata::Name(dir, name) => {
            // Opening a pipe or device for real could block or act; a path descriptor does neither.
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = rustix::fs::openat(dir, name, flags, Mode::empty())?;
            rustix::fs::chmod(format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()), mode)
        }
    }
}

fn times(to: Metadata<'_>, entry: &Entry) -> Result<(), Errno> {
    let spec = |t: jiff::Timestamp| {
        // The kernel counts nanoseconds upwards from the second, also before 1970.
        let nanos = t.as_nanosecond();
        let (sec, nsec) = (nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000));
        // Both fit by construction of the type.
        Timespec { tv_sec: sec as i64, tv_nsec: nsec as _ }
    };
    let times = Timestamps { last_access: spec(entry.atime), last_modification: spec(entry.mtime) };
    match to {
        Metadata::Open(fd) => rustix::fs::futimens(fd, &times),
        Metadata::Name(dir, name) => rustix::fs::utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW),
    }
}

fn xattrs(fd: BorrowedFd<'_>, entry: &Entry, special: bool, outcome: &mut Outcome) -> Result<(), Failed> {
    for xattr in &entry.xattrs {
        if !special && (xattr.name.starts_with("security.") || xattr.name.starts_with("trusted.")) {
            outcome.withheld.push(xattr.name.clone());
            continue;
        }
        match rustix::fs::fsetxattr(fd, xattr.name.as_str(), &xattr.value, XattrFlags::empty()) {
            Ok(()) => {}
            Err(Errno::NOTSUP | Errno::PERM | Errno::ACCESS | Errno::INVAL | Errno::RANGE) => {
                outcome.lost.push(xattr.name.clone());
            }
            Err(e) => return Err(("restore the extended attributes", e)),
        }
    }
    Ok(())
}
