//! A stream as one file: cut, stored, and put into a tree of its own.

use super::Writer;
use crate::blob::BlobKind;
use crate::chunk::{Chunker, ChunkerKind, Lines, Pages, Rabin};
use crate::compress::Compressor;
use crate::id::Id;
use crate::tree::{Node, Tree};
use jiff::Timestamp;
use recoup_core::entry::{Entry, EntryKind};
use recoup_core::name::TreePath;
use recoup_core::{Error, Result};
use std::io::{ErrorKind, Read};
use std::sync::Arc;

const READ_BYTES: usize = 512 << 10;
/// As restic stores a stream.
const FILE_MODE: u32 = 0o644;

impl Writer {
    /// Stores what `source` gives as the file `path` of a new tree, dated `time`; gives the tree and the
    /// length in bytes. Whether the stream was whole is for the caller to know before it writes a snapshot.
    ///
    /// # Errors
    /// As `source` says; as the store says, and then the run is over.
    pub async fn stream(
        &mut self,
        path: &TreePath,
        source: Box<dyn Read + Send>,
        time: Timestamp,
    ) -> Result<(Id, u64)> {
        self.pipe.run.check()?;
        let (pipe, repository) = (Arc::clone(&self.pipe), self.repository.clone());
        let chunker = self.options.chunker;
        let work = move || -> Result<(Vec<Id>, u64)> {
            let mut zstd = Compressor::new()?;
            let mut chunker: Box<dyn Chunker> = match chunker {
                ChunkerKind::Rabin => Box::new(Rabin::new(repository.rabin())),
                ChunkerKind::Lines => Box::new(Lines::new(repository.lines())),
                // A stream has no parent to compare with.
                ChunkerKind::Pages => Box::new(Pages::new(Vec::new())),
            };
            let mut store = |piece: &[u8]| {
                pipe.store(&mut zstd, BlobKind::Data, piece).map_err(|_| pipe.run.take_error())
            };
            cut(source, &mut *chunker, &mut store)
        };
        let done = tokio::task::spawn_blocking(work).await;
        let (content, bytes) =
            done.map_err(|cause| Error::bug("store a stream").caused_by(cause)).flatten()?;
        let empty = Tree::default();
        let root = Id::of(&empty.encode(&self.repository.env().zone)?);
        self.roots.insert(root, empty);
        let entry = Entry { size: bytes, ..self.made(path, EntryKind::File, FILE_MODE, time)? };
        let tree = self.graft(root, path, Node::file(entry, content), time).await?;
        Ok((tree, bytes))
    }
}

fn cut(
    mut source: Box<dyn Read + Send>,
    chunker: &mut dyn Chunker,
    store: &mut impl FnMut(&[u8]) -> Result<Id>,
) -> Result<(Vec<Id>, u64)> {
    let (mut content, mut bytes) = (Vec::new(), 0_u64);
    let mut buffer: Vec<u8> = Vec::new();
    let mut filled = 0;
    loop {
        if buffer.len() - filled < READ_BYTES {
            buffer.resize(filled + 2 * READ_BYTES, 0);
        }
        let read = match source.read(&mut buffer[filled..filled + READ_BYTES]) {
            Ok(read) => read,
            Err(err) if err.kind() == ErrorKind::Interrupted => continue,
            Err(err) => return Err(Error::io("read a stream", err).effect("no snapshot was written")),
        };
        if read == 0 {
            break;
        }
        filled += read;
        bytes += read as u64;
        let mut start = 0;
        while let Some(length) = chunker.cut(&buffer[start..filled]) {
            content.push(store(&buffer[start..start + length])?);
            chunker.reset();
            start += length;
        }
        buffer.copy_within(start..filled, 0);
        filled -= start;
    }
    if filled > 0 {
        content.push(store(&buffer[..filled])?);
    }
    Ok((content, bytes))
}
