//! A file of a snapshot as bytes, a directory as a tar or zip archive, to anything that takes bytes.
//! Whoever gets an error must throw away what was written: it never ends as if it were whole.

use crate::blob::BlobHandle;
use crate::id::Id;
use crate::read::{Visit, Walker, find_path};
use crate::repository::Repository;
use crate::tree::Node;
use bytes::Bytes;
use recoup_core::entry::{Entry, EntryKind};
use recoup_core::name::TreePath;
use recoup_core::{Error, Kind, Result};
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use tokio::runtime::Handle;

/// The form of a directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Archive {
    /// Everything but sockets, with owners, times and extended attributes.
    #[default]
    Tar,
    /// Files, directories and links; files are deflated, as restic does. Names must be UTF-8.
    Zip,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Files.
    pub files: u64,
    /// Bytes of their content.
    pub bytes: u64,
}

/// Writes the file at `path` beneath `root` to `out`, or what the directory there holds as an archive.
///
/// # Errors
/// `Kind::NotFound`, E0436, if there is nothing there; `Kind::Unsupported`, E0494, for what has no form;
/// `Kind::Corrupt` if anything of it is damaged; as `out` says.
pub async fn export(
    repository: &Repository,
    root: Id,
    path: &TreePath,
    archive: Archive,
    out: Box<dyn Write + Send>,
) -> Result<Exported> {
    let (tree, file) = if path.components().is_empty() {
        (Some(root), None)
    } else {
        let node = find_path(repository, &root, path).await?;
        let missing =
            || Error::new(Kind::NotFound, "find an entry of a snapshot").with("path", path).code("E0436");
        let node = node.ok_or_else(missing)?;
        (node.subtree, node.content)
    };
    let repository = repository.clone();
    let (runtime, path) = (Handle::current(), path.clone());
    let work = move || match (tree, file, archive) {
        (Some(tree), ..) if archive == Archive::Tar => tar(&repository, &runtime, tree, &path, out),
        (Some(tree), ..) => zip(&repository, &runtime, tree, &path, out),
        (None, Some(content), _) => plain(&repository, &runtime, content, &path, out),
        (None, None, _) => Err(no_form(&path, "it is neither a file nor a directory")),
    };
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|cause| Error::bug("dump a part of a snapshot").caused_by(cause)).flatten()
}

fn plain(
    repository: &Repository,
    runtime: &Handle,
    content: Vec<Id>,
    path: &TreePath,
    mut out: Box<dyn Write + Send>,
) -> Result<Exported> {
    let mut reader = Content::new(repository, runtime, content, path)?;
    let bytes = reader.copy_to(&mut out)?;
    out.flush().map_err(|e| unwritten(path, e))?;
    Ok(Exported { files: 1, bytes })
}

fn tar(
    repository: &Repository,
    runtime: &Handle,
    tree: Id,
    above: &TreePath,
    out: Box<dyn Write + Send>,
) -> Result<Exported> {
    let mut done = Exported::default();
    let mut builder = tar::Builder::new(out);
    let mut walker = Walker::new(repository, tree);
    while let Some((path, node)) = next_entry(&mut walker, runtime, above)? {
        if node.entry.kind == EntryKind::Socket {
            continue;
        }
        let failed = |e| unwritten(&path, e);
        let mut header = header(&node.entry, &path)?;
        let xattrs: Vec<(String, &[u8])> =
            node.entry.xattrs.iter().map(|x| (format!("SCHILY.xattr.{}", x.name), &*x.value)).collect();
        let xattrs = xattrs.iter().map(|(name, value)| (name.as_str(), *value));
        builder.append_pax_extensions(xattrs).map_err(failed)?;
        let mut name = path.to_bytes();
        match &node.entry.kind {
            EntryKind::File => {
                let content = node.content.unwrap_or_default();
                let mut reader = Content::new(repository, runtime, content, &path)?;
                header.set_size(reader.bytes);
                let result = builder.append_data(&mut header, os_path(&name), &mut reader);
                reader.finish(result)?;
                done.files += 1;
                done.bytes += reader.bytes;
            }
            EntryKind::Symlink { target } => {
                builder.append_link(&mut header, os_path(&name), os_path(target)).map_err(failed)?;
            }
            EntryKind::Dir => {
                name.push(b'/');
                builder.append_data(&mut header, os_path(&name), std::io::empty()).map_err(failed)?;
            }
            _ => builder.append_data(&mut header, os_path(&name), std::io::empty()).map_err(failed)?,
        }
    }
    let mut out = builder.into_inner().map_err(|e| unwritten(above, e))?;
    out.flush().map_err(|e| unwritten(above, e))?;
    Ok(done)
}

