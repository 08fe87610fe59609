//! A restore target that cannot be left: everything is reached component by component from the
//! descriptor of one directory, and no link is ever followed.
//!
//! A file is written under a temporary name in its own directory, gets its metadata through its
//! descriptor, and takes its real name last. What is dangerous (devices, set-uid and set-gid bits of
//! files, capabilities and other attributes of the system) is left out unless it was asked for.

mod file;
mod guard;
mod journal;
mod leftovers;
mod owners;
mod spelling;
mod standing;

pub use guard::{Guarded, may_clear};
pub use owners::Ownership;

use super::apply::{self, Metadata};
use file::{BeneathFile, Left};
use journal::Journal;
use owners::Resolver;
use recoup_core::entry::{Entry, EntryKind, FileTarget, InPlace, Target};
use recoup_core::name::{NodeName, TreePath, escape};
use recoup_core::{Error, Kind, Result};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RenameFlags, ResolveFlags, Stat, linkat, mkdirat, mknodat, openat,
    openat2, renameat_with, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What to do where something stands already. Directories are always merged. [`InPlace::look`] answers by it;
/// who begins a file without asking replaces what it would only compare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overwrite {
    /// Leave it.
    Never,
    /// Leave what was changed at the same time as what was stored, or later; replace what is older.
    IfNewer,
    /// Take a file of the same size and time of change for the same, compare and replace any other.
    #[default]
    IfChanged,
    /// Compare every file and replace what differs.
    Always,
}

/// When data is made durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// All at once in [`Beneath::finish_all`]. Nothing counts as restored before that.
    #[default]
    AtEnd,
    /// Each file before it gets its name, too.
    EachFile,
}

/// How to restore.
#[derive(Clone, Copy, Debug, Default)]
pub struct BeneathOptions {
    /// What to do where something stands already.
    pub overwrite: Overwrite,
    /// When data is made durable.
    pub durability: Durability,
    /// Restores devices, set-uid and set-gid bits, capabilities and attributes of the system. Needs root.
    pub allow_special: bool,
    /// Who gets what is restored.
    pub owners: Ownership,
    /// Keeps a journal of finished files under this name, so that the same restore can go on after it was
    /// stopped. It says which restore is meant: the same bytes for the same snapshot and options.
    pub journal: Option<[u8; 32]>,
    /// Refuses a target directory that holds anything.
    pub require_empty: bool,
}

/// What was left out or could not be kept, for a warning. Lists stop at [`NOTED_MAX`]; counts go on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestoreNotes {
    /// Paths (escaped) and what was withheld from them because it is dangerous.
    pub withheld: Vec<(String, String)>,
    /// How many in all.
    pub withheld_count: u64,
    /// Paths (escaped) and the metadata the target file system or the user could not take.
    pub lost: Vec<(String, String)>,
    /// How many in all.
    pub lost_count: u64,
    /// Entries whose owner could not be restored because recoup is not root.
    pub owners_not_restored: u64,
    /// Files left as they were by the overwrite policy, where somebody made them at the last moment.
    pub left: u64,
    /// Why no journal was kept, if one was wanted.
    pub no_journal: Option<String>,
}

/// Longest list in [`RestoreNotes`].
pub const NOTED_MAX: usize = 1000;

/// Directories kept open for the next file in them.
const DIRS_OPEN_MAX: usize = 256;

/// Zeros in pieces of this many bytes become holes. Smaller ones would cost more metadata than they save.
const HOLE_BYTES: usize = 32 * 1024;

/// A directory that a tree is restored into.
pub struct Beneath {
    inner: Arc<Inner>,
}

struct Inner {
    root: Arc<OwnedFd>,
    options: BeneathOptions,
    is_root: bool,
    prefix: String,
    next: AtomicU64,
    open: Mutex<HashMap<TreePath, Arc<OwnedFd>>>,
    taken: Mutex<HashSet<TreePath>>,
    /// Directories that were made here and are not finished: nothing stands in them that is not ours.
    made: Mutex<HashSet<TreePath>>,
    notes: Mutex<RestoreNotes>,
    /// The file system does not tell small letters from capitals.
    has_no_case: bool,
    /// Held while a name is given there.
    naming: Mutex<()>,
    resolver: Resolver,
    journal: Option<Journal>,
}

impl Beneath {
    /// Opens `root`, creating it (mode 0700) if it is missing.
    ///
    /// # Errors
    /// `Kind::Refused` (E0530) if it must be empty and is not; as the operating system says.
    pub fn open(root: &Path, options: BeneathOptions) -> Result<Self> {
        Beneath::open_to(root, options, true)
    }

