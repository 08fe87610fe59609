//! A private copy read in place of a live file, and the folder that holds nothing else.

use crate::meta::{self, Owners};
use recoup_core::entry::{Body, Chunking, Entry, FileBody, FileReader, Folder, Item, Listing};
use recoup_core::name::NodeName;
use recoup_core::{Error, Result};
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A folder with one file in it, whose content is a private copy.
pub(crate) struct SingleFile {
    entry: Entry,
    copy: PathBuf,
}

impl SingleFile {
    /// The file appears as `entry` says, but for its size, which is that of the copy.
    pub(crate) fn new(entry: Entry, copy: PathBuf) -> Result<Self> {
        let meta = std::fs::metadata(&copy).map_err(|e| Error::io("look at a private copy", e))?;
        Ok(SingleFile { entry: Entry { size: meta.len(), ..entry }, copy })
    }
}

impl Folder for SingleFile {
    fn list(&self) -> Result<Listing> {
        let body = CopyBody { entry: self.entry.clone(), copy: self.copy.clone() };
        let item = Item { entry: self.entry.clone(), body: Body::File(Box::new(body)) };
        Ok(Listing { items: vec![item], problems: Vec::new() })
    }
}

struct CopyBody {
    entry: Entry,
    copy: PathBuf,
}

impl FileBody for CopyBody {
    /// What is copied whole before it is read is a database.
    fn chunking(&self) -> Chunking {
        Chunking::Pages
    }

    fn open(&self) -> Result<Box<dyn FileReader>> {
        let file = File::open(&self.copy).map_err(|e| Error::io("open a private copy", e))?;
        Ok(Box::new(CopyReader::new(file, self.entry.clone())))
    }
}

/// Metadata of a path, links followed, under its own last name.
pub(crate) fn entry_of_path(path: &Path) -> Result<Entry> {
    let stat = rustix::fs::stat(path)
        .map_err(|e| Error::io("read the metadata of live data", e.into()).code("E0522"))?;
    let name = path.file_name().unwrap_or(OsStr::new("root"));
    let mut entry = meta::entry_of(NodeName::new(name.as_bytes())?, &stat, &Owners::default());
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    if let Ok(dir) = rustix::fs::open(parent, flags, rustix::fs::Mode::empty()) {
        entry.xattrs = meta::xattrs_at(&dir, name)?;
    }
    Ok(entry)
}

/// A private copy read in place of a live file; nothing can change it any more.
pub(crate) struct CopyReader {
    file: File,
    entry: Entry,
}

impl CopyReader {
    pub(crate) fn new(file: File, entry: Entry) -> Self {
        CopyReader { file, entry }
    }
}

impl Read for CopyReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.file.read(buffer)
    }
}

impl FileReader for CopyReader {
    fn entry(&self) -> Result<Entry> {
        Ok(self.entry.clone())
    }

    fn skip(&mut self, bytes: u64) -> Result<()> {
        use std::io::{Seek, SeekFrom};
        let by = i64::try_from(bytes).map_err(|_| Error::bug("skip more bytes than a file can have"))?;
        self.file.seek(SeekFrom::Current(by)).map_err(|e| Error::io("skip in a private copy", e))?;
        Ok(())
    }
}
