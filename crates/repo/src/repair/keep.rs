//! Quarantine: an original is copied, the copy is durable and looked at again, then the original goes.

use super::{RepairOptions, Repaired};
use crate::id::Id;
use crate::layout::{self, ObjectKind};
use crate::locks::LockGuard;
use crate::repository::Repository;
use recoup_core::{Error, Kind, Result};
use recoup_store::{Key, Put, Store};
use std::sync::Arc;

const FOLDER: &str = "recoup/quarantine";

/// Says no before anything is written where originals could not be kept.
pub(super) fn check(repo: &Repository, options: &RepairOptions) -> Result<()> {
    if options.quarantine.is_some() || repo.store().capabilities().own_objects {
        return Ok(());
    }
    Err(Error::new(Kind::Refused, "repair at a location that keeps no objects but restic's")
        .with("location", repo.store().location())
        .code("E0496")
        .effect("nothing was changed"))
}

/// Moves the object `id` into quarantine. What is not there any more is no error.
pub(super) async fn quarantine(
    repo: &Repository,
    options: &RepairOptions,
    lock: &LockGuard,
    kind: ObjectKind,
    id: &Id,
    report: &mut Repaired,
) -> Result<()> {
    let from = layout::key(kind, id);
    let bytes = match repo.store().get(&from, None).await {
        Ok(bytes) => bytes,
        Err(err) if err.kind() == Kind::NotFound => return Ok(()),
        Err(err) => return Err(err),
    };
    let (store, to) = match &options.quarantine {
        Some(store) => (Arc::clone(store), from.clone()),
        None => (Arc::clone(repo.store()), Key::new(format!("{FOLDER}/{from}"))?),
    };
    let size = bytes.len() as u64;
    match store.put(&to, bytes.clone(), Put::Create).await {
        Ok(()) => {}
        // an earlier run got this far; two different damages of one object are both kept
        Err(err) if err.kind() == Kind::Exists => {
            if store.get(&to, None).await? != bytes {
                let again = Key::new(format!("{to}.{}", Id::of(&bytes)))?;
                put_again(&*store, &again, bytes).await?;
                return remove(repo, lock, &from, report).await;
            }
        }
        Err(err) => return Err(err),
    }
    if store.head(&to).await?.map(|meta| meta.size) != Some(size) {
        return Err(Error::new(
            Kind::Unavailable,
            "keep an original in quarantine: it is not there afterwards",
        )
        .with("object", &from)
        .with("location", store.location())
        .code("E0474")
        .effect("the original was left where it is"));
    }
    remove(repo, lock, &from, report).await
}

async fn put_again(store: &dyn Store, key: &Key, bytes: bytes::Bytes) -> Result<()> {
    match store.put(key, bytes, Put::Create).await {
        Err(err) if err.kind() != Kind::Exists => Err(err),
        _ => Ok(()),
    }
}

async fn remove(repo: &Repository, lock: &LockGuard, key: &Key, report: &mut Repaired) -> Result<()> {
    lock.check()?;
    repo.store().delete(key).await?;
    report.quarantined += 1;
    Ok(())
}