    fn open_to(root: &Path, options: BeneathOptions, write: bool) -> Result<Self> {
        let shown = || escape(root.as_os_str().as_bytes());
        let failed =
            |e| Error::io("open the directory to restore into", e).with("path", shown()).code("E0535");
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(failed)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(root, flags, Mode::empty()).map_err(|e| failed(e.into()))?;
        if options.require_empty {
            let names = super::walk::read_names(&fd).map_err(|e| failed(e.into()))?;
            if names.iter().any(|name| name != "lost+found") {
                return Err(Error::new(Kind::Refused, "restore into a directory that is not empty")
                    .with("path", shown())
                    .code("E0530")
                    .effect("nothing was written"));
            }
        }
        let is_root = rustix::process::geteuid().is_root();
        if let (Ownership::Fixed { .. }, false) = (options.owners, is_root) {
            return Err(Error::new(Kind::Denied, "give what is restored to somebody else")
                .with("path", shown())
                .code("E0537")
                .effect("nothing was written"));
        }
        let journal = options.journal.map(|key| Journal::open(&fd, key));
        let prefix = format!("{}{}", leftovers::prefix(options.journal.as_ref()), std::process::id());
        let has_no_case = write && spelling::has_no_case(&fd, &format!("{prefix}-0"));
        Ok(Beneath {
            inner: Arc::new(Inner {
                root: Arc::new(fd),
                options,
                is_root,
                prefix,
                next: AtomicU64::new(0),
                has_no_case,
                naming: Mutex::default(),
                open: Mutex::default(),
                taken: Mutex::default(),
                made: Mutex::default(),
                notes: Mutex::default(),
                resolver: Resolver::default(),
                journal,
            }),
        })
    }

