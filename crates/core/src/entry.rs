//! A directory entry and the two seams through which trees move: [`Folder`] out of live data,
//! [`Target`] back into it. Sources and the repository share these words and never see each other.

use crate::name::{NodeName, TreePath};
use crate::{Error, Result};
use jiff::Timestamp;
use std::io::Read;

/// What an entry is. Sockets are listed so that they can be reported; they are never stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link and the raw bytes it points to.
    Symlink {
        /// Where it points, uninterpreted.
        target: Vec<u8>,
    },
    /// A block device with its number, as `st_rdev`.
    BlockDevice {
        /// Major and minor number, as `st_rdev`.
        device: u64,
    },
    /// A character device with its number, as `st_rdev`.
    CharDevice {
        /// Major and minor number, as `st_rdev`.
        device: u64,
    },
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

/// One extended attribute; ACLs are the attributes `system.posix_acl_*`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Xattr {
    /// Full name with its namespace, as in `user.comment`.
    pub name: String,
    /// Raw value.
    pub value: Vec<u8>,
}

/// Everything about an entry but its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// One component.
    pub name: NodeName,
    /// What it is.
    pub kind: EntryKind,
    /// The twelve permission bits, `0o7777`: set-uid, set-gid, sticky, and rwx for three.
    pub mode: u32,
    /// Last change of content.
    pub mtime: Timestamp,
    /// Last access.
    pub atime: Timestamp,
    /// Last change of metadata.
    pub ctime: Timestamp,
    /// Owner.
    pub uid: u32,
    /// Owning group.
    pub gid: u32,
    /// Owner's name, empty if unknown.
    pub user: String,
    /// Group's name, empty if unknown.
    pub group: String,
    /// Inode number.
    pub inode: u64,
    /// Number of the file system, as `st_dev`.
    pub device_id: u64,
    /// Content length in bytes; 0 for everything but files.
    pub size: u64,
    /// Number of hard links.
    pub links: u64,
    /// Extended attributes, in the order in which the file system lists them, as restic stores them.
    pub xattrs: Vec<Xattr>,
}

impl Entry {
    /// What changes when somebody writes to the file.
    pub fn stamp(&self) -> Stamp {
        Stamp { size: self.size, mtime: self.mtime, ctime: self.ctime }
    }

    /// A plain entry of `kind` with mode `mode`, owned by nobody in particular, dated `time`.
    pub fn plain(name: NodeName, kind: EntryKind, mode: u32, time: Timestamp) -> Self {
        Entry {
            name,
            kind,
            mode,
            mtime: time,
            atime: time,
            ctime: time,
            uid: 0,
            gid: 0,
            user: String::new(),
            group: String::new(),
            inode: 0,
            device_id: 0,
            size: 0,
            links: 1,
            xattrs: Vec::new(),
        }
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind == EntryKind::Dir
    }
}

/// Something that went wrong with one path while the rest went on.
#[derive(Debug)]
pub struct PathProblem {
    /// Where, beneath the root of the walk.
    pub path: TreePath,
    /// What.
    pub error: Error,
}

/// A directory of live data, listed when it is asked. Implementations may be asked from many threads.
pub trait Folder: Send + Sync {
    /// Lists the directory, in any order.
    ///
    /// # Errors
    /// Only if the directory as a whole cannot be listed; trouble with one entry goes into
    /// [`Listing::problems`].
    fn list(&self) -> Result<Listing>;
}

/// What a [`Folder`] holds.
#[derive(Default)]
pub struct Listing {
    /// The entries that can be captured.
    pub items: Vec<Item>,
    /// The entries that cannot, by name beneath this folder.
    pub problems: Vec<(NodeName, Error)>,
}

/// An entry with the way to its content.
pub struct Item {
    /// Metadata as of the listing.
    pub entry: Entry,
    /// Content.
    pub body: Body,
}

/// The content behind an entry.
pub enum Body {
    /// Links, devices, pipes: the entry says it all.
    None,
    /// A regular file.
    File(Box<dyn FileBody>),
    /// A directory.
    Folder(Box<dyn Folder>),
}

/// How a file changes from one backup to the next, as far as its source knows. It decides what is stored
/// again, and never what comes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Chunking {
    /// Nothing is known.
    #[default]
    Unknown,
    /// In pages that stay where they are, as databases are written.
    Pages,
    /// By lines that are changed, inserted and removed, as in a dump.
    Lines,
}

/// A file of live data, not opened yet.
pub trait FileBody: Send {
    /// How the file changes.
    fn chunking(&self) -> Chunking {
        Chunking::Unknown
    }

    /// Opens it for one reading from the start. May be called again when the file changed while
    /// it was read (fault row 117).
    ///
    /// # Errors
    /// `Kind::NotFound` if it went away since the listing, which is no loss (fault row 118).
    fn open(&self) -> Result<Box<dyn FileReader>>;
}

/// An open file: bytes in order, its holes, and its metadata as the descriptor sees it.
pub trait FileReader: Read + Send {
    /// Metadata from the open descriptor, now.
    ///
    /// # Errors
    /// As the operating system says.
    fn entry(&self) -> Result<Entry>;

    /// What changes when somebody writes to the file, now.
    ///
    /// # Errors
    /// As the operating system says.
    fn stamp(&self) -> Result<Stamp> {
        self.entry().map(|entry| entry.stamp())
    }

