//! The kernel's questions, handed to the view. Every failure is EIO: what is given is whole.

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner, OpenFlags,
    ReplyAttr, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyXattr, Request,
};
use recoup_core::entry::EntryKind;
use recoup_core::{Error, Kind};
use recoup_repo::view::{Attributes, Listed, ROOT, View};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::runtime::Handle;

/// How long the kernel may keep what never changes.
const LASTING: Duration = Duration::from_secs(3600);
/// How long it may keep what comes and goes with snapshots.
const PASSING: Duration = Duration::from_secs(1);
/// Longest name of an attribute that the kernel takes.
const XATTR_NAME_BYTES_MAX: usize = 255;

/// A view, asked by the kernel.
pub(super) struct Kernel {
    view: View,
    runtime: Handle,
    /// Directories that are being listed: each listing is of one moment.
    listings: Mutex<HashMap<u64, Arc<Vec<Listed>>>>,
    next: AtomicU64,
}

impl Kernel {
    pub(super) fn new(view: View, runtime: Handle) -> Self {
        Kernel { view, runtime, listings: Mutex::default(), next: AtomicU64::new(1) }
    }
}

/// The view has said on standard error what is wrong.
fn errno(err: &Error) -> Errno {
    if err.kind() == Kind::NotFound { Errno::ENOENT } else { Errno::EIO }
}

fn kind(kind: &EntryKind) -> (FileType, u32) {
    match kind {
        EntryKind::File => (FileType::RegularFile, 0),
        EntryKind::Dir => (FileType::Directory, 0),
        EntryKind::Symlink { .. } => (FileType::Symlink, 0),
        // The kernel's form of a number lies in the low half of that of the C library.
        EntryKind::BlockDevice { device } => (FileType::BlockDevice, *device as u32),
        EntryKind::CharDevice { device } => (FileType::CharDevice, *device as u32),
        EntryKind::Fifo => (FileType::NamedPipe, 0),
        EntryKind::Socket => (FileType::Socket, 0),
    }
}

fn attr(a: &Attributes) -> FileAttr {
    let (file_type, rdev) = kind(&a.kind);
    FileAttr {
        ino: INodeNo(a.number),
        size: a.size,
        blocks: a.size.div_ceil(512),
        atime: SystemTime::from(a.atime),
        mtime: SystemTime::from(a.mtime),
        ctime: SystemTime::from(a.ctime),
        crtime: SystemTime::UNIX_EPOCH,
        kind: file_type,
        perm: (a.mode & 0o7777) as u16,
        nlink: u32::try_from(a.links).unwrap_or(u32::MAX),
        uid: a.uid,
        gid: a.gid,
        rdev,
        blksize: 4096,
        flags: 0,
    }
}

fn keep(a: &Attributes) -> Duration {
    if a.lasts { LASTING } else { PASSING }
}

fn xattr(reply: ReplyXattr, value: &[u8], room: u32) {
    match (room, u32::try_from(value.len())) {
        (_, Err(_)) => reply.error(Errno::E2BIG),
        (0, Ok(length)) => reply.size(length),
        (room, Ok(length)) if length > room => reply.error(Errno::ERANGE),
        _ => reply.data(value),
    }
}

impl Filesystem for Kernel {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.runtime.block_on(self.view.lookup(parent.0, name.as_bytes())) {
            Ok(Some(found)) => reply.entry(&keep(&found), &attr(&found), Generation(0)),
            Ok(None) => reply.error(Errno::ENOENT),
            Err(err) => reply.error(errno(&err)),
        }
    }

    fn forget(&self, _: &Request, number: INodeNo, times: u64) {
        self.view.forget(number.0, times);
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.runtime.block_on(self.view.attributes(number.0)) {
            Ok(found) => reply.attr(&keep(&found), &attr(&found)),
            Err(err) => reply.error(errno(&err)),
        }
    }

    fn readlink(&self, _: &Request, number: INodeNo, reply: ReplyData) {
        match self.view.target(number.0) {
            Ok(target) => reply.data(&target),
            Err(err) => reply.error(errno(&err)),
        }
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        // Content never changes, so what the kernel has of it stays good.
        reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
    }

    fn read(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        // The kernel takes a short answer as the end of the file and fills up with zeros: it is whole or EIO.
        match self.runtime.block_on(self.view.read(number.0, offset, size as usize)) {
            Ok(bytes) => reply.data(&bytes),
            Err(_) => reply.error(Errno::EIO),
        }
    }

    fn opendir(&self, _: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.runtime.block_on(self.view.list(number.0)) {
            Ok(listed) => {
                let handle = self.next.fetch_add(1, Ordering::Relaxed);
                let mut listings = self.listings.lock().unwrap_or_else(PoisonError::into_inner);
                listings.insert(handle, Arc::new(listed));
                reply.opened(FileHandle(handle), FopenFlags::empty());
            }
            Err(err) => reply.error(errno(&err)),
        }
    }

    fn readdir(
        &self,
        _: &Request,
        number: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let listed = self.listings.lock().unwrap_or_else(PoisonError::into_inner).get(&handle.0).cloned();
        let Some(listed) = listed else { return reply.error(Errno::EBADF) };
        let dots = [(number.0, "."), (ROOT, "..")];
        let dots = dots.iter().map(|(number, name)| (*number, FileType::Directory, name.as_bytes()));
        let rest = listed.iter().map(|l| (l.number, kind(&l.kind).0, l.name.as_bytes()));
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        for (place, (number, file_type, name)) in dots.chain(rest).enumerate().skip(from) {
            if reply.add(INodeNo(number), place as u64 + 1, file_type, OsStr::from_bytes(name)) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.listings.lock().unwrap_or_else(PoisonError::into_inner).remove(&handle.0);
        reply.ok();
    }

    fn getxattr(&self, _: &Request, number: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        match self.view.xattrs(number.0) {
            Ok(all) => match all.iter().find(|x| x.name.as_bytes() == name.as_bytes()) {
                Some(found) => xattr(reply, &found.value, size),
                None => reply.error(Errno::NO_XATTR),
            },
            Err(err) => reply.error(errno(&err)),
        }
    }

    fn listxattr(&self, _: &Request, number: INodeNo, size: u32, reply: ReplyXattr) {
        match self.view.xattrs(number.0) {
            Ok(all) => {
                let fits = |name: &&str| {
                    !name.is_empty() && name.len() <= XATTR_NAME_BYTES_MAX && !name.contains('\0')
                };
                let names: Vec<&str> = all.iter().map(|x| x.name.as_str()).filter(fits).collect();
                let names: Vec<u8> =
                    names.iter().flat_map(|name| [name.as_bytes(), b"\0"].concat()).collect();
                xattr(reply, &names, size);
            }
            Err(err) => reply.error(errno(&err)),
        }
    }
}
