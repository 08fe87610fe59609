//! What stands at the target already: looked at by the policy, compared, kept, read back, cleared away.
#![allow(clippy::unnecessary_cast, reason = "the fields of `Stat` differ between architectures")]

use super::journal::{self, Stamp};
use super::{Beneath, Inner, Metadata, Overwrite, apply, changed_at, failed, failed_io, lock, refused};
use super::{same_file, stat_of};
use recoup_core::entry::{Entry, EntryKind, InPlace, OldFile, Standing};
use recoup_core::name::{NodeName, TreePath};
use recoup_core::{Error, Kind, Result};
use rustix::fs::{Advice, AtFlags, FileType, OFlags, Stat, StatxFlags, statx, unlinkat};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::io::ErrorKind as Io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

impl InPlace for Beneath {
    fn look(&self, path: &TreePath, entry: &Entry) -> Result<Standing> {
        let inner = &self.inner;
        let (dir, name) = match inner.parent(path) {
            Ok(found) => found,
            Err(e) if e.kind() == Kind::NotFound => return Ok(Standing::Nothing),
            Err(e) => return Err(e),
        };
        if inner.is_only_spelled_alike(&dir, name) {
            return Ok(Standing::Nothing);
        }
        if entry.is_dir() {
            return inner.look_at_dir(&dir, path, name);
        }
        let Some(stat) = inner.there(&dir, path, name)? else { return Ok(Standing::Nothing) };
        if inner.journal.as_ref().is_some_and(|journal| journal.has(path, &Stamp::of(&stat))) {
            return Ok(Standing::Finished);
        }
        if inner.leaves(&stat, entry) {
            return Ok(Standing::Left);
        }
        if entry.kind != EntryKind::File || !FileType::from_raw_mode(stat.st_mode).is_file() {
            return Ok(Standing::Replaced);
        }
        let by_time = inner.options.overwrite == Overwrite::IfChanged && same_file(&stat, entry);
        let old = Old { inner: inner.clone(), dir, path: path.clone(), name: name.clone(), stat, file: None };
        if by_time && old.may_stay(entry) {
            return Ok(Standing::Same(Box::new(old)));
        }
        // What cannot be read cannot be compared, and is replaced as it would be without a look.
        Ok(match old.opened() {
            Ok(old) => Standing::File(Box::new(old)),
            Err(_) => Standing::Replaced,
        })
    }

    fn is_link(&self, path: &TreePath, of: &TreePath) -> Result<bool> {
        let stat = |path: &TreePath| -> Result<Option<Stat>> {
            let (dir, name) = self.inner.parent(path)?;
            match stat_of(&dir, name.as_bytes()) {
                Ok(stat) => Ok(Some(stat)),
                Err(Errno::NOENT) => Ok(None),
                Err(e) => Err(failed("look at what is there", path, e)),
            }
        };
        Ok(match (stat(path)?, stat(of)?) {
            (Some(a), Some(b)) => (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino),
            _ => false,
        })
    }

    fn read_back(&self, path: &TreePath) -> Result<Box<dyn OldFile>> {
        let inner = &self.inner;
        let (dir, name) = inner.parent(path)?;
        let stat = match stat_of(&dir, name.as_bytes()) {
            Ok(stat) => stat,
            Err(e) => return Err(failed("find a restored file", path, e)),
        };
        if !FileType::from_raw_mode(stat.st_mode).is_file() {
            return Err(refused("read back something that is no file", path));
        }
        let old = Old { inner: inner.clone(), dir, path: path.clone(), name: name.clone(), stat, file: None };
        let old = old.opened()?;
        if let Some(file) = &old.file {
            // It was made durable, so the kernel can let go of it and read it from the disk again.
            let _advice = rustix::fs::fadvise(file, 0, None, Advice::DontNeed);
        }
        Ok(Box::new(old))
    }

