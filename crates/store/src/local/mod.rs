//! A location that is a directory: the key of an object is its path.

pub mod durable;

use crate::{Capabilities, Key, Meta, Put, Store};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use recoup_core::name::escape;
use recoup_core::{Error, Kind, Result};
use rustix::fs::{Mode, OFlags};
use std::collections::HashSet;
use std::fs::File;
use std::io::{ErrorKind as Io, Read};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The code of an error that says the directory of the location is not there.
pub const NO_LOCATION: &str = "E0402";

const OBJECT_MODE: u32 = 0o400;
const FOLDER_MODE: u32 = 0o700;

/// Objects as files beneath one directory.
#[derive(Clone, Debug)]
pub struct Local {
    root: Arc<PathBuf>,
}

impl Local {
    /// The location at `root`. Nothing is looked at yet. A root that is missing is an error of
    /// every call: an unmounted disk must not look like an empty location.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Local { root: Arc::new(root.into()) }
    }

    /// The location at `root`, which is created (mode 0700) with the directories above it.
    ///
    /// # Errors
    /// As the operating system says.
    pub async fn create(root: impl Into<PathBuf>) -> Result<Self> {
        let local = Local::new(root);
        let root = Arc::clone(&local.root);
        blocking(move || durable::create_dir_all(&root, FOLDER_MODE)).await?;
        Ok(local)
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.root.join(key.as_str())
    }
}

/// Whether the directory lies in a file system of this machine. Those of a network keep listings for
/// seconds, and what is not known may do so as well.
fn is_of_this_machine(root: &Path) -> bool {
    /// ext2 to ext4, XFS, Btrfs, tmpfs, overlay, F2FS, ZFS (linux/magic.h and openzfs).
    const LOCAL: [u64; 7] =
        [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0x794c_7630, 0xf2f5_2010, 0x2fc1_2fc1];
    // The kernel's type is signed on some machines; all of these fit into 32 bits.
    rustix::fs::statfs(root).is_ok_and(|found| LOCAL.contains(&(found.f_type as u64 & 0xffff_ffff)))
}

#[async_trait]
impl Store for Local {
    fn location(&self) -> String {
        format!("local:{}", escape(self.root.as_os_str().as_bytes()))
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            conditional_create: true,
            if_match: false,
            lock: false,
            current_listing: is_of_this_machine(&self.root),
            own_objects: true,
        }
    }

    async fn put(&self, key: &Key, bytes: Bytes, mode: Put) -> Result<()> {
        let (root, path, key) = (Arc::clone(&self.root), self.path(key), key.clone());
        blocking(move || put(&root, &path, &bytes, &mode).map_err(|e| e.with("object", key))).await
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Bytes> {
        let (root, path, key) = (Arc::clone(&self.root), self.path(key), key.clone());
        blocking(move || get(&root, &path, range).map_err(|e| e.with("object", key))).await
    }

    async fn head(&self, key: &Key) -> Result<Option<Meta>> {
        let (root, path, key) = (Arc::clone(&self.root), self.path(key), key.clone());
        blocking(move || match path.metadata() {
            Ok(meta) if meta.is_file() => Ok(Some(describe(key, &meta))),
            Ok(_) => Ok(None),
            Err(e) if is_absent(&e) => there(&root).map(|()| None),
            Err(e) => Err(Error::io("look at an object", e).with("object", key)),
        })
        .await
    }

    fn list(&self, prefix: &str) -> BoxStream<'_, Result<Meta>> {
        let start =
            Walk { root: Arc::clone(&self.root), folders: vec![prefix.to_owned()], seen: HashSet::new() };
        stream::try_unfold(start, |mut walk| async {
            if walk.folders.is_empty() {
                return Ok(None);
            }
            let (found, walk) = blocking(move || walk.step().map(|found| (found, walk))).await?;
            Ok(Some((stream::iter(found.into_iter().map(Ok)), walk)))
        })
        .try_flatten()
        .boxed()
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        let (root, path, key) = (Arc::clone(&self.root), self.path(key), key.clone());
        blocking(move || {
            durable::remove_file(&path).map_err(|e| e.with("object", key))?;
            if is_lock(&root, &path) {
                keep_reserve(&root);
            }
            Ok(())
        })
        .await
    }
}

/// Deleting makes room, but it begins with a lock, and a full disk does not take one. So each location
/// keeps a little room that is given up for the first lock that finds none (fault row 21).
const RESERVE_BYTES: [usize; 3] = [256 * 1024, 64 * 1024, 16 * 1024];

fn put(root: &Path, path: &Path, bytes: &[u8], mode: &Put) -> Result<()> {
    if !is_lock(root, path) {
        return put_once(root, path, bytes, mode);
    }
    keep_reserve(root);
    match put_once(root, path, bytes, mode) {
        Err(e) if e.stable_code() == Some(durable::NO_SPACE) => {
            durable::remove_file(&root.join(durable::RESERVE))?;
            put_once(root, path, bytes, mode)
        }
        other => other,
    }
}

