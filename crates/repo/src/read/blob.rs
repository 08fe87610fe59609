//! One blob by its id, from whichever copy is good.

use crate::blob::{BlobHandle, BlobKind};
use crate::id::Id;
use crate::index::Location;
use crate::layout::{self, ObjectKind};
use crate::pack::open_blob;
use crate::repository::Repository;
use crate::tree::Tree;
use bytes::Bytes;
use recoup_core::{Error, Kind, Result};

impl Repository {
    /// Reads a blob. Every copy is tried until one opens and has the right hash.
    ///
    /// # Errors
    /// `Kind::Corrupt`, E0428 or E0432, if there is no good copy; as the store says if it does not answer.
    pub async fn blob(&self, handle: BlobHandle) -> Result<Bytes> {
        let index = self.index().await?;
        let mut last = None;
        for location in index.lookup(&handle) {
            match self.copy(&location).await {
                Ok(plain) => return Ok(plain),
                Err(err) => last = Some(worse(last, err)),
            }
        }
        Err(match last {
            Some(err) if !is_damage(&err) => err,
            last => lost(handle, last),
        })
    }

    /// Reads a directory.
    ///
    /// # Errors
    /// As [`Repository::blob`]; `Kind::Corrupt` if it is no list of entries.
    pub async fn tree(&self, id: &Id) -> Result<Tree> {
        let json = self.blob(BlobHandle::tree(*id)).await?;
        Tree::decode(&json).map_err(|err| err.with("tree", id))
    }

    async fn copy(&self, location: &Location) -> Result<Bytes> {
        let pack = layout::key(ObjectKind::Pack, &location.pack);
        let range = u64::from(location.entry.offset)..location.entry.end();
        let sealed = self.store().get(&pack, Some(range)).await?;
        let plain = open_blob(self.key(), &location.entry, sealed.to_vec(), self.limits());
        plain.map(Bytes::from).map_err(|err| err.with("pack", location.pack))
    }
}

/// Whether the bytes are to blame, and not the way to them.
pub(crate) fn is_damage(err: &Error) -> bool {
    matches!(err.kind(), Kind::Corrupt | Kind::Refused | Kind::NotFound)
}

/// What the caller must know first: a location that does not answer may still have a good copy.
fn worse(last: Option<Error>, err: Error) -> Error {
    match last {
        Some(last) if !is_damage(&last) => last,
        _ => err,
    }
}

pub(crate) fn lost(handle: BlobHandle, cause: Option<Error>) -> Error {
    let code = match handle.kind {
        BlobKind::Tree => "E0428",
        BlobKind::Data => "E0432",
    };
    let err = match cause {
        None => Error::new(Kind::Corrupt, "read a blob: no pack has it"),
        Some(cause) => Error::new(Kind::Corrupt, "read a blob: no copy of it is good").caused_by(cause),
    };
    err.with("blob", handle).code(code)
}
