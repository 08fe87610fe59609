//! Bytes to and from the restic repository format, version 2.
//! It never knows which application the bytes belong to.
//!
//! The order of the modules is the floor order: a module uses only modules above it. Everything up
//! to [`tree`] is pure, bytes in and bytes out, but for [`index::load`]. What stands below talks to a
//! store.
//!
//! | module | section of restic's design document |
//! |---|---|
//! | [`id`], [`layout`] | Repository Layout |
//! | [`crypto`], [`keyfile`] | Keys, Encryption and MAC |
//! | [`chunk`], [`config`] | Repository Layout, config; Backups and Deduplication |
//! | [`unpacked`], [`compress`] | Unpacked Data Format |
//! | [`pack`] | Pack Format |
//! | [`index`] | Indexing |
//! | [`snapshot`], [`tree`] | Trees and Data |
//! | [`lockfile`] | Locks |

pub mod id;
pub mod layout;

pub mod blob;
pub mod limits;

pub mod golang;

pub mod crypto;
pub mod hash;

pub mod chunk;
pub mod compress;

pub mod config;
pub mod keyfile;
pub mod lockfile;
pub mod snapshot;
pub mod unpacked;

pub mod pack;

pub mod problem;

pub mod index;
pub mod tree;

pub mod attest;
pub mod documents;

pub mod locks;

pub mod repository;

pub mod read;

pub mod view;

pub mod check;
pub mod compare;
pub mod export;
pub mod forget;
pub mod keys;
pub mod search;
pub mod tagging;
pub mod tally;
pub mod prune;
pub mod write;

pub mod copy;
pub mod repair;

pub use blob::{BlobHandle, BlobKind};
pub use id::Id;
pub use index::Index;
pub use layout::ObjectKind;
pub use limits::Limits;
pub use problem::Problem;
pub use snapshot::Snapshot;
pub use tree::{Node, Tree};
