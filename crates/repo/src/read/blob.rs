//! One blob by its id, from whichever copy is good.

use crate::blob::{BlobHandle, BlobKind};
use crate::id::Id;
use crate::index::Location;
use crate::layout::{self, ObjectKind};
use crate::pack::open_blob;
use crate::repository::Repository;
use crate::tree::Tree;
use bytes::Bytes;
use recoup_core::event::{Event, Finding, Severity};
use recoup_core::{Error, Kind, Result};

impl Repository {
    /// Reads a blob. Every copy is tried until one opens and has the right hash.
    ///
    /// # Errors
    /// `Kind::Corrupt`, E0428 or E0432, if there is no good copy; as the store says if it does not answer.
    pub async fn blob(&self, handle: BlobHandle) -> Result<Bytes> {
        let (plain, again) = self.blob_or_again(handle, None).await?;
        if let Some(again) = again {
            let message = "what was read first was damaged; read again it was whole";
            let object = again.pack.to_string();
            let finding = Finding::new("W0486", Severity::Warning, format!("pack {object}"), message, "");
            self.env().emit(Event::Finding(finding));
        }
        Ok(plain)
    }

    /// The same, after it was found damaged in a read of `pack`. If the pack was only read badly, the warning
    /// about that comes with the blob.
    pub(super) async fn blob_again(&self, handle: BlobHandle, pack: Id) -> Result<(Bytes, Option<Error>)> {
        let (plain, again) = self.blob_or_again(handle, Some(pack)).await?;
        Ok((plain, again.map(|again| read_badly(again.pack))))
    }

    async fn blob_or_again(&self, handle: BlobHandle, bad: Option<Id>) -> Result<(Bytes, Option<Again>)> {
        let index = self.index().await?;
        let mut last = None;
        for location in index.lookup(&handle) {
            match self.copy(&location).await {
                Ok((plain, again)) => {
                    let pack = location.pack;
                    return Ok((plain, (again || bad == Some(pack)).then_some(Again { pack })));
                }
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

    /// One copy, and whether it had to be read twice: what a bad cable or a bad bit of memory spoils once is
    /// no damage of the repository (trap 49).
    async fn copy(&self, location: &Location) -> Result<(Bytes, bool)> {
        match self.copy_once(location).await {
            Err(err) if err.kind() == Kind::Corrupt => Ok((self.copy_once(location).await?, true)),
            result => Ok((result?, false)),
        }
    }

    async fn copy_once(&self, location: &Location) -> Result<Bytes> {
        let pack = layout::key(ObjectKind::Pack, &location.pack);
        let range = u64::from(location.entry.offset)..location.entry.end();
        let sealed = self.store().get(&pack, Some(range)).await?;
        let plain = open_blob(self.key(), &location.entry, &sealed, self.limits());
        plain.map(Bytes::from).map_err(|err| err.with("pack", location.pack))
    }
}

/// A pack that was read badly once.
struct Again {
    pack: Id,
}

/// The warning that a pack was read badly once.
fn read_badly(pack: Id) -> Error {
    Error::new(Kind::Corrupt, "read a pack: the first read differed from the second")
        .with("pack", pack)
        .code("W0486")
        .effect("what was used is whole: it was compared with its hash")
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
