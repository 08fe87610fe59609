//! Brings another location up to date: objects that the first has and the other lacks are copied byte by
//! byte, in the order in which a repository may be read at any moment: keys and config, packs, index,
//! snapshots, and last the attestations, which speak of snapshots. The two are one repository with one key. Nothing is ever deleted here.

use crate::session::{Place, Session};
use bytes::Bytes;
use recoup_core::name::escape;
use recoup_core::{Error, Kind, Result};
use recoup_repo::attest;
use recoup_repo::layout::prefix;
use recoup_repo::locks::LockMode;
use recoup_repo::repository::Repository;
use recoup_repo::{Id, ObjectKind};
use recoup_store::local::durable;
use recoup_store::{Key, Put, Store, StoreExt};
use std::collections::BTreeSet;

/// What was copied.
#[derive(Clone, Copy, Debug)]
pub struct Lag {
    /// Objects that the other location lacked and has now.
    pub objects: u64,
}

const ORDER: [ObjectKind; 4] = [ObjectKind::Key, ObjectKind::Pack, ObjectKind::Index, ObjectKind::Snapshot];

/// Copies what `place` lacks. On error the second value says how many objects are still missing there.
///
/// # Errors
/// As either location says; `Kind::Conflict` if another repository lives there, `Kind::Refused` if another
/// belongs there.
pub async fn replicate(session: &Session, repo: &Repository, place: &Place) -> Result<Lag, (Error, u64)> {
    let early = |e: Error| (e.with("location", &place.name), 0);
    session.belongs(place, repo.id()).map_err(|e| (e, 0))?;
    durable::create_dir_all(&place.path, 0o700).map_err(early)?;
    let to = session.store(place);
    let guard = repo.lock(LockMode::Shared).await.map_err(early)?;
    let done = match partial(repo).await {
        Ok(leave) => copied(&**repo.store(), &*to, &leave).await,
        Err(error) => Err((error, 0)),
    };
    guard.release().await.map_err(early)?;
    done.map_err(|(e, missing)| (e.with("location", &place.name), missing))
}

/// What a run that did not come to its end left: it stays where the next run looks for it.
async fn partial(repo: &Repository) -> Result<BTreeSet<String>> {
    let all = repo.snapshots().await?.snapshots;
    Ok(all.iter().filter(|(_, snapshot)| snapshot.is_partial()).map(|(id, _)| id.to_string()).collect())
}

async fn copied(from: &dyn Store, to: &dyn Store, leave: &BTreeSet<String>) -> Result<Lag, (Error, u64)> {
    let lag = copy_all(from, to, leave).await?;
    attest::copy(from, to).await.map_err(|e| (e, 0))?;
    Ok(lag)
}

async fn copy_all(from: &dyn Store, to: &dyn Store, leave: &BTreeSet<String>) -> Result<Lag, (Error, u64)> {
    let ours = same_repository(from, to).await.map_err(|e| (e, 0))?;
    let mut missing: Vec<(ObjectKind, Key)> = Vec::new();
    for kind in ORDER {
        let theirs: BTreeSet<(Key, u64)> = sizes(to, kind).await.map_err(|e| (e, 0))?;
        let ours = sizes(from, kind).await.map_err(|e| (e, 0))?;
        let wanted = ours.into_iter().filter(|o| !theirs.contains(o) && !leave.contains(o.0.file_name()));
        missing.extend(wanted.map(|(key, _)| (kind, key)));
    }
    let total = missing.len() as u64;
    let keys = missing.iter().take_while(|(kind, _)| *kind == ObjectKind::Key).count();
    for (done, (kind, key)) in missing.iter().enumerate() {
        let left = total - done as u64;
        if done == keys {
            config(to, &ours).await.map_err(|e| (e, left))?;
        }
        copy(from, to, *kind, key).await.map_err(|e| (e, left))?;
    }
    config(to, &ours).await.map_err(|e| (e, 0))?;
    Ok(Lag { objects: total })
}

async fn sizes(store: &dyn Store, kind: ObjectKind) -> Result<BTreeSet<(Key, u64)>> {
    let all = store.list_all(prefix(kind)).await?;
    Ok(all.into_iter().map(|m| (m.key, m.size)).collect())
}

/// The config has no hash for a name: the two must be equal, or the other is another repository.
async fn same_repository(from: &dyn Store, to: &dyn Store) -> Result<Bytes> {
    let key = Key::new("config")?;
    let ours = from.get(&key, None).await?;
    match to.get(&key, None).await {
        Ok(theirs) if theirs == ours => Ok(ours),
        Err(e) if e.kind() == Kind::NotFound => Ok(ours),
        Err(e) => Err(e),
        Ok(_) => Err(Error::new(Kind::Conflict, "copy to the location: another repository lives there")
            .code("E0641")
            .effect("nothing there was changed")
            .hint("give the location a folder of its own")),
    }
}

/// Written after the keys: what has a config has a key.
async fn config(to: &dyn Store, ours: &Bytes) -> Result<()> {
    match to.put(&Key::new("config")?, ours.clone(), Put::Create).await {
        Err(e) if e.kind() == Kind::Exists => Ok(()),
        other => other,
    }
}

async fn copy(from: &dyn Store, to: &dyn Store, kind: ObjectKind, key: &Key) -> Result<()> {
    let bytes: Bytes = from.get(key, None).await?;
    // A damaged object must not spread; it is copied again when it is healed.
    if Id::of(&bytes).to_string() != key.file_name() {
        return Err(Error::new(Kind::Corrupt, "copy an object: its bytes are not what its name says")
            .with("object", escape(key.as_str().as_bytes()))
            .with("kind", format!("{kind:?}"))
            .code("E0652"));
    }
    to.put(key, bytes, Put::Replace).await
}
