//! The small sealed objects of a repository: indexes, snapshots, locks. Each is one JSON document, named
//! by the hash of what is stored.

use crate::crypto::MasterKey;
use crate::id::Id;
use crate::layout::{self, ObjectKind};
use crate::limits::Limits;
use crate::unpacked;
use bytes::Bytes;
use recoup_core::env::Env;
use recoup_core::{Error, Kind, Result};
use recoup_store::{Put, Store, StoreExt};
use std::fmt;
use std::sync::Arc;

/// A document of this length in bytes is sealed on a thread of its own.
const ON_THREAD_BYTES: usize = 256 << 10;

/// Reads and writes documents with the master key of one repository.
#[derive(Clone)]
pub struct Documents {
    /// Where the repository lies.
    pub store: Arc<dyn Store>,
    /// What seals it.
    pub key: MasterKey,
    /// Clock and randomness.
    pub env: Env,
    /// What a document may claim.
    pub limits: Limits,
    /// Format version.
    pub version: u32,
}

impl fmt::Debug for Documents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Documents({})", self.store.location())
    }
}

/// What stands in a folder of the repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// Objects with their size in bytes, sorted by id.
    pub objects: Vec<(Id, u64)>,
    /// Names that are none of ours; reported and left alone (fault row 34).
    pub strays: Vec<String>,
}

/// Lists the objects of `kind`.
///
/// # Errors
/// As the store says; a listing is whole or it failed.
pub async fn list(store: &dyn Store, kind: ObjectKind) -> Result<Listed> {
    let mut listed = Listed::default();
    for meta in store.list_all(layout::prefix(kind)).await? {
        match layout::id_of(kind, &meta.key) {
            Some(id) => listed.objects.push((id, meta.size)),
            None => listed.strays.push(meta.key.as_str().to_owned()),
        }
    }
    Ok(listed)
}

/// Puts a new object whose name follows from its content. If it is there already, whole, all is well.
/// Afterwards the store is asked what it has, since some say that all is well and lose it.
///
/// # Errors
/// As the store says; `Kind::Unavailable`, E0474, if the object is not there afterwards as it should be.
pub async fn put_new(store: &dyn Store, kind: ObjectKind, id: &Id, bytes: Bytes) -> Result<()> {
    let key = layout::key(kind, id);
    let size = bytes.len() as u64;
    let result = store.put(&key, bytes, Put::Create).await;
    if let Err(err) = result
        && err.kind() != Kind::Exists
    {
        return Err(err);
    }
    let found = store.head(&key).await?.map(|meta| meta.size);
    if found == Some(size) {
        return Ok(());
    }
    let found = found.map_or("nothing".to_owned(), |bytes| format!("{bytes} bytes"));
    Err(Error::new(Kind::Unavailable, format!("store {size} bytes: afterwards there is {found}"))
        .with(kind.word(), id)
        .with("location", store.location())
        .code("E0474"))
}

impl Documents {
    /// Reads, checks and opens the document `id` of `kind`.
    ///
    /// # Errors
    /// `Kind::NotFound`; `Kind::Corrupt` if the bytes are not what the name or the seal says.
    pub async fn load(&self, kind: ObjectKind, id: &Id) -> Result<Vec<u8>> {
        let bytes = self.store.get(&layout::key(kind, id), None).await?;
        self.open(kind, id, bytes)
    }

    fn open(&self, kind: ObjectKind, id: &Id, bytes: Bytes) -> Result<Vec<u8>> {
        let named = |err: Error| err.with(kind.word(), id);
        if Id::of(&bytes) != *id {
            let what = format!("read a {}: the bytes are not what its name says", kind.word());
            return Err(named(Error::new(Kind::Corrupt, what).code("E0413")));
        }
        let mut sealed = bytes.to_vec();
        let plain = self.key.open_in_place(&mut sealed).map_err(named)?.to_vec();
        unpacked::decode(plain, &self.limits).map_err(named)
    }

    /// Seals `json` and puts it durably; gives its name. The sealed bytes are opened again first, so
    /// that what a broken machine made of them is never stored.
    ///
    /// # Errors
    /// As the store says; `Kind::Corrupt` if the sealed bytes do not open.
    pub async fn save(&self, kind: ObjectKind, json: Vec<u8>) -> Result<Id> {
        let (id, sealed) = if json.len() < ON_THREAD_BYTES {
            self.sealed(kind, json)?
        } else {
            let own = self.clone();
            let done = tokio::task::spawn_blocking(move || own.sealed(kind, json)).await;
            done.map_err(|cause| Error::bug("seal a document on a thread").caused_by(cause)).flatten()?
        };
        put_new(&*self.store, kind, &id, sealed).await?;
        Ok(id)
    }

    /// Seals a document, and opens it again before anybody relies on it.
    fn sealed(&self, kind: ObjectKind, json: Vec<u8>) -> Result<(Id, Bytes)> {
        let sealed = self.key.seal(&self.env, &unpacked::encode(self.version, json.clone())?);
        let id = Id::of(&sealed);
        let sealed = Bytes::from(sealed);
        if self.open(kind, &id, sealed.clone())? != json {
            let what = format!("seal a {}: it opens to something else", kind.word());
            return Err(Error::new(Kind::Corrupt, what).code("E0465").effect("it was not stored"));
        }
        Ok((id, sealed))
    }

    /// Lists the objects of `kind`.
    ///
    /// # Errors
    /// As the store says.
    pub async fn list(&self, kind: ObjectKind) -> Result<Listed> {
        list(&*self.store, kind).await
    }

    /// Deletes the object `id` of `kind`; what is not there is no error.
    ///
    /// # Errors
    /// As the store says.
    pub async fn delete(&self, kind: ObjectKind, id: &Id) -> Result<()> {
        self.store.delete(&layout::key(kind, id)).await
    }
}
