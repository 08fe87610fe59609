//! The walk: directories listed when they are asked, each entry reached from the descriptor of its
//! directory, so that no exchange of a path can lead elsewhere and no depth is too deep.
#![allow(clippy::unnecessary_cast, reason = "the fields of `Stat` differ between architectures")]

use super::exclude::Excludes;
use super::ignores::{self, Ignores};
use super::reader::Reader;
use super::trail::Trail;
use crate::meta::{self, Owners, entry_of, open_at, stat_at};
use crate::single::CopyReader;
use crate::sqlite::connect::{MAGIC, SIDECARS};
use recoup_core::entry::{Body, Entry, EntryKind, FileBody, FileReader, Folder, Item, Listing};
use recoup_core::name::{NodeName, escape};
use recoup_core::{Error, Kind, Result};
use rustix::fs::{OFlags, RawDir, Stat};
use rustix::io::Errno;
use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// How to walk.
#[derive(Clone, Default)]
pub struct Options {
    /// What is left out.
    pub exclude: Excludes,
    /// What to do with SQLite databases on the way.
    pub databases: Databases,
}

/// What to do with a SQLite database that somebody may be writing to. A plain copy of one is not a backup.
#[derive(Clone, Default)]
pub enum Databases {
    /// Nothing: they are files.
    #[default]
    Leave,
    /// Read them as files, and note those with a journal beside them.
    Note,
    /// Read a consistent private copy instead, and leave their journals out.
    Copy(Arc<dyn CopyDatabase>),
}

/// Makes consistent copies of live databases.
pub trait CopyDatabase: Send + Sync {
    /// Whether some process had the file open when the walk began to ask.
    fn is_held(&self, device: u64, inode: u64) -> bool;

    /// A consistent copy of the database `name` in `dir`, positioned at its start. It has no name any more.
    ///
    /// # Errors
    /// If no consistent copy could be made (E0524).
    fn copy(&self, dir: BorrowedFd<'_>, name: &OsStr) -> Result<File>;
}

/// What was noticed on the way. Paths are escaped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// Databases that were read as a consistent copy.
    pub databases_copied: Vec<String>,
    /// Databases that were read as plain files although a journal lies beside them.
    pub databases_plain: Vec<String>,
    /// Sockets: listed, never stored.
    pub sockets: u64,
    /// Entries that were left out by a rule.
    pub excluded: u64,
    /// Entries that went away between listing and reading.
    pub vanished: u64,
    /// Directories of the kernel's own file systems, left empty.
    pub kernel_dirs: Vec<String>,
}

/// One walk over any number of roots. Clones share their notes.
#[derive(Clone)]
pub struct Walk {
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    options: Options,
    pub(super) owners: Owners,
    notes: Mutex<Notes>,
}

impl Walk {
    /// A walk that has not begun.
    pub fn new(options: Options) -> Self {
        raise_descriptor_limit();
        Walk { shared: Arc::new(Shared { options, owners: Owners::default(), notes: Mutex::default() }) }
    }

    /// What was noticed so far.
    pub fn notes(&self) -> Notes {
        self.shared.notes().clone()
    }

    /// The directory `root` and its metadata. Ignore lines are relative to it.
    ///
    /// # Errors
    /// `Kind::NotFound` or as the operating system says (E0521, E0522); `Kind::Refused` if it is no directory.
    pub fn folder(&self, root: &Path) -> Result<(Entry, Box<dyn Folder>)> {
        let dir = self.dir(root)?;
        let fd = dir.open()?;
        let name = root.file_name().unwrap_or(OsStr::new("root"));
        let entry = entry_at_fd(&self.shared, NodeName::new(name.as_bytes())?, &fd)?;
        Ok((entry, Box::new(dir)))
    }

    /// One entry by its path; a link is not followed.
    ///
    /// # Errors
    /// `Kind::NotFound` (E0521) or as the operating system says (E0522).
    pub fn item(&self, path: &Path) -> Result<Option<Item>> {
        self.item_in(path, false)
    }

