//! A blob: a piece of a file, or a directory (restic design, Pack Format).

use crate::id::Id;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a blob holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BlobKind {
    /// A piece of a file.
    Data,
    /// A directory.
    Tree,
}

/// A blob by kind and id of its plaintext.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobHandle {
    /// What it holds.
    pub kind: BlobKind,
    /// SHA-256 of its plaintext.
    pub id: Id,
}

impl BlobHandle {
    /// A piece of a file.
    pub const fn data(id: Id) -> Self {
        BlobHandle { kind: BlobKind::Data, id }
    }

    /// A directory.
    pub const fn tree(id: Id) -> Self {
        BlobHandle { kind: BlobKind::Tree, id }
    }
}

impl fmt::Display for BlobKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BlobKind::Data => "data",
            BlobKind::Tree => "tree",
        })
    }
}

impl fmt::Display for BlobHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.id)
    }
}
