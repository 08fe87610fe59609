//! One file: opened, cut and stored until it held still.

use super::super::run::Stop;
use super::dir::Dir;
use super::portion::Pieces;
use super::{FileTask, Walk, Worker};
use crate::blob::{BlobHandle, BlobKind};
use crate::chunk::{Chunker, ChunkerKind, Lines, Pages, ZERO_CHUNK_BYTES};
use crate::compress::Compressor;
use crate::id::Id;
use crate::tree::Node;
use recoup_core::entry::{Chunking, Entry, EntryKind, FileBody, FileReader};
use recoup_core::{Error, Kind};
use std::io::ErrorKind;
use std::sync::Arc;

/// How often a file that changes while it is read is read (fault row 117).
const READS_MAX: usize = 3;
/// One read: large enough for a disk, small enough for a cache.
const READ_BYTES: usize = 512 << 10;
/// The window of the chunker: so many zeros make its fingerprint zero.
const WINDOW_BYTES: usize = 64;
/// A file that grows as fast as it is read is given up at twice its size and this.
const GROWTH_BYTES: u64 = 1 << 30;

/// Why a file could not be stored.
enum Trouble {
    /// The file's fault: it is reported and the rest goes on.
    File(Error),
    /// Not the file's fault: the run is over.
    Run(Stop),
}

impl From<Stop> for Trouble {
    fn from(stop: Stop) -> Self {
        Trouble::Run(stop)
    }
}

impl From<Error> for Trouble {
    fn from(err: Error) -> Self {
        Trouble::File(err)
    }
}