    /// The same; what a `.gitignore` beside it says holds below it, if the directory was `listed` for it.
    pub(super) fn item_in(&self, path: &Path, listed: bool) -> Result<Option<Item>> {
        let name = path.file_name().ok_or_else(|| missing(path, Errno::NOENT))?;
        let parent = match path.parent() {
            Some(p) if !p.as_os_str().is_empty() => p,
            _ => Path::new("."),
        };
        let dir = self.dir(parent)?;
        let fd = Arc::new(dir.open_following()?);
        let stat = stat_at(&fd, name).map_err(|e| missing(path, e))?;
        let absolute = absolute(path)?;
        let is_dir = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir();
        if self.shared.options.exclude.by_name(&absolute, b"", is_dir) || dir.tagged_away(&fd, name) {
            self.shared.notes().excluded += 1;
            return Ok(None);
        }
        let mut around = Around::default();
        if listed {
            around.ignores = dir.ignores(&fd, &[OsString::from(ignores::NAME)])?;
        }
        let mut listing = Listing::default();
        dir.add(&fd, name, &stat, &around, Some(stat.st_dev as u64), &mut listing);
        match (listing.items.pop(), listing.problems.pop()) {
            (Some(item), _) => Ok(Some(item)),
            (None, Some((_, error))) => Err(error),
            (None, None) => Ok(None),
        }
    }

    /// Metadata of a directory alone, reached through links as the path says.
    pub(super) fn dir_entry(&self, path: &Path, name: NodeName) -> Result<Entry> {
        let fd = self.dir(path)?.open_following()?;
        entry_at_fd(&self.shared, name, &fd)
    }

    /// The names in a directory, without those that its `.gitignore` leaves out.
    pub(super) fn names(&self, path: &Path) -> Result<Vec<OsString>> {
        let dir = self.dir(path)?;
        let fd = dir.open()?;
        let mut names = read_names(&fd).map_err(|e| missing(path, e))?;
        if let Some(ignores) = dir.ignores(&fd, &names)? {
            let is_dir = |stat: Stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir();
            let before = names.len();
            names.retain(|n| !ignores.leaves_out(n.as_bytes(), stat_at(&fd, n).is_ok_and(is_dir)));
            self.shared.notes().excluded += (before - names.len()) as u64;
        }
        Ok(names)
    }

    fn dir(&self, path: &Path) -> Result<Dir> {
        Ok(Dir {
            shared: self.shared.clone(),
            place: Place::Path(path.to_path_buf()),
            trail: Trail::root(absolute(path)?),
            device: None,
            ignores: None,
        })
    }
}

impl Shared {
    pub(super) fn notes(&self) -> std::sync::MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A directory deep in a tree keeps the descriptors of those above it open: the soft limit of often
/// 1024 would end a walk of a deep tree. The hard limit is what the administrator allows.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        // Without it the walk works as deep as the soft limit goes.
        let _kept = setrlimit(Resource::Nofile, limit);
    }
}

/// A path as restic makes it absolute: by text, without looking at links.
pub(super) fn absolute(path: &Path) -> Result<Vec<u8>> {
    let joined = std::path::absolute(path).map_err(|e| Error::io("find the current directory", e))?;
    Ok(super::roots::clean(joined.as_os_str().as_bytes()))
}

enum Place {
    Path(PathBuf),
    At(Arc<OwnedFd>, OsString),
}

/// One directory, not opened yet.
struct Dir {
    shared: Arc<Shared>,
    place: Place,
    trail: Arc<Trail>,
    /// The file system it must be on, if the walk stays on one; known below the first directory.
    device: Option<u64>,
    /// The `.gitignore` files above.
    ignores: Option<Arc<Ignores>>,
}

