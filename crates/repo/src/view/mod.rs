//! Snapshots as a read-only file system, without the kernel: numbers, names, attributes, bytes.
//!
//! Nothing is read before it is asked for, and what is kept is bounded: directories by their entries,
//! content by its bytes, inodes by what the asker still refers to. Content is checked against its id
//! before it is given; what is damaged is an error and never zeros (I5).
//!
//! The adapter that speaks to the kernel is in the command line, `recoup repo mount`.

mod cache;
mod shelves;

mod inodes;
mod pieces;

mod serve;

pub use inodes::{Attributes, ROOT};
pub use serve::{Listed, View, ViewOptions};
