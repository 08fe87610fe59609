//! Blobs of another repository: sealed bytes stay as they are if both have one key, others are opened and
//! sealed anew, still compressed. Every blob is opened and hashed before it counts.

use super::Writer;
use super::pipe::{Form, Pipe};
use crate::blob::{BlobHandle, BlobKind};
use crate::compress::Compressor;
use crate::id::Id;
use crate::layout::{self, ObjectKind};
use crate::pack::{PackEntry, open_blob};
use crate::read::is_damage;
use crate::repository::Repository;
use bytes::Bytes;
use futures_util::StreamExt;
use recoup_core::{Error, Result};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One read: several blobs that lie next to each other.
const RANGE_BYTES: u64 = 16 << 20;
/// A gap that is read rather than asked around: what a request costs on a fast line.
const GAP_BYTES: u64 = 256 << 10;
/// Reads under way at a time; each takes [`RANGE_BYTES`] of memory.
const AT_ONCE: usize = 4;

/// Blobs of one pack that are read together.
struct Piece {
    pack: Id,
    entries: Vec<PackEntry>,
}

impl Writer {
    /// Whether the blob is stored, or will be before this run may write a snapshot.
    pub(crate) fn has(&self, blob: &BlobHandle) -> bool {
        self.pipe.seen.has(blob)
    }

    /// Whether nothing has ended the run.
    pub(crate) fn is_running(&self) -> bool {
        !self.pipe.run.is_stopped()
    }

    /// Stores a directory of another repository, as its bytes are.
    pub(crate) async fn put_raw_tree(&self, id: Id, json: Bytes) -> Result<()> {
        if self.has(&BlobHandle::tree(id)) {
            return Ok(());
        }
        self.put_plain(BlobKind::Tree, json).await
    }

    /// Copies `blobs` of `from` that are not here yet.
    ///
    /// # Errors
    /// `Kind::Corrupt`, E0432, if no copy of a blob is good; as either store says.
    pub(crate) async fn transfer(&self, from: &Repository, blobs: &[BlobHandle]) -> Result<()> {
        let index = from.index().await?;
        let mut by_pack: BTreeMap<Id, Vec<PackEntry>> = BTreeMap::new();
        for blob in blobs.iter().filter(|blob| !self.has(blob)) {
            match index.lookup(blob).next() {
                Some(location) => by_pack.entry(location.pack).or_default().push(location.entry),
                // Says which blob is lost, and why.
                None => drop(from.blob(*blob).await?),
            }
        }
        let pieces = by_pack.into_iter().flat_map(|(pack, entries)| pieces(pack, entries));
        let moves = pieces.map(|piece| self.move_piece(from, piece));
        let mut moves = futures_util::stream::iter(moves).buffer_unordered(AT_ONCE);
        while let Some(moved) = moves.next().await {
            moved?;
        }
        Ok(())
    }

    async fn move_piece(&self, from: &Repository, piece: Piece) -> Result<()> {
        self.pipe.run.check()?;
        let key = layout::key(ObjectKind::Pack, &piece.pack);
        let start = piece.entries.first().map_or(0, |entry| u64::from(entry.offset));
        let end = piece.entries.last().map_or(0, PackEntry::end);
        let bytes = match from.store().get(&key, Some(start..end)).await {
            Ok(bytes) => bytes,
            // Another pack may have copies.
            Err(err) if is_damage(&err) => Bytes::new(),
            Err(err) => return Err(err),
        };
        let (pipe, from_here) = (Arc::clone(&self.pipe), from.clone());
        let work = move || place_all(&pipe, &from_here, &piece, start, &bytes);
        let done = tokio::task::spawn_blocking(work).await;
        let bad = done.map_err(|cause| Error::bug("copy blobs").caused_by(cause)).flatten()?;
        for blob in bad {
            let plain = from.blob(blob).await?;
            self.put_plain(blob.kind, plain).await?;
        }
        Ok(())
    }

    async fn put_plain(&self, kind: BlobKind, plain: Bytes) -> Result<()> {
        self.pipe.run.check()?;
        let pipe = Arc::clone(&self.pipe);
        let work = move || -> Result<()> {
            let stored = pipe.store(&mut Compressor::new()?, kind, &plain);
            stored.map(drop).map_err(|_| pipe.run.take_error())
        };
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|cause| Error::bug("store a blob").caused_by(cause)).flatten()
    }
}

/// Cuts the wanted blobs of a pack into reads.
fn pieces(pack: Id, mut entries: Vec<PackEntry>) -> Vec<Piece> {
    entries.sort_unstable_by_key(|entry| entry.offset);
    entries.dedup();
    let mut pieces: Vec<Piece> = Vec::new();
    for entry in entries {
        let fits = |piece: &&mut Piece| {
            let (Some(first), Some(last)) = (piece.entries.first(), piece.entries.last()) else {
                return false;
            };
            u64::from(entry.offset).saturating_sub(last.end()) <= GAP_BYTES
                && entry.end() - u64::from(first.offset) <= RANGE_BYTES
        };
        match pieces.last_mut().filter(fits) {
            Some(piece) => piece.entries.push(entry),
            None => pieces.push(Piece { pack, entries: vec![entry] }),
        }
    }
    pieces
}

/// Stores the blobs of a read; gives those that are not good here.
fn place_all(
    pipe: &Pipe,
    from: &Repository,
    piece: &Piece,
    start: u64,
    bytes: &Bytes,
) -> Result<Vec<BlobHandle>> {
    let mut zstd = Compressor::new()?;
    let same_key = from.key().is_same(&pipe.run.documents.key);
    let mut bad = Vec::new();
    for entry in &piece.entries {
        let at = (u64::from(entry.offset) - start) as usize;
        let Some(sealed) = bytes.get(at..at + entry.length as usize) else {
            bad.push(entry.handle);
            continue;
        };
        let Ok(plain) = open_blob(from.key(), entry, sealed, from.limits()) else {
            bad.push(entry.handle);
            continue;
        };
        // Version 1 compresses nothing, and restic expects trees to be compressed always.
        let as_is =
            entry.uncompressed.is_some() || (entry.handle.kind == BlobKind::Data && from.version() > 1);
        let stored = if !as_is {
            pipe.store(&mut zstd, entry.handle.kind, &plain).map(drop)
        } else if same_key {
            pipe.store_as_is(entry.handle, Form::Sealed(sealed), entry.uncompressed)
        } else if entry.uncompressed.is_some() {
            let packed = from.key().open(sealed)?;
            pipe.store_as_is(entry.handle, Form::Opened(&packed), entry.uncompressed)
        } else {
            pipe.store_as_is(entry.handle, Form::Opened(&plain), None)
        };
        stored.map_err(|_| pipe.run.take_error())?;
    }
    Ok(bad)
}