    /// Opens the directory `root` to look at what stands there, if there is one. Nothing is created.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn open_if_there(root: &Path, options: BeneathOptions) -> Result<Option<Self>> {
        match std::fs::metadata(root) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            _ => Beneath::open_to(root, options, false).map(Some),
        }
    }

    /// Makes what was restored so far durable and notes it, for a restore that ends before its end and may go on.
    ///
    /// # Errors
    /// If the file system could not store it.
    pub fn pause(&self) -> Result<()> {
        self.finish_all()?;
        if let Some(journal) = &self.inner.journal {
            journal.checkpoint(&self.inner.root);
        }
        Ok(())
    }

    /// Removes the journal of a restore that came to its end.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn complete(&self) -> Result<()> {
        let inner = &self.inner;
        let Some((journal, key)) = inner.journal.as_ref().zip(inner.options.journal.as_ref()) else {
            return Ok(());
        };
        // The root is no entry of the snapshot, so nobody has finished it.
        leftovers::sweep(&inner.root, key);
        journal
            .remove(&self.inner.root)
            .map_err(|e| Error::io("remove the journal of a restore", e).code("E0535"))
    }

    /// Makes all that was restored durable and says what was left out.
    ///
    /// # Errors
    /// If the file system could not store it; then nothing may count as restored.
    pub fn finish_all(&self) -> Result<RestoreNotes> {
        let inner = &self.inner;
        lock(&inner.open).clear();
        rustix::fs::syncfs(&inner.root)
            .and_then(|()| rustix::fs::fsync(&inner.root))
            .map_err(|e| Error::io("make the restored data durable", e.into()).code("E0535"))?;
        let mut notes = lock(&inner.notes).clone();
        notes.no_journal = inner.journal.as_ref().and_then(Journal::trouble);
        Ok(notes)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    /// Opens one directory below another. The name is one normal component, so the flags alone keep
    /// it from leading elsewhere; the kernel's own rule is asked as well where it exists.
    fn open_dir(dir: &OwnedFd, name: &NodeName) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match openat2(dir, name.as_bytes(), flags, Mode::empty(), resolve) {
            Err(Errno::NOSYS | Errno::PERM) => openat(dir, name.as_bytes(), flags, Mode::empty()),
            result => result,
        }
    }

    fn dir(&self, path: &TreePath) -> Result<Arc<OwnedFd>> {
        let mut open = lock(&self.open);
        if let Some(fd) = open.get(path) {
            return Ok(fd.clone());
        }
        // The nearest directory above that is open already, then down again.
        let parts = path.components();
        let mut fd = self.root.clone();
        let mut known = 0;
        for depth in (1..parts.len()).rev() {
            let above: TreePath = parts[..depth].iter().cloned().collect();
            if let Some(found) = open.get(&above) {
                (fd, known) = (found.clone(), depth);
                break;
            }
        }
        for part in &parts[known..] {
            fd = Arc::new(Self::open_dir(&fd, part).map_err(|e| in_the_way(path, e))?);
        }
        if open.len() >= DIRS_OPEN_MAX {
            open.clear();
        }
        open.insert(path.clone(), fd.clone());
        Ok(fd)
    }

    fn parent<'a>(&self, path: &'a TreePath) -> Result<(Arc<OwnedFd>, &'a NodeName)> {
        let name =
            path.last().ok_or_else(|| Error::bug("restore a file in place of the target directory"))?;
        let parent = path.parent().unwrap_or_default();
        Ok((self.dir(&parent)?, name))
    }

    /// Makes something under a name that nothing has: what a crashed run left, or somebody planted,
    /// costs a number.
    fn with_temp<T>(&self, make: impl Fn(&str) -> Result<T, Errno>) -> Result<(String, T), Errno> {
        loop {
            let temp = format!("{}-{}", self.prefix, self.next.fetch_add(1, Ordering::Relaxed));
            match make(&temp) {
                Err(Errno::EXIST) => {}
                Err(e) => return Err(e),
                Ok(made) => return Ok((temp, made)),
            }
        }
    }

    fn note(&self, what: impl FnOnce(&mut RestoreNotes)) {
        what(&mut lock(&self.notes));
    }

    /// What stands at `name`, if it is no directory: one of those is never replaced.
    fn there(&self, dir: &OwnedFd, path: &TreePath, name: &NodeName) -> Result<Option<Stat>> {
        if lock(&self.made).contains(&path.parent().unwrap_or_default()) {
            return Ok(None);
        }
        match stat_of(dir, name.as_bytes()) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode).is_dir() => {
                Err(refused("replace a directory by something else", path))
            }
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(failed("look at what is there", path, e)),
        }
    }

    /// Whether the policy leaves what stands there, whatever it holds.
    fn leaves(&self, there: &Stat, entry: &Entry) -> bool {
        match self.options.overwrite {
            Overwrite::Never => true,
            Overwrite::IfNewer => changed_at(there) >= entry.mtime.as_nanosecond(),
            Overwrite::IfChanged | Overwrite::Always => false,
        }
    }

    /// Something of the snapshot takes the name of the journal: the snapshot comes first.
    fn make_way(&self, path: &TreePath) {
        if let Some(journal) = self.journal.as_ref().filter(|_| journal::is_at(path)) {
            journal.give_up(&self.root, "the snapshot has a file of its name");
        }
    }

    /// Gives `temp` its real name, replacing what the policy lets it replace.
    fn place(&self, dir: &OwnedFd, temp: &str, path: &TreePath, name: &NodeName) -> Result<()> {
        self.make_way(path);
        let flags = match self.options.overwrite {
            Overwrite::Never => RenameFlags::NOREPLACE,
            _ => RenameFlags::empty(),
        };
        let claim = self.claim(dir, path, name).inspect_err(|_| {
            let _gone = unlinkat(dir, temp, AtFlags::empty());
        })?;
        let placed = renameat_with(dir, temp, dir, name.as_bytes(), flags);
        drop(claim);
        match placed {
            Ok(()) => Ok(()),
            Err(e) => {
                let _gone = unlinkat(dir, temp, AtFlags::empty());
                match e {
                    Errno::EXIST => {
                        self.note(|n| n.left += 1);
                        Ok(())
                    }
                    Errno::ISDIR | Errno::NOTEMPTY => {
                        Err(refused("replace a directory by something else", path))
                    }
                    e => Err(failed("give a restored file its name", path, e)),
                }
            }
        }
    }

    fn apply(&self, to: Metadata<'_>, path: &TreePath, entry: &Entry) -> Result<()> {
        let with = apply::With { owner: self.owner(entry), special: self.options.allow_special };
        let outcome = apply::apply(to, entry, with).map_err(|(what, e)| failed(what, path, e))?;
        let missed_owner = !self.is_root && self.options.owners != Ownership::Current && !owned_by_us(entry);
        self.note(|notes| {
            notes.owners_not_restored += u64::from(missed_owner);
            for what in outcome.withheld {
                noted(&mut notes.withheld, &mut notes.withheld_count, path, what);
            }
            for what in outcome.lost {
                noted(&mut notes.lost, &mut notes.lost_count, path, what);
            }
        });
        Ok(())
    }

    /// Whom to give something to, if it is to be given to somebody.
    fn owner(&self, entry: &Entry) -> Option<(u32, u32)> {
        self.resolver.owner(self.options.owners, entry).filter(|_| self.is_root)
    }

    fn make_special(&self, dir: &OwnedFd, path: &TreePath, entry: &Entry) -> Result<String> {
        let mode = Mode::RUSR | Mode::WUSR;
        let made = match &entry.kind {
            EntryKind::Symlink { target } => self.with_temp(|temp| symlinkat(target.as_slice(), dir, temp)),
            EntryKind::Fifo => self.with_temp(|temp| mknodat(dir, temp, FileType::Fifo, mode, 0)),
            EntryKind::BlockDevice { device } | EntryKind::CharDevice { device } => {
                if !(self.options.allow_special && self.is_root) {
                    return Err(Error::new(Kind::Refused, "restore a device")
                        .with("path", path)
                        .code("E0536")
                        .effect("it was left out"));
                }
                let kind = match entry.kind {
                    EntryKind::BlockDevice { .. } => FileType::BlockDevice,
                    _ => FileType::CharacterDevice,
                };
                self.with_temp(|temp| mknodat(dir, temp, kind, mode, *device))
            }
            _ => return Err(Error::bug("restore a file or directory as a special entry").with("path", path)),
        };
        made.map(|(temp, ())| temp).map_err(|e| failed("create a link, pipe or device", path, e))
    }
}