impl Walk<'_> {
    /// How the content behind `body` is cut: as its source says, otherwise as the run was told.
    pub(super) fn chunker_for(&self, body: &dyn FileBody) -> ChunkerKind {
        match body.chunking() {
            Chunking::Unknown => self.order.chunker,
            Chunking::Pages => ChunkerKind::Pages,
            Chunking::Lines => ChunkerKind::Lines,
        }
    }

    /// Blobs of the parent with their lengths, up to the first that the index does not have.
    fn lengths(&self, content: &[Id]) -> Vec<(Id, usize)> {
        let length = |id: &Id| {
            let bytes = self.order.pipe.seen.plain_bytes(&BlobHandle::data(*id))?;
            Some((*id, usize::try_from(bytes).ok()?))
        };
        content.iter().map_while(length).collect()
    }

    /// Reads a file until it did not change meanwhile, at most three times. What is stored of a file
    /// that never holds still has the times from before, so that the next run reads it again. `None` for a
    /// file that went away or could not be read; the report says so.
    pub(super) fn read(&self, worker: &mut Worker, dir: &Dir, file: &FileTask) -> Result<Option<Node>, Stop> {
        let mut reads = 1;
        loop {
            match self.read_once(worker, file) {
                Ok((_, _, false)) if reads < READS_MAX => reads += 1,
                Ok((entry, content, held_still)) => {
                    if !held_still {
                        let path = dir.path(Some(&entry.name));
                        self.report.with(|report| report.changed_while_read.push(path));
                    }
                    self.report.with(|report| {
                        report.bytes_total += entry.size;
                        *(if file.is_new { &mut report.files_new } else { &mut report.files_changed }) += 1;
                    });
                    self.progress(0, 1);
                    return Ok(Some(Node::file(self.stored(entry), content)));
                }
                Err(Trouble::File(err)) => {
                    self.note(dir, Some(&file.entry.name), err);
                    return Ok(None);
                }
                Err(Trouble::Run(stop)) => return Err(stop),
            }
        }
    }

    /// Reads a file once: its metadata from before with the size that was read, its pieces, and whether
    /// it was the same afterwards.
    fn read_once(&self, worker: &mut Worker, file: &FileTask) -> Result<(Entry, Vec<Id>, bool), Trouble> {
        let mut reader = file.body.open()?;
        let before = reader.entry()?;
        if before.kind != EntryKind::File {
            return Err(Error::new(Kind::Conflict, "read a file: it is none any more").code("E0473").into());
        }
        let (content, bytes) = self.cut(worker, &mut *reader, &before, file)?;
        self.report.with(|report| report.bytes_read += bytes);
        // Files that the kernel makes up, as in /proc, say 0 and give more; one that was given up has more still.
        let as_long_as_said = bytes == before.size || (before.size == 0 && bytes <= GROWTH_BYTES);
        let held_still = before.stamp() == reader.stamp()? && as_long_as_said;
        let entry = Entry { name: file.entry.name.clone(), size: bytes, ..before };
        Ok((entry, content, held_still))
    }

    /// Cuts what `reader` gives into pieces and stores them; gives their ids and how long they are.
    fn cut(
        &self,
        worker: &mut Worker,
        reader: &mut dyn FileReader,
        said: &Entry,
        file: &FileTask,
    ) -> Result<(Vec<Id>, u64), Trouble> {
        let pieces = Arc::new(Pieces::default());
        let bytes_max = said.size.saturating_mul(2).saturating_add(GROWTH_BYTES);
        let mut bytes = 0_u64;
        let Worker { zstd, rabin, buffer } = worker;
        let kind = self.chunker_for(&*file.body);
        let (mut lines, mut pages);
        let chunker: &mut dyn Chunker = match kind {
            ChunkerKind::Rabin => rabin,
            ChunkerKind::Lines => {
                lines = Lines::new(self.order.repository.lines());
                &mut lines
            }
            ChunkerKind::Pages => {
                pages = Pages::new(self.lengths(&file.previous));
                &mut pages
            }
        };
        chunker.reset();
        let (mut start, mut end) = (0, 0);
        while bytes <= bytes_max {
            let room = make_room(buffer, &mut start, &mut end);
            let hole = if said.size < ZERO_CHUNK_BYTES as u64 { 0 } else { reader.hole()?.min(said.size) };
            let zeros = match kind {
                ChunkerKind::Rabin => {
                    let skipped = self.skip_hole(zstd, reader, hole, &pieces, end - start)?;
                    if skipped > 0 {
                        bytes += skipped;
                        continue;
                    }
                    zeros_that_cut(hole, end - start)
                }
                ChunkerKind::Lines | ChunkerKind::Pages => hole,
            };
            let zeros = usize::try_from(zeros).unwrap_or(usize::MAX).min(room);
            let filled = if zeros > 0 {
                reader.skip(zeros as u64)?;
                buffer[end..end + zeros].fill(0);
                zeros
            } else {
                read_some(reader, &mut buffer[end..])?
            };
            if filled == 0 {
                break;
            }
            end += filled;
            bytes += filled as u64;
            self.progress(filled as u64, 0);
            start += self.cut_off(zstd, &pieces, chunker, &buffer[start..end])?;
        }
        self.end_with(zstd, &pieces, chunker, &buffer[start..end])?;
        Ok((self.collect(zstd, &pieces)?, bytes))
    }

    /// A hole of so many bytes at the start of a piece is cut without reading it: [`Rabin`] always cuts zeros
    /// at the smallest size. Gives how much of it is done.
    ///
    /// [`Rabin`]: crate::chunk::Rabin
    fn skip_hole(
        &self,
        zstd: &mut Compressor,
        reader: &mut dyn FileReader,
        hole: u64,
        pieces: &Arc<Pieces>,
        under_way: usize,
    ) -> Result<u64, Trouble> {
        let step = ZERO_CHUNK_BYTES as u64;
        let count = hole / step;
        if under_way > 0 || count == 0 {
            return Ok(0);
        }
        let id = self.order.pipe.store(zstd, BlobKind::Data, &[0; ZERO_CHUNK_BYTES])?;
        reader.skip(count * step)?;
        pieces.push(id, usize::try_from(count).unwrap_or(0));
        self.progress(count * step, 0);
        Ok(count * step)
    }
}

/// How many zeros of a hole are filled in where a piece of so many bytes is under way: just so many that
/// Rabin cuts it for sure.
fn zeros_that_cut(hole: u64, under_way: usize) -> u64 {
    hole.min(ZERO_CHUNK_BYTES.saturating_sub(under_way).max(WINDOW_BYTES) as u64)
}

/// Moves what is under way to the front if the buffer is full; gives the room behind it.
fn make_room(buffer: &mut Vec<u8>, start: &mut usize, end: &mut usize) -> usize {
    if start == end {
        (*start, *end) = (0, 0);
    }
    if buffer.len() - *end < READ_BYTES && *start > 0 {
        buffer.copy_within(*start..*end, 0);
        *end -= *start;
        *start = 0;
    }
    if buffer.len() - *end < READ_BYTES {
        buffer.resize(*end + 2 * READ_BYTES, 0);
    }
    buffer.len() - *end
}

/// Fills as much as it can up to [`READ_BYTES`]; 0 at the end of the file.
fn read_some(reader: &mut dyn FileReader, buffer: &mut [u8]) -> Result<usize, Error> {
    let length = buffer.len().min(READ_BYTES);
    loop {
        match reader.read(&mut buffer[..length]) {
            Ok(bytes) => return Ok(bytes),
            Err(err) if err.kind() == ErrorKind::Interrupted => {}
            Err(err) => return Err(Error::io("read a file", err)),
        }
    }
}
