//! The index: which blob lies where (restic design, Indexing).
//!
//! [`mod@file`] is one index file as bytes; [`table`] is all of them in memory, checked against the packs
//! that are really there; [`load`] reads them from a store and mends what is missing or damaged from
//! the headers of the packs.

mod fanout;
pub mod file;
pub mod load;
mod table;

pub use file::{BLOBS_MAX, IndexFile, IndexPack, MarkedFile, MarkedPack};
pub use table::{Index, IndexBuilder, Location, PackState};