impl Target for Beneath {
    fn begin_dir(&self, path: &TreePath, _entry: &Entry) -> Result<()> {
        let inner = &self.inner;
        if path.last().is_none() {
            return Ok(());
        }
        inner.make_way(path);
        let (dir, name) = inner.parent(path)?;
        let claim = inner.claim(&dir, path, name)?;
        match mkdirat(&dir, name.as_bytes(), Mode::RWXU) {
            Ok(()) => {
                lock(&inner.made).insert(path.clone());
                return Ok(());
            }
            Err(Errno::EXIST) => {}
            Err(e) => return Err(failed("create a directory", path, e)),
        }
        drop(claim);
        let stat = stat_of(&dir, name.as_bytes()).map_err(|e| failed("look at what is there", path, e))?;
        if !FileType::from_raw_mode(stat.st_mode).is_dir() {
            if inner.options.overwrite != Overwrite::Always {
                return Err(in_the_way(path, Errno::NOTDIR));
            }
            unlinkat(&dir, name.as_bytes(), AtFlags::empty())
                .and_then(|()| mkdirat(&dir, name.as_bytes(), Mode::RWXU))
                .map_err(|e| failed("replace a file by a directory", path, e))?;
            return Ok(());
        }
        lock(&inner.taken).insert(path.clone());
        let fd = inner.dir(path)?;
        if stat.st_mode & 0o700 != 0o700 {
            // Without it nothing could be put into it; the final mode comes with `finish_dir`.
            let mode = Mode::from_raw_mode((stat.st_mode & 0o7777) | 0o700);
            rustix::fs::fchmod(&fd, mode).map_err(|e| failed("open up a directory", path, e))?;
        }
        Ok(())
    }

    fn finish_dir(&self, path: &TreePath, entry: &Entry) -> Result<()> {
        let inner = &self.inner;
        if inner.options.overwrite == Overwrite::Never && lock(&inner.taken).contains(path) {
            return Ok(());
        }
        let fd = if path.last().is_none() { inner.root.clone() } else { inner.dir(path)? };
        // Where a directory stood already, so may what a killed run had begun in it.
        if let Some(key) = inner.options.journal.as_ref().filter(|_| !lock(&inner.made).contains(path)) {
            leftovers::sweep(&fd, key);
        }
        inner.apply(Metadata::Open(fd.as_fd()), path, entry)?;
        if inner.options.durability == Durability::EachFile {
            rustix::fs::fsync(&fd).map_err(|e| failed("make a directory durable", path, e))?;
        }
        lock(&inner.open).remove(path);
        lock(&inner.made).remove(path);
        Ok(())
    }

    fn in_place(&self) -> Option<&dyn InPlace> {
        Some(self)
    }