/// The next entry and its path in the archive. What cannot be read ends the archive: one that lacks something
/// would look whole.
fn next_entry(walker: &mut Walker, runtime: &Handle, above: &TreePath) -> Result<Option<(TreePath, Node)>> {
    while let Some(visit) = runtime.block_on(walker.next())? {
        match visit {
            Visit::Entry(below, node) => return Ok(Some((joined(above, &below), node))),
            Visit::Leave(..) => {}
            Visit::Problem(problem) => return Err(problem.error.with("path", joined(above, &problem.path))),
        }
    }
    Ok(None)
}

fn header(entry: &Entry, path: &TreePath) -> Result<tar::Header> {
    let mut header = tar::Header::new_gnu();
    let (kind, device) = match entry.kind {
        EntryKind::Dir => (tar::EntryType::Directory, 0),
        EntryKind::Symlink { .. } => (tar::EntryType::Symlink, 0),
        EntryKind::BlockDevice { device } => (tar::EntryType::Block, device),
        EntryKind::CharDevice { device } => (tar::EntryType::Char, device),
        EntryKind::Fifo => (tar::EntryType::Fifo, 0),
        EntryKind::File | EntryKind::Socket => (tar::EntryType::Regular, 0),
    };
    header.set_entry_type(kind);
    header.set_mode(entry.mode & 0o7777);
    header.set_uid(u64::from(entry.uid));
    header.set_gid(u64::from(entry.gid));
    header.set_size(0);
    // The format knows no time before 1970.
    header.set_mtime(u64::try_from(entry.mtime.as_second()).unwrap_or(0));
    // Names are for people, the numbers count: one that does not fit is left out.
    let _ = header.set_username(&entry.user);
    let _ = header.set_groupname(&entry.group);
    if device != 0 {
        let failed = |e| unwritten(path, e);
        header.set_device_major(rustix::fs::major(device)).map_err(failed)?;
        header.set_device_minor(rustix::fs::minor(device)).map_err(failed)?;
    }
    Ok(header)
}

fn zip(
    repository: &Repository,
    runtime: &Handle,
    tree: Id,
    above: &TreePath,
    out: Box<dyn Write + Send>,
) -> Result<Exported> {
    let mut done = Exported::default();
    let mut writer = zip::ZipWriter::new_stream(out);
    let mut walker = Walker::new(repository, tree);
    while let Some((path, node)) = next_entry(&mut walker, runtime, above)? {
        let failed = |e: zip::result::ZipError| unwritten(&path, e.into());
        let name = text(&path, &path.to_bytes())?;
        let options = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Deflated)
            .unix_permissions(node.entry.mode & 0o777)
            .last_modified_time(zip_time(&node.entry));
        match &node.entry.kind {
            EntryKind::File => {
                let Node { content, .. } = node;
                let mut reader = Content::new(repository, runtime, content.unwrap_or_default(), &path)?;
                writer
                    .start_file(name, options.large_file(reader.bytes >= u32::MAX.into()))
                    .map_err(failed)?;
                done.bytes += reader.copy_to(&mut writer)?;
                done.files += 1;
            }
            EntryKind::Dir => {
                let options = options.compression_method(zip::CompressionMethod::Stored);
                writer.add_directory(name, options).map_err(failed)?;
            }
            EntryKind::Symlink { target } => {
                let options = options.compression_method(zip::CompressionMethod::Stored);
                writer.add_symlink(name, text(&path, target)?, options).map_err(failed)?;
            }
            // The format has no devices and pipes; restic leaves them out too.
            _ => {}
        }
    }
    let mut out = writer.finish().map_err(|e| unwritten(above, e.into()))?.into_inner();
    out.flush().map_err(|e| unwritten(above, e))?;
    Ok(done)
}

