//! One kind of live data, out and back in: capture as a tree of files, proof on a private copy, and
//! the one switch that makes restored data live.
//! It never knows how a repository stores it, and it never touches live data but in `switch`.
//!
//! A driver is one folder with the same files: `README.md`, `config.rs` (its section of
//! `recoup.toml`), `connect.rs` (finding and opening the live data), `capture.rs`, `restore.rs`.

pub mod position;
mod meta;
mod single;

pub mod artifact;
pub mod process;
pub mod source;

mod place;
mod pour;

pub mod sqlite;

pub mod files;

pub mod conformance;

pub use artifact::{Capture, Check, Description, Facts, Proof, Settle, TreeCounts};
pub use position::Position;
pub use process::{Holder, Holding};
pub use source::{CaptureContext, Follow, Scratch, Source};