fn is_lock(root: &Path, path: &Path) -> bool {
    path.starts_with(root.join("locks"))
}

/// Without the reserve everything works but this one thing, so trouble with it is no trouble.
fn keep_reserve(root: &Path) {
    let reserve = root.join(durable::RESERVE);
    if !reserve.exists() {
        // Less than all of it is better than nothing where others took some of the room meanwhile.
        let _kept = RESERVE_BYTES
            .iter()
            .any(|bytes| durable::create(&reserve, &vec![0xa5; *bytes], OBJECT_MODE).is_ok());
    }
}

fn put_once(root: &Path, path: &Path, bytes: &[u8], mode: &Put) -> Result<()> {
    let write = || match mode {
        Put::Create => durable::create(path, bytes, OBJECT_MODE),
        Put::Replace => durable::write(path, bytes, OBJECT_MODE),
        Put::IfMatch(_) => {
            Err(Error::new(Kind::Unsupported, "replace one version of an object in a directory"))
        }
    };
    match write() {
        Err(e) if e.kind() == Kind::NotFound => {
            there(root)?;
            durable::create_dir_all(path.parent().unwrap_or(root), FOLDER_MODE)?;
            write()
        }
        other => other,
    }
}

fn get(root: &Path, path: &Path, range: Option<Range<u64>>) -> Result<Bytes> {
    // Without NONBLOCK a pipe that somebody placed here would stop us for ever.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file: File = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => file.into(),
        Err(e) if is_absent(&e.into()) => {
            there(root)?;
            return Err(Error::io("read an object", e.into()));
        }
        Err(e) => return Err(Error::io("read an object", e.into())),
    };
    let failed = |e| Error::io("read an object", e);
    let meta = file.metadata().map_err(failed)?;
    if !meta.is_file() {
        return Err(Error::new(Kind::Corrupt, "read an object: it is not a regular file"));
    }
    let Some(Range { start, end }) = range else {
        let mut bytes = Vec::with_capacity(usize::try_from(meta.len()).unwrap_or(0));
        (&file).read_to_end(&mut bytes).map_err(failed)?;
        return Ok(bytes.into());
    };
    // Checked before anything is allocated: the range may come from a hostile index (fault row 148).
    let length = end.checked_sub(start).and_then(|n| usize::try_from(n).ok());
    let Some(length) = length.filter(|_| end <= meta.len()) else {
        return Err(Error::new(Kind::Corrupt, "read a range of an object: it ends before")
            .with("range", format!("{start}..{end}"))
            .with("bytes", meta.len()));
    };
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, start).map_err(|e| match e.kind() {
        Io::UnexpectedEof => Error::new(Kind::Corrupt, "read a range of an object: it became shorter"),
        _ => failed(e),
    })?;
    Ok(bytes.into())
}

/// A listing under way. A folder reached twice through links is listed once.
struct Walk {
    root: Arc<PathBuf>,
    folders: Vec<String>,
    seen: HashSet<(u64, u64)>,
}

impl Walk {
    /// Lists one folder: its objects are returned, its folders are put on the stack.
    fn step(&mut self) -> Result<Vec<Meta>> {
        let Some(folder) = self.folders.pop() else { return Ok(Vec::new()) };
        let path = self.root.join(&folder);
        let failed = |e| Error::io("list a location", e).with("path", escape(path.as_os_str().as_bytes()));
        let entries = match path.metadata().and_then(|m| std::fs::read_dir(&path).map(|entries| (m, entries)))
        {
            Ok((meta, entries)) if self.seen.insert((meta.dev(), meta.ino())) => entries,
            Ok(_) => return Ok(Vec::new()),
            Err(e) if is_absent(&e) => return there(&self.root).map(|()| Vec::new()),
            Err(e) => return Err(failed(e)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            let Some(name) = name.to_str().filter(|name| !durable::is_temporary(name)) else { continue };
            let full = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
            let Ok(key) = Key::new(full) else { continue };
            match path.join(name).metadata() {
                Ok(meta) if meta.is_file() => found.push(describe(key, &meta)),
                Ok(meta) if meta.is_dir() => self.folders.push(key.as_str().to_owned()),
                Ok(_) => {}
                // Deleted since it was listed, or a link to nowhere.
                Err(e) if is_absent(&e) => {}
                Err(e) => return Err(failed(e)),
            }
        }
        Ok(found)
    }
}

fn describe(key: Key, meta: &std::fs::Metadata) -> Meta {
    let modified = meta.modified().ok().and_then(|time| time.try_into().ok());
    Meta { key, size: meta.len(), modified, version: None }
}

fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), Io::NotFound | Io::NotADirectory)
}

/// Fails if the location itself is missing.
fn there(root: &Path) -> Result<()> {
    if root.is_dir() {
        return Ok(());
    }
    Err(Error::new(Kind::NotFound, "use the location: its directory is missing")
        .code(NO_LOCATION)
        .with("path", escape(root.as_os_str().as_bytes())))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => Err(Error::bug("wait for a file operation").caused_by(e)),
    }
}