/// Whole seconds between 1980 and 2107, in UTC; anything else becomes the start of 1980.
fn zip_time(entry: &Entry) -> zip::DateTime {
    let at = entry.mtime.to_zoned(jiff::tz::TimeZone::UTC);
    let part = |n: i8| u8::try_from(n).unwrap_or(0);
    let year = u16::try_from(at.year()).unwrap_or(0);
    let (date, time) = ((part(at.month()), part(at.day())), (part(at.hour()), part(at.minute())));
    zip::DateTime::from_date_and_time(year, date.0, date.1, time.0, time.1, part(at.second()))
        .unwrap_or_default()
}

fn text(path: &TreePath, raw: &[u8]) -> Result<String> {
    String::from_utf8(raw.to_vec()).map_err(|_| no_form(path, "a name is not UTF-8, and zip has no other"))
}

fn os_path(raw: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(raw))
}

fn joined(above: &TreePath, below: &TreePath) -> TreePath {
    above.components().iter().chain(below.components()).cloned().collect()
}

fn no_form(path: &TreePath, why: &str) -> Error {
    Error::new(Kind::Unsupported, format!("dump an entry: {why}")).with("path", path).code("E0494")
}

fn unwritten(path: &TreePath, cause: std::io::Error) -> Error {
    Error::io("write what was dumped", cause)
        .with("path", path)
        .code("E0494")
        .effect("what was written so far is not complete")
}

/// The content of a file, blob by blob. Its length follows from the index and holds for every blob that
/// opens, whatever the directory claims.
struct Content<'a> {
    repository: &'a Repository,
    runtime: &'a Handle,
    path: &'a TreePath,
    rest: std::vec::IntoIter<Id>,
    piece: Bytes,
    bytes: u64,
    given: u64,
    error: Option<Error>,
}

impl<'a> Content<'a> {
    fn new(
        repository: &'a Repository,
        runtime: &'a Handle,
        content: Vec<Id>,
        path: &'a TreePath,
    ) -> Result<Self> {
        let index = runtime.block_on(repository.index())?;
        let mut bytes = 0_u64;
        for id in &content {
            let blob = BlobHandle::data(*id);
            let lost = || Error::new(Kind::Corrupt, "dump a file: a piece of it is in no pack");
            let known = index.plain_bytes(&blob);
            bytes += known.ok_or_else(|| lost().with("blob", blob).with("path", path).code("E0432"))?;
        }
        let rest = content.into_iter();
        Ok(Content { repository, runtime, path, rest, piece: Bytes::new(), bytes, given: 0, error: None })
    }

    fn copy_to(&mut self, out: &mut impl Write) -> Result<u64> {
        let result = std::io::copy(self, out).map(drop);
        self.finish(result)?;
        Ok(self.given)
    }

    /// What went wrong while it was read, or written, or that it was shorter than it should be.
    fn finish(&mut self, result: std::io::Result<()>) -> Result<()> {
        if let Some(err) = self.error.take() {
            return Err(err);
        }
        result.map_err(|e| unwritten(self.path, e))?;
        if self.given == self.bytes {
            return Ok(());
        }
        let what = format!("dump a file: it gave {} of {} bytes", self.given, self.bytes);
        Err(Error::new(Kind::Corrupt, what).with("path", self.path).code("E0494"))
    }
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.piece.is_empty() {
            let Some(id) = self.rest.next() else { return Ok(0) };
            match self.runtime.block_on(self.repository.blob(BlobHandle::data(id))) {
                Ok(piece) => self.piece = piece,
                Err(err) => {
                    self.error = Some(err.with("path", self.path));
                    return Err(std::io::Error::other("a piece of the file is lost"));
                }
            }
        }
        let length = buffer.len().min(self.piece.len());
        buffer[..length].copy_from_slice(&self.piece.split_to(length));
        self.given += length as u64;
        Ok(length)
    }
}
