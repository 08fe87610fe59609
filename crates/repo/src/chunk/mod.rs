//! Where a stream of bytes is cut into blobs. The repository's own cut (restic design, "Backups and
//! Deduplication") is [`Rabin`]; [`Lines`] and [`Pages`] are for data whose changes are better known. A cut
//! decides what is stored again later, and never what comes back.

mod lines;
mod pages;
mod polynomial;
mod rabin;

pub use lines::{LineTables, Lines};
pub use pages::Pages;
pub use polynomial::{is_irreducible, random_polynomial};
pub use rabin::{Rabin, RabinTables, ZERO_CHUNK_BYTES};

use crate::id::Id;
use std::fmt;

/// Which chunker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChunkerKind {
    /// Where restic cuts: the same file gets the same blobs from both.
    #[default]
    Rabin,
    /// Small pieces that end with a line, for dumps.
    Lines,
    /// Pieces of whole pages at fixed places, for the files of databases.
    Pages,
}

impl ChunkerKind {
    /// Its name on the command line and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            ChunkerKind::Rabin => "rabin",
            ChunkerKind::Lines => "lines",
            ChunkerKind::Pages => "pages",
        }
    }
}

impl fmt::Display for ChunkerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Finds the end of the next chunk. One chunker follows one stream; it never sees the bytes twice.
pub trait Chunker: Send {
    /// `chunk` starts where the last chunk ended and has grown since the last call. Returns the length
    /// of the next chunk, or `None` if more bytes are needed. At the end of the stream what is left is
    /// the last chunk, and the caller calls [`Chunker::reset`].
    fn cut(&mut self, chunk: &[u8]) -> Option<usize>;

    /// The name of the chunk that was cut last, if it had to be hashed to find its end.
    fn known(&self) -> Option<Id> {
        None
    }

    /// Forgets the chunk under way; the next call starts a new one.
    fn reset(&mut self);

    /// The length in bytes below which no chunk is cut, but for the last one of a stream.
    fn min(&self) -> usize;

    /// The length in bytes that no chunk exceeds.
    fn max(&self) -> usize;
}
