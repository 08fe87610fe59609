//! Where a stream of bytes is cut into blobs. The repository's own cut (restic design, "Backups and
//! Deduplication") is [`Rabin`]; sources that know their data better may bring another.

mod polynomial;
mod rabin;

pub use polynomial::{is_irreducible, random_polynomial};
pub use rabin::{Rabin, RabinTables, ZERO_CHUNK_BYTES};

/// Finds the end of the next chunk. One chunker follows one stream; it never sees the bytes twice.
pub trait Chunker: Send {
    /// `chunk` starts where the last chunk ended and has grown since the last call. Returns the length
    /// of the next chunk, or `None` if more bytes are needed. At the end of the stream what is left is
    /// the last chunk, and the caller calls [`Chunker::reset`].
    fn cut(&mut self, chunk: &[u8]) -> Option<usize>;

    /// Forgets the chunk under way; the next call starts a new one.
    fn reset(&mut self);

    /// The length in bytes below which no chunk is cut, but for the last one of a stream.
    fn min(&self) -> usize;

    /// The length in bytes that no chunk exceeds.
    fn max(&self) -> usize;
}