impl Folder for Dir {
    fn list(&self) -> Result<Listing> {
        let fd = Arc::new(self.open()?);
        let mut listing = Listing::default();
        if is_kernel_fs(&fd) {
            self.shared.notes().kernel_dirs.push(escape(&self.trail.absolute()));
            return Ok(listing);
        }
        let stat = rustix::fs::fstat(&fd).map_err(|e| unreadable(&self.trail, e))?;
        let root_device = self.device.unwrap_or(stat.st_dev as u64);
        if self.shared.options.exclude.one_file_system && stat.st_dev as u64 != root_device {
            return Ok(listing);
        }
        let mut names = read_names(&fd).map_err(|e| unreadable(&self.trail, e))?;
        names.sort();
        let mut around = self.databanks(&fd, &names);
        match self.ignores(&fd, &names) {
            Ok(ignores) => around.ignores = ignores,
            Err(error) => {
                around.ignores.clone_from(&self.ignores);
                listing.problems.push((NodeName::new(ignores::NAME)?, error));
            }
        }
        let only = self.tag_present(&fd, &names);
        for name in &names {
            if only.as_ref().is_some_and(|tags| !tags.contains(&name.as_bytes())) {
                self.shared.notes().excluded += 1;
                continue;
            }
            match stat_at(&fd, name) {
                Ok(stat) => self.add_checked(&fd, name, &stat, &around, root_device, &mut listing),
                Err(Errno::NOENT) => self.shared.notes().vanished += 1,
                Err(e) => listing.problems.extend(self.problem(name, e)),
            }
        }
        Ok(listing)
    }
}

/// What matters to the entries of one directory.
#[derive(Default)]
struct Around {
    /// The `.gitignore` files that hold here.
    ignores: Option<Arc<Ignores>>,
    /// Databases, and the journals beside them.
    live: HashSet<OsString>,
    journals: HashSet<OsString>,
}

impl Dir {
    fn open(&self) -> Result<OwnedFd> {
        self.open_with(OFlags::DIRECTORY)
    }