    fn names(&self, path: &TreePath) -> Result<Option<Vec<(NodeName, bool)>>> {
        let inner = &self.inner;
        let dir = if path.last().is_none() {
            inner.root.clone()
        } else {
            let (above, name) = match inner.parent(path) {
                Ok(found) => found,
                Err(e) if e.kind() == Kind::NotFound => return Ok(None),
                Err(e) => return Err(e),
            };
            match Inner::open_dir(&above, name) {
                Ok(fd) => Arc::new(fd),
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => return Ok(None),
                Err(e) => return Err(failed("open a directory", path, e)),
            }
        };
        if place(&dir) != place(&inner.root) {
            return Ok(None);
        }
        let names = super::super::walk::read_names(&dir).map_err(|e| failed("list a directory", path, e))?;
        let mut found = Vec::with_capacity(names.len());
        for name in names {
            let stat = match stat_of(&dir, name.as_bytes()) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => continue,
                Err(e) => return Err(failed("look at what is there", path, e)),
            };
            let name = NodeName::new(name.as_bytes())?;
            let is_ours = inner.journal.is_some() && journal::is_at(&path.join(&name));
            if !is_ours {
                found.push((name, FileType::from_raw_mode(stat.st_mode).is_dir()));
            }
        }
        found.sort_unstable();
        Ok(Some(found))
    }

    fn remove(&self, path: &TreePath, is_dir: bool) -> Result<()> {
        let (dir, name) = self.inner.parent(path)?;
        let flags = if is_dir { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        lock(&self.inner.open).remove(path);
        match unlinkat(&dir, name.as_bytes(), flags) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(failed("remove what the snapshot does not have", path, e)),
        }
    }
}

/// Which mount a directory lies in: its number where the kernel gives it, and that of the file system.
fn place(dir: &OwnedFd) -> Option<(u64, u32, u32)> {
    let found = statx(dir, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS | StatxFlags::MNT_ID).ok()?;
    Some((found.stx_mnt_id, found.stx_dev_major, found.stx_dev_minor))
}

impl Inner {
    fn look_at_dir(&self, dir: &OwnedFd, path: &TreePath, name: &NodeName) -> Result<Standing> {
        match stat_of(dir, name.as_bytes()) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode).is_dir() => Ok(Standing::Left),
            Ok(_) if self.options.overwrite == Overwrite::Always => Ok(Standing::Replaced),
            Ok(_) => Err(super::in_the_way(path, Errno::NOTDIR)),
            Err(Errno::NOENT) => Ok(Standing::Nothing),
            Err(e) => Err(failed("look at what is there", path, e)),
        }
    }
}

/// A file that stands at the target.
struct Old {
    inner: Arc<Inner>,
    dir: Arc<OwnedFd>,
    path: TreePath,
    name: NodeName,
    stat: Stat,
    /// Opened when it is needed: most are kept without a look.
    file: Option<File>,
}

impl Old {
    fn open(&self) -> Result<File> {
        let opened =
            crate::meta::open_at(&self.dir, OsStr::from_bytes(self.name.as_bytes()), OFlags::empty());
        let fd = opened.map_err(|e| failed("open a file that is there", &self.path, e))?;
        let now = rustix::fs::fstat(&fd).map_err(|e| failed("look at what is there", &self.path, e))?;
        if (now.st_dev, now.st_ino) != (self.stat.st_dev, self.stat.st_ino) {
            return Err(refused("open a file that was exchanged meanwhile", &self.path));
        }
        Ok(File::from(fd))
    }

    fn opened(mut self) -> Result<Self> {
        self.file = Some(self.open()?);
        Ok(self)
    }

    /// Whether its metadata is as it should be. Attributes are put on anew, which is no less work than a look.
    fn is_as(&self, entry: &Entry) -> bool {
        let inner = &self.inner;
        let owner = inner.owner(entry);
        self.stat.st_mode & 0o7777 == apply::safe_mode(entry, inner.options.allow_special)
            && owner.is_none_or(|owner| owner == (self.stat.st_uid, self.stat.st_gid))
            && changed_at(&self.stat) == entry.mtime.as_nanosecond()
            && entry.xattrs.is_empty()
    }

    /// Whether this very file may stay. Other names of it may lie outside the target, so it is not changed if
    /// it has any; and it has none that the snapshot does not know of.
    fn may_stay(&self, entry: &Entry) -> bool {
        self.stat.st_nlink as u64 == 1 || (entry.links > 1 && self.is_as(entry))
    }
}

impl OldFile for Old {
    fn bytes(&self) -> u64 {
        u64::try_from(self.stat.st_size).unwrap_or(0)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<usize> {
        let file = self.file.as_ref().ok_or_else(|| Error::bug("read a file that was not opened"))?;
        let mut done = 0;
        while done < out.len() {
            match file.read_at(&mut out[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(more) => done += more,
                Err(e) if e.kind() == Io::Interrupted => {}
                Err(e) => return Err(failed_io("read a file that is there", &self.path, e)),
            }
        }
        Ok(done)
    }

    fn keep(&self, entry: &Entry) -> Result<bool> {
        if !self.may_stay(entry) {
            return Ok(false);
        }
        if self.is_as(entry) {
            return Ok(true);
        }
        let opened;
        let file = match &self.file {
            Some(file) => file,
            None => {
                opened = self.open()?;
                &opened
            }
        };
        self.inner.apply(Metadata::Open(file.as_fd()), &self.path, entry)?;
        Ok(true)
    }
}