    fn begin_file(&self, path: &TreePath, entry: &Entry, size: u64) -> Result<Box<dyn FileTarget>> {
        let inner = &self.inner;
        let (dir, name) = inner.parent(path)?;
        if inner.there(&dir, path, name)?.is_some_and(|there| inner.leaves(&there, entry)) {
            inner.note(|n| n.left += 1);
            return Ok(Box::new(Left));
        }
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create = |temp: &str| openat(&dir, temp, flags, Mode::RUSR | Mode::WUSR);
        let (temp, fd) = inner.with_temp(create).map_err(|e| failed("create a file", path, e))?;
        let file = BeneathFile {
            inner: inner.clone(),
            file: File::from(fd),
            dir,
            temp,
            path: path.clone(),
            name: name.clone(),
            placed: AtomicBool::new(false),
        };
        // The whole length at once makes everything a hole that is not written.
        file.file.set_len(size).map_err(|e| failed_io("set the length of a file", path, e))?;
        Ok(Box::new(file))
    }

    fn hard_link(&self, path: &TreePath, of: &TreePath) -> Result<()> {
        let inner = &self.inner;
        let (from, from_name) = inner.parent(of)?;
        let (dir, name) = inner.parent(path)?;
        let stat = stat_of(&from, from_name.as_bytes())
            .map_err(|e| failed("find the other name of a file", path, e))?;
        if !FileType::from_raw_mode(stat.st_mode).is_file() {
            return Err(refused("link to something that is no file", path));
        }
        if inner.options.overwrite == Overwrite::Never && inner.there(&dir, path, name)?.is_some() {
            inner.note(|n| n.left += 1);
            return Ok(());
        }
        let link = |temp: &str| linkat(&from, from_name.as_bytes(), &dir, temp, AtFlags::empty());
        let (temp, ()) = inner.with_temp(link).map_err(|e| failed("create a hard link", path, e))?;
        inner.place(&dir, &temp, path, name)?;
        // Renaming onto another name of the same file does nothing and leaves both.
        match unlinkat(&dir, temp.as_str(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(failed("create a hard link", path, e)),
        }
    }

    fn special(&self, path: &TreePath, entry: &Entry) -> Result<()> {
        let inner = &self.inner;
        let (dir, name) = inner.parent(path)?;
        if inner.there(&dir, path, name)?.is_some_and(|there| inner.leaves(&there, entry)) {
            inner.note(|n| n.left += 1);
            return Ok(());
        }
        let temp = inner.make_special(&dir, path, entry)?;
        let to = Metadata::Name(dir.as_fd(), &temp);
        if let Err(e) = inner.apply(to, path, entry) {
            let _gone = unlinkat(&dir, temp.as_str(), AtFlags::empty());
            return Err(e);
        }
        inner.place(&dir, &temp, path, name)
    }
}

fn noted(list: &mut Vec<(String, String)>, count: &mut u64, path: &TreePath, what: String) {
    *count += 1;
    if list.len() < NOTED_MAX {
        list.push((path.to_string(), what));
    }
}

fn stat_of(dir: &OwnedFd, name: &[u8]) -> Result<Stat, Errno> {
    statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
}

fn owned_by_us(entry: &Entry) -> bool {
    entry.uid == rustix::process::geteuid().as_raw() && entry.gid == rustix::process::getegid().as_raw()
}

/// Time of the last change of content, in nanoseconds since 1970.
fn changed_at(stat: &Stat) -> i128 {
    i128::from(stat.st_mtime) * 1_000_000_000 + stat.st_mtime_nsec as i128
}

fn same_file(stat: &Stat, entry: &Entry) -> bool {
    FileType::from_raw_mode(stat.st_mode).is_file()
        && entry.kind == EntryKind::File
        && u64::try_from(stat.st_size) == Ok(entry.size)
        && changed_at(stat) == entry.mtime.as_nanosecond()
}

fn failed(doing: &str, path: &TreePath, errno: Errno) -> Error {
    failed_io(doing, path, errno.into())
}

fn failed_io(doing: &str, path: &TreePath, error: std::io::Error) -> Error {
    Error::io(doing, error).with("path", path).code("E0535")
}

fn refused(doing: &str, path: &TreePath) -> Error {
    Error::new(Kind::Refused, doing).with("path", path).code("E0533").effect("what was there is untouched")
}

/// Something that is no directory stands on the way: a link that was planted, or a file.
fn in_the_way(path: &TreePath, errno: Errno) -> Error {
    match errno {
        Errno::LOOP | Errno::NOTDIR | Errno::XDEV => {
            Error::new(Kind::Refused, "restore through something that is no directory")
                .with("path", path)
                .code("E0531")
                .effect("nothing was written through it")
        }
        e => failed("open a directory", path, e),
    }
}