    /// Opens it as its path says, for a root that may be reached through a link.
    fn open_following(&self) -> Result<OwnedFd> {
        let Place::Path(path) = &self.place else { return self.open() };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, rustix::fs::Mode::empty()).map_err(|e| missing(path, e))
    }

    fn open_with(&self, extra: OFlags) -> Result<OwnedFd> {
        match &self.place {
            Place::Path(path) => {
                open_at(rustix::fs::CWD, path.as_os_str(), extra).map_err(|e| missing(path, e))
            }
            Place::At(parent, name) => open_at(parent, name, extra).map_err(|e| unreadable(&self.trail, e)),
        }
    }

    fn add_checked(
        &self,
        fd: &Arc<OwnedFd>,
        name: &OsStr,
        stat: &Stat,
        around: &Around,
        root_device: u64,
        listing: &mut Listing,
    ) {
        let exclude = &self.shared.options.exclude;
        let is_dir = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir();
        let too_large =
            !is_dir && exclude.larger_than.is_some_and(|max| u64::try_from(stat.st_size).unwrap_or(0) > max);
        let elsewhere = exclude.one_file_system && !is_dir && stat.st_dev as u64 != root_device;
        let named = exclude.needs_paths() && {
            let trail = self.trail.below(name.as_bytes());
            exclude.by_name(&trail.absolute(), &trail.relative(), is_dir)
        };
        let ignored = around
            .ignores
            .as_ref()
            .is_some_and(|ignores| ignores.leaves_out(&self.trail.below(name.as_bytes()).relative(), is_dir));
        if named || ignored || too_large || elsewhere {
            self.shared.notes().excluded += 1;
        } else if !around.journals.contains(name) {
            self.add(fd, name, stat, around, Some(root_device), listing);
        }
    }

    fn add(
        &self,
        fd: &Arc<OwnedFd>,
        name: &OsStr,
        stat: &Stat,
        around: &Around,
        device: Option<u64>,
        listing: &mut Listing,
    ) {
        match self.item(fd, name, stat, around, device) {
            Ok((item, problem)) => {
                listing.problems.extend(problem.map(|e| (item.entry.name.clone(), e)));
                listing.items.push(item);
            }
            Err(error) if error.kind() == Kind::NotFound => self.shared.notes().vanished += 1,
            Err(error) => listing.problems.extend(NodeName::new(name.as_bytes()).ok().map(|n| (n, error))),
        }
    }

    /// An entry whose attributes cannot be read is stored all the same, and the lack is reported.
    fn item(
        &self,
        fd: &Arc<OwnedFd>,
        name: &OsStr,
        stat: &Stat,
        around: &Around,
        device: Option<u64>,
    ) -> Result<(Item, Option<Error>)> {
        let trail = self.trail.below(name.as_bytes());
        let mut entry = entry_of(NodeName::new(name.as_bytes())?, stat, &self.shared.owners);
        let mut problem = None;
        match meta::xattrs_at(fd, name) {
            Ok(xattrs) => entry.xattrs = xattrs,
            Err(error) => problem = Some(error.with("path", escape(&trail.absolute()))),
        }
        let body = match &mut entry.kind {
            EntryKind::Dir => Body::Folder(Box::new(Dir {
                shared: self.shared.clone(),
                place: Place::At(fd.clone(), name.to_owned()),
                trail,
                device,
                ignores: around.ignores.clone(),
            })),
            EntryKind::Symlink { target } => {
                let read = rustix::fs::readlinkat(fd, name, Vec::new());
                *target = read.map_err(|e| unreadable(&trail, e))?.into_bytes();
                Body::None
            }
            EntryKind::File => {
                let live = around.live.contains(name);
                if live {
                    newest_of_database(fd, name, &mut entry);
                }
                Body::File(Box::new(LiveFile {
                    shared: self.shared.clone(),
                    dir: fd.clone(),
                    name: name.to_owned(),
                    entry: entry.clone(),
                    live,
                    trail,
                }))
            }
            EntryKind::Socket => {
                self.shared.notes().sockets += 1;
                Body::None
            }
            _ => Body::None,
        };
        Ok((Item { entry, body }, problem))
    }

    /// Tags that are present and valid: everything but them is left out.
    fn tag_present<'a>(&'a self, fd: &OwnedFd, names: &[OsString]) -> Option<Vec<&'a [u8]>> {
        let tags = self.shared.options.exclude.tags();
        if tags.is_empty() {
            return None;
        }
        let valid = |tag: &&super::exclude::Tag| {
            let name = OsStr::from_bytes(&tag.name);
            names.iter().any(|n| n == name) && starts_with(fd, name, &tag.header)
        };
        let present: Vec<&[u8]> = tags.iter().filter(valid).map(|t| t.name.as_slice()).collect();
        // Two tags leave each other out, as each rule says for itself.
        match present.len() {
            0 => None,
            1 => Some(present),
            _ => Some(Vec::new()),
        }
    }

    /// Whether a tag beside `name`, which was named itself, leaves it out.
    fn tagged_away(&self, fd: &OwnedFd, name: &OsStr) -> bool {
        let tags = self.shared.options.exclude.tags();
        tags.iter().any(|tag| {
            tag.name != name.as_bytes() && starts_with(fd, OsStr::from_bytes(&tag.name), &tag.header)
        })
    }

    /// What `.gitignore` files say here, if they are asked.
    fn ignores(&self, fd: &OwnedFd, names: &[OsString]) -> Result<Option<Arc<Ignores>>> {
        use std::io::Read;
        let name = OsStr::new(ignores::NAME);
        // Git does not follow a link here either.
        let is_file = |stat: Stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file();
        let asked = self.shared.options.exclude.git_ignore && names.iter().any(|n| n == name);
        if !asked || !stat_at(fd, name).is_ok_and(is_file) {
            return Ok(self.ignores.clone());
        }
        let trail = self.trail.below(name.as_bytes());
        let file = File::from(open_at(fd, name, OFlags::empty()).map_err(|e| unreadable(&trail, e))?);
        let mut text = Vec::new();
        file.take(ignores::BYTES_MAX + 1)
            .read_to_end(&mut text)
            .map_err(|e| Error::io("read a .gitignore", e))?;
        if text.len() as u64 > ignores::BYTES_MAX {
            return Err(Error::new(Kind::Refused, "use a .gitignore of more than 1 MiB")
                .with("path", escape(&trail.absolute()))
                .code("E0520")
                .effect("its lines were not used: what they leave out was backed up"));
        }
        Ignores::new(self.ignores.clone(), &self.trail.relative(), &text).map(Some)
    }

    /// Finds the databases with a journal beside them.
    fn databanks(&self, fd: &OwnedFd, names: &[OsString]) -> Around {
        let mut found = Around::default();
        if matches!(self.shared.options.databases, Databases::Leave) {
            return found;
        }
        for journal in names {
            let Some(base) = SIDECARS.iter().find_map(|s| journal.as_bytes().strip_suffix(s.as_bytes()))
            else {
                continue;
            };
            let base = OsStr::from_bytes(base);
            let known = names.binary_search_by(|n| n.as_os_str().cmp(base)).is_ok();
            if !known || !starts_with(fd, base, MAGIC) {
                continue;
            }
            if matches!(self.shared.options.databases, Databases::Copy(_)) {
                found.journals.insert(journal.clone());
                found.live.insert(base.to_owned());
            } else if found.live.insert(base.to_owned()) {
                self.shared
                    .notes()
                    .databases_plain
                    .push(escape(&self.trail.below(base.as_bytes()).absolute()));
            }
        }
        if !matches!(self.shared.options.databases, Databases::Copy(_)) {
            found.live.clear();
        }
        found
    }

    fn problem(&self, name: &OsStr, errno: Errno) -> Option<(NodeName, Error)> {
        let error = unreadable(&self.trail.below(name.as_bytes()), errno);
        NodeName::new(name.as_bytes()).ok().map(|name| (name, error))
    }
}