    /// How many bytes from the current position on are a hole; 0 if data comes next or the file
    /// system cannot tell.
    ///
    /// # Errors
    /// As the operating system says.
    fn hole(&mut self) -> Result<u64> {
        Ok(0)
    }

    /// Moves past `bytes` of a hole.
    ///
    /// # Errors
    /// As the operating system says.
    fn skip(&mut self, bytes: u64) -> Result<()>;
}

/// What changes when somebody writes to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Length in bytes.
    pub size: u64,
    /// Of the last change of the content.
    pub mtime: Timestamp,
    /// Of the last change of anything.
    pub ctime: Timestamp,
}

/// Where a restored tree goes. A directory is created before what it holds and finished after it.
/// Implementations may be called from many threads for different paths.
pub trait Target: Send + Sync {
    /// Creates the directory `path` with safe permissions, or takes it if it is there and allowed.
    ///
    /// # Errors
    /// `Kind::Refused` if the path holds something that may not be replaced.
    fn begin_dir(&self, path: &TreePath, entry: &Entry) -> Result<()>;

    /// Gives the directory its metadata, once everything in it is there.
    ///
    /// # Errors
    /// As the operating system says.
    fn finish_dir(&self, path: &TreePath, entry: &Entry) -> Result<()>;

    /// What stands at the target already, if the target is a place where something can. Nothing does
    /// otherwise.
    fn in_place(&self) -> Option<&dyn InPlace> {
        None
    }

    /// Creates the file `path` of `size` bytes; `size` comes from content and not from claims.
    ///
    /// # Errors
    /// `Kind::Refused` if the path holds something that may not be replaced.
    fn begin_file(&self, path: &TreePath, entry: &Entry, size: u64) -> Result<Box<dyn FileTarget>>;

    /// Makes `path` another name of the finished file `of`.
    ///
    /// # Errors
    /// As the operating system says.
    fn hard_link(&self, path: &TreePath, of: &TreePath) -> Result<()>;

    /// Creates a symbolic link, or a device or pipe where that was asked for.
    ///
    /// # Errors
    /// `Kind::Refused` where it is dangerous and was not asked for (fault rows 125, 152).
    fn special(&self, path: &TreePath, entry: &Entry) -> Result<()>;
}

/// One file being restored.
pub trait FileTarget: Send + Sync {
    /// Writes `bytes` at `offset`. May be called from many threads for different ranges.
    ///
    /// # Errors
    /// As the operating system says.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()>;

    /// Gives the file its metadata and makes it durable. The file has its final name only now.
    ///
    /// # Errors
    /// As the operating system says.
    fn finish(self: Box<Self>, entry: &Entry) -> Result<()>;

    /// Gives the file up: what has arrived stays under a `.recoup-damaged` name if `keep`, and
    /// vanishes otherwise. The real name is never left with damaged content (I5).
    ///
    /// # Errors
    /// As the operating system says.
    fn abandon(self: Box<Self>, keep: bool) -> Result<()>;
}

/// What stands at one path of a target, and what the policy of the target makes of it.
pub enum Standing {
    /// Nothing.
    Nothing,
    /// Something that is replaced whatever it holds.
    Replaced,
    /// A file. Pieces of it that are the same need not be read from the repository.
    File(Box<dyn OldFile>),
    /// A file that the policy takes for the same without reading it.
    Same(Box<dyn OldFile>),
    /// A file that an earlier restore of the same snapshot has finished, and nobody touched since.
    Finished,
    /// Something that the policy leaves as it is.
    Left,
}

/// A file that stands at a target.
pub trait OldFile: Send + Sync {
    /// How long it is.
    fn bytes(&self) -> u64;

    /// Reads at `offset` until `out` is full or the file ends; says how many bytes there were.
    ///
    /// # Errors
    /// As the operating system says.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<usize>;

    /// Leaves its content and gives it the metadata of `entry`. False if it must be written anew instead,
    /// since it has other names that are none of ours.
    ///
    /// # Errors
    /// As the operating system says.
    fn keep(&self, entry: &Entry) -> Result<bool>;
}

/// The side of a target that looks at what stands there, reads it, and clears it away. No link is followed.
/// Implementations may be called from many threads.
pub trait InPlace: Send + Sync {
    /// What stands where `entry` is to go.
    ///
    /// # Errors
    /// `Kind::Refused` if the path holds something that may not be replaced; as the operating system says.
    fn look(&self, path: &TreePath, entry: &Entry) -> Result<Standing>;

    /// Whether `path` is another name of the file `of` already.
    ///
    /// # Errors
    /// As the operating system says.
    fn is_link(&self, path: &TreePath, of: &TreePath) -> Result<bool>;

    /// Opens the file `path` to read it back, from the disk rather than from memory where that can be had.
    ///
    /// # Errors
    /// `Kind::NotFound`; `Kind::Refused` if it is no file; as the operating system says.
    fn read_back(&self, path: &TreePath) -> Result<Box<dyn OldFile>>;

    /// The names in the directory `path`, and which of them are directories. `None` if there is no such
    /// directory, or if it lies in another file system than the target.
    ///
    /// # Errors
    /// As the operating system says.
    fn names(&self, path: &TreePath) -> Result<Option<Vec<(NodeName, bool)>>>;

    /// Removes a file or an empty directory.
    ///
    /// # Errors
    /// As the operating system says. What is gone already is no error.
    fn remove(&self, path: &TreePath, is_dir: bool) -> Result<()>;
}
