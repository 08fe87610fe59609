//! A stream as one file: cut, stored, and put into a tree of its own.

use super::Writer;
use super::pipe::Pipe;
use super::run::{Stop, lock};
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
use std::sync::{Arc, Mutex, mpsc};

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
        let (threads, waiting) = (self.budget.threads, self.budget.waiting);
        let work = move || -> Result<(Vec<Id>, u64)> {
            let mut chunker: Box<dyn Chunker> = match chunker {
                ChunkerKind::Rabin => Box::new(Rabin::new(repository.rabin())),
                ChunkerKind::Lines => Box::new(Lines::new(repository.lines())),
                // A stream has no parent to compare with.
                ChunkerKind::Pages => Box::new(Pages::new(Vec::new())),
            };
            store(&pipe, threads, threads * waiting, source, &mut *chunker)
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

/// Cuts `source` and stores the pieces on other threads, for which at most `waiting` wait; gives their ids and the
/// length.
fn store(
    pipe: &Pipe,
    threads: usize,
    waiting: usize,
    source: Box<dyn Read + Send>,
    chunker: &mut dyn Chunker,
) -> Result<(Vec<Id>, u64)> {
    let stopped = |_| pipe.run.take_error();
    let (send, receive) = mpsc::sync_channel::<Piece>(waiting);
    let (give_back, spare) = mpsc::channel::<Vec<u8>>();
    std::thread::scope(|scope| {
        // Only the threads hold it: if all of them are gone, nobody waits for them.
        let receive = Arc::new(Mutex::new(receive));
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                let (receive, give_back) = (Arc::clone(&receive), give_back.clone());
                scope.spawn(move || store_pieces(pipe, &receive, &give_back))
            })
            .collect();
        drop(receive);
        let mut count = 0;
        let read = cut(source, chunker, &mut |piece| {
            let mut bytes = spare.try_recv().unwrap_or_default();
            bytes.extend_from_slice(piece);
            let nr = count;
            count += 1;
            // The threads are gone, and say why.
            send.send(Piece { nr, bytes }).map_err(|_| Error::bug("hand a piece of a stream on"))
        });
        drop(send);
        let mut content = vec![None; count];
        for worker in workers {
            let stored = worker.join().map_err(|_| Error::bug("store a stream"))?;
            for (nr, id) in stored.map_err(stopped)? {
                content[nr] = Some(id);
            }
        }
        let bytes = read?;
        // Every piece that was handed on was stored, or somebody said why not.
        let content = content.into_iter().collect::<Option<_>>();
        content
            .map(|content| (content, bytes))
            .ok_or_else(|| Error::bug("store a stream: a piece is missing"))
    })
}

/// A piece of a stream with its place in it.
struct Piece {
    nr: usize,
    bytes: Vec<u8>,
}

/// Stores pieces until there are no more.
fn store_pieces(
    pipe: &Pipe,
    pieces: &Mutex<mpsc::Receiver<Piece>>,
    give_back: &mpsc::Sender<Vec<u8>>,
) -> Result<Vec<(usize, Id)>, Stop> {
    let mut zstd = Compressor::new().map_err(|err| pipe.run.fail(err))?;
    let mut stored = Vec::new();
    loop {
        let next = lock(pieces).recv();
        let Ok(Piece { nr, mut bytes }) = next else { return Ok(stored) };
        stored.push((nr, pipe.store(&mut zstd, BlobKind::Data, &bytes)?));
        bytes.clear();
        // Nobody wants it at the end.
        let _ = give_back.send(bytes);
    }
}

/// Hands the pieces of `source` to `store`; gives how long they are.
fn cut(
    mut source: Box<dyn Read + Send>,
    chunker: &mut dyn Chunker,
    store: &mut impl FnMut(&[u8]) -> Result<()>,
) -> Result<u64> {
    let mut bytes = 0_u64;
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
            store(&buffer[start..start + length])?;
            chunker.reset();
            start += length;
        }
        buffer.copy_within(start..filled, 0);
        filled -= start;
    }
    if filled > 0 {
        store(&buffer[..filled])?;
    }
    Ok(bytes)
}