/// A write-ahead log changes without its database: the newest of them is when the content changed.
fn newest_of_database(dir: &OwnedFd, name: &OsStr, entry: &mut Entry) {
    for suffix in SIDECARS {
        let mut sidecar = name.to_owned();
        sidecar.push(suffix);
        if suffix != "-shm"
            && let Ok(stat) = stat_at(dir, &sidecar)
        {
            let beside = entry_of(entry.name.clone(), &stat, &Owners::default());
            entry.mtime = entry.mtime.max(beside.mtime);
            entry.ctime = entry.ctime.max(beside.ctime);
        }
    }
}

/// A regular file as it was listed.
struct LiveFile {
    shared: Arc<Shared>,
    dir: Arc<OwnedFd>,
    name: OsString,
    entry: Entry,
    live: bool,
    trail: Arc<Trail>,
}

impl FileBody for LiveFile {
    fn open(&self) -> Result<Box<dyn FileReader>> {
        if self.live
            && let Databases::Copy(copier) = &self.shared.options.databases
        {
            return self.copied(copier.as_ref());
        }
        let fd = open_at(&self.dir, &self.name, OFlags::empty()).map_err(|e| unreadable(&self.trail, e))?;
        let stat = rustix::fs::fstat(&fd).map_err(|e| unreadable(&self.trail, e))?;
        if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file() {
            return Err(Error::new(Kind::Conflict, "read a file that is no longer one")
                .with("path", escape(&self.trail.absolute()))
                .code("E0526"));
        }
        let file = File::from(fd);
        if let Databases::Copy(copier) = &self.shared.options.databases
            && self.is_database(&file, &stat, copier.as_ref())
        {
            return self.copied(copier.as_ref());
        }
        let name = self.entry.name.clone();
        Ok(Box::new(Reader::new(file, &stat, name, self.shared.clone())))
    }
}

