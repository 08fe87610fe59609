//! A file system that does not tell small letters from capitals, as those of other systems and of memory cards: it keeps
//! names as they were given first and finds them in any spelling. It lives in memory and is gone when dropped.

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

/// The kernel asks each time: what it remembers of a name would be spelled in one way only.
const TTL: Duration = Duration::ZERO;

/// The file system, mounted as long as this lives.
pub(crate) struct Caseless(Option<BackgroundSession>);

impl Caseless {
    /// Mounts an empty one at the directory `at`; `None` where this host cannot.
    pub(crate) fn mount(at: &Path) -> Option<Self> {
        let root = Node::new(1, FileType::Directory, 0o755);
        let files = Files(Mutex::new(BTreeMap::from([(1, root)])));
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("caseless".into())];
        fuser::spawn_mount(files, at, &config).ok().map(|session| Caseless(Some(session)))
    }
}

impl Drop for Caseless {
    fn drop(&mut self) {
        if let Some(session) = self.0.take() {
            let _ = session.umount_and_join();
        }
    }
}

struct Node {
    attr: FileAttr,
    bytes: Vec<u8>,
    /// Entries by their folded names: the name as it was given, and the number.
    entries: BTreeMap<Vec<u8>, (OsString, u64)>,
}

impl Node {
    fn new(number: u64, kind: FileType, mode: u32) -> Self {
        let now = SystemTime::now();
        let attr = FileAttr {
            ino: INodeNo(number),
            size: 0,
            blocks: 0,
            atime: now,
            mtime: now,
            ctime: now,
            crtime: now,
            kind,
            perm: (mode & 0o7777) as u16,
            nlink: 1,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            rdev: 0,
            blksize: 4096,
            flags: 0,
        };
        Node { attr, bytes: Vec::new(), entries: BTreeMap::new() }
    }
}

fn fold(name: &OsStr) -> Vec<u8> {
    name.to_string_lossy().to_lowercase().into_bytes()
}

struct Files(Mutex<BTreeMap<u64, Node>>);

impl Files {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Node>> {
        self.0.lock().unwrap()
    }

    fn find(&self, parent: INodeNo, name: &OsStr) -> Option<FileAttr> {
        let nodes = self.lock();
        let (_, number) = nodes.get(&parent.0)?.entries.get(&fold(name))?;
        Some(nodes[number].attr)
    }

    /// Adds an entry, unless one of that name is there.
    fn add(
        &self,
        parent: INodeNo,
        name: &OsStr,
        kind: FileType,
        mode: u32,
        bytes: Vec<u8>,
    ) -> Result<FileAttr, Errno> {
        if self.find(parent, name).is_some() {
            return Err(Errno::EEXIST);
        }
        let mut nodes = self.lock();
        let number = nodes.last_key_value().map_or(1, |(last, _)| last + 1);
        let mut node = Node::new(number, kind, mode);
        (node.attr.size, node.bytes) = (bytes.len() as u64, bytes);
        let attr = node.attr;
        nodes.insert(number, node);
        let folder = nodes.get_mut(&parent.0).ok_or(Errno::ENOENT)?;
        folder.entries.insert(fold(name), (name.to_owned(), number));
        Ok(attr)
    }

    /// Takes an entry out; its node stays, since somebody may have it open.
    fn take(&self, parent: INodeNo, name: &OsStr) -> Option<u64> {
        let (_, number) = self.lock().get_mut(&parent.0)?.entries.remove(&fold(name))?;
        Some(number)
    }
}

fn entry(reply: ReplyEntry, made: Result<FileAttr, Errno>) {
    match made {
        Ok(attr) => reply.entry(&TTL, &attr, Generation(0)),
        Err(errno) => reply.error(errno),
    }
}

impl Filesystem for Files {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        entry(reply, self.find(parent, name).ok_or(Errno::ENOENT));
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.lock().get(&number.0) {
            Some(node) => reply.attr(&TTL, &node.attr),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        number: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut nodes = self.lock();
        let Some(node) = nodes.get_mut(&number.0) else { return reply.error(Errno::ENOENT) };
        let attr = &mut node.attr;
        attr.perm = mode.map_or(attr.perm, |mode| (mode & 0o7777) as u16);
        (attr.uid, attr.gid) = (uid.unwrap_or(attr.uid), gid.unwrap_or(attr.gid));
        if let Some(size) = size {
            node.bytes.resize(size as usize, 0);
            attr.size = size;
        }
        match mtime {
            Some(TimeOrNow::SpecificTime(time)) => attr.mtime = time,
            Some(TimeOrNow::Now) => attr.mtime = SystemTime::now(),
            None => {}
        }
        reply.attr(&TTL, attr);
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, _: u32, reply: ReplyEntry) {
        entry(reply, self.add(parent, name, FileType::Directory, mode, Vec::new()));
    }

    fn symlink(&self, _: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let target = target.as_os_str().as_bytes().to_vec();
        entry(reply, self.add(parent, name, FileType::Symlink, 0o777, target));
    }

    fn readlink(&self, _: &Request, number: INodeNo, reply: ReplyData) {
        reply.data(&self.lock()[&number.0].bytes);
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        match self.add(parent, name, FileType::RegularFile, mode, Vec::new()) {
            Ok(attr) => reply.created(&TTL, &attr, Generation(0), FileHandle(0), FopenFlags::empty()),
            Err(errno) => reply.error(errno),
        }
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::empty());
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
        let nodes = self.lock();
        let rest = nodes[&number.0].bytes.get(offset as usize..).unwrap_or_default();
        reply.data(&rest[..rest.len().min(size as usize)]);
    }

    fn write(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut nodes = self.lock();
        let Some(node) = nodes.get_mut(&number.0) else { return reply.error(Errno::ENOENT) };
        let (from, end) = (offset as usize, offset as usize + data.len());
        if node.bytes.len() < end {
            node.bytes.resize(end, 0);
        }
        node.bytes[from..end].copy_from_slice(data);
        node.attr.size = node.bytes.len() as u64;
        reply.written(data.len() as u32);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        match self.take(parent, name) {
            Some(_) => reply.ok(),
            None => reply.error(Errno::ENOENT),
        }
    }

    /// What stands there already is replaced and keeps its spelling, as elsewhere.
    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        to: INodeNo,
        new: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let Some(number) = self.take(parent, name) else { return reply.error(Errno::ENOENT) };
        let mut nodes = self.lock();
        let Some(folder) = nodes.get_mut(&to.0) else { return reply.error(Errno::ENOENT) };
        folder.entries.entry(fold(new)).or_insert_with(|| (new.to_owned(), 0)).1 = number;
        reply.ok();
    }

    fn readdir(&self, _: &Request, number: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let nodes = self.lock();
        for (nr, (name, number)) in nodes[&number.0].entries.values().enumerate().skip(offset as usize) {
            if reply.add(INodeNo(*number), nr as u64 + 1, nodes[number].attr.kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.ok();
    }
}