impl LiveFile {
    /// A database without a journal beside it. In rollback mode reading it through SQLite changes
    /// nothing and is always right. In WAL mode it would leave a log behind, so that is done only
    /// if somebody has it open; at rest, its file is all there is.
    fn is_database(&self, file: &File, stat: &Stat, copier: &dyn CopyDatabase) -> bool {
        use std::os::unix::fs::FileExt;
        let mut head = [0; 20];
        if stat.st_size < 512 || stat.st_size % 512 != 0 || file.read_exact_at(&mut head, 0).is_err() {
            return false;
        }
        head.starts_with(MAGIC) && (head[18] != 2 || copier.is_held(stat.st_dev as u64, stat.st_ino as u64))
    }

    fn copied(&self, copier: &dyn CopyDatabase) -> Result<Box<dyn FileReader>> {
        let copy = copier.copy(self.dir.as_fd(), &self.name)?;
        let size = copy.metadata().map_err(|e| Error::io("read the size of a private copy", e))?.len();
        self.shared.notes().databases_copied.push(escape(&self.trail.absolute()));
        Ok(Box::new(CopyReader::new(copy, Entry { size, ..self.entry.clone() })))
    }
}

fn entry_at_fd(shared: &Shared, name: NodeName, fd: &OwnedFd) -> Result<Entry> {
    let stat = rustix::fs::fstat(fd).map_err(|e| unreadable(&Trail::root(name.as_bytes().to_vec()), e))?;
    let mut entry = entry_of(name, &stat, &shared.owners);
    let file = fd.try_clone().map_err(|e| Error::io("read a directory", e))?;
    entry.xattrs = meta::xattrs_of(&File::from(file))?;
    Ok(entry)
}

/// Names without `.` and `..`, in no order. One buffer holds some hundred names of the usual length.
pub(super) fn read_names(fd: &OwnedFd) -> Result<Vec<OsString>, Errno> {
    let mut buffer = vec![MaybeUninit::uninit(); 32 * 1024];
    let mut names = Vec::new();
    let mut dir = RawDir::new(fd, &mut buffer);
    while let Some(entry) = dir.next() {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name));
        }
    }
    Ok(names)
}

fn starts_with(dir: &OwnedFd, name: &OsStr, header: &[u8]) -> bool {
    use std::io::Read;
    let Ok(stat) = stat_at(dir, name) else { return false };
    if header.is_empty() {
        return true;
    }
    if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file() {
        return false;
    }
    let Ok(fd) = open_at(dir, name, OFlags::empty()) else { return false };
    let mut head = Vec::new();
    File::from(fd).take(header.len() as u64).read_to_end(&mut head).is_ok() && head == header
}

/// Directories whose content the kernel makes up while it is read, without end (fault row 125).
fn is_kernel_fs(fd: &OwnedFd) -> bool {
    // From linux/magic.h: proc, sysfs, debugfs, tracefs, cgroup, cgroup2, bpf, securityfs, pstore, configfs.
    const MAGICS: [u64; 10] = [
        0x9fa0,
        0x6265_6572,
        0x6462_6720,
        0x7472_6163,
        0x0027_e0eb,
        0x6367_7270,
        0xcafe_4a11,
        0x7363_6673,
        0x6165_676c,
        0x6265_6570,
    ];
    rustix::fs::fstatfs(fd).is_ok_and(|fs| MAGICS.contains(&((fs.f_type as u64) & 0xffff_ffff)))
}

pub(super) fn missing(path: &Path, errno: Errno) -> Error {
    let code = if errno == Errno::NOENT { "E0521" } else { "E0522" };
    Error::io("read the root of a capture", errno.into())
        .with("path", escape(path.as_os_str().as_bytes()))
        .code(code)
}

fn unreadable(trail: &Trail, errno: Errno) -> Error {
    let path = escape(&trail.absolute());
    Error::io("read from live data", errno.into()).with("path", path).code("E0522")
}
